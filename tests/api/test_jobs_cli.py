"""`mmkg jobs`: an ingest that was killed or interrupted is named, shown and gone on with, by whoever comes next."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from api.cli.ingesting import Interruptible, shown_progress
from kg.ingest import IngestProgress

COMMAND = [sys.executable, "-c", "from api.cli import main; main()"]
N_FILES = 12


def mmkg(home, *words, code=0):
    result = CliRunner().invoke(app, ["--home", str(home), *words])
    assert result.exit_code == code, result.output
    return result.stdout


def as_json(home, *words, code=0):
    return json.loads(mmkg(home, *words, "--json", code=code))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "docs"
    path.mkdir()
    for number in range(N_FILES):
        words = f"Anna Berg owned boat {number}. " * 200
        (path / f"{number:02}.txt").write_text(words, "utf-8")
    return path


@pytest.mark.models
def test_failed_ingest_names_its_job_and_its_dead_letters_say_what_to_do(tmp_path, model_cache):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.pdf"
    good.write_text("Anna Berg owned the boat.", "utf-8")
    bad.write_bytes(b"%PDF-1.4 broken")
    home = tmp_path / "home"

    said = mmkg(home, "ingest", str(good), str(bad), code=1)
    (job,) = as_json(home, "jobs", "list")["jobs"]
    assert f"mmkg jobs retry {job['job_id']}" in " ".join(said.split())
    assert (job["state"], job["counts"]) == ("done", {"dead": 1, "done": 1})
    (letter,) = as_json(home, "jobs", "dead")["dead"]
    assert (letter["name"], letter["error_code"], letter["attempts"]) == ("bad.pdf", "corrupt", 1)
    assert "mmkg jobs retry" in letter["advice"]

    bad.write_text("Now it is a note about Tom Hale.", "utf-8")
    assert as_json(home, "jobs", "retry", job["job_id"])["files"][0]["status"] == "added"
    assert as_json(home, "jobs", "show")["counts"] == {"done": 2}
    assert as_json(home, "jobs", "dead") == {"dead": []}
    assert "nothing to try again" in mmkg(home, "jobs", "retry", "--json", code=1)
    as_json(home, "jobs", "forget", "last")
    assert as_json(home, "jobs", "list") == {"jobs": []}
    assert as_json(home, "info")["documents"] == 2
    assert as_json(home, "jobs", "show", "j9", code=1)["error"]["code"] == "not_found"


def start(home, cache, folder):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMKG_")}
    environment = {**kept, "MMKG_HOME": str(home), "MMKG_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "ingest", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )


def wait_until_running(process, home):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (home / "default" / "record.db").is_file():
            jobs = as_json(home, "jobs", "list")["jobs"]
            if jobs and jobs[0]["state"] == "running":
                return jobs[0]["job_id"]
        time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.models
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_ingest_that_was_stopped_is_offered_for_resuming_and_resumed(tmp_path, model_cache, folder, sent):
    home = tmp_path / "home"
    process = start(home, model_cache, folder)
    job_id = wait_until_running(process, home)
    process.send_signal(sent)
    out, _ = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("it was done before the signal came")

    job = as_json(home, "jobs", "show", job_id)
    assert job["can_be_resumed"]
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert f"mmkg jobs resume {job_id}" in " ".join(out.split())
        assert job["state"] == "cancelled"
    assert as_json(home, "jobs", "resume", job_id)["n_failed"] == 0
    assert as_json(home, "jobs", "show", job_id)["counts"] == {"done": N_FILES}
    assert as_json(home, "info")["documents"] == N_FILES


def test_first_interrupt_asks_for_the_end_and_the_second_one_interrupts(capsys):
    with Interruptible("j1", workspace="w") as wish:
        os.kill(os.getpid(), signal.SIGINT)
        assert wish.is_cancelled()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert "ending after the file at hand" in capsys.readouterr().err


def test_progress_without_a_terminal_is_a_line_now_and_then_and_quiet_is_nothing(capsys, monkeypatch):
    step = IngestProgress(stage="store", done=3, total=9, n_bytes=5, n_pages=4, n_pictures=2, name="a", eta_s=61.0)
    times = iter([0.0, 1.0, 20.0, 20.0, 21.0])
    monkeypatch.setattr("api.cli.ingesting.time.monotonic", lambda: next(times))
    with shown_progress(is_quiet=False) as show:
        show(step)
        show(step)
        show(step)
    assert capsys.readouterr().err == "3 of 9 files, 4 pages, 2 pictures, 1:01 left\n"
    with shown_progress(is_quiet=True) as show:
        show(step)
    assert capsys.readouterr().err == ""

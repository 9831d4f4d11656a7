"""`mmkg ingest` dies at any moment, or runs twice at once, and the workspace ends as if nothing had happened.

Kills are timed by what the record holds and a seeded delay after that, so they fall into the reading of a picture and
into the building of the indexes, on a fast machine as on a slow one. The tests of ``kg`` kill at each point of a
transaction, where a process costs a tenth of what it costs with all models.
"""

import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from api.service import Service
from api.settings import load_settings
from api.wiring import build_service
from kg.testing import canonical_dump
from kg.types import IngestStatus
from retrieval.types import Query

pytestmark = pytest.mark.models

SEED = 20
COMMAND = [sys.executable, "-c", "from api.cli import main; main()"]
WORDS = {
    "1-kestrel.txt": "Mona Arden built the sailing ship Kestrel in Orvik in 1911. Petra Voss owned the yard.",
    "2-orvik.md": "# Orvik\n\nOrvik is a harbour town on the river Lune. Its mayor is Petra Voss.",
    "4-moths.html": "<h1>Moths</h1><p>Hawk moths hover before a flower while they drink. Mona Arden drew them.</p>",
    "5-bread.txt": "Rye bread rises slowly. Petra Voss bakes it in Orvik every Friday.",
}
N_FILES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents")
    for name, text in WORDS.items():
        (path / name).write_text(text, "utf-8")
    image = Image.new("RGB", (640, 200), "white")
    pen = ImageDraw.Draw(image)
    for y, words in ((20, "Ferry to Orvik at noon"), (100, "Fare 12 crowns")):
        pen.text((20, y), words, fill="black", font=ImageFont.load_default(size=40))
    out = io.BytesIO()
    image.save(out, "PNG")
    (path / "3-ferry.png").write_bytes(out.getvalue())
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path, model_cache: Path):
    """One service that looks at the workspaces which the processes leave behind, and runs the ingest again."""
    built = build_service(load_settings(environ={}, overrides={"home": home, "cache": model_cache, "threads": 1}))
    yield built
    built.close()


@pytest.fixture(scope="module")
def undisturbed(service: Service, folder: Path) -> tuple[str, list[str]]:
    assert service.ingest("undisturbed", [folder]).n_failed == 0
    return content_of(service, "undisturbed"), found_in(service, "undisturbed")


def start(home: Path, cache: Path, folder: Path, workspace: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMKG_")}
    environment = {**kept, "MMKG_HOME": str(home), "MMKG_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "ingest", str(folder), "-w", workspace, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )


def wait_for_documents(process: subprocess.Popen[str], record: Path, wanted: int) -> None:
    """Look at the record from outside until it holds ``wanted`` documents."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"it ended before {wanted} documents were in: {process.communicate()}")
        if count_documents(record) >= wanted:
            return
        time.sleep(0.003)
    raise AssertionError(f"{wanted} documents were not in after 120 s")


def count_documents(record: Path) -> int:
    if not record.is_file():
        return -1
    connection = sqlite3.connect(f"file:{record}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])
    except sqlite3.OperationalError:  # its tables are not there yet
        return -1
    finally:
        connection.close()


def content_of(service: Service, workspace: str) -> str:
    return canonical_dump(service.workspaces.get(workspace, create=False).store)


def found_in(service: Service, workspace: str) -> list[str]:
    questions = ("When does the ferry to Orvik leave?", "Who built the Kestrel?", "How do hawk moths drink?")
    return [service.search(workspace, Query(text=text), k=1).evidence[0].document.name for text in questions]


@pytest.mark.parametrize(
    ("n_inside", "longest_delay_s"),
    [
        (2, 0.3),  # the picture is next: the OCR models are loaded and read it
        (N_FILES, 0.05),  # all is in the record: vectors and indexes are being built
    ],
)
def test_an_ingest_that_was_killed_and_run_again_ends_like_one_that_was_not(
    n_inside, longest_delay_s, service, folder, home, model_cache, undisturbed
):
    workspace = f"killed-{n_inside}"
    process = start(home, model_cache, folder, workspace)
    wait_for_documents(process, home / workspace / "record.db", n_inside)
    time.sleep(random.Random(SEED + n_inside).uniform(0, longest_delay_s))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    inside = [info.name for info in service.documents(workspace)]
    assert inside == sorted([*WORDS, "3-ferry.png"])[: len(inside)]  # whole documents, in the order of the files
    assert len(inside) >= n_inside
    evidence = service.search(workspace, Query(text="Kestrel"), k=3).evidence
    assert evidence[0].document.name == "1-kestrel.txt"  # what is in can be found before anything is repaired

    report = service.ingest(workspace, [folder])

    assert [outcome.status for outcome in report.outcomes] == [
        *[IngestStatus.UNCHANGED] * len(inside),
        *[IngestStatus.ADDED] * (N_FILES - len(inside)),
    ]
    content, found = undisturbed
    assert content_of(service, workspace) == content
    assert found_in(service, workspace) == found == ["3-ferry.png", "1-kestrel.txt", "4-moths.html"]


def test_two_ingests_at_once_in_one_workspace_both_succeed_and_nothing_is_there_twice(
    service, folder, home, model_cache, undisturbed
):
    processes = [start(home, model_cache, folder, "shared") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    statuses = sorted(row["status"] for output, _ in outputs for row in json.loads(output)["files"])
    assert statuses == ["added"] * N_FILES + ["unchanged"] * N_FILES
    content, found = undisturbed
    assert content_of(service, "shared") == content
    assert found_in(service, "shared") == found

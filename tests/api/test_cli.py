"""The command line as a user runs it: outcomes, exit statuses, JSON, and errors without tracebacks."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from api.cli.app import app
from api.cli.ingesting import _messages
from kg.types import FileOutcome, IngestReport, IngestStatus

pytestmark = pytest.mark.models
runner = CliRunner()


@pytest.fixture
def home(tmp_path, samples_home, model_cache, monkeypatch):
    """A copy of the samples' home that a test may change."""
    copy = tmp_path / "home"
    shutil.copytree(samples_home, copy)
    monkeypatch.setenv("MMKG_HOME", str(copy))
    monkeypatch.setenv("MMKG_CACHE", str(model_cache))
    monkeypatch.setenv("MMKG_WORKSPACE", "demo")
    monkeypatch.setenv("COLUMNS", "160")
    return copy


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def test_ingest_reports_each_file_and_one_bad_file_stops_nothing(home, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "good.txt").write_text("Anna Berg owns the red boat.")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnot really")

    report = json.loads(mmkg("ingest", folder, "-w", "mine", "--json", status=1))

    statuses = {row["name"]: (row["status"], row["error_code"]) for row in report["files"]}
    assert statuses == {
        "good.txt": ("added", ""),
        "empty.txt": ("failed", "empty"),
        "broken.pdf": ("failed", "corrupt"),
    }
    assert "good.txt" in mmkg("search", "red boat", "-w", "mine")


def test_ingesting_the_same_bytes_again_changes_nothing_and_changed_bytes_replace_the_document(home, tmp_path):
    file = tmp_path / "note.txt"
    file.write_text("Anna Berg owns the red boat.")
    assert "added" in mmkg("ingest", file, "-w", "mine")
    assert "unchanged" in mmkg("ingest", file, "-w", "mine")

    file.write_text("Bo Lind owns the green house.")

    assert "replaced" in mmkg("ingest", file, "-w", "mine")
    found = json.loads(mmkg("search", "who owns it", "-w", "mine", "--json"))["evidence"]
    assert [item["text"] for item in found] == ["Bo Lind owns the green house."]


def test_ask_prints_the_answer_with_numbered_references(home):
    output = mmkg("ask", "Who founded the Velmara Ferry Company?")

    assert "Ines Torvald" in output
    assert "[1] ferry-company.md" in output


def test_ask_shows_the_evidence_first_where_it_is_wanted(home):
    output = mmkg("ask", "Who was the first keeper?", "--show-evidence")

    assert output.index("lighthouse.html") < output.index("[1] lighthouse.html")


def test_ask_without_generating_is_a_search(home):
    body = json.loads(mmkg("ask", "Who was the first keeper?", "--no-generate", "--k", 2, "--json"))

    assert set(body) == {"question", "evidence", "trace", "gate"}
    assert len(body["evidence"]) == 2


def test_a_question_that_the_documents_do_not_answer_is_not_answered(home):
    body = json.loads(mmkg("ask", "What is the population of the capital of Brazil?", "--json"))

    assert body["status"] == "insufficient"
    assert body["citations"] == []


def test_search_explains_who_found_what_and_the_ways_to_it(home, tmp_path):
    picture = tmp_path / "ways.png"

    output = mmkg("search", "Who founded the Velmara Ferry Company?", "--explain", "--plot", picture)

    assert "found by" in output
    assert "ms" in output
    assert "the question names: " in output
    assert "Velmara Ferry Company —mentioned in→ #" in output
    assert f"drawn: {picture}" in output.replace("\n", "")
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 200


def test_an_explanation_is_part_of_the_json(home):
    body = json.loads(mmkg("search", "Who founded the Velmara Ferry Company?", "--explain", "--json", "--k", 3))

    assert "The Velmara Ferry Company" in [one["name"] for one in body["explanation"]["entities"]]
    assert [one["chunk_id"] for one in body["explanation"]["paths"]] == [one["chunk_id"] for one in body["evidence"]]
    (way, *_) = body["explanation"]["paths"][0]["ways"]
    assert way[-1]["end_id"] == body["evidence"][0]["chunk_id"]


def test_a_picture_of_no_ways_is_refused(home, tmp_path):
    result = runner.invoke(app, ["search", "of the and", "--plot", str(tmp_path / "ways.svg")])

    assert result.exit_code == 1
    assert "nothing to draw" in " ".join(result.stderr.split())
    assert not (tmp_path / "ways.svg").exists()


def test_a_picture_can_be_the_query(home, sample_corpus):
    found = json.loads(mmkg("search", "--image", sample_corpus / "water-diagram.png", "--json", "--k", 1))

    assert found["evidence"][0]["name"] == "water-diagram.png"


def test_rm_takes_a_document_out_by_its_name(home):
    mmkg("rm", "harbour-letter.pdf")

    listed = json.loads(mmkg("info", "--documents", "--json"))["documents_list"]
    assert "harbour-letter.pdf" not in {row["name"] for row in listed}
    found = json.loads(mmkg("search", "harbour bell cast Osterby", "--json"))["evidence"]
    assert all("Osterby" not in item["text"] for item in found)


def test_rm_deletes_nothing_if_one_of_the_documents_is_not_there(home):
    mmkg("rm", "harbour-letter.pdf", "nothing.txt", status=1)

    listed = json.loads(mmkg("info", "--documents", "--json"))["documents_list"]
    assert "harbour-letter.pdf" in {row["name"] for row in listed}


def test_a_failure_names_its_file_once(home, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")

    output = mmkg("ingest", tmp_path / "empty.txt", "-w", "mine", status=1)

    assert output.splitlines()[0] == "failed empty.txt: the file is empty (0 bytes)."


def test_quiet_ingest_prints_failures_only(home, tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    (tmp_path / "empty.txt").write_bytes(b"")

    assert "No words were found" in mmkg("ingest", tmp_path / "red.png", "-w", "loud")
    output = mmkg("ingest", tmp_path / "red.png", tmp_path / "empty.txt", "-w", "mine", "--quiet", status=1)

    assert output.splitlines() == ["failed empty.txt: the file is empty (0 bytes)."]


def test_files_that_fail_for_one_reason_share_a_line():
    reason = "Not tried, because the record failed at a.txt: there is no room left."
    outcomes = [
        FileOutcome(source=f"/x/{n}.txt", name=f"{n}.txt", status=IngestStatus.FAILED, seconds=0.0, message=reason)
        for n in "bcd"
    ]

    lines = _messages(IngestReport(outcomes=tuple(outcomes), seconds=1.0), failures_only=True)

    assert lines == [f"failed 3 files, b.txt to d.txt: {reason}"]


def test_complete_lists_predictions_and_says_that_they_are_not_stated(home):
    output = mmkg("complete", "Skua", "home port", "--k", 3, "--why")

    assert "predicted, not stated" in output
    assert "Sandvik Brothers | based in | Ulvik" in output


def test_link_prediction_is_measured_on_links_of_the_workspace_itself(home):
    body = json.loads(mmkg("eval", "links", "--folds", 4, "--rounds", 1, "--json"))

    arms = body["arms"]
    assert {"all", "structure", "rules", "text", "relation frequency"} == set(arms)
    assert arms["all"]["mrr"] > arms["structure"]["mrr"]
    assert arms["all"]["mrr"] > 2 * arms["relation frequency"]["mrr"]
    assert body["rounds"] == 1
    assert 0 < body["best_candidate"]["share_right"] < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", " "], "empty"),
        (["ask", "x", "--generator", "oracle"], "extractive"),
        (["ask", "x", "-w", "nowhere"], "mmkg ingest"),
        (["search", "x", "--mode", "psychic"], "auto"),
        (["search", "x", "--modality", "smell"], "chart"),
        (["search", "x", "--k", "0"], "k"),
        (["search", "--image", "none.png"], "none.png"),
        (["rm", "nothing.txt"], "mmkg info --documents"),
        (["complete", "Nobody Known", "related to"], "Nobody Known"),
        (["--config", "none.yaml", "info"], "none.yaml"),
    ],
)
def test_a_mistake_is_explained_on_standard_error_with_status_1(home, words, message):
    result = runner.invoke(app, words)

    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_mistake_in_json_is_json(home):
    body = json.loads(mmkg("ask", "x", "-w", "nowhere", "--json", status=1))

    assert body["error"]["code"] == "not_found"


def test_an_unknown_option_is_a_usage_error(home):
    assert runner.invoke(app, ["ask", "x", "--colour"]).exit_code == 2


def test_models_list_and_verify_know_the_pinned_models(home):
    listed = {row["name"]: row["state"] for row in json.loads(mmkg("models", "list", "--json"))}

    assert listed["minilm"] == "present"
    assert json.loads(mmkg("models", "verify", "minilm", "--json"))[0]["state"] == "present"


def test_doctor_finds_nothing_broken_and_names_a_misspelt_variable(home, monkeypatch):
    monkeypatch.setenv("MMKG_GENERATR", "lm")

    checks = {row["check"]: row for row in json.loads(mmkg("doctor", "--json"))}

    assert checks["package names"]["state"] == "ok"
    assert checks["environment"]["state"] == "note"
    assert "MMKG_GENERATR" in checks["environment"]["detail"]


def test_the_demo_answers_its_questions_pictures_included(home):
    body = json.loads(mmkg("demo", "--json"))

    wrong = [row["question"] for row in body["answers"] if not row["correct"]]
    assert wrong == []
    pictures = [row for row in body["answers"] if row["needs_picture"]]
    assert len(pictures) >= 3
    assert all(row["citations"][0]["asset"] for row in pictures)
    assert {row["origin"] for row in body["predictions"]} == {"predicted"}
    best = body["predictions"][0]
    assert (best["head"], best["relation"], best["tail"]) == ("Skua", "home port", "Ulvik")
    assert best["calibrated"] > 0.5
    assert "owner(x, z), based in(z, y) → home port(x, y)" in best["evidence"]["rules"][0]["text"]

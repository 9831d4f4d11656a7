"""The log of evaluations: only ever added to, and readable after a crash in the middle of a line."""

import json
from datetime import UTC, datetime

import pytest

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_log import log_evaluation, read_evaluations
from generation.completion.evaluation_run import evaluate_folder
from generation.completion.report_run import report_folder
from generation.completion.runs import train_folder
from kg.errors import CompletionError

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
_CONFIG = CompletionConfig(rank=4, max_epochs=1, threads=1)


def _log(folder, mrr, split="test"):
    log_evaluation(folder, {"mrr": mrr, "n": 3}, split=split, settings={"seed": 0}, command="eval", when=NOON)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "graph"
    path.mkdir()
    rows = [f"e{i}\t{relation}\te{(i + step) % 30}" for i in range(30) for relation, step in (("next", 1), ("skip", 2))]
    (path / "entities.tsv").write_text("".join(f"e{i}\n" for i in range(30)))
    (path / "train.tsv").write_text("\n".join(rows[:54]) + "\n")
    (path / "test.tsv").write_text("\n".join(rows[54:]) + "\n")
    return path


def test_entries_are_added_and_older_lines_stay_as_they_are(tmp_path):
    _log(tmp_path, 0.25)
    before = (tmp_path / "evaluations.jsonl").read_bytes()
    _log(tmp_path, 0.5, split="valid")

    assert (tmp_path / "evaluations.jsonl").read_bytes().startswith(before)
    log = read_evaluations(tmp_path)
    assert [entry["mrr"] for entry in log.entries] == [0.25, 0.5]
    assert log.entries[0] == {
        "when": "2026-01-02T12:00:00+00:00",
        "command": "eval",
        "split": "test",
        "mrr": 0.25,
        "n": 3,
        "settings": {"seed": 0},
    }
    assert log.looks == {"test": 1, "valid": 1}


def test_a_line_torn_by_a_crash_costs_neither_the_lines_before_nor_those_after(tmp_path):
    _log(tmp_path, 0.25)
    with (tmp_path / "evaluations.jsonl").open("a") as stream:
        stream.write('{"when": "2026')
    _log(tmp_path, 0.5)

    log = read_evaluations(tmp_path)

    assert [entry["mrr"] for entry in log.entries] == [0.25, 0.5]
    assert log.n_damaged == 1


def test_no_log_is_no_looks_and_one_that_cannot_be_written_is_an_error(tmp_path):
    assert read_evaluations(tmp_path).looks == {}
    with pytest.raises(CompletionError, match="an evaluation must be logged"):
        _log(tmp_path / "nowhere", 0.5)


def test_every_evaluation_and_report_is_logged_and_training_anew_keeps_the_looks(folder, tmp_path):
    model = tmp_path / "model"
    train_folder(folder, model, config=_CONFIG)
    evaluate_folder(model, folder, "test")
    evaluate_folder(model, folder, "valid", baselines=False)
    train_folder(folder, model, config=_CONFIG, seed=1)

    result = report_folder(model, folder, "test")

    log = read_evaluations(model)
    assert [(entry["command"], entry["split"]) for entry in log.entries] == [
        ("eval", "test"),
        ("eval", "valid"),
        ("report", "test"),
    ]
    assert result["looks"] == {"test": 2, "valid": 1}
    assert result["notes"][0] == "test was evaluated 2 times with this model folder, this time included"
    first, _, last = (entry["settings"] for entry in log.entries)
    assert (first["seed"], last["seed"]) == (0, 1)
    assert first["weights"] != last["weights"]
    assert first["config"]["rank"] == 4
    assert log.entries[2]["mrr"] == result["mrr"]
    assert [set(entry.get("beside", ())) for entry in log.entries] == [
        {"ablation", "baselines"},
        {"ablation"},
        {"baselines"},
    ]
    assert log.entries[2]["beside"]["baselines"]["frequency"] == result["baselines"]["frequency"]["mrr"]


def test_training_looks_at_validation_and_never_at_test(folder, tmp_path):
    train_folder(folder, tmp_path / "one", config=_CONFIG)
    (folder / "test.tsv").write_text("e5\tskip\te5\n")
    train_folder(folder, tmp_path / "two", config=_CONFIG)

    one, two = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("one", "two"))
    assert read_evaluations(tmp_path / "one").looks == {}
    # Known test triples are filtered from validation's rankings, which is the protocol; the model is the same.
    assert one["files"]["weights"] == two["files"]["weights"]


def test_a_report_is_refused_for_another_graph_and_leaves_no_entry(folder, tmp_path):
    model = tmp_path / "model"
    train_folder(folder, model, config=_CONFIG)
    with (folder / "train.tsv").open("a") as stream:
        stream.write("e0\tnext\te9\n")

    with pytest.raises(CompletionError, match="not those the model was trained on"):
        report_folder(model, folder, out=tmp_path / "page")
    assert read_evaluations(model).entries == ()
    assert not (tmp_path / "page").exists()


def test_a_page_needs_no_other_file_and_escapes_names(folder, tmp_path):
    model = tmp_path / "model"
    (folder / "relations.tsv").write_text("next\t<script>alert(1)</script> $x_1$\nskip\tskips & leaps\n")
    train_folder(folder, model, config=_CONFIG)

    result = report_folder(model, folder, out=tmp_path / "page")

    page = (tmp_path / "page" / "report.html").read_text()
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == sorted(
        ["report.html", "report.json", *(f"by-{n}.{k}" for n in ("degree", "kind", "relation") for k in ("png", "svg"))]
    )
    assert len(result["files"]) == 8
    assert "<script" not in page
    assert "skips &amp; leaps" in page
    assert page.count("<svg") == 3
    assert "src=" not in page
    assert 'href="http' not in page
    assert (tmp_path / "page" / "by-kind.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "page" / "report.json").read_text())
    assert kept["mrr"] == result["mrr"]
    assert len(kept["evaluations"]) == 1

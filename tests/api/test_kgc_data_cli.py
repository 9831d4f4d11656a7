"""`mmkg kgc check|split|import|report` as a user runs them."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from api.cli.app import app

runner = CliRunner()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A ring of thirty entities, each linked to its next and its next but one; six statements are left for the test."""
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "ring"
    path.mkdir()
    rows = [f"e{i}\t{name}\te{(i + step) % 30}" for i in range(30) for name, step in (("next", 1), ("skip", 2))]
    (path / "entities.tsv").write_text("".join(f"e{i}\tentity {i}\tnear entity {i + 1}\n" for i in range(30)))
    (path / "train.tsv").write_text("\n".join(rows[:54]) + "\n")
    (path / "test.tsv").write_text("\n".join(rows[54:]) + "\n")
    return path


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["kgc", *(str(word) for word in words)])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    return json.loads(mmkg(*words, "--json", status=1))["error"]["message"]


def test_a_check_reports_sizes_redundancy_and_texts_that_name_the_answer(folder):
    with (folder / "test.tsv").open("a") as stream:
        stream.write("e0\tskip\te1\ne2\tnext\te0\n")  # linked in train as next; and as skip the other way round

    found = json.loads(mmkg("check", folder, "--json"))

    assert found["sizes"]["test"] == 8
    assert (found["redundancy"]["same_direction"], found["redundancy"]["other_direction"]) == (1, 1)
    tails = found["texts"][0]
    # The text of entity i names entity i + 1, which is the answer of "next" for 27 and 28, and of e0 skip e1; entity
    # 29 names entity 30, which is not there.
    assert (tails["asked"], tails["n"], tails["named"]) == ("tail", 8, 3)
    assert tails["share"] == 3 / 8
    shown = mmkg("check", folder)
    assert "Texts that name the answer" in shown
    assert "same direction" in shown


def test_a_check_of_splits_that_overlap_reports_and_ends_with_status_1_unless_allowed(folder):
    shared = (folder / "train.tsv").read_text().splitlines()[:2]
    with (folder / "test.tsv").open("a") as stream:
        stream.write("\n".join(shared) + "\n")

    assert json.loads(mmkg("check", folder, "--json", status=1))["overlaps"] == {"train+test": 2}
    assert "train+test" in mmkg("check", folder, status=1)
    assert json.loads(mmkg("check", folder, "--allow-overlap", "--json"))["overlaps"] == {"train+test": 2}


def test_a_check_names_the_file_and_line_of_what_cannot_be_read(folder):
    (folder / "train.tsv").write_bytes(b"a\tr\tb\na\tr\xff\tb\n")

    assert "train.tsv: not UTF-8 in line 2" in refused("check", folder)
    assert "is not a folder" in refused("check", folder / "gone")


def test_a_split_with_unseen_entities_can_be_trained_on_and_scores_unseen_apart(folder, tmp_path):
    made = json.loads(mmkg("split", folder, "--unseen-entities", 0.2, "--seed", 3, "--out", tmp_path / "new", "--json"))

    assert made["counts"]["unseen_entities_valid"] + made["counts"]["unseen_entities_test"] == 6
    assert made["train"] + made["valid"] + made["test"] + made["filter_only"] == 60
    check = json.loads(mmkg("check", tmp_path / "new", "--json"))
    assert check["unseen"]["triples_with_unseen_entity"] == made["test"]
    assert "exists already" in refused("split", folder, "--out", tmp_path / "new")


def test_a_transductive_split_keeps_every_entity_in_train(folder, tmp_path):
    shown = mmkg("split", folder, "--valid", 0.1, "--test", 0.2, "--out", tmp_path / "new")

    assert "split anew with seed 0" in shown
    check = json.loads(mmkg("check", tmp_path / "new", "--json"))
    assert (check["sizes"]["train"], check["sizes"]["valid"], check["sizes"]["test"]) == (42, 6, 12)
    assert check["unseen"]["entities_not_in_train"] == 0
    assert "must be above 0 and below 1" in refused("split", folder, "--test", 2, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_data_set_that_pykeen_saved_becomes_a_folder(tmp_path):
    saved = tmp_path / "saved" / "training"
    saved.mkdir(parents=True)
    for name, text in (
        ("entity_to_id", "id\tlabel\n0\ta\n1\tb\n"),
        ("relation_to_id", "id\tlabel\n0\tr\n"),
        ("numeric_triples", "head\trelation\ttail\n0\t0\t1\n"),
    ):
        with gzip.open(saved / f"{name}.tsv.gz", "wt") as stream:
            stream.write(text)

    assert json.loads(mmkg("import", tmp_path / "saved", "--out", tmp_path / "new", "--json"))["train"] == 1
    assert (tmp_path / "new" / "train.tsv").read_text() == "a\tr\tb\n"


def test_a_report_breaks_scores_down_and_counts_the_looks_at_test(folder, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("rank: 8\nmax_epochs: 3\nthreads: 1\n")
    model = tmp_path / "model"
    mmkg("train", folder, "--out", model, "--recipe", recipe)
    evaluated = json.loads(mmkg("eval", model, folder, "--json"))

    result = json.loads(mmkg("report", model, folder, "--out", tmp_path / "page", "--json"))

    assert result["mrr"] == evaluated["mrr"]
    assert result["baselines"]["rules-1"]["mrr"] == evaluated["baselines"]["rules-1"]["mrr"]
    assert {group["name"] for group in result["relations"]} == {"next", "skip"}
    assert sum(group["n"] for group in result["by_answer_degree"]) == 12  # six triples, asked both ways
    assert [group["name"] for group in result["by_modality"]["text"]] == ["both"]
    assert result["looks"] == {"test": 2}
    assert (tmp_path / "page" / "report.html").is_file()
    shown = mmkg("report", model, folder, "--split", "valid")
    assert "By train degree of the answer" in shown
    assert "test was evaluated 2 times with this model folder" in shown
    assert "no split 'dev'" in refused("report", model, folder, "--split", "dev")
    assert "holds no model" in refused("report", tmp_path / "gone", folder)

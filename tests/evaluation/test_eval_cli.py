"""`mmkg eval` as a user runs it."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from api.cli.app import app

pytestmark = pytest.mark.models
runner = CliRunner()


@pytest.fixture(autouse=True)
def environment(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("MMKG_HOME", str(settings.home))
    monkeypatch.setenv("MMKG_CACHE", str(settings.cache))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def test_retrieval_prints_json_of_every_pipeline_and_draws_a_plot_here(passages_folder, tmp_path):
    body = json.loads(mmkg("eval", "retrieval", passages_folder, "--json"))

    assert body["n"] == 3
    assert {"bm25", "dense", "mmkg"} == set(body["pipelines"])
    assert body["pipelines"]["mmkg"]["recall@5"] == 1.0
    assert {scores["wrong_modality@5"] for scores in body["pipelines"].values()} == {0.0}  # all is text
    assert body["ingest"]["added"] == 4
    assert body["plot"] == "retrieval-ships-and-bread.png"
    with Image.open(tmp_path / body["plot"]) as picture:
        assert picture.format == "PNG"

    table = mmkg("eval", "retrieval", passages_folder, "--plot", tmp_path / "other.png")
    assert "n = 3" in table
    assert "all_gold@8" in table
    assert "wrong_modality@5" in table
    assert "4 unchanged" in table
    assert (tmp_path / "other.png").is_file()


def test_a_recipe_chooses_the_pipelines(passages_folder, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("pipelines:\n  walk: graph\ndepth: 10\n")

    body = json.loads(mmkg("eval", "retrieval", passages_folder, "--recipe", recipe, "--json"))

    assert list(body["pipelines"]) == ["bm25", "dense", "walk"]


def test_answers_prints_its_scores_as_json_and_as_a_table(passages_folder):
    body = json.loads(mmkg("eval", "answers", passages_folder, "--json"))

    assert (body["n"], body["n_unanswerable"], body["generator"]) == (3, 1, "extractive")
    assert {"exact_match", "f1", "answered", "refused", "cited_gold"} < set(body)
    assert "cited_gold" in mmkg("eval", "answers", passages_folder)


@pytest.mark.parametrize("command", ["retrieval", "answers"])
def test_a_mistake_is_explained_with_status_1(passages_folder, tmp_path, command):
    (tmp_path / "recipe.yaml").write_text("dept: 3\n")

    for words, message in (
        ([tmp_path / "nowhere"], "no such folder"),
        ([passages_folder, "--recipe", tmp_path / "recipe.yaml"], "dept"),
    ):
        body = json.loads(mmkg("eval", command, *words, "--json", status=1))
        assert body["error"]["code"] == "config"
        assert message in body["error"]["message"]
        assert "Traceback" not in mmkg("eval", command, *words, status=1)


def test_an_unknown_generator_is_refused_before_any_answer(passages_folder):
    body = json.loads(mmkg("eval", "answers", passages_folder, "--generator", "oracle", "--json", status=1))

    assert "extractive" in body["error"]["message"]


def test_an_unknown_mode_in_a_recipe_is_refused(passages_folder, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("pipelines:\n  best: psychic\n")

    body = json.loads(mmkg("eval", "retrieval", passages_folder, "--recipe", recipe, "--json", status=1))

    assert "psychic" in body["error"]["message"]

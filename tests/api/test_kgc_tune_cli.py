"""`mmkg kgc tune` as a user runs it, on a random model of a few thousand weights."""

import json

import pytest
from typer.testing import CliRunner

from api.cli import completion_tuning
from api.cli.app import app
from generation.completion.generator.tuned_io import read_tuned
from generation.completion.tsv_write import write_folder
from tests.generation.completion.generator.tiny_generators import club_graph, save_generator

runner = CliRunner()
RECIPE = "batch_size: 8\nvalidate_every: 2\nmax_tokens: 64\nprecision: float32\nlearning_rate: 0.01\npremise: 0.0\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of a graph and of a model, and a recipe."""
    folder = tmp_path_factory.mktemp("tune")
    graph = club_graph()
    write_folder(graph, folder / "graph")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "graph", save_generator(folder / "base", graph), folder / "recipe.yaml"


def tune(made, out, *more, status=0):
    graph, base, recipe = made
    words = ["kgc", "tune", graph, "--model", base, "--out", out, "--recipe", recipe, "--steps", 4, *more]
    result = runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})
    assert result.exit_code == status, f"{result.exit_code}\n{result.output}\n{result.exception}"
    return result


def test_it_tells_people_and_programs_what_it_reached(made, tmp_path):
    said = tune(made, tmp_path / "adapters", "--context", "own", "--max-neighbours", 3).stdout
    report = json.loads(tune(made, tmp_path / "again", "--context", "own", "--max-neighbours", 3, "--json").stdout)

    assert report["out"] == str(tmp_path / "again")
    assert [look["step"] for look in report["looks"]] == [0, 2, 4]
    assert report["loss"] < report["loss_before"]
    assert f"{report['loss_before']:.4f} before, {report['loss']:.4f} after" in said  # the same seed, the same run
    assert f"{report['n_parameters']:,} tuned, {report['n_base_parameters']:,} frozen" in said
    config = read_tuned(tmp_path / "adapters").config
    assert (config.context, config.max_neighbours, config.steps, config.seed) == ("own", 3, 4, 0)


def test_options_reach_the_adapters(made, tmp_path):
    more = ("--targets", "q_proj, v_proj", "--rank", 2, "--lora-experts", 3, "--examples", 9, "--balance", 1)

    report = json.loads(tune(made, tmp_path / "adapters", *more, "--seed", 4, "--json").stdout)

    config = read_tuned(tmp_path / "adapters").config
    assert (config.targets, config.rank, config.lora_experts) == (("q_proj", "v_proj"), 2, 3)
    assert (config.balance, config.seed) == (1.0, 4)
    assert report["n_questions"] == 9
    assert sorted(path.suffix for path in (tmp_path / "adapters").iterdir()) == [
        ".json",
        ".json",
        ".jsonl",
        ".safetensors",
    ]


def test_ctrl_c_says_how_to_go_on_and_resuming_ends_as_if_it_had_not_been(made, tmp_path, monkeypatch):
    whole = json.loads(tune(made, tmp_path / "whole", "--json").stdout)
    plain = completion_tuning._line

    def interrupted(line, seen):
        if line["step"] == 3:
            raise KeyboardInterrupt
        return plain(line, seen)

    monkeypatch.setattr(completion_tuning, "_line", interrupted)
    result = tune(made, tmp_path / "cut", status=130)
    assert "--resume" in result.stderr
    monkeypatch.undo()
    resumed = json.loads(tune(made, tmp_path / "cut", "--resume", "--json").stdout)

    assert resumed["resumed_from"] == 2
    assert resumed["looks"] == whole["looks"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--context", "everything"), "tuning.context: got 'everything'"),
        (("--targets", "wq"), "no linear layer named wq"),
        (("--lora-experts", 2, "--learning-rate", -1), "tuning.learning_rate: got -1.0"),
    ],
)
def test_what_cannot_be_is_refused_before_a_step_is_taken(made, more, message, tmp_path):
    error = json.loads(tune(made, tmp_path / "adapters", *more, "--json", status=1).stdout)["error"]

    assert message in error["message"]
    assert not (tmp_path / "adapters").exists()


def test_an_unknown_model_and_a_folder_that_is_none_are_named(made, tmp_path):
    graph, _, _ = made

    for model, message in (("gpt-9", "'gpt-9' is neither a folder nor a model"), (str(graph), "no config.json")):
        words = ["kgc", "tune", str(graph), "--model", model, "--out", str(tmp_path / "out"), "--json"]
        result = runner.invoke(app, words)
        assert result.exit_code == 1
        assert message in json.loads(result.stdout)["error"]["message"]


def test_a_tuned_generator_is_read_with_the_context_it_was_tuned_with(made, tmp_path):
    from api.generators import make_answer_scorer, tuned_context
    from api.models.cache import ModelCache
    from api.settings import ModelServer

    tune(made, tmp_path / "adapters", "--max-neighbours", 3, "--max-words", 9)
    models = ModelCache(tmp_path / "cache")

    assert tuned_context(str(tmp_path / "adapters"), models) == {"max_neighbours": 3, "max_words_per_text": 9}
    assert tuned_context(str(made[1]), models) == {}
    assert tuned_context("openai", models) == {}
    scorer = make_answer_scorer(str(tmp_path / "adapters"), models, ModelServer())
    assert scorer.score("member of:", ["Red Club"]).n_tokens[0] > 0

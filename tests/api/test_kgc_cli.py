"""`mmkg kgc` as a user runs it, on a graph of sixty statements."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from generation.completion.config import CompletionConfig
from generation.completion.runs import train_folder

runner = CliRunner()
RECIPE = "rank: 8\nmax_epochs: 4\nthreads: 1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A ring of thirty entities, each linked to its next and its next but one; six statements are left for the test."""
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "ring"
    path.mkdir()
    rows = [f"e{i}\t{name}\te{(i + step) % 30}" for i in range(30) for name, step in (("next", 1), ("skip", 2))]
    (path / "train.tsv").write_text("\n".join(rows[:54]) + "\n")
    (path / "test.tsv").write_text("\n".join(rows[54:]) + "\n")
    return path


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    return file


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["kgc", *(str(word) for word in words)])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    body = json.loads(mmkg(*words, "--json", status=1))
    assert "Traceback" not in body["error"]["message"]
    return f"{body['error']['code']}: {body['error']['message']}"


def test_a_folder_is_trained_and_evaluated_as_fractions_beside_its_baselines(folder, recipe, tmp_path):
    model = tmp_path / "model"

    trained = json.loads(mmkg("train", folder, "--out", model, "--recipe", recipe, "--json"))
    result = json.loads(mmkg("eval", model, folder, "--json"))

    assert (trained["entities"], trained["relations"]) == (30, 2)
    assert (trained["train"], trained["valid"]) == (51, 3)  # 5 % of 54, carved
    assert trained["epochs"] == 8  # four, and four more over all of train
    assert trained["config"]["rank"] == 8
    assert not (model / "checkpoint").exists()
    assert result["n"] == 6
    assert result["split"] == "test"
    for scores in (result, result["head"], result["tail"], *result["baselines"].values()):
        assert {"mrr", "hits@1", "hits@3", "hits@10"} <= set(scores)
        assert 0.0 <= scores["hits@1"] <= scores["hits@3"] <= scores["hits@10"] <= 1.0
        assert 0.0 < scores["mrr"] <= 1.0
    assert set(result["baselines"]) == {"rules-1", "frequency"}
    assert "filtered" in result["protocol"]


def test_the_tables_for_people_name_every_scorer_and_the_protocol(folder, recipe, tmp_path):
    trained = mmkg("train", folder, "--out", tmp_path / "model", "--recipe", recipe)
    shown = mmkg("eval", tmp_path / "model", folder, "--split", "valid", "--no-baselines")

    assert "params" in trained
    assert "ring, valid: 3 triples" in shown
    assert "filtered" in shown
    assert "frequency" not in shown
    assert "frequency" in mmkg("eval", tmp_path / "model", folder)


def test_an_evaluation_says_whether_a_kind_of_vectors_is_read_and_its_log_names_all_it_ranked(folder, recipe, tmp_path):
    (folder / "numbers.tsv").write_text("".join(f"e{i}\tplace\t{i}\n" for i in range(30)))
    recipe.write_text(f"{RECIPE}feature_epochs: 2\nfeature_rank: 4\n")
    model = tmp_path / "model"
    mmkg("train", folder, "--out", model, "--recipe", recipe, "--json")

    result = json.loads(mmkg("eval", model, folder, "--no-ablation", "--permute", "number", "--seed", 3, "--json"))
    shown = mmkg("eval", model, folder, "--no-baselines", "--no-ablation", "--permute", "number")

    found = result["permuted"]["number"]
    assert set(found["arms"]) == {"left out", "permuted", "permuted, gate as trained"}
    before = result["ablation"]["before it learnt validation"]["mrr"]
    assert (found["seed"], found["gain"]) == (3, before - found["arms"]["left out"]["mrr"])
    assert "number permuted, gate as trained" in shown
    assert "MRR over leaving it out" in shown
    assert "It reads number" in refused("eval", model, folder, "--permute", "text")
    first, second = (json.loads(line) for line in (model / "evaluations.jsonl").read_text().splitlines())
    assert set(first["beside"]) == {"ablation", "baselines", "permuted number"}
    assert set(second["beside"]) == {"ablation", "permuted number"}


def test_models_of_several_seeds_are_compared_by_their_evaluations(folder, recipe, tmp_path):
    models = [tmp_path / "s0", tmp_path / "s1"]
    for seed, model in enumerate(models):
        mmkg("train", folder, "--out", model, "--recipe", recipe, "--seed", seed)
    assert "Run `mmkg kgc eval MODEL FOLDER --split test`" in refused("compare", *models)
    scores = [json.loads(mmkg("eval", model, folder, "--json"))["mrr"] for model in models]

    (group,) = json.loads(mmkg("compare", *models, "--json"))["groups"]
    shown = mmkg("compare", *models)

    assert group["figures"]["mrr"]["mean"] == pytest.approx(sum(scores) / 2)
    assert {"head", "tail"} <= set(group["figures"])
    assert "baselines: rules-1" in group["beside"]
    assert "ring, test" in shown
    assert "mean of 2" in shown


def test_the_same_seed_gives_the_same_model(folder, recipe, tmp_path):
    scores = []
    for name in ("one", "two"):
        mmkg("train", folder, "--out", tmp_path / name, "--recipe", recipe, "--seed", 7)
        scores.append(json.loads(mmkg("eval", tmp_path / name, folder, "--no-baselines", "--json"))["mrr"])

    assert scores[0] == scores[1]


def test_an_interrupted_training_goes_on_with_resume_and_ends_the_same(folder, recipe, tmp_path):
    def interrupt(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    config = CompletionConfig(rank=8, max_epochs=4, threads=1)
    with pytest.raises(KeyboardInterrupt):
        train_folder(folder, tmp_path / "model", config=config, on_progress=interrupt)
    assert (tmp_path / "model" / "checkpoint").is_dir()
    assert refused("eval", tmp_path / "model", folder).startswith("completion: ")

    resumed = json.loads(mmkg("train", folder, "--out", tmp_path / "model", "--recipe", recipe, "--resume", "--json"))
    mmkg("train", folder, "--out", tmp_path / "whole", "--recipe", recipe)

    assert resumed["epochs"] == 8
    first, second = (
        json.loads(mmkg("eval", tmp_path / name, folder, "--no-baselines", "--json")) for name in ("model", "whole")
    )
    assert first["mrr"] == second["mrr"]


def test_a_resume_without_anything_to_resume_trains_from_the_start(folder, recipe, tmp_path):
    out = json.loads(mmkg("train", folder, "--out", tmp_path / "model", "--recipe", recipe, "--resume", "--json"))

    assert out["epochs"] == 8


def test_splits_that_share_triples_are_refused_with_their_counts_unless_allowed(folder, recipe, tmp_path):
    shared = (folder / "train.tsv").read_text().splitlines()[:2]
    with (folder / "test.tsv").open("a") as stream:
        stream.write("\n".join(shared) + "\n")

    message = refused("train", folder, "--out", tmp_path / "model", "--recipe", recipe)
    assert message.startswith("completion: ")
    assert "2 of train" in message
    assert "test" in message
    assert not (tmp_path / "model").exists()

    arguments = ("--out", tmp_path / "model", "--recipe", recipe, "--allow-overlap")
    notes = json.loads(mmkg("train", folder, *arguments, "--json"))["notes"]
    assert any("splits share triples, allowed by the caller: 2 of train" in note for note in notes)
    assert "2 of train" in refused("eval", tmp_path / "model", folder)
    assert json.loads(mmkg("eval", tmp_path / "model", folder, "--allow-overlap", "--json"))["n"] == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnak: 8\n", "config: completion: unknown settings ['rnak']"),
        ("rank: 0\n", "config: completion.rank: got 0"),
        ("- rank\n", "must hold a mapping, got list"),
        ("rank: [8\n", "cannot be read"),
    ],
)
def test_a_recipe_that_is_not_understood_is_refused(folder, recipe, tmp_path, text, message):
    recipe.write_text(text)

    assert message in refused("train", folder, "--out", tmp_path / "model", "--recipe", recipe)
    assert not (tmp_path / "model").exists()


def test_the_experts_to_train_are_chosen_in_the_recipe_and_each_ones_part_is_shown(folder, tmp_path):
    recipe = tmp_path / "two.yaml"
    recipe.write_text(RECIPE + "experts: [rules, structure]\n")
    trained = json.loads(mmkg("train", folder, "--out", tmp_path / "model", "--recipe", recipe, "--json"))
    result = json.loads(mmkg("eval", tmp_path / "model", folder, "--json"))

    assert trained["config"]["experts"] == ["rules", "structure"]
    assert any(note.startswith("validation MRR, rules: ") for note in trained["notes"])
    assert set(result["ablation"]) == {"before it learnt validation", "structure", "rules"}
    assert result["params"]["total"] == result["params"]["constant"] + result["params"]["per_entity"]
    assert "ablation" not in json.loads(mmkg("eval", tmp_path / "model", folder, "--no-ablation", "--json"))
    assert "per entity" in mmkg("eval", tmp_path / "model", folder)
    climbed = mmkg("eval", tmp_path / "model", folder, "--no-ablation", "--no-baselines", "--ladder")
    assert "each part added to those before it" in climbed
    assert "+ validation learnt" in climbed

    recipe.write_text("experts: [oracle]\n")
    assert "completion.experts: got ['oracle']" in refused(
        "train", folder, "--out", tmp_path / "other", "--recipe", recipe
    )


def test_mistakes_are_named(folder, recipe, tmp_path):
    train = ("train", folder, "--out", tmp_path / "model", "--recipe")
    assert "gone.yaml" in refused(*train, tmp_path / "gone.yaml")
    assert "is not a folder" in refused("train", tmp_path / "gone", "--out", tmp_path / "model")
    assert "holds no model" in refused("eval", tmp_path / "gone", folder)
    mmkg(*train, recipe)
    assert "no split 'dev'" in refused("eval", tmp_path / "model", folder, "--split", "dev")

    (folder / "train.tsv").write_text("e1\tnext\n")
    assert "train.tsv, line 1: expected head, relation, tail" in refused(*train, recipe)

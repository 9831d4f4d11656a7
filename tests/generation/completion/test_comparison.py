"""Comparing models by their logs: means over seeds, gains of recipes, and what must not be averaged."""

import json

import pytest

from generation.completion.comparison import Spread, compare_models
from generation.completion.config import CompletionConfig
from generation.completion.evaluation_log import log_evaluation
from kg.errors import CompletionError

RECIPE = CompletionConfig(rank=8).to_mapping()


@pytest.fixture
def model(tmp_path):
    """Write a model folder without its tables: a description, and one evaluation of test with the given MRR."""

    def make(name, mrr, *, seed=0, train="aaa", config=RECIPE, weights="model-1", split="test", **result):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        description = {"format": "mmkgrag-complex-n3", "version": 2, "graph": "Ferries", "train_fingerprint": train}
        description |= {"seed": seed, "best_valid_mrr": 0.5, "config": config, "files": {"weights": weights}}
        (folder / "config.json").write_text(json.dumps(description))
        if mrr is not None:
            figures = {"mrr": mrr, "hits@1": mrr / 2, "hits@3": mrr, "hits@10": mrr, "n": 10, **result}
            log_evaluation(folder, figures, split=split, settings={"weights": weights}, command="eval")
        return folder

    return make


def test_models_that_differ_in_seed_alone_are_one_group_with_mean_and_sample_deviation(model):
    folders = [model(f"s{seed}", mrr, seed=seed) for seed, mrr in enumerate((0.40, 0.42, 0.44))]

    (group,) = compare_models(folders).groups

    assert [one.seed for one in group.models] == [0, 1, 2]
    assert group.figures["mrr"].mean == pytest.approx(0.42)
    assert group.figures["mrr"].deviation == pytest.approx(0.02)  # (4 + 0 + 4) e-4 over 2, its root
    assert group.figures["hits@1"].mean == pytest.approx(0.21)
    assert dict(group.differs) == {}
    assert group.gain is None


def test_another_recipe_is_another_group_that_says_what_differs_and_what_it_gains(model):
    first = [model(f"a{seed}", mrr, seed=seed) for seed, mrr in enumerate((0.40, 0.44))]
    wide = RECIPE | {"rank": 16, "threads": 2}
    second = [model(f"b{seed}", mrr, seed=seed, config=wide) for seed, mrr in enumerate((0.50, 0.52))]

    narrow, other = compare_models([*first, *second]).groups

    assert dict(narrow.differs) == {"rank": 8}
    assert dict(other.differs) == {"rank": 16}  # threads say how to compute, not what is learnt
    assert other.gain.mean == pytest.approx(0.09)
    # Variances of 8e-4 and 2e-4, each of two: the root of 4e-4 + 1e-4.
    assert other.gain.standard_error == pytest.approx(0.0005**0.5)


def test_one_model_a_recipe_has_no_deviation_and_its_gain_no_error():
    gain = Spread.of([0.5]).gain_over(Spread.of([0.3, 0.5]))

    assert (gain.mean, gain.standard_error) == (pytest.approx(0.1), None)
    assert Spread.of([0.5]).deviation is None


def test_models_of_other_triples_are_never_averaged_nor_called_a_gain(model):
    found = compare_models([model("one", 0.4), model("two", 0.9, seed=1, train="bbb")])

    assert [len(group.models) for group in found.groups] == [1, 1]
    assert [group.gain for group in found.groups] == [None, None]
    assert "models of other train triples, or asked for another number of triples, are not compared" in found.notes


def test_models_ranked_on_another_test_part_are_not_averaged(model):
    found = compare_models([model("one", 0.4), model("two", 0.6, seed=1, n=11)])

    assert [group.figures["mrr"].n for group in found.groups] == [1, 1]
    assert [group.gain for group in found.groups] == [None, None]


def test_a_line_of_the_log_without_its_figures_is_passed_over(model):
    folder = model("one", 0.4)
    entry = {"split": "test", "command": "eval", "settings": {"weights": "model-1"}, "mrr": None}
    with (folder / "evaluations.jsonl").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")

    (group,) = compare_models([folder]).groups

    assert group.figures["mrr"].mean == 0.4


def test_parts_and_what_was_ranked_beside_are_averaged_where_every_model_has_them(model):
    unseen = {"unseen": {"mrr": 0.1, "n": 4}, "head": {"mrr": 0.3, "n": 10}}
    one = model("one", 0.4, baselines={"rules-1": {"mrr": 0.2}, "frequency": {"mrr": 0.1}}, **unseen)
    two = model("two", 0.6, seed=1, baselines={"rules-1": {"mrr": 0.4}}, unseen={"mrr": 0.3, "n": 4})

    (group,) = compare_models([one, two]).groups

    assert set(group.figures) == {"mrr", "hits@1", "hits@3", "hits@10", "unseen"}
    assert group.figures["unseen"].mean == pytest.approx(0.2)
    assert {name: one.mean for name, one in group.beside.items()} == {"baselines: rules-1": pytest.approx(0.3)}


def test_a_part_without_questions_has_no_score(model):
    (group,) = compare_models([model("one", 0.4, unseen={"mrr": 0.0, "n": 0})]).groups

    assert "unseen" not in group.figures


def test_a_model_trained_anew_since_its_evaluation_is_refused_with_every_other_such_one(model):
    model("stale", 0.4)
    stale = model("stale", None, weights="model-2")
    valid_only = model("valid-only", 0.4, split="valid")

    with pytest.raises(CompletionError, match=r"Not evaluated on test since trained: .*stale, .*valid-only"):
        compare_models([model("good", 0.4, seed=1), stale, valid_only])
    (group,) = compare_models([valid_only], "valid").groups
    assert group.figures["mrr"].mean == 0.4


def test_a_sample_ranked_with_a_generator_is_no_evaluation_of_the_split(model):
    folder = model("one", 0.4)
    log_evaluation(
        folder, {"mrr": 0.9, "n": 2}, split="test", settings={"weights": "model-1"}, command="eval generator"
    )

    (group,) = compare_models([folder]).groups

    assert group.figures["mrr"].mean == 0.4
    assert group.models[0].looks == 2


def test_one_seed_twice_is_said_and_one_folder_twice_refused(model, tmp_path):
    one, two = model("one", 0.4, seed=3), model("two", 0.4, seed=3)

    assert any("more than one model of seed 3" in note for note in compare_models([one, two]).notes)
    with pytest.raises(CompletionError, match="more than once"):
        compare_models([one, tmp_path / "two" / ".." / "one"])
    with pytest.raises(CompletionError, match="no model folder is given"):
        compare_models([])
    with pytest.raises(CompletionError, match="holds no model"):
        compare_models([tmp_path])

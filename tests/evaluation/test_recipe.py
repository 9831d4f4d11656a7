"""A recipe is refused where it is not understood, and always brings its baselines."""

import pytest

from api.evaluation.recipe import Recipe, load_recipe
from kg.errors import ConfigError
from retrieval.options import Refinement


def test_the_packaged_recipe_is_the_default_of_the_code():
    assert load_recipe(None) == Recipe()


def test_the_plain_baselines_run_beside_whatever_is_named():
    pipelines = Recipe(pipelines={"walk": "graph"}).with_baselines()

    assert {name: pipeline.mode for name, pipeline in pipelines.items()} == {
        "bm25": "bm25",
        "dense": "naive",
        "walk": "graph",
    }


def test_a_pipeline_may_name_the_steps_around_its_search(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("pipelines: {best: {mode: hybrid, rerank: [maxsim, coverage], candidates: 20, diversity: 0.1}}\n")

    (pipeline,) = load_recipe(file).pipelines.values()

    assert pipeline.mode == "hybrid"
    assert pipeline.refinement() == Refinement(rerank=("maxsim", "coverage"), n_candidates=20, diversity=0.1)


def test_a_pipeline_with_a_step_that_is_not_there_is_refused(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("pipelines: {best: {mode: hybrid, reranker: [maxsim]}}\n")

    with pytest.raises(ConfigError, match=r"reranker"):
        load_recipe(file)


def test_a_recipe_that_names_part_keeps_the_other_defaults(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("depth: 20\n")

    assert load_recipe(file) == Recipe(depth=20)


def test_an_empty_recipe_is_the_default(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("# nothing\n")

    assert load_recipe(file) == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deph: 20", "deph: Extra inputs are not permitted"),
        ("depth: 3", "depth: Input should be greater than or equal to 10"),
        ("k_answer: many", "k_answer: "),
        ("- a list", "does not fit"),
        ("depth: [20", "cannot be read"),
    ],
)
def test_a_recipe_that_is_not_understood_is_refused_with_its_name(tmp_path, text, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(file)
    assert str(file) in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml cannot be read"):
        load_recipe(tmp_path / "gone.yaml")

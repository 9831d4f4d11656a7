"""`mmkg kgc generator` as a user runs it, with a tiny random model in a folder."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from tests.generation.completion.generator.tiny_models import make_llama

runner = CliRunner()
RECIPE = "rank: 4\nmax_epochs: 2\nthreads: 1\ndevice: cpu\nexperts: [structure, rules]\nvalid_fraction: 0.3\n"
N = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A ring of thirty entities with a model of it, and a tiny language model."""
    root = tmp_path_factory.mktemp("kgc")
    folder = root / "ring"
    folder.mkdir()
    rows = [f"e{i}\t{name}\te{(i + step) % N}" for i in range(N) for name, step in (("next", 1), ("skip", 2))]
    (folder / "train.tsv").write_text("\n".join(rows[6:]) + "\n")
    (folder / "test.tsv").write_text("\n".join(rows[:6]) + "\n")
    (folder / "entities.tsv").write_text("".join(f"e{i}\tname {i}\ttext of {i}\n" for i in range(N)))
    (root / "recipe.yaml").write_text(RECIPE)
    make_llama(root / "lm")
    mmkg("train", folder, "--out", root / "model", "--recipe", root / "recipe.yaml")
    return root


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["kgc", *(str(word) for word in words)])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    body = json.loads(mmkg(*words, "--json", status=1))
    assert "Traceback" not in body["error"]["message"]
    return f"{body['error']['code']}: {body['error']['message']}"


def test_a_generator_is_added_to_a_trained_model_and_measured_on_a_sample(made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    arms = ("--generator-context", "none,both", "--questions", 22, "--shortlist", N)

    fitted = json.loads(mmkg("generator", made / "model", made / "ring", "--model", made / "lm", *arms, "--json"))
    shown = mmkg("eval", made / "model", made / "ring", "--no-ablation", "--no-baselines", "--generator", "--limit", 2,
                 "--arms", "own")  # fmt: skip
    measured = json.loads(mmkg("eval", made / "model", made / "ring", "--no-ablation", "--no-baselines", "--generator",
                               "--limit", 2, "--json"))  # fmt: skip

    assert set(fitted["arms"]) == {"none", "both"}
    assert fitted["arms"]["both"]["asked"] == 22
    assert fitted["model"] == str(made / "lm")
    assert "2 of 6 triples" in " ".join(shown.split())
    assert "+ generator" in shown
    assert "texts: own" in shown
    assert measured["n"] == 6  # the figures of the experts are of all
    assert measured["generator"]["n"] == 2
    assert {"without", "+ generator", "arms"} <= set(measured["generator"])


def test_training_adds_a_generator_where_one_is_named_and_says_what_it_gives(made, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shown = mmkg("train", made / "ring", "--out", tmp_path / "model", "--recipe", made / "recipe.yaml", "--generator",
                 made / "lm", "--generator-context", "own")  # fmt: skip

    assert "on validation" in shown
    assert "own (used)" in shown
    assert json.loads((tmp_path / "model" / "generator.json").read_text())["settings"]["arm"] == "own"


def test_what_cannot_be_done_is_explained(made, tmp_path):
    model, ring = made / "model", made / "ring"
    assert "There is no context 'all of it'. Use none, own, neighbours, both or all" in refused(
        "generator", model, ring, "--model", made / "lm", "--generator-context", "all of it"
    )
    assert "There is no generator 'gpt-9': known are smollm2" in refused("generator", model, ring, "--model", "gpt-9")
    assert "set MMKG_OPENAI__BASE_URL" in refused("generator", model, ring, "--model", "openai")
    assert "holds no model" in refused("generator", tmp_path, ring, "--model", made / "lm")
    assert "generator.length: got 'max'" in refused("generator", model, ring, "--model", made / "lm", "--length", "max")
    assert "There is no generator 'gpt-9'" in refused("train", ring, "--out", tmp_path / "no", "--generator", "gpt-9")
    assert not (tmp_path / "no").exists()


def test_a_server_that_is_down_ends_with_its_address(made, monkeypatch):
    monkeypatch.setenv("MMKG_OPENAI__BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("MMKG_OPENAI__MODEL", "tiny")
    monkeypatch.setattr("kg.servers.client.wait_random_exponential", lambda **options: lambda state: 0.0)

    said = refused("generator", made / "model", made / "ring", "--model", "openai")
    assert "http://127.0.0.1:9/v1/completions failed 5 times" in said

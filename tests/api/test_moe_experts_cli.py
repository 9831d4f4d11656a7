"""`mmkg moe experts add|remove` as a user runs it, on models of two layers."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from api.cli.app import app
from moe_backbone.checkpoint import verify
from moe_backbone.upcycle import UpcycleRecipe, upcycle
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama
from tests.moe_backbone.upcycle.models import save_glm4, save_mixtral

runner = CliRunner()


@pytest.fixture(scope="module")
def glm4(tmp_path_factory):
    """A trained-like GLM4-MoE: six experts, three a token."""
    folder = save_glm4(tmp_path_factory.mktemp("glm4") / "model")
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory):
    """A trained-like Mixtral, which has no row that loses on every token: six experts, two a token."""
    folder = save_mixtral(tmp_path_factory.mktemp("mixtral") / "model", num_experts_per_tok=2)
    byte_tokenizer().save_pretrained(folder)
    return folder


def mmkg(*words: object, status: int = 0) -> str:
    words = ("moe", "experts", *map(str, words))
    result = runner.invoke(app, words, env={"COLUMNS": "160"})
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    body = json.loads(mmkg(*words, "--json", status=1))
    assert "Traceback" not in body["error"]["message"]
    return f"{body['error']['code']}: {body['error']['message']}"


def test_added_experts_change_nothing_and_the_check_shows_it(glm4, tmp_path):
    told = json.loads(mmkg("add", glm4, "--copy", "2,2", "--copy", 0, "--out", tmp_path / "more", "--check", "--json"))

    assert (told["copies"], told["experts_before"], told["experts"]) == ([2, 2, 0], 6, 9)
    assert told["preserves_function"] is True
    assert told["check"]["max_difference"] <= 2e-5
    assert told["check"]["divergence"] <= 1e-9
    assert told["check"]["greedy_identical"] is told["check"]["padded_identical"] is True
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "more").config.n_routed_experts == 9
    assert verify(tmp_path / "more") == ()


def test_an_addition_is_checked_on_request_only_and_told_in_words(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense")
    model = upcycle(dense, tmp_path / "moe", UpcycleRecipe(slices=4, groups=2))
    text = mmkg("add", model, "--copy", 5, "--out", tmp_path / "more")

    assert re.search(r"experts of a layer +8 -> 9", text)
    assert re.search(r"computes what the source computes +yes", text)
    assert "perplexity" not in text


def test_a_trained_mixtral_is_extended_only_where_a_change_is_allowed_and_the_change_is_measured(mixtral, tmp_path):
    out = tmp_path / "more"
    said = refused("add", mixtral, "--copy", 1, "--out", out)
    assert "no row that loses on every token" in said
    assert "--inexact" in said
    assert not out.exists()

    told = json.loads(mmkg("add", mixtral, "--copy", 1, "--inexact", "--out", out, "--json"))
    assert told["preserves_function"] is False
    assert told["check"]["max_difference"] > 1e-3
    assert "share the tokens of their originals" in mmkg("add", mixtral, "--copy", 1, "--inexact", "--out", out)


def test_a_glm4_is_extended_exactly_even_where_a_change_is_allowed(glm4, tmp_path):
    told = json.loads(mmkg("add", glm4, "--copy", 1, "--inexact", "--out", tmp_path / "more", "--json"))

    assert told["preserves_function"] is True
    assert told["check"] is None


def test_what_removed_experts_change_is_measured_by_default_on_a_text_of_the_users(mixtral, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("the cat sat on the mat, and the hat was the cat's")
    told = json.loads(
        mmkg("remove", mixtral, "--expert", "4,1", "--out", tmp_path / "less", "--check-text", words, "--json")
    )

    assert (told["removed"], told["experts_before"], told["experts"]) == ([1, 4], 6, 4)
    assert told["bytes"] < told["source_bytes"]
    check = told["check"]
    assert check["n_tokens"] == len(words.read_text())  # a token a byte
    assert check["divergence"] > 1e-4
    assert check["perplexity_before"] != check["perplexity_after"]
    assert check["max_difference"] > 1e-2

    text = mmkg("remove", mixtral, "--expert", "4,1", "--out", tmp_path / "less", "--check-text", words)
    assert re.search(r"experts of a layer +6 -> 4", text)
    before, after = (f"{check[name]:.2f}" for name in ("perplexity_before", "perplexity_after"))
    assert re.search(rf"perplexity of the text +{re.escape(before)} -> {re.escape(after)}", text)


def test_adding_and_removing_again_gives_back_the_model(glm4, tmp_path):
    mmkg("add", glm4, "--copy", 3, "--out", tmp_path / "more")
    told = json.loads(mmkg("remove", tmp_path / "more", "--expert", 6, "--out", tmp_path / "again", "--json"))

    assert told["check"]["max_difference"] <= 2e-5
    before, after = (load_file(folder / "model.safetensors") for folder in (glm4, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_no_check_writes_without_running_the_models(mixtral, tmp_path):
    told = json.loads(mmkg("remove", mixtral, "--expert", 5, "--no-check", "--out", tmp_path / "less", "--json"))

    assert told["check"] is None
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "less").config.num_local_experts == 5


def test_what_cannot_be_done_is_explained_and_leaves_nothing(glm4, mixtral, tmp_path):
    out = tmp_path / "out"
    assert "experts 0 to 5 of" in refused("add", glm4, "--copy", 6, "--out", out)
    assert refused("add", glm4, "--copy", "two", "--out", out) == (
        "input: --copy takes numbers of experts, as in 2 or 2,0; got 'two'."
    )
    assert "got '-1'" in refused("remove", glm4, "--expert=-1", "--out", out)
    assert "1 experts would stay of" in refused("remove", mixtral, "--expert", "0,1,2,3,4", "--out", out)
    assert "is the source itself" in refused("remove", mixtral, "--expert", 0, "--out", mixtral)
    assert "router_std must be > 0" in refused("add", glm4, "--copy", 0, "--router-std", 0, "--out", out)
    assert "is neither a folder nor a model" in refused("add", tmp_path / "nothing", "--copy", 0, "--out", out)
    assert "cannot be read as UTF-8" in refused(
        "remove", mixtral, "--expert", 0, "--check-text", tmp_path / "none.txt", "--out", out
    )
    dense = make_tiny_llama(tmp_path / "dense")
    assert "is a 'llama' model" in refused("remove", dense, "--expert", 0, "--out", out)
    assert not out.exists()

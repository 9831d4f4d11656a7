"""`mmkg moe upcycle` as a user runs it, on models of two layers."""

import json
import re

import pytest
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from api.cli.app import app
from tests.moe_backbone.tiny_llama import make_tiny_llama

runner = CliRunner()


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("cli") / "dense")


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["moe", "upcycle", *(str(word) for word in words)], env={"COLUMNS": "160"})
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    body = json.loads(mmkg(*words, "--json", status=1))
    assert "Traceback" not in body["error"]["message"]
    return f"{body['error']['code']}: {body['error']['message']}"


def test_a_dense_model_becomes_each_target_and_the_check_finds_them_equal(dense, tmp_path):
    for target, architecture in (("mixtral", "MixtralForCausalLM"), ("glm4_moe", "Glm4MoeForCausalLM")):
        out = tmp_path / target
        told = json.loads(mmkg(dense, "--out", out, "--target", target, "--slices", 3, "--check", "--json"))

        assert (told["target"], told["out"], told["sources"]) == (target, str(out), [str(dense)])
        assert told["preserves_function"] is told["router_learns_from_step_0"] is True
        assert told["bytes"] == sum(path.stat().st_size for path in out.iterdir()) > told["source_bytes"]
        assert told["check"]["max_difference"] <= 2e-5
        assert told["check"]["greedy_identical"] is told["check"]["padded_identical"] is True
        assert type(AutoModelForCausalLM.from_pretrained(out)).__name__ == architecture
    assert (told["experts"], told["experts_per_token"], told["shared_experts"]) == (4, 2, 1)


def test_drop_upcycling_makes_copies_says_what_it_changes_and_measures_it(dense, tmp_path):
    told = json.loads(mmkg(dense, "--out", tmp_path / "moe", "--drop", 0.5, "--json"))

    assert (told["experts"], told["experts_per_token"]) == (8, 2)  # as in arXiv:2502.19261
    assert told["preserves_function"] is False
    assert told["check"]["max_difference"] > 0.05

    text = mmkg(dense, "--out", tmp_path / "moe", "--drop", 0.5)
    assert "does not keep the function of its source" in text
    assert re.search(r"logits, float32, 128 tokens: largest difference +\d\.\de", text)


def test_several_checkpoints_become_the_experts_of_one(dense, tmp_path):
    other = make_tiny_llama(tmp_path / "other", seed=4)
    files = []
    for name, text in (("letters.txt", "thecatsatonthemat"), ("digits.txt", "0123581321345589")):
        files.append(tmp_path / name)
        files[-1].write_text(text)
    told = json.loads(
        mmkg(dense, "--from", other, "--texts", files[0], "--texts", files[1], "--no-check", "--out", tmp_path / "moe",
             "--json")
    )  # fmt: skip

    assert (told["experts"], told["experts_per_token"], told["preserves_function"]) == (2, 2, False)
    assert told["sources"] == [str(dense), str(other)]
    assert told["check"] is None


def test_equal_copies_are_made_and_their_dead_router_is_told(dense, tmp_path):
    text = mmkg(dense, "--out", tmp_path / "moe", "--slices", 1, "--groups", 4)

    assert "router has no gradient" in text
    assert re.search(r"experts of a layer +4, 2 a token", text)


def test_what_cannot_be_made_is_explained_and_leaves_nothing(dense, tmp_path):
    out = tmp_path / "moe"
    assert refused(dense, "--out", out, "--target", "olmoe") == (
        "input: --target must be one of glm4_moe, mixtral, got 'olmoe'."
    )
    assert "cannot be cut into 5 equal slices" in refused(dense, "--out", out, "--slices", 5)
    assert "is neither a folder nor a model" in refused(tmp_path / "nothing", "--out", out)
    assert "drop must be a share in [0, 1)" in refused(dense, "--out", out, "--drop", 1.5)
    assert "is the source itself" in refused(dense, "--out", dense)
    assert "--texts and --keep-first are for several" in refused(dense, "--out", out, "--keep-first")
    assert "cannot be read as UTF-8" in refused(dense, "--from", dense, "--texts", tmp_path, "--out", out)
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in refused(tmp_path / "empty", "--out", out)
    assert not out.exists()

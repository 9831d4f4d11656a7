"""`mmkg moe inspect` as a user runs it."""

import json

import pytest
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from api.cli.app import app
from api.cli.moe.inspecting import _span
from tests.moe_backbone.tiny_experts import make_model

runner = CliRunner()


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["moe", "inspect", *(str(word) for word in words)], env={"COLUMNS": "120"})
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.output


@pytest.fixture(scope="module")
def glm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glm")
    make_model("glm4_moe", num_hidden_layers=3).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_described_for_people(glm):
    shown = mmkg(glm)

    assert "Glm4MoeForCausalLM (glm4_moe)" in shown
    assert "2 with experts of 3" in shown
    assert "model.layers.1–2.mlp" in shown
    assert "sigmoid, renormalised over the kept, selection bias" in shown


def test_the_same_is_there_for_programs(glm):
    found = json.loads(mmkg(glm, "--json"))

    assert [layer["name"] for layer in found["layers"]] == ["model.layers.1.mlp", "model.layers.2.mlp"]
    assert found["layers"][0]["router"]["top_k"] == 3
    assert found["has_experts"]
    assert found["dispatches"]["mmkg_looped"] == ""


def test_a_dense_model_is_said_to_have_no_experts_with_status_1(tmp_path):
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(tmp_path)

    assert "LlamaForCausalLM has no experts: it is dense" in mmkg(tmp_path, status=1)
    assert json.loads(mmkg(tmp_path, "--json", status=1))["has_experts"] is False


def test_a_problem_ends_with_status_1(glm, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((glm / "config.json").read_text()) | {"num_experts_per_tok": 9})
    )
    assert "top_k=9 of 8 experts" in mmkg(tmp_path, status=1)


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder"])
def test_a_name_that_is_nothing_is_explained(name):
    assert "is neither a folder nor a model" in mmkg(name, status=1)


def test_what_moe_backbone_refuses_is_explained_as_json_too(tmp_path):
    error = json.loads(mmkg(tmp_path, "--json", status=1))["error"]

    assert error["code"] == "model"
    assert "holds no config.json" in error["message"]


def test_names_that_differ_in_one_number_become_a_span():
    assert _span(["a.0.mlp", "a.1.mlp", "a.7.mlp"]) == "a.0–7.mlp"
    assert _span(["a.0.mlp"]) == "a.0.mlp"
    assert _span(["a.0.mlp", "b.1.mlp"]) == "a.0.mlp … b.1.mlp"

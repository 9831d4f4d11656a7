"""`mmkg moe doctor` as a user runs it."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from api.cli.app import app
from tests.moe_backbone.tiny_experts import make_model
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama

runner = CliRunner()


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["moe", "doctor", *(str(word) for word in words)], env={"COLUMNS": "120"})
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.output


def save(folder, model):
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def model_of(**changes):
    return make_model("mixtral", vocab_size=259, num_local_experts=4, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("healthy"), model_of())


def test_a_model_is_examined_on_the_packaged_samples(folder):
    shown = mmkg(folder, "--tokens", 300)

    assert "model.layers.0.mlp.gate" in shown
    assert "error" not in shown


def test_texts_of_the_caller_are_labels_and_the_json_holds_their_loads(folder, tmp_path):
    for name in ("poem", "table"):
        (tmp_path / f"{name}.txt").write_text(f"{name}: über 12 Möwen\n" * 8, encoding="utf-8")
    found = json.loads(mmkg(folder, "--json", "--text", tmp_path / "poem.txt", "--text", tmp_path / "table.txt"))

    labels = found["layers"][0]["labels"]
    assert set(labels) == {"poem", "table"}
    for name in labels:  # one token per byte
        assert labels[name]["n_tokens"] == len(f"{name}: über 12 Möwen\n".encode()) * 8
        assert sum(labels[name]["load"]) == pytest.approx(1.0)


def test_an_alarm_that_is_an_error_ends_with_status_1_and_says_what_to_do(tmp_path):
    model = model_of()
    model.model.layers[1].mlp.gate.weight.data[0, 0] = math.nan
    save(tmp_path, model)
    shown = mmkg(tmp_path, status=1)
    assert "error not_finite_weights" in shown
    assert "1 NaN or infinite weights; model.layers.1.mlp: 1 in the router" in shown
    assert "→ The checkpoint is damaged" in shown

    found = json.loads(mmkg(tmp_path, "--json", status=1))
    assert found["alarms"][0]["severity"] == "error"
    assert found["layers"][1]["router_entropy"] is None  # and no NaN, which is no JSON


def test_pictures_are_drawn_to_files(folder, tmp_path):
    mmkg(folder, "--tokens", 100, "--plot", tmp_path / "load.svg", "--plot-pairs", tmp_path / "pairs.png")

    assert "ferry-company" in (tmp_path / "load.svg").read_text()
    assert (tmp_path / "pairs.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plot", "x.gif"), "end in .png, .svg, .pdf"),
        (("--plot", "no-such-folder/x.png"), "must be in a folder that is there"),
        (("--text", "no-such-file"), "cannot be read as UTF-8 text"),
    ],
)
def test_options_that_cannot_be_are_explained_before_a_model_is_loaded(folder, words, message):
    assert message in mmkg(folder, *words, status=1)


def test_text_that_is_no_text_is_explained(folder, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8 text" in mmkg(folder, "--text", tmp_path / "bytes", status=1)
    (tmp_path / "empty").write_text(" \n")
    assert "is empty" in mmkg(folder, "--text", tmp_path / "empty", status=1)


def test_half_precision_that_the_processor_lacks_is_said_to_be_computed_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    save(tmp_path, model_of().bfloat16())
    found = json.loads(mmkg(tmp_path, "--json", "--tokens", 50, "--device", "cpu"))

    assert found["notes"] == [
        "bfloat16 is computed as float32: this processor has no fast instructions for the former."
    ]


def test_a_dense_model_is_explained(tmp_path):
    assert "has no experts to examine" in mmkg(make_tiny_llama(tmp_path), status=1)


def test_a_model_without_a_tokenizer_is_explained(tmp_path):
    model_of().save_pretrained(tmp_path)
    assert "holds no tokenizer" in mmkg(tmp_path, status=1)


def test_a_quantised_checkpoint_is_judged_by_its_files(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert "its files were judged, its routing was not" in mmkg(tmp_path)

"""Opening checkpoint folders: structures without weights, whole models, and what is said of other folders."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_backbone import loading
from moe_backbone.checkpoint import CheckpointError
from moe_backbone.inspection import inspect_opened
from moe_backbone.loading import default_dtype, open_model, open_structure, stored_tensors
from tests.moe_backbone.tiny_experts import make_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixtral")
    make_model("mixtral").save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_structure_takes_no_memory_and_needs_no_weights(copied):
    (copied / "model.safetensors").unlink()
    opened = open_structure(copied)

    assert type(opened.model).__name__ == "MixtralForCausalLM"
    assert all(parameter.is_meta for parameter in opened.model.parameters())


def test_a_loaded_model_computes_as_the_saved_one(saved):
    ids = torch.arange(2, 9)[None]
    opened = open_model(saved, device="cpu", experts_implementation="eager")
    with torch.no_grad():
        torch.testing.assert_close(opened.model(ids).logits, make_model("mixtral")(ids).logits)
    assert opened.notes == ()
    assert not opened.model.training


def test_a_model_of_pictures_and_text_opens_with_its_own_class(tmp_path):
    make_model("qwen3_vl_moe").save_pretrained(tmp_path)

    assert type(open_structure(tmp_path).model).__name__ == "Qwen3VLMoeForConditionalGeneration"
    assert type(open_model(tmp_path).model).__name__ == "Qwen3VLMoeForConditionalGeneration"


def test_files_hold_as_many_numbers_as_the_model(saved):
    report = inspect_opened(open_structure(saved), stored=stored_tensors(saved))

    assert report.problems == ()
    assert report.size_bytes == {"float32": 4 * 6096}


def test_bfloat16_without_instructions_becomes_float32_and_is_said(saved, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with caplog.at_level(logging.INFO, logger=loading.__name__):
        opened = open_model(saved, device="cpu", dtype=torch.bfloat16)

    assert {parameter.dtype for parameter in opened.model.parameters()} == {torch.float32}
    assert "bfloat16 is computed as float32" in opened.notes[0]
    assert opened.notes[0] in caplog.text


def test_half_precision_becomes_float32_on_a_cpu_without_its_instructions(monkeypatch):
    for fast in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert default_dtype(torch.bfloat16, device="cpu") == (torch.bfloat16 if fast else torch.float32)
        assert default_dtype(torch.float16, device="cpu") == torch.float32
    assert default_dtype(torch.float16, device="cuda") == torch.float16


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        open_structure(tmp_path / "nowhere")


def test_a_folder_without_configuration_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"holds no config\.json, so it is no checkpoint; it holds notes\.txt"):
        open_structure(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_damaged_configuration_is_refused(copied, text):
    (copied / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json"):
        open_structure(copied)


def test_an_unknown_architecture_is_refused_with_what_was_looked_for_and_found(copied):
    change_config(copied, model_type="brandnew_moe", architectures=["BrandNewMoeForCausalLM"])
    with pytest.raises(CheckpointError) as refused:
        open_structure(copied)

    assert "'brandnew_moe' (architectures: ['BrandNewMoeForCausalLM'])" in str(refused.value)
    assert "Of its 41 tensors 24 have 'expert' in their name, for example model.layers.0." in str(refused.value)


def test_code_of_a_checkpoint_is_never_run(copied):
    marker = copied / "ran"
    (copied / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Config: pass\n")
    change_config(copied, model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(CheckpointError):
        open_structure(copied)
    assert not marker.exists()


def test_an_encoder_is_refused_by_name(copied):
    (copied / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(CheckpointError, match=r"holds a 'bert' \(BertModel\); looked for a causal language model"):
        open_structure(copied)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_file_is_refused_before_loading(copied, share):
    path = copied / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for act in (stored_tensors, open_model):
        with pytest.raises(CheckpointError, match=r"half-written|no whole safetensors file"):
            act(copied)


def test_a_missing_shard_is_refused_by_name(copied):
    (copied / "model.safetensors").unlink()
    save_file({"a": torch.zeros(2)}, copied / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"half-written: it lacks model-00002-of-00002\.safetensors"):
        open_model(copied)


def test_a_shard_without_a_tensor_of_the_index_is_refused(copied):
    (copied / "model.safetensors").unlink()
    save_file({"a": torch.zeros(2)}, copied / "m.safetensors")
    index = {"weight_map": {"a": "m.safetensors", "b": "m.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lack 1 tensors of its index \(b …\)"):
        stored_tensors(copied)


def test_weights_of_another_shape_than_configured_are_refused(copied):
    change_config(copied, num_local_experts=8, hidden_size=32)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_model(copied)


def test_weights_that_the_files_lack_are_an_error_and_not_noise(copied):
    tensors = load_file(copied / "model.safetensors")
    lost = next(name for name in tensors if "expert" in name)
    save_file(
        {name: one for name, one in tensors.items() if name != lost}, copied / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointError):
        open_model(copied)


def test_a_quantised_checkpoint_is_described_but_not_loaded(copied):
    change_config(copied, quantization_config={"quant_method": "fp8", "weight_block_size": [8, 8]})
    assert open_structure(copied).quantised == "fp8"
    with pytest.raises(CheckpointError, match=r"already quantised \(fp8\)"):
        open_model(copied)


def test_a_folder_with_pickled_weights_only_says_what_it_holds(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors .* it holds config\.json"):
        open_model(copied)

"""Conversion of GGUF files: the weights, the tokenizer and the configuration come out as they went in."""

import json

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from generation.models.checkpoints import ensure_dense, ensure_moe, verify_checkpoint
from kg.errors import ModelCorruptError, ModelError, ModelMissingError
from tests.moe_backbone.tiny_llama import TEMPLATE, byte_tokenizer, make_tiny_llama

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def interleave(weight, heads):
    """Order the rows of rotated heads as llama.cpp does when it writes a file."""
    rows = [
        head * (len(weight) // heads) + half * (len(weight) // heads // 2) + place
        for head in range(heads)
        for place in range(len(weight) // heads // 2)
        for half in (0, 1)
    ]
    return weight[rows]


def write_gguf(path, model, *, architecture="llama", rule="smollm", kind=None, merged=("12", "he")):
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = sorted((vocabulary := byte_tokenizer().get_vocab()), key=vocabulary.get)
    tokens[tokens.index("Ā")], tokens[tokens.index("ā")] = merged  # in the place of the bytes 0 and 1
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["1 2", "h e"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    writer.add_pad_token_id(258)
    writer.add_chat_template(TEMPLATE)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            if not config.tie_word_embeddings:
                writer.add_tensor("output.weight", value.numpy())
        elif name == "model.embed_tokens.weight":
            writer.add_tensor("token_embd.weight", value.numpy())
        elif name == "model.norm.weight":
            writer.add_tensor("output_norm.weight", value.numpy())
        else:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            array = value.numpy()
            array = interleave(array, heads[NAMES[part]]) if NAMES[part] in heads else array
            target = f"blk.{layer}.{NAMES[part]}.weight"
            if kind is not None and array.ndim == 2:
                writer.add_tensor(target, gguf.quants.quantize(array, kind), raw_dtype=kind)
            else:
                writer.add_tensor(target, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny(folder, **changes):
    made = make_tiny_llama(folder, tokenizer=False, hidden_size=64, intermediate_size=96, head_dim=16, **changes)
    return AutoModelForCausalLM.from_pretrained(made).eval()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_converted_model_computes_what_the_original_computes(tmp_path, tied):
    original = tiny(tmp_path / "original", tie_word_embeddings=tied)
    source = write_gguf(tmp_path / "model.gguf", original)
    converted = AutoModelForCausalLM.from_pretrained(ensure_dense(source, tmp_path / "out")).eval()
    ids = torch.randint(0, 257, (2, 20))
    with torch.no_grad():
        assert torch.equal(converted(ids).logits, original(ids).logits)

    assert converted.config.rms_norm_eps == pytest.approx(3e-3)
    assert converted.config.rope_parameters["rope_theta"] == 500.0
    assert converted.generation_config.eos_token_id == 258
    verify_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_quantised_weights_become_the_values_they_stand_for(tmp_path, kind):
    original = tiny(tmp_path / "original")
    quantisation = gguf.GGMLQuantizationType[kind]
    source = write_gguf(tmp_path / "model.gguf", original, kind=quantisation)
    converted = AutoModelForCausalLM.from_pretrained(ensure_dense(source, tmp_path / "out"))

    for name in ("self_attn.v_proj", "self_attn.q_proj", "mlp.down_proj"):
        weight = original.model.layers[1].get_submodule(name).weight.detach().numpy()
        expected = gguf.quants.dequantize(gguf.quants.quantize(weight, quantisation), quantisation)
        np.testing.assert_array_equal(converted.model.layers[1].get_submodule(name).weight.detach().numpy(), expected)


def test_numbers_are_split_into_digits_and_text_comes_back_unchanged(tmp_path):
    dense = ensure_dense(write_gguf(tmp_path / "model.gguf", tiny(tmp_path / "original")), tmp_path / "dense")
    moe = ensure_moe(dense, tmp_path / "moe")
    text = "the 1212 ça\n\n\U0001f600"
    for folder in (dense, moe):  # the folders are of different architectures, and transformers looks at that
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.tokenize("the 12") == ["t", "he", "Ġ", "1", "2"]  # "1 2" is a merge that digits forbid
        assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text
        assert tokenizer("<|im_start|>a<|im_end|>")["input_ids"][0::2] == [257, 258]
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
        assert chat == "<|im_start|>user\nHi<|im_end|>\n"


def test_a_second_call_converts_nothing_and_works_without_the_gguf(tmp_path):
    source = write_gguf(tmp_path / "model.gguf", tiny(tmp_path / "original"))
    out = ensure_dense(source, tmp_path / "out")
    before = (out / "model.safetensors").stat().st_ino
    ensure_dense(source, out)
    source.unlink()
    ensure_dense(source, out)
    assert (out / "model.safetensors").stat().st_ino == before

    (out / "config.json").unlink()
    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        ensure_dense(source, out)


def test_a_changed_weight_is_found_by_verification(tmp_path):
    out = ensure_dense(write_gguf(tmp_path / "model.gguf", tiny(tmp_path / "original")), tmp_path / "out")
    data = bytearray((out / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (out / "model.safetensors").write_bytes(data)

    with pytest.raises(ModelCorruptError, match=r"model\.safetensors changed since the conversion"):
        verify_checkpoint(out)
    with pytest.raises(ModelCorruptError, match="no readable"):
        verify_checkpoint(tmp_path)


def test_damaged_and_foreign_files_are_refused_and_leave_nothing(tmp_path):
    model = tiny(tmp_path / "original")
    whole = write_gguf(tmp_path / "model.gguf", model).read_bytes()
    bad = tmp_path / "bad.gguf"
    for data in (b"", b"not a model", whole[:300], whole[: len(whole) // 2]):
        bad.write_bytes(data)
        with pytest.raises(ModelCorruptError, match=r"bad\.gguf cannot be read as GGUF"):
            ensure_dense(bad, tmp_path / "out")
    with pytest.raises(ModelError, match="tokenizer of kind 'gpt2' with pre-tokenizer 'viking'"):
        ensure_dense(write_gguf(bad, model, rule="viking"), tmp_path / "out")
    with pytest.raises(ModelError, match="GGUF of 'mamba'"):
        ensure_dense(write_gguf(bad, model, architecture="mamba"), tmp_path / "out")
    with pytest.raises(ModelCorruptError, match="merges '1 2' into a token that it does not have"):
        ensure_dense(write_gguf(bad, model, merged=("x1", "x2")), tmp_path / "out")
    assert not any(path.name.startswith((".out", "out")) for path in tmp_path.iterdir())


def test_a_model_that_cannot_be_upcycled_is_a_model_error(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    with pytest.raises(ModelError, match="cannot be cut into 5 equal slices"):
        ensure_moe(dense, tmp_path / "moe", slices=5)


def test_the_configuration_is_written_in_full(tmp_path):
    out = ensure_dense(write_gguf(tmp_path / "model.gguf", tiny(tmp_path / "original")), tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    assert (config["head_dim"], config["num_key_value_heads"], config["vocab_size"]) == (16, 2, 259)
    assert config["tie_word_embeddings"] is True

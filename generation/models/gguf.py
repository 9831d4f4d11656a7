"""Convert a GGUF of the Llama architecture, once, to the folder of safetensors that transformers loads.

Layer: ``generation``; imports torch, gguf and tokenizers here only.
Source: the GGUF specification (ggml-org) and llama.cpp's ``convert_hf_to_gguf.py``, whose permutation of the query and
key rows is undone here.

transformers has such a loader, but it gives a byte-level tokenizer without the rule that splits numbers into digits
(``tokenizer.ggml.pre = smollm``), so numbers would be read in pieces the model never saw; and what it loads, it refuses
to save. Weights are dequantised to float32 and streamed: memory holds one tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from kg.errors import ModelCorruptError, ModelError
from moe_backbone.checkpoint import PlannedTensor, checkpoint_folder, write_safetensors

__all__ = ["convert_gguf"]

_TENSORS = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_TOP_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL, _USER_DEFINED = 3, 4  # tokenizer.ggml.token_type, llama.h


def convert_gguf(source: Path, out: Path, *, recipe: dict[str, Any]) -> None:
    """Write ``out`` as a checkpoint folder: weights, configuration, tokenizer, chat template, generation settings.

    :param source: The GGUF file.
    :param out: Folder to make; complete or absent, never half-written.
    :param recipe: What the folder's manifest says about its origin.
    :raises ModelCorruptError: If the file cannot be parsed.
    :raises ModelError: If it is of a kind that is not read here.
    :raises CheckpointError: If the disk has too little room.
    """
    try:
        reader = GGUFReader(source)
        meta = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise ModelCorruptError(f"{source} cannot be read as GGUF ({error}). Fetch it again.") from error
    try:
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        config = _config(source, meta, has_output="output.weight" in tensors)
        tokenizer = _tokenizer(source, meta)
        plan = list(_plan(source, tensors, config))
    except KeyError as error:
        raise ModelError(f"{source} lacks {error}, which a Llama GGUF must have.") from error
    with checkpoint_folder(out, recipe=recipe, size_bytes=sum(item.size_bytes for item in plan)) as folder:
        write_safetensors(folder, plan)
        _write_json(folder / "config.json", config)
        special = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        _write_json(folder / "generation_config.json", {**special, "do_sample": False, "use_cache": True})
        tokenizer.save(str(folder / "tokenizer.json"))
        _write_json(
            folder / "tokenizer_config.json", _tokenizer_config(meta, context=config["max_position_embeddings"])
        )
        if "tokenizer.chat_template" in meta:
            (folder / "chat_template.jinja").write_text(meta["tokenizer.chat_template"], encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _config(source: Path, meta: dict[str, Any], *, has_output: bool) -> dict[str, Any]:
    architecture = meta["general.architecture"]
    if architecture != "llama" or meta.get("llama.expert_count", 0):
        raise ModelError(
            f"{source} is a GGUF of {architecture!r} with {meta.get('llama.expert_count', 0)} experts; only dense "
            "'llama' models are converted. Give the folder of the model's safetensors instead."
        )
    if meta.get("llama.rope.scaling.type", "none") != "none":
        raise ModelError(f"{source} scales its rotary positions, which is not converted. Give its safetensors instead.")
    heads, width = meta["llama.attention.head_count"], meta["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "hidden_size": width,
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta.get("llama.attention.head_count_kv", heads),
        "head_dim": meta.get("llama.attention.key_length", width // heads),
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": meta["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": meta.get("llama.rope.freq_base", 10000.0)},
        "tie_word_embeddings": not has_output,
        "vocab_size": len(meta["tokenizer.ggml.tokens"]),
        "bos_token_id": meta.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta.get("tokenizer.ggml.padding_token_id"),
        "use_cache": True,
    }


def _plan(source: Path, tensors: dict[str, Any], config: dict[str, Any]) -> Iterator[PlannedTensor]:
    heads = {"attn_q.weight": config["num_attention_heads"], "attn_k.weight": config["num_key_value_heads"]}
    names = dict(_TOP_TENSORS)
    for layer in range(config["num_hidden_layers"]):
        names.update({f"blk.{layer}.{key}": f"model.layers.{layer}.{value}" for key, value in _TENSORS.items()})
    if strange := sorted(tensors.keys() - names.keys()):
        raise ModelError(f"{source} holds tensors that a plain Llama does not: {', '.join(strange[:4])}.")
    for name, target in names.items():
        if name == "output.weight" and config["tie_word_embeddings"]:
            continue
        tensor = tensors[name]
        yield PlannedTensor(
            name=target,
            shape=tuple(int(size) for size in reversed(tensor.shape.tolist())),
            dtype=torch.float32,
            make=partial(_values, tensor, n_heads=heads.get(name.split(".", 2)[-1])),
        )


def _values(tensor: Any, *, n_heads: int | None) -> torch.Tensor:
    """Dequantise a tensor, and put the rows of rotated heads back into halves (llama.cpp interleaves them)."""
    values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    if n_heads is not None:
        rows, columns = values.shape
        values = values.reshape(n_heads, rows // n_heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return torch.from_numpy(np.ascontiguousarray(values))


def _tokenizer(source: Path, meta: dict[str, Any]) -> Tokenizer:
    kind, rule = meta["tokenizer.ggml.model"], meta.get("tokenizer.ggml.pre", "default")
    splitters: dict[str, list[Any]] = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "gpt-2": [],
        "llama-bpe": [pre_tokenizers.Split(Regex(_LLAMA3_PATTERN), "isolated")],
    }
    if kind != "gpt2" or rule not in splitters:
        raise ModelError(
            f"{source} has a tokenizer of kind {kind!r} with pre-tokenizer {rule!r}; known are kind 'gpt2' with "
            f"{', '.join(sorted(splitters))}. Give the folder of the model's safetensors instead."
        )
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in meta["tokenizer.ggml.merges"])]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    for left, right in merges:
        if left + right not in vocabulary:
            raise ModelCorruptError(f"{source} merges '{left} {right}' into a token that it does not have.")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=rule == "llama-bpe"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule != "llama-bpe")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splitters[rule], byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token, type_ in zip(tokens, kinds, strict=True)
         if type_ == _CONTROL]
    )  # fmt: skip
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False) for token, type_ in zip(tokens, kinds, strict=True)
         if type_ == _USER_DEFINED]
    )  # fmt: skip
    return tokenizer


_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _tokenizer_config(meta: dict[str, Any], *, context: int) -> dict[str, Any]:
    tokens = meta["tokenizer.ggml.tokens"]
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {
        f"{role}_token": tokens[meta[f"tokenizer.ggml.{key}_token_id"]]
        for role, key in roles.items()
        if f"tokenizer.ggml.{key}_token_id" in meta
    }
    return {
        **special,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }

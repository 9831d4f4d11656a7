"""Read a dense Llama-family checkpoint, and say clearly what of it has no place in a mixture of experts.

Layer: ``moe_backbone``; imports torch and transformers (configuration classes only).
What is accepted computes, layer by layer: RMS norm, attention with rotary positions (with or without biases of q, k and
v, with or without norms of q and k), RMS norm, and a gated feed-forward network without biases.

Shape suffixes: H model width, I inner width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from moe_backbone.checkpoint import CheckpointError, TensorReader, is_complete, read_manifest

__all__ = ["DENSE_TYPES", "MLP", "DenseSource", "read_dense"]

DENSE_TYPES = ("llama", "mistral", "qwen2", "qwen3")
MLP = re.compile(r"model\.layers\.(\d+)\.mlp\.(gate_proj|up_proj|down_proj)\.weight")
_COPIED = re.compile(
    r"model\.(embed_tokens|norm)\.weight|lm_head\.weight|model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|input_layernorm|post_attention_layernorm)\.weight"
)
_QKV_BIAS = re.compile(r"model\.layers\.\d+\.self_attn\.[qkv]_proj\.bias")
_QK_NORM = re.compile(r"model\.layers\.\d+\.self_attn\.[qk]_norm\.weight")
_IGNORED = re.compile(r".*\.rotary_emb\.inv_freq")  # old checkpoints store what is computed from the configuration
_LAYER_PARTS = (
    "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseSource:
    """A dense checkpoint that was checked.

    :param folder: Where it lies.
    :param config: Its configuration, as transformers reads it.
    :param reader: Its tensors.
    :param tied: Whether the head is the embedding.
    :param qkv_bias: Whether q, k and v have biases.
    :param qk_norm: Whether q and k are normalised per head.
    :param sliding_window: Tokens that attention looks back, in every layer; ``None`` is all.
    """

    folder: Path
    config: Any
    reader: TensorReader
    tied: bool
    qkv_bias: bool
    qk_norm: bool
    sliding_window: int | None

    @property
    def width(self) -> int:
        """Model width H."""
        return int(self.config.hidden_size)

    @property
    def inner_width(self) -> int:
        """Inner width I of the feed-forward networks."""
        return int(self.config.intermediate_size)

    @property
    def tensor_names(self) -> list[str]:
        """The tensors that make up the model, in the order of its layers."""
        names = (name for name in self.reader.names if not _IGNORED.fullmatch(name))
        return sorted((name for name in names if not (self.tied and name == "lm_head.weight")), key=_natural)


def read_dense(folder: Path) -> DenseSource:
    """Open a dense checkpoint and check that it is of a kind that can become experts.

    :param folder: A Llama, Mistral, Qwen2 or Qwen3 checkpoint in safetensors, unquantised.
    :returns: The checked source.
    :raises CheckpointError: If it is of another kind, quantised, incomplete, or its shapes contradict its settings.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no config.json: it is no checkpoint folder.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}/config.json cannot be read by transformers: {error}.") from error
    if config.model_type not in DENSE_TYPES:
        raise CheckpointError(
            f"{folder} is a {config.model_type!r} model; only {', '.join(DENSE_TYPES)} become experts exactly."
        )
    if getattr(config, "quantization_config", None):
        raise CheckpointError(f"{folder} is quantised. Upcycle the unquantised checkpoint.")
    if read_manifest(folder) is not None and not is_complete(folder):
        raise CheckpointError(f"{folder} is not complete: files differ from its manifest. Make it again.")
    reader = TensorReader(folder)
    source = DenseSource(
        folder=folder,
        config=config,
        reader=reader,
        tied=bool(config.tie_word_embeddings),
        qkv_bias=any(_QKV_BIAS.fullmatch(name) for name in reader.names),
        qk_norm=any(_QK_NORM.fullmatch(name) for name in reader.names),
        sliding_window=_sliding_window(folder, config),
    )
    _check_names(source)
    _check_shapes(source)
    _check_positions(source)
    return source


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _sliding_window(folder: Path, config: Any) -> int | None:
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if window is None or kinds == {"full_attention"}:
        return None
    if len(kinds) > 1:
        raise CheckpointError(
            f"{folder} has layers with a sliding window beside layers without one ({', '.join(sorted(kinds))}); "
            "the targets have one kind for all layers."
        )
    return int(window)


def _check_names(source: DenseSource) -> None:
    known = (MLP, _COPIED, _IGNORED, _QKV_BIAS, _QK_NORM)
    strange = sorted(name for name in source.reader.names if not any(form.fullmatch(name) for form in known))
    if strange:
        raise CheckpointError(
            f"{source.folder} holds tensors that a mixture of experts has no place for (biases of the output or of the "
            f"feed-forward network, adapters, quantised weights?): {_some(strange)}."
        )
    layers = range(source.config.num_hidden_layers)
    parts = [f"{part}.weight" for part in _LAYER_PARTS]
    parts += [f"self_attn.{part}_proj.bias" for part in "qkv" if source.qkv_bias]
    parts += [f"self_attn.{part}_norm.weight" for part in "qk" if source.qk_norm]
    expected = {"model.embed_tokens.weight", "model.norm.weight"}
    expected |= {f"model.layers.{layer}.{part}" for layer in layers for part in parts}
    if not source.tied:
        expected.add("lm_head.weight")
    missing = sorted(expected - source.reader.names)
    if missing:
        raise CheckpointError(f"{source.folder} lacks {len(missing)} tensors, first {missing[0]}. Fetch it again.")


def _check_shapes(source: DenseSource) -> None:
    wide, narrow = (source.inner_width, source.width), (source.width, source.inner_width)
    for layer in range(source.config.num_hidden_layers):
        for part, expected in (("gate_proj", wide), ("up_proj", wide), ("down_proj", narrow)):
            name = f"model.layers.{layer}.mlp.{part}.weight"
            shape, _ = source.reader.planned(name)
            if shape != expected:
                raise CheckpointError(
                    f"{name} of {source.folder} has shape {shape}, but its config.json makes it {expected}."
                )


def _check_positions(source: DenseSource) -> None:
    rope = getattr(source.config, "rope_parameters", None) or {}
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError(
            f"{source.folder} turns {rope['partial_rotary_factor']} of each head by its position; only whole heads "
            "are carried over."
        )


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}"

"""Turn a dense Llama-family checkpoint into a stock Mixtral checkpoint that computes the same function.

Layer: ``moe_backbone``; imports torch, safetensors and transformers (configuration classes only).
Source: "virtual groups", Upcycling LLMs into Mixture of Experts, arXiv:2410.07524, section 4.

Each feed-forward network is cut into S slices of its inner width, and the slices are laid out R times (R groups):
expert ``r·S + s`` is slice s of group r. Router rows are equal inside a group and drawn from N(0, 0.02) between groups,
so the S best experts of a token are the S slices of one group, each with weight exactly 1/S; ``down_proj`` is scaled by
S to undo that weight. Unlike plain copies, whose router has no gradient, the router can learn from the first step.
**What is preserved is the function; no quality is claimed.**

Shape suffixes: H model width, I inner width of the dense network, S slices, R groups, E = R·S experts.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, MixtralConfig

from moe_backbone.checkpoint import (
    CheckpointError,
    PlannedTensor,
    TensorReader,
    checkpoint_folder,
    is_complete,
    source_sha256,
    write_safetensors,
)

__all__ = ["UpcycleRecipe", "upcycle_to_mixtral"]

_DENSE_TYPES = ("llama", "mistral")
_MLP = re.compile(r"model\.layers\.(\d+)\.mlp\.(gate_proj|up_proj|down_proj)\.weight")
_COPIED = re.compile(
    r"model\.(embed_tokens|norm)\.weight|lm_head\.weight|model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|input_layernorm|post_attention_layernorm)\.weight"
)
_IGNORED = re.compile(r".*\.rotary_emb\.inv_freq")  # old checkpoints store what is computed from the configuration
_SIDE_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
               "generation_config.json", "chat_template*", "LICENSE*")  # fmt: skip
_LAYER_PARTS = (
    "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_CARRIED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "use_cache", "pad_token_id",
    "bos_token_id", "eos_token_id", "tie_word_embeddings", "attention_dropout", "rope_parameters",
)  # fmt: skip

_MIXTRAL_FIELDS = (
    "sliding_window", "intermediate_size", "num_local_experts", "num_experts_per_tok", "output_router_logits",
    "router_jitter_noise", "router_aux_loss_coef",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UpcycleRecipe:
    """How a dense model becomes experts.

    :param slices: Parts S that each feed-forward network is cut into; also the experts per token. At least 2: with one,
        the normalised weight is always 1 and the router has no gradient.
    :param groups: Times R that the slices are laid out, at least 2: with one there is nothing to choose. The default
        keeps the packaged model small (8 experts); arXiv:2410.07524 uses 8 groups.
    :param seed: Seed of the router.
    :param router_std: Standard deviation between the groups' router rows, > 0. 0.02 is the initialisation of
        the Llama family.
    :raises CheckpointError: If a number is out of its range.
    """

    slices: int = 4
    groups: int = 2
    seed: int = 0
    router_std: float = 0.02

    def __post_init__(self) -> None:
        for field in ("slices", "groups"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 2:
                raise CheckpointError(f"{field} must be a whole number >= 2, got {value!r}.")
        if not self.router_std > 0:
            raise CheckpointError(
                f"router_std must be > 0, or every expert ties with every other; got {self.router_std!r}."
            )

    @property
    def n_experts(self) -> int:
        """Experts of each layer, E = slices · groups."""
        return self.slices * self.groups


def upcycle_to_mixtral(dense: Path, out: Path, recipe: UpcycleRecipe | None = None) -> Path:
    """Write the Mixtral checkpoint of a dense one, tensor by tensor. If ``out`` is already that checkpoint, do nothing.

    :param dense: Folder of a Llama or Mistral checkpoint in safetensors, without biases, unquantised.
    :param out: Folder to make; it is complete or absent, never half-written.
    :param recipe: Slices, groups and seed; ``None`` takes the defaults.
    :returns: ``out``.
    :raises CheckpointError: If the checkpoint cannot be upcycled exactly, or the disk is too small.
    """
    recipe = recipe if recipe is not None else UpcycleRecipe()
    if not (dense / "config.json").is_file():
        raise CheckpointError(f"{dense} holds no config.json: it is no checkpoint folder.")
    stamp = {"kind": "upcycle-virtual-groups", "version": 1, "source_sha256": source_sha256(dense), **asdict(recipe)}
    if is_complete(out, recipe=stamp):
        return out
    config = AutoConfig.from_pretrained(dense, local_files_only=True)
    reader = TensorReader(dense)
    _check_convertible(config, reader, recipe)
    plan = list(_plan(reader, recipe, tied=bool(config.tie_word_embeddings)))
    target = _mixtral_config(config, recipe, dtype=_main_dtype(plan))
    with checkpoint_folder(out, recipe=stamp, size_bytes=sum(item.size_bytes for item in plan)) as folder:
        write_safetensors(folder, plan)
        (folder / "config.json").write_text(json.dumps(target, indent=2, sort_keys=True), encoding="utf-8")
        for pattern in _SIDE_FILES:
            for path in dense.glob(pattern):
                shutil.copyfile(path, folder / path.name)
    return out


def _check_convertible(config: Any, reader: TensorReader, recipe: UpcycleRecipe) -> None:
    where = reader.folder
    if config.model_type not in _DENSE_TYPES:
        raise CheckpointError(
            f"{where} is a {config.model_type!r} model; only {' and '.join(_DENSE_TYPES)} become a Mixtral exactly."
        )
    if config.intermediate_size % recipe.slices:
        raise CheckpointError(
            f"{where}: the inner width {config.intermediate_size} cannot be cut into {recipe.slices} equal slices. "
            "Choose a divisor."
        )
    strange = sorted(
        name
        for name in reader.names
        if not (_MLP.fullmatch(name) or _COPIED.fullmatch(name) or _IGNORED.fullmatch(name))
    )
    if strange:
        raise CheckpointError(
            f"{where} holds tensors that a Mixtral has no place for (biases, adapters, quantised weights?): "
            f"{', '.join(strange[:4])}{' …' if len(strange) > 4 else ''}."
        )
    expected = {"model.embed_tokens.weight", "model.norm.weight"} | {
        f"model.layers.{layer}.{part}.weight" for layer in range(config.num_hidden_layers) for part in _LAYER_PARTS
    }
    missing = sorted(expected - reader.names)
    if not config.tie_word_embeddings and "lm_head.weight" not in reader.names:
        missing.append("lm_head.weight")
    if missing:
        raise CheckpointError(f"{where} lacks {len(missing)} tensors, first {missing[0]}. Fetch it again.")
    _check_scale_is_exact(reader, recipe)


def _check_scale_is_exact(reader: TensorReader, recipe: UpcycleRecipe) -> None:
    """Half precision survives a scale by a power of two without rounding, and no other."""
    _, dtype = reader.planned("model.layers.0.mlp.down_proj.weight")
    if dtype in (torch.bfloat16, torch.float16) and recipe.slices & (recipe.slices - 1):
        raise CheckpointError(
            f"{reader.folder} is stored as {dtype}; scaling it by {recipe.slices} slices would round. "
            "Choose a power of two, or convert the checkpoint to float32 first."
        )


def _plan(reader: TensorReader, recipe: UpcycleRecipe, *, tied: bool) -> Iterator[PlannedTensor]:
    generator = torch.Generator().manual_seed(recipe.seed)
    for name in sorted(reader.names, key=_natural):
        mlp = _MLP.fullmatch(name)
        if _IGNORED.fullmatch(name) or (tied and name == "lm_head.weight"):
            continue
        if mlp is None:
            shape, dtype = reader.planned(name)
            yield PlannedTensor(name=name, shape=shape, dtype=dtype, make=partial(reader.read, name))
        elif mlp[2] == "gate_proj":
            yield _router(reader, recipe, name=name, layer=int(mlp[1]), generator=generator)
            yield from _experts(reader, recipe, name=name, target=f"{_block(mlp[1])}.experts.{{}}.w1.weight")
        elif mlp[2] == "up_proj":
            yield from _experts(reader, recipe, name=name, target=f"{_block(mlp[1])}.experts.{{}}.w3.weight")
        else:
            yield from _experts(reader, recipe, name=name, target=f"{_block(mlp[1])}.experts.{{}}.w2.weight", down=True)


def _block(layer: str) -> str:
    return f"model.layers.{layer}.block_sparse_moe"


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _router(
    reader: TensorReader, recipe: UpcycleRecipe, *, name: str, layer: int, generator: torch.Generator
) -> PlannedTensor:
    shape, dtype = reader.planned(name)
    rows_RH = torch.randn(recipe.groups, shape[1], generator=generator) * recipe.router_std
    rows_EH = rows_RH.repeat_interleave(recipe.slices, dim=0).to(dtype)
    return PlannedTensor(
        name=f"{_block(str(layer))}.gate.weight", shape=tuple(rows_EH.shape), dtype=dtype, make=lambda: rows_EH
    )


def _experts(
    reader: TensorReader, recipe: UpcycleRecipe, *, name: str, target: str, down: bool = False
) -> Iterator[PlannedTensor]:
    shape, dtype = reader.planned(name)
    width = shape[1 if down else 0] // recipe.slices
    part = (shape[0], width) if down else (width, shape[1])

    def make(piece: int) -> Tensor:
        span = slice(piece * width, (piece + 1) * width)
        if down:
            return reader.read(name, columns=span) * recipe.slices
        return reader.read(name, rows=span)

    for expert in range(recipe.n_experts):
        piece = expert % recipe.slices
        yield PlannedTensor(name=target.format(expert), shape=part, dtype=dtype, make=partial(make, piece))


def _main_dtype(plan: list[PlannedTensor]) -> str:
    return str(next(item.dtype for item in plan if item.name == "model.embed_tokens.weight")).removeprefix("torch.")


def _mixtral_config(config: Any, recipe: UpcycleRecipe, *, dtype: str) -> dict[str, Any]:
    """Carry every setting that the function depends on over to a Mixtral configuration."""
    target = MixtralConfig(
        **{field: getattr(config, field) for field in _CARRIED},
        sliding_window=getattr(config, "sliding_window", None),
        intermediate_size=config.intermediate_size // recipe.slices,
        num_local_experts=recipe.n_experts,
        num_experts_per_tok=recipe.slices,
        output_router_logits=False,
        router_jitter_noise=0.0,
    )
    fields = (*_CARRIED, *_MIXTRAL_FIELDS)
    settings = {field: getattr(target, field) for field in fields}
    return {**settings, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "dtype": dtype}

"""One mixture of experts out of several fine-tuned checkpoints of one architecture.

Layer: ``moe_backbone``; imports torch and transformers.
Source: Branch-Train-MiX, arXiv:2403.07816, section 2: the experts are the checkpoints' feed-forward networks, all other
weights are averaged, the router is new and must be trained. **Nothing is preserved unless all checkpoints are equal.**
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_backbone.checkpoint import CheckpointError, is_complete, source_sha256
from moe_backbone.upcycle.gates import gates_from_texts
from moe_backbone.upcycle.pieces import Pieces
from moe_backbone.upcycle.recipe import UpcycleRecipe
from moe_backbone.upcycle.sources import DenseSource, read_dense
from moe_backbone.upcycle.writing import OnProgress, write_experts

__all__ = ["mix"]

_SAME = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "hidden_act", "rms_norm_eps", "vocab_size", "tie_word_embeddings", "rope_parameters",
)  # fmt: skip


def mix(
    sources: Sequence[Path],
    out: Path,
    recipe: UpcycleRecipe,
    *,
    average: bool = True,
    texts: Sequence[Sequence[str]] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the mixture whose group r is the feed-forward networks of checkpoint r. If it is there already, do nothing.

    :param sources: At least two dense checkpoints of one architecture, shape and tokenizer; the first gives settings
        and tokenizer.
    :param out: Folder to make; complete or absent.
    :param recipe: ``groups`` must be the number of sources. ``slices=1, groups_per_token=2`` is Branch-Train-MiX; with
        more slices a token visits the slices of one checkpoint to begin with.
    :param average: Average what is no feed-forward weight; otherwise take it from the first source. A GLM4-MoE's shared
        expert is treated likewise.
    :param texts: For each source, texts that its expert should be chosen for: the router then starts from their hidden
        states (:mod:`moe_backbone.upcycle.gates`). ``None`` draws it from N(0, router_std).
    :param on_progress: Called as ``on_progress(done_bytes, total_bytes)`` after each tensor.
    :returns: ``out``.
    :raises CheckpointError: If the sources do not fit each other (what differs is named), or the disk is too small.
    """
    if len(sources) < 2 or len(sources) != recipe.groups:
        raise CheckpointError(
            f"{len(sources)} checkpoints were given for groups={recipe.groups}; give one a group, >= 2."
        )
    if texts is not None and len(texts) != len(sources):
        raise CheckpointError(f"texts for {len(texts)} experts were given, but there are {len(sources)} checkpoints.")
    dense = [read_dense(folder) for folder in sources]
    for other in dense[1:]:
        _check_alike(dense[0], other)
    stamp = {
        **recipe.stamp(source_sha256=source_sha256(sources[0])),
        "kind": "branch-train-mix",
        "sources_sha256": [source_sha256(folder) for folder in sources],
        "others": "average" if average else "first",
        "texts_sha256": None if texts is None else _sha256_of(texts),
    }
    if is_complete(out, recipe=stamp):
        return out
    routers = None if texts is None else gates_from_texts(sources[0], texts)
    write_experts(
        dense,
        out,
        recipe,
        stamp=stamp,
        others=_mean_over([source.reader.read for source in dense]) if average else None,
        shared=_mean_shared(Pieces(dense, recipe)) if average else None,
        routers=routers,
        on_progress=on_progress,
    )
    return out


def _sha256_of(texts: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps([list(some) for some in texts]).encode()).hexdigest()


def _mean_over(readers: Sequence[Callable[[str], Tensor]]) -> Callable[[str], Tensor]:
    return lambda name: _mean([read(name) for read in readers])


def _mean_shared(pieces: Pieces) -> Callable[[int, str], Tensor]:
    return lambda layer, part: _mean([pieces.shared(layer, part, group=group) for group in range(pieces.n_groups)])


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Average in float64, so that equal tensors average to themselves."""
    total = sum((tensor.double() for tensor in tensors[1:]), start=tensors[0].double())
    return (total / len(tensors)).to(tensors[0].dtype)


def _check_alike(first: DenseSource, other: DenseSource) -> None:
    for field in _SAME:
        ours, theirs = (getattr(source.config, field, None) for source in (first, other))
        if ours != theirs:
            raise CheckpointError(
                f"{other.folder} has {field}={theirs!r} and {first.folder} has {ours!r}; the checkpoints must be of "
                "one architecture."
            )
    for name in sorted({*first.tensor_names, *other.tensor_names}):
        stored = [source.reader.planned(name) if name in source.reader.names else None for source in (first, other)]
        if stored[0] != stored[1]:
            raise CheckpointError(
                f"{name} is {_told(stored[0])} in {first.folder} and {_told(stored[1])} in {other.folder}."
            )
    _check_tokenizers(first.folder, other.folder)


def _told(stored: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "missing" if stored is None else f"{stored[1]} {stored[0]}".removeprefix("torch.")


def _check_tokenizers(first: Path, other: Path) -> None:
    ours, theirs = _vocabulary(first), _vocabulary(other)
    if ours is None or theirs is None:
        return  # nothing to compare; the vocabulary's size was
    different = sorted(token for token in {*ours, *theirs} if ours.get(token) != theirs.get(token))
    if different:
        token = different[0]
        raise CheckpointError(
            f"the tokenizers of {first} and {other} differ in {len(different)} tokens, first {token!r} "
            f"({ours.get(token)} and {theirs.get(token)}). Mix checkpoints with one tokenizer."
        )


def _vocabulary(folder: Path) -> dict[str, int] | None:
    try:
        told: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    vocabulary = told.get("model", {}).get("vocab")
    if isinstance(vocabulary, list):  # a unigram model: pairs of token and score, in order
        vocabulary = {str(pair[0]): number for number, pair in enumerate(vocabulary)}
    added = {str(token["content"]): int(token["id"]) for token in told.get("added_tokens", ())}
    return {**(vocabulary or {}), **added}

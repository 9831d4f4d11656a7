"""Measure how far a mixture of experts is from the dense model that it was made of.

Layer: ``moe_backbone``; imports torch and transformers.
The yardstick of a float32 difference is the dense model's own rounding: its float32 logits against its float64 ones.
Stock RMS norms compute in float32 whatever the precision; a float64 run here replaces them, or one rounding that
falls the other way would look like a difference of the models. Routers keep their float32 weights.

Shape suffixes: T tokens, H model width, K experts per token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing, find_blocks
from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle.running import open_model, open_tokenizer

__all__ = ["CHECK_TEXT", "UpcycleCheck", "check_upcycled", "compute_in_float64", "whole_group_share"]

CHECK_TEXT = (
    "The mill stands where the river leaves the hills. In 1887 it ground 1,240 sacks of wheat a month; after the "
    "flood of 1893 the owner, a widow named Marta Holm, had the wheel rebuilt in iron. Its accounts are kept in three "
    "columns: the date, the weight in kilograms, and the price in crowns. def total(rows): return sum(price for _, _, "
    "price in rows)\nWhat did the flood change, and why did the price rise although fewer sacks were sold?"
)
"""Prose, numbers, code and a question, written for this check."""

_PADDED_BY = 5  # tokens that the second prompt of the padded batch is shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class UpcycleCheck:
    """What :func:`check_upcycled` measured; differences are of logits, absolute, the largest over tokens and words.

    :param n_tokens: Tokens of the text.
    :param n_new: Tokens written greedily.
    :param largest_logit: Of the dense model.
    :param max_difference: Dense against experts, float32.
    :param dense_rounding: Dense float32 against dense float64; ``None`` if float64 was not run.
    :param max_difference_float64: Dense against experts, float64; ``None`` if it was not run.
    :param same_next_token: Share of the text's tokens after which both think the same token likeliest.
    :param greedy_identical: Whether both write the same tokens, with a key-value cache.
    :param padded_identical: Whether they do for a batch of two prompts of which one is padded on the left, and the
        experts write that one as they write it alone.
    """

    n_tokens: int
    n_new: int
    largest_logit: float
    max_difference: float
    dense_rounding: float | None
    max_difference_float64: float | None
    same_next_token: float
    greedy_identical: bool
    padded_identical: bool


def check_upcycled(
    dense: Path,
    experts: Path,
    *,
    text: str = CHECK_TEXT,
    max_tokens: int = 512,
    n_new: int = 64,
    exact: bool = True,
) -> UpcycleCheck:
    """Run both checkpoints on a text and compare them. Memory holds one of the two models at a time.

    :param dense: The source, with its tokenizer.
    :param experts: What was made of it.
    :param text: What to read; its beginning is also the prompt of the greedy text.
    :param max_tokens: Tokens of the text to use, at least 8; no more than the model has positions.
    :param n_new: Tokens to write greedily.
    :param exact: Run both in float64 as well, which doubles the memory.
    :returns: What was measured.
    :raises CheckpointError: If there is no tokenizer, or the text is shorter than 8 tokens.
    """
    ids: Tensor = open_tokenizer(dense)(text, return_tensors="pt")["input_ids"]
    settings = json.loads((dense / "config.json").read_text(encoding="utf-8"))
    ids = ids[:, : min(max_tokens, settings.get("max_position_embeddings") or max_tokens)]
    if ids.shape[1] < 8:
        raise CheckpointError(f"the text of the check has {ids.shape[1]} tokens; at least 8 are needed.")
    source, result = (_run(folder, ids, n_new=n_new, exact=exact) for folder in (dense, experts))
    return UpcycleCheck(
        n_tokens=ids.shape[1],
        n_new=n_new,
        largest_logit=source.logits.abs().max().item(),
        max_difference=_furthest(source.logits, result.logits),
        dense_rounding=_furthest(source.logits, source.logits64) if exact else None,
        max_difference_float64=_furthest(source.logits64, result.logits64) if exact else None,
        same_next_token=(source.logits.argmax(-1) == result.logits.argmax(-1)).double().mean().item(),
        greedy_identical=torch.equal(source.alone, result.alone),
        padded_identical=torch.equal(source.padded, result.padded) and result.padding_is_nothing,
    )


def compute_in_float64(model: Any) -> Any:
    """Turn a model into float64 throughout, its RMS norms included; routers keep their float32 weights.

    :param model: A Llama-family model or a mixture made of one. Changed in place.
    :returns: ``model``.
    """
    for module in model.double().modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_rms_norm, module)
    return model


def _rms_norm(norm: nn.Module, hidden_TH: Tensor) -> Tensor:
    scale = torch.rsqrt(hidden_TH.square().mean(dim=-1, keepdim=True) + float(norm.variance_epsilon))  # type: ignore[arg-type]
    return norm.weight * (hidden_TH * scale)  # type: ignore[operator]


def whole_group_share(model: Any, ids: Tensor, *, slices: int) -> tuple[float, int]:
    """Return how many routing decisions chose whole groups, experts ``g·slices … g·slices + slices - 1``.

    :param model: A model that :mod:`moe_backbone.upcycle` made, in any precision.
    :param ids: Tokens to read. *Shape:* ``(batch, T)``.
    :param slices: Routed experts of one group.
    :returns: The share in [0, 1], and how many decisions (tokens · layers) there were.
    """
    whole, decisions = 0, 0

    def count(block: MoEBlock, hidden: Tensor, index_TK: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal whole, decisions
        groups_TK = (index_TK // slices).sort(dim=-1).values.view(index_TK.shape[0], -1, slices)
        pieces_TK = index_TK.sort(dim=-1).values.view_as(groups_TK) % slices
        expected = torch.arange(slices, device=index_TK.device)
        good_T = (groups_TK == groups_TK[..., :1]).all(dim=(1, 2)) & (pieces_TK == expected).all(dim=(1, 2))
        whole, decisions = whole + int(good_T.sum()), decisions + len(good_T)
        return index_TK, weights

    with torch.inference_mode(), edit_routing(model, count):
        model(ids)
    return whole / max(decisions, 1), decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    logits: Tensor
    logits64: Tensor
    alone: Tensor
    padded: Tensor
    padding_is_nothing: bool


def _run(folder: Path, ids: Tensor, *, n_new: int, exact: bool) -> _Run:
    model = open_model(folder)
    if find_blocks(model):
        model.set_experts_implementation("eager")  # takes every width and dtype, float64 too
    prompt = ids[:, : max(8, min(24, ids.shape[1]))]
    short = torch.cat([prompt, prompt.roll(-_PADDED_BY, dims=1)])
    mask = torch.ones_like(short)
    mask[1, :_PADDED_BY] = 0
    with torch.inference_mode():
        logits = model(ids).logits[0]
        alone = _write(model, prompt, torch.ones_like(prompt), n_new=n_new)
        padded = _write(model, short, mask, n_new=n_new)
        second = short[1:, _PADDED_BY:]
        unpadded = _write(model, second, torch.ones_like(second), n_new=n_new)
        wide = compute_in_float64(model)(ids).logits[0] if exact else logits
    same_alone = torch.equal(padded[1:], unpadded)
    return _Run(logits=logits, logits64=wide, alone=alone, padded=padded, padding_is_nothing=same_alone)


def _write(model: Any, ids: Tensor, mask: Tensor, *, n_new: int) -> Tensor:
    written: Tensor = model.generate(
        ids, attention_mask=mask, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=False, use_cache=True
    )
    return written[:, ids.shape[1] :]


def _furthest(a: Tensor, b: Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()

"""Measure how far a mixture of experts is from the model that it was made of, a dense one or another mixture.

Layer: ``moe_backbone``; imports torch and transformers.
The yardstick of a float32 difference is the source's own rounding: its float32 logits against its float64 ones.
Stock RMS norms compute in float32 whatever the precision; a float64 run here replaces them, or one rounding that
falls the other way would look like a difference of the models. Routers keep their float32 weights.

Shape suffixes: T tokens, V vocabulary, H model width, K experts per token.
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
from moe_backbone.loading import open_model, open_tokenizer

__all__ = ["CHECK_TEXT", "SourceCheck", "check_against_source", "compute_in_float64", "whole_group_share"]

CHECK_TEXT = (
    "The mill stands where the river leaves the hills. In 1887 it ground 1,240 sacks of wheat a month; after the "
    "flood of 1893 the owner, a widow named Marta Holm, had the wheel rebuilt in iron. Its accounts are kept in three "
    "columns: the date, the weight in kilograms, and the price in crowns. def total(rows): return sum(price for _, _, "
    "price in rows)\nWhat did the flood change, and why did the price rise although fewer sacks were sold?"
)
"""Prose, numbers, code and a question, written for this check."""

_PADDED_BY = 5  # tokens that the second prompt of the padded batch is shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCheck:
    """What :func:`check_against_source` measured; differences are of logits, absolute, the largest over tokens, words.

    :param n_tokens: Tokens of the text.
    :param n_new: Tokens written greedily.
    :param largest_logit: Of the source.
    :param max_difference: Source against result, float32.
    :param source_rounding: Source float32 against source float64; ``None`` if float64 was not run.
    :param max_difference_float64: Source against result, float64; ``None`` if it was not run.
    :param divergence: Mean KL divergence of the result's next token from the source's, nats, float32 logits; 0 or more.
    :param perplexity_before: Of the text under the source; lower is better.
    :param perplexity_after: Of the text under the result.
    :param same_next_token: Share of the text's tokens after which both think the same token likeliest.
    :param greedy_identical: Whether both write the same tokens, with a key-value cache.
    :param padded_identical: Whether they do for a batch of two prompts of which one is padded on the left, and the
        result writes that one as it writes it alone.
    """

    n_tokens: int
    n_new: int
    largest_logit: float
    max_difference: float
    source_rounding: float | None
    max_difference_float64: float | None
    divergence: float
    perplexity_before: float
    perplexity_after: float
    same_next_token: float
    greedy_identical: bool
    padded_identical: bool


def check_against_source(
    source: Path,
    result: Path,
    *,
    text: str = CHECK_TEXT,
    max_tokens: int = 512,
    n_new: int = 64,
    exact: bool = True,
) -> SourceCheck:
    """Run both checkpoints on a text and compare them. Memory holds one of the two models at a time.

    :param source: A dense model or a mixture of experts, with its tokenizer.
    :param result: What was made of it, with the same vocabulary.
    :param text: What to read; its beginning is also the prompt of the greedy text.
    :param max_tokens: Tokens of the text to use, at least 8; no more than the model has positions.
    :param n_new: Tokens to write greedily.
    :param exact: Run both in float64 as well, which doubles the memory.
    :returns: What was measured.
    :raises CheckpointError: If there is no tokenizer, or the text is shorter than 8 tokens.
    """
    ids: Tensor = open_tokenizer(source)(text, return_tensors="pt", verbose=False)["input_ids"]
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    ids = ids[:, : min(max_tokens, settings.get("max_position_embeddings") or max_tokens)]
    if ids.shape[1] < 8:
        raise CheckpointError(f"the text of the check has {ids.shape[1]} tokens; at least 8 are needed.")
    before, after = (_run(folder, ids, n_new=n_new, exact=exact) for folder in (source, result))
    log_p_TV, log_q_TV = (one.logits.double().log_softmax(-1) for one in (before, after))
    return SourceCheck(
        n_tokens=ids.shape[1],
        n_new=n_new,
        largest_logit=before.logits.abs().max().item(),
        max_difference=_furthest(before.logits, after.logits),
        source_rounding=_furthest(before.logits, before.logits64) if exact else None,
        max_difference_float64=_furthest(before.logits64, after.logits64) if exact else None,
        divergence=max(0.0, float((log_p_TV.exp() * (log_p_TV - log_q_TV)).sum(-1).mean())),
        perplexity_before=_perplexity(log_p_TV, ids[0]),
        perplexity_after=_perplexity(log_q_TV, ids[0]),
        same_next_token=(before.logits.argmax(-1) == after.logits.argmax(-1)).double().mean().item(),
        greedy_identical=torch.equal(before.alone, after.alone),
        padded_identical=torch.equal(before.padded, after.padded) and after.padding_is_nothing,
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
    model: Any = open_model(folder, device="cpu", dtype=torch.float32).model
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


def _perplexity(log_p_TV: Tensor, ids_T: Tensor) -> float:
    return float((-log_p_TV[:-1].gather(1, ids_T[1:, None])).mean().exp())


def _furthest(a: Tensor, b: Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()

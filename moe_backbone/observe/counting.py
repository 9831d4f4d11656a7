"""Count what routers chose: exact whole numbers, summed over calls.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, E experts, K experts per token, R rows (one per label and one for tokens without).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.observe.stats import UNLABELLED, LabelRouting, LayerRouting

__all__ = ["Calls", "Totals", "count_calls", "summarise"]

_LEAST = -1e30  # in place of the logarithm of 0, so that 0 · log 0 is 0
_PAIR_CHUNK = 1 << 20  # tokens whose pairs are counted in float32 at a time: exact below 2^24


@dataclass(frozen=True, slots=True)
class Calls:
    """What one layer chose in several forward calls, one after the other.

    :param index: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param logits: The router's logits, if they were seen. *Shape:* ``(T, E)``.
    :param rows: Row of every token, or of each. *Shape:* ``(T,)`` if a tensor.
    :param mask: True for real tokens; ``None`` if all are. *Shape:* ``(T,)``.
    """

    index: Tensor
    logits: Tensor | None
    rows: int | Tensor
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls: whole numbers, but for the two sums over probabilities (float64).

    :param counts: Slots by row and expert; the last column is no expert. *Shape:* ``(R, E + 1)``.
    :param tokens: Tokens by row. *Shape:* ``(R,)``.
    :param pairs: Tokens that visited two experts. *Shape:* ``(E, E)``.
    :param entropy: Sum of the routers' entropies, each over its maximum, over the tokens with finite logits.
    :param confidence: Sum of their largest probabilities.
    :param probability: Sum of their probabilities by expert. *Shape:* ``(E,)``.
    :param squared_z: Sum of their squared log-partitions.
    :param largest: Their largest logit by size.
    :param n_finite: How many tokens these are.
    :param n_not_finite: Tokens with a NaN or infinite logit (but -inf, which forbids an expert).
    """

    counts: Tensor
    tokens: Tensor
    pairs: Tensor
    entropy: Tensor
    confidence: Tensor
    probability: Tensor
    squared_z: Tensor
    largest: Tensor
    n_finite: Tensor
    n_not_finite: Tensor

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.counts + other.counts,
            self.tokens + other.tokens,
            self.pairs + other.pairs,
            self.entropy + other.entropy,
            self.confidence + other.confidence,
            self.probability + other.probability,
            self.squared_z + other.squared_z,
            torch.maximum(self.largest, other.largest),
            self.n_finite + other.n_finite,
            self.n_not_finite + other.n_not_finite,
        )


@torch.no_grad()
def count_calls(calls: Calls, *, n_experts: int, n_rows: int) -> Totals:
    """Count several calls of one layer at once.

    :param calls: What was chosen.
    :param n_experts: Routed experts E.
    :param n_rows: Rows R.
    :returns: The totals, on the device of the calls.
    """
    index_TK, logits_TE = calls.index, calls.logits
    device = index_TK.device
    if isinstance(calls.rows, int):
        row_T = torch.full((index_TK.shape[0],), calls.rows, device=device)
    else:
        row_T = calls.rows.to(device)
    if calls.mask is not None:
        keep_T = calls.mask.to(device)
        index_TK, row_T = index_TK[keep_T], row_T[keep_T]
        logits_TE = None if logits_TE is None else logits_TE[keep_T]
    slot_TK = torch.where((index_TK >= 0) & (index_TK < n_experts), index_TK, n_experts).long()
    cells = (row_T[:, None] * (n_experts + 1) + slot_TK).reshape(-1)
    return Totals(
        torch.bincount(cells, minlength=n_rows * (n_experts + 1)).view(n_rows, n_experts + 1),
        torch.bincount(row_T, minlength=n_rows),
        _pairs(slot_TK, n_experts=n_experts),
        *_decidedness(logits_TE, n_experts=n_experts, device=device),
    )


def _pairs(slot_TK: Tensor, *, n_experts: int) -> Tensor:
    pairs_EE = torch.zeros((n_experts, n_experts), dtype=torch.long, device=slot_TK.device)
    for part_TK in torch.split(slot_TK, _PAIR_CHUNK):
        hot_TE1 = torch.zeros((len(part_TK), n_experts + 1), device=slot_TK.device).scatter_(1, part_TK, 1.0)
        hot_TE = hot_TE1[:, :n_experts]
        pairs_EE = pairs_EE + (hot_TE.T @ hot_TE).round().long()
    return pairs_EE


def _decidedness(logits_TE: Tensor | None, *, n_experts: int, device: torch.device) -> tuple[Tensor, ...]:
    if logits_TE is None:
        logits_TE = torch.zeros((0, n_experts), device=device)
    logits_TE = logits_TE.float()
    # A logit of -inf is an expert that the token may not use; a token that may use none is a fault.
    z_T = logits_TE.logsumexp(dim=-1)
    finite_T = z_T.isfinite()
    if not bool(finite_T.all()):
        logits_TE, z_T = logits_TE[finite_T], z_T[finite_T]
    log_p_TE = logits_TE - z_T[:, None]
    p_TE = log_p_TE.exp()
    probability_E = p_TE.sum(dim=0, dtype=torch.float64)[:n_experts]  # null experts may follow
    n_finite = finite_T.sum()
    if not p_TE.numel():
        none = torch.zeros((), dtype=torch.float64, device=device)
        return none, none, probability_E, none, none, n_finite, finite_T.shape[0] - n_finite
    return (
        -(p_TE * log_p_TE.clamp(min=_LEAST)).sum(dtype=torch.float64) / math.log(max(logits_TE.shape[1], 2)),
        p_TE.amax(dim=-1).sum(dtype=torch.float64),
        probability_E,
        z_T.double().square().sum(),
        torch.where(logits_TE.isfinite(), logits_TE, 0.0).abs().max().double(),
        n_finite,
        finite_T.shape[0] - n_finite,
    )


def summarise(name: str, totals: Totals, labels: tuple[str, ...]) -> LayerRouting:
    """Turn totals into plain numbers.

    :param name: Name of the router.
    :param totals: Its totals.
    :param labels: Names of the rows but the last; empty if tokens had none.
    :returns: The layer's statistics.
    """
    counts_RE1 = totals.counts.cpu()
    rows, tokens = counts_RE1.tolist(), totals.tokens.tolist()
    whole = counts_RE1.sum(dim=0).tolist()
    n_finite = int(totals.n_finite)
    named = [*labels, UNLABELLED] if labels else []
    return LayerRouting(
        name=name,
        n_tokens=sum(tokens),
        counts=tuple(whole[:-1]),
        n_skipped=whole[-1],
        pairs=tuple(tuple(row) for row in totals.pairs.tolist()),
        router_entropy=float(totals.entropy) / n_finite if n_finite else math.nan,
        confidence=float(totals.confidence) / n_finite if n_finite else math.nan,
        probabilities=tuple((totals.probability / n_finite).tolist()) if n_finite else (),
        mean_square_z=float(totals.squared_z) / n_finite if n_finite else math.nan,
        largest_logit=float(totals.largest) if n_finite else math.nan,
        n_not_finite=int(totals.n_not_finite),
        labels={
            label: LabelRouting(n_tokens=n_tokens, counts=tuple(row[:-1]), n_skipped=row[-1])
            for label, row, n_tokens in zip(named, rows, tokens, strict=False)
            if n_tokens or label != UNLABELLED
        },
    )

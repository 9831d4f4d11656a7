"""Judge a changed model on text it was not calibrated on: perplexity, divergence from the original, and speed.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: B rows, S tokens per row, V words, N judged positions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.surgery import ShrinkError

__all__ = [
    "LabelQuality",
    "Quality",
    "Reference",
    "Speed",
    "compare_speed",
    "judge",
    "kl_divergence",
    "next_tokens",
    "reference",
]

_MOST_VALUES = 400_000_000  # of the original's distribution, float32: 1.6 GB


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelQuality:
    """Quality on the tokens of one label.

    :param n_tokens: Predicted tokens.
    :param perplexity: Exponential of the mean negative log-likelihood in nats; lower is better.
    :param kl: Mean KL divergence from the original model's next-token distribution in nats; 0 is the same model.
        ``None`` where there is no original to compare with.
    :param same_top: Share of positions whose likeliest token is the original's.
    """

    n_tokens: int
    perplexity: float
    kl: float | None
    same_top: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Quality on all tokens, and by label.

    :param total: On all.
    :param by_label: By name of the label; a token counts for its own label, that is of the token to predict.
    """

    total: LabelQuality
    by_label: dict[str, LabelQuality]


Reference = list[Tensor]
"""The original's log-probabilities, batch by batch, ``(N, V)`` each."""

Before = Callable[[LabelledTokens], None]


@torch.no_grad()
def reference(model: Any, tokens: LabelledTokens, *, rows: int = 8) -> Reference:
    """Return the distributions that others are compared with.

    :param model: The original.
    :param tokens: Held-out text.
    :param rows: Rows in a batch.
    :returns: Log-probabilities of each batch.
    :raises ShrinkError: If they would not fit in 1.6 GB.
    """
    n_words = model.config.get_text_config().vocab_size
    if tokens.n_tokens * n_words > _MOST_VALUES:
        raise ShrinkError(
            f"{tokens.n_tokens} held-out tokens of {n_words} words are too many to compare distributions on; "
            f"at most {_MOST_VALUES // n_words} fit. Hold out less."
        )
    return [_log_p(model, batch)[0] for batch in tokens.batches(rows)]


@torch.no_grad()
def judge(
    model: Any, tokens: LabelledTokens, *, original: Reference | None, rows: int = 8, before: Before | None = None
) -> Quality:
    """Measure perplexity and divergence on held-out text.

    :param model: The model to judge.
    :param tokens: Held-out text.
    :param original: From :func:`reference`, with the same tokens and rows; ``None`` leaves the divergence out.
    :param rows: Rows in a batch.
    :param before: Called with each batch before it is run (:meth:`~moe_backbone.smaller.skipping.Skipping.set_labels`).
    :returns: The quality.
    """
    losses, labels, kls, tops = [], [], [], []
    for number, batch in enumerate(tokens.batches(rows)):
        if before is not None:
            before(batch)
        log_q_NV, target_N, label_N = _log_p(model, batch)
        losses.append(-log_q_NV.gather(1, target_N[:, None])[:, 0].double())
        labels.append(label_N)
        if original is not None:
            log_p_NV = original[number]
            kls.append((log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1).double())
            tops.append((log_p_NV.argmax(-1) == log_q_NV.argmax(-1)).double())
    label_all = torch.cat(labels)
    values = [torch.cat(part) if part else None for part in (losses, kls, tops)]
    return Quality(
        total=_mean(values, torch.ones_like(label_all, dtype=torch.bool)),
        by_label={
            name: _mean(values, label_all == place)
            for place, name in enumerate(tokens.labels)
            if bool((label_all == place).any())
        },
    )


def _mean(values: list[Tensor | None], which: Tensor) -> LabelQuality:
    loss, kl, top = (None if part is None else float(part[which].mean()) for part in values)
    kl = None if kl is None else max(kl, 0.0)  # rounding alone makes it negative
    return LabelQuality(n_tokens=int(which.sum()), perplexity=math.exp(min(loss or 0.0, 700.0)), kl=kl, same_top=top)


def _log_p(model: Any, batch: LabelledTokens) -> tuple[Tensor, Tensor, Tensor]:
    device = next(model.parameters()).device
    mask = (batch.label >= 0).long().to(device)
    logits = model(input_ids=batch.ids.to(device), attention_mask=mask).logits[:, :-1]
    judged = batch.label[:, 1:] >= 0
    log_p_NV = logits[judged.to(device)].float().log_softmax(-1).cpu()
    return log_p_NV, batch.ids[:, 1:][judged], batch.label[:, 1:][judged]


@torch.no_grad()
def next_tokens(model: Any, tokens: LabelledTokens) -> Tensor:
    """Return the log-probabilities of the next token at every place that is not padding. *Shape:* ``(N, V)``."""
    device = next(model.parameters()).device
    mask = (tokens.label >= 0).to(device)
    logits = model(input_ids=tokens.ids.to(device), attention_mask=mask.long()).logits
    log_p_NV: Tensor = logits[mask].float().log_softmax(-1)
    return log_p_NV


def kl_divergence(log_p_NV: Tensor, log_q_NV: Tensor) -> float:
    """Return the mean of KL(p, q) over places, in nats."""
    return float((log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Speed on this machine, and over that of the original measured in turns with it.

    :param prefill_per_s: Tokens of a prompt per second.
    :param decode_per_s: Tokens per second one after the other, with a key-value cache.
    :param prefill_ratio: Over the original's; above 1 is faster.
    :param decode_ratio: Over the original's.
    """

    prefill_per_s: float
    decode_per_s: float
    prefill_ratio: float
    decode_ratio: float


@torch.no_grad()
def compare_speed(original: Any, changed: Any, ids_1S: Tensor, *, n_new: int = 8, rounds: int = 3) -> Speed:
    """Time two models in turns and keep the best of the rounds.

    :param original: The model to compare with.
    :param changed: The changed model.
    :param ids_1S: A prompt. *Shape:* ``(1, S)``.
    :param n_new: Tokens to decode.
    :param rounds: Rounds of each.
    :returns: The speed of ``changed``.
    """
    best = {0: (math.inf, math.inf), 1: (math.inf, math.inf)}
    for _ in range(rounds + 1):  # the first round warms up, and counts only if it is the best
        for which, model in enumerate((original, changed)):
            times = _times(model, ids_1S, n_new)
            best[which] = (min(best[which][0], times[0]), min(best[which][1], times[1]))
    return Speed(
        prefill_per_s=ids_1S.shape[1] / best[1][0],
        decode_per_s=n_new / best[1][1],
        prefill_ratio=best[0][0] / best[1][0],
        decode_ratio=best[0][1] / best[1][1],
    )


def _times(model: Any, ids_1S: Tensor, n_new: int) -> tuple[float, float]:
    start = time.perf_counter()
    out = model(input_ids=ids_1S, use_cache=True)
    prefill = time.perf_counter() - start
    cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
    start = time.perf_counter()
    for _ in range(n_new):
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
    return prefill, time.perf_counter() - start

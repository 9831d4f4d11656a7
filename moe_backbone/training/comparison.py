"""Size, quality and speed of models side by side, on the same held-out tokens and in one run.

Layer: ``moe_backbone``; imports torch only.
Speed is the median over rounds in which the models take turns, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from moe_backbone.blocks import find_blocks
from moe_backbone.training.data import Batch
from moe_backbone.training.objectives import NextToken

__all__ = ["ModelFigures", "active_parameters", "compare", "held_out_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What is known of one model.

    :param parameters: Parameters, tied ones once.
    :param active_parameters: Parameters that a token uses: of the routed experts, top_k of E.
    :param size_bytes: Bytes of the parameters.
    :param loss: Cross-entropy on the held-out tokens, nats per token; lower is better.
    :param perplexity: ``exp(loss)``.
    :param tokens_per_s: Held-out tokens per second, forward passes only.
    """

    parameters: int
    active_parameters: int
    size_bytes: int
    loss: float
    perplexity: float
    tokens_per_s: float

    def to_mapping(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def active_parameters(model: nn.Module) -> int:
    """Count the parameters that one token uses."""
    total = sum(parameter.numel() for parameter in model.parameters())
    config: Any = getattr(model, "config", None)
    for block in find_blocks(model):
        top_k = getattr(block.router, "top_k", None) or getattr(config, "num_experts_per_tok", None) or block.n_experts
        routed = sum(
            parameter.numel()
            for parameter in block.experts.parameters()
            if parameter.ndim > 1 and len(parameter) == block.n_experts
        )
        total -= round(routed * (1 - min(int(top_k), block.n_experts) / block.n_experts))
    return total


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: Sequence[Batch]) -> float:
    """Return the cross-entropy of the next token, in nats per predicted token."""
    objective = NextToken()
    was_training = model.training
    model.eval()
    sums = [(float(objective(model, batch).loss), objective.n_targets(batch)) for batch in batches]
    model.train(was_training)
    return sum(loss for loss, _ in sums) / max(1, sum(n for _, n in sums))


@torch.no_grad()
def compare(
    models: Mapping[str, nn.Module],
    batches: Sequence[Batch],
    *,
    n_rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, ModelFigures]:
    """Measure models on the same held-out batches.

    :param models: By name, all on one device.
    :param batches: Held-out batches on that device, at least one.
    :param n_rounds: Rounds of the speed measurement; the first forward passes are those of the loss and not counted.
    :param clock: Seconds.
    :returns: The figures of each.
    """
    losses = {name: held_out_loss(model, batches) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(n_rounds):
        for name, model in models.items():
            seconds[name].append(_one_round(model, batches[0], clock))
    return {
        name: ModelFigures(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            active_parameters=active_parameters(model),
            size_bytes=sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()),
            loss=losses[name],
            perplexity=math.exp(min(losses[name], 700.0)),
            tokens_per_s=batches[0].n_tokens / max(statistics.median(seconds[name]), 1e-9),
        )
        for name, model in models.items()
    }


def _one_round(model: nn.Module, batch: Batch, clock: Callable[[], float]) -> float:
    called: Any = model
    was_training = model.training
    model.eval()
    started = clock()
    called(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False)
    if batch.ids.device.type == "cuda":
        torch.cuda.synchronize(batch.ids.device)
    taken = clock() - started
    model.train(was_training)
    return taken

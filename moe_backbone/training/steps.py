"""One optimiser step's gradient, summed over micro-batches exactly as one large batch would give it.

Layer: ``moe_backbone``; imports torch only.
The next-token loss is divided by the targets of the whole step, and the z-loss by its tokens. The load-balance loss
needs more: its gradient weighs each expert by its share of the *whole* step, which is known only after a pass over all
micro-batches. So those are first run without a gradient, with the same random numbers, and counted.

Shape suffixes: L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_backbone.losses.balance import RoutingTotals
from moe_backbone.routers.context import SKILLS, routing_context
from moe_backbone.training.config import StageConfig, TrainingError
from moe_backbone.training.data import Batch
from moe_backbone.training.objectives import Objective
from moe_backbone.training.routing import RoutedLayer, RouterTap, add_totals, balance_losses, count_routing, z_loss
from moe_backbone.training.state import random_states, restore_random_states

__all__ = ["BatchContext", "RoutingLoss", "StepResult", "accumulate_gradient", "token_context"]

BatchContext = Callable[[nn.Module, Batch], AbstractContextManager[object]]
"""Opened around each forward pass: tells routers of a task or a modality what the tokens of the micro-batch are."""

RoutingLoss = Callable[[Sequence[RoutedLayer], Batch], Tensor]
"""A further loss of the routers of one micro-batch, weighted; a mean over its tokens. *Shape:* ``()``."""


def token_context(model: nn.Module, batch: Batch) -> AbstractContextManager[object]:
    """Tell our routers modalities and padding, and the skill where the micro-batch has a single one."""
    skills = [] if batch.skill is None else sorted(set(batch.skill[batch.mask].tolist()))
    skill = SKILLS[skills[0]] if len(skills) == 1 else None
    return routing_context(modality=batch.modality, mask=batch.mask, skill=skill)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step's gradient was made of.

    :param loss: What was minimised, all parts together.
    :param objective: The objective's share of it, per target.
    :param parts: The objective's other sums, per target.
    :param balance: Load-balance loss of each layer: 1 is uniform. Empty without experts.
    :param z: Router z-loss.
    :param load: Share of the slots of each layer's busiest expert.
    :param totals: The routing of the whole step.
    :param n_targets: Targets of the objective.
    :param n_tokens: Tokens that are no padding.
    """

    loss: float
    objective: float
    parts: dict[str, float]
    balance: tuple[float, ...]
    z: float
    load: tuple[float, ...]
    totals: list[RoutingTotals]
    n_targets: int
    n_tokens: int


def accumulate_gradient(
    model: nn.Module,
    micro_batches: Sequence[Batch],
    *,
    objective: Objective,
    stage: StageConfig,
    tap: RouterTap,
    whole_batch_balance: bool = True,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    context: BatchContext = token_context,
    routing_loss: RoutingLoss | None = None,
) -> StepResult:
    """Add the gradient of one step to the ``grad`` of the trained parameters.

    :param model: The model, in the mode (training or not) in which it shall run.
    :param micro_batches: The micro-batches of the step, on the model's device.
    :param objective: What is minimised.
    :param stage: Gives the weights of the balance and z losses.
    :param tap: An entered tap of ``model``.
    :param whole_batch_balance: Balance over the step instead of over each micro-batch.
    :param autocast: Opens the context of the forward passes.
    :param context: Opened around each forward pass; see :data:`BatchContext`.
    :param routing_loss: Added for each micro-batch, in proportion to its tokens: exact over micro-batches where it is a
        mean over tokens (as entropies per token are), close to it otherwise.
    :returns: What it was made of.
    :raises TrainingError: If no token or pair of the step is a target.
    """
    n_targets = sum(objective.n_targets(batch) for batch in micro_batches)
    n_tokens = sum(batch.n_tokens for batch in micro_batches)
    if n_targets == 0:
        raise TrainingError(
            "no token of this step has a label: nothing can be learnt from it. Check the data's labels."
        )
    whole: list[RoutingTotals] | None = None
    if stage.balance_weight > 0 and whole_batch_balance and len(micro_batches) > 1 and tap.blocks:
        whole = _count(model, micro_batches, tap=tap, autocast=autocast, context=context)
    sums = _Sums()
    for batch in micro_batches:
        with tap.recording() as layers, autocast(), context(model, batch):
            judged = objective(model, batch)
        loss = judged.loss / n_targets
        sums.add("objective", loss)
        for name, value in judged.parts.items():
            sums.add(f"part/{name}", value / n_targets)
        if layers:
            here = count_routing(layers, mask=batch.mask)
            sums.totals.append(here)
            share = 1.0 if whole is not None else batch.n_tokens / n_tokens
            balance_L = share * balance_losses(layers, mask=batch.mask, totals=whole if whole is not None else here)
            z = z_loss(layers, mask=batch.mask, n_tokens=n_tokens)
            loss = loss + stage.balance_weight * balance_L.mean() + stage.z_weight * z
            sums.add("balance", balance_L)
            sums.add("z", z)
            if routing_loss is not None:
                further = batch.n_tokens / n_tokens * routing_loss(layers, batch)
                loss = loss + further
                sums.add("part/routing_loss", further)
        sums.add("loss", loss)
        loss.backward()  # type: ignore[no-untyped-call]
    return sums.result(n_targets=n_targets, n_tokens=n_tokens)


@torch.no_grad()
def _count(
    model: nn.Module,
    micro_batches: Sequence[Batch],
    *,
    tap: RouterTap,
    autocast: Callable[[], AbstractContextManager[object]],
    context: BatchContext,
) -> list[RoutingTotals]:
    """Count the routing of all micro-batches without a gradient, and leave the random states as they were."""
    counted = []
    with _replayed_random_numbers():
        for batch in micro_batches:
            with tap.recording() as layers, autocast(), context(model, batch):
                model(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False)
            counted.append(count_routing(layers, mask=batch.mask))
    return add_totals(counted)


@contextmanager
def _replayed_random_numbers() -> Iterator[None]:
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)


class _Sums:
    """Sums over micro-batches that stay on the device until the step is done."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.totals: list[list[RoutingTotals]] = []

    def add(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self.values[name] = self.values[name] + value if name in self.values else value

    def result(self, *, n_targets: int, n_tokens: int) -> StepResult:
        totals = add_totals(self.totals) if self.totals else []
        parts = {name.removeprefix("part/"): float(v) for name, v in self.values.items() if name.startswith("part/")}
        return StepResult(
            loss=float(self.values["loss"]),
            objective=float(self.values["objective"]),
            parts=parts,
            balance=tuple(self.values["balance"].tolist()) if "balance" in self.values else (),
            z=float(self.values.get("z", torch.zeros(()))),
            load=tuple(float(total.counts.max() / total.counts.sum().clamp(min=1)) for total in totals),
            totals=totals,
            n_targets=n_targets,
            n_tokens=n_tokens,
        )

"""The four ways to make a mixture of experts smaller, each with the baselines that it has to beat.

Layer: ``moe_backbone``; imports torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from moe_backbone.smaller.calibration import Calibration
from moe_backbone.smaller.criteria import choose_experts, score_experts
from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.merging import cluster_experts, merge, merge_costs, random_groups, squared_gates
from moe_backbone.smaller.mixed import BitCosts, choose_bits, expert_sizes, measure_bit_costs, mix_precision
from moe_backbone.smaller.packing import BITS
from moe_backbone.smaller.pruning import prune
from moe_backbone.smaller.skipping import SkipPolicy, find_policy, layer_importance
from moe_backbone.smaller.surgery import experts_per_token, require_blocks

__all__ = ["METHODS", "Settings", "Variant", "Workbench"]

_DRAWS = 3


class Settings(Protocol):
    """What the methods read of a request (:class:`~moe_backbone.smaller.runs.ShrinkRequest`)."""

    @property
    def criterion(self) -> str: ...  # noqa: D102
    @property
    def stock(self) -> bool: ...  # noqa: D102
    @property
    def bits(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def compensate(self) -> bool: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def label_weights(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A model to judge.

    :param name: What it is.
    :param budget: What was asked for.
    :param model: The model.
    :param policy: A policy of skipping to judge it with.
    :param random_share: Share of the slots to skip by lot.
    :param more_draws: Further models of a random baseline; its quality is the mean.
    :param is_result: Whether it is the result, to be saved, and not a baseline.
    :param is_timed: Whether its speed is measured.
    :param details: What to report of it.
    """

    name: str
    budget: float | None
    model: Any
    policy: SkipPolicy | None = None
    random_share: float | None = None
    more_draws: tuple[Any, ...] = ()
    is_result: bool = False
    is_timed: bool = False
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Workbench:
    """What the methods work with; what they measure once, they keep here for the next budget.

    :param model: The original.
    :param calibration: Of it.
    :param probe: A small batch of the calibration text with every label in it.
    :param request: Settings.
    :param on_progress: Told of each stage.
    """

    model: Any
    calibration: Calibration
    probe: LabelledTokens
    request: Settings
    on_progress: Callable[[str, int, int], None]
    _importance: tuple[float, ...] | None = None
    _merge_costs: list[torch.Tensor] | None = None
    _costs: BitCosts | None = None

    @property
    def importance(self) -> tuple[float, ...]:
        """Importance of each layer."""
        if self._importance is None:
            self.on_progress("measuring layers", 0, 1)
            self._importance = layer_importance(self.model, self.probe)
        return self._importance

    @property
    def merge_costs(self) -> list[torch.Tensor]:
        """What joining each two experts of each layer costs."""
        if self._merge_costs is None:
            self.on_progress("comparing experts", 0, 1)
            pairs = zip(require_blocks(self.model), self.calibration.layers, strict=True)
            self._merge_costs = [merge_costs(block, layer) for block, layer in pairs]
        return self._merge_costs

    @property
    def costs(self) -> BitCosts:
        """What each expert costs in each number of bits."""
        if self._costs is None:
            self._costs = measure_bit_costs(
                self.model,
                self.calibration,
                bits=self.request.bits,
                probe=self.probe,
                on_progress=lambda done, total: self.on_progress("measuring bits", done, total),
            )
        return self._costs


def _prune(bench: Workbench, budget: float) -> Iterator[Variant]:
    blocks = require_blocks(bench.model)
    floors = [experts_per_token(block) for block in blocks]
    request = bench.request

    def pruned(criterion: str, seed: int) -> tuple[Any, list[int]]:
        scores = score_experts(blocks, bench.calibration, criterion, label_weights=request.label_weights, seed=seed)
        kept = choose_experts(scores, share=budget, floors=floors, per_layer=request.stock)
        return prune(bench.model, kept), [len(ids) for ids in kept]

    model, counts = pruned(request.criterion, request.seed)
    details = {"criterion": request.criterion, "experts_per_layer": counts}
    yield Variant(name="prune", budget=budget, model=model, is_result=True, is_timed=True, details=details)
    draws = [pruned("random", request.seed + draw)[0] for draw in range(_DRAWS)]
    yield Variant(name="random", budget=budget, model=draws[0], more_draws=tuple(draws[1:]), details={"draws": _DRAWS})


def _merge(bench: Workbench, budget: float) -> Iterator[Variant]:
    blocks = require_blocks(bench.model)
    floors = [experts_per_token(block) for block in blocks] if bench.request.stock else None
    used = [
        squared_gates(layer, block.n_experts) for block, layer in zip(blocks, bench.calibration.layers, strict=True)
    ]
    groups = cluster_experts(bench.merge_costs, used, share=budget, per_layer=bench.request.stock, floors=floors)
    model = merge(bench.model, groups, bench.calibration, stock=bench.request.stock)
    counts = [len(parts) for parts in groups]
    yield Variant(
        name="merge", budget=budget, model=model, is_result=True, is_timed=True, details={"groups_per_layer": counts}
    )
    sizes = [(block.n_experts, count) for block, count in zip(blocks, counts, strict=True)]
    draws = [
        merge(
            bench.model,
            random_groups(sizes, seed=bench.request.seed + draw),
            bench.calibration,
            stock=bench.request.stock,
        )
        for draw in range(_DRAWS)
    ]
    yield Variant(name="random", budget=budget, model=draws[0], more_draws=tuple(draws[1:]), details={"draws": _DRAWS})


def _skip(bench: Workbench, budget: float) -> Iterator[Variant]:
    bench.on_progress("searching thresholds", 0, 1)
    policy, found = find_policy(bench.model, bench.calibration, bench.probe, run=budget, importance=bench.importance)
    details = {
        "text_threshold": policy.text_threshold,
        "evidence_threshold": policy.evidence_threshold,
        "skipped_when_found": found.skipped,
        "n_evaluations": found.n_evaluations,
        "layer_importance": list(policy.layer_importance),
    }
    yield Variant(
        name="skip", budget=budget, model=bench.model, policy=policy, is_result=True, is_timed=True, details=details
    )
    yield Variant(
        name="random", budget=budget, model=bench.model, random_share=found.skipped, details={"draws": _DRAWS}
    )


def _mixed(bench: Workbench, budget: float) -> Iterator[Variant]:
    bits = choose_bits(bench.costs, average_bits=budget)
    calibration = bench.calibration if bench.request.compensate else None

    def packed(chosen: list[tuple[int, ...]]) -> Any:
        return mix_precision(
            bench.model,
            chosen,
            calibration,
            on_progress=lambda done, total: bench.on_progress("packing", done, total),
        )

    details: dict[str, Any] = {"bits_per_expert": [list(own) for own in bits], "compensated": bench.request.compensate}
    yield Variant(name="mixed", budget=budget, model=packed(bits), is_result=True, is_timed=True, details=details)
    widest = _widest_uniform(bench, budget)
    if widest is not None:
        uniform = [(widest,) * len(own) for own in bits]
        yield Variant(name=f"uniform {widest}", budget=budget, model=packed(uniform))
    shuffled = _shuffled(bits, seed=bench.request.seed)
    yield Variant(name="random", budget=budget, model=packed(shuffled), details={"draws": 1})


def _widest_uniform(bench: Workbench, budget: float) -> int | None:
    blocks = require_blocks(bench.model)
    weights = sum(n * block.n_experts for n, block in zip(bench.costs.n_weights, blocks, strict=True))
    fits = [
        width
        for width in BITS
        if sum(block.n_experts * expert_sizes(block, [width])[0] for block in blocks) <= budget / 8 * weights
    ]
    return max(fits, default=None)


def _shuffled(bits: list[tuple[int, ...]], *, seed: int) -> list[tuple[int, ...]]:
    """Give the same numbers of bits to other experts, by lot, layer by layer so that none is pruned empty."""
    generator = torch.Generator().manual_seed(seed)
    return [tuple(own[place] for place in torch.randperm(len(own), generator=generator).tolist()) for own in bits]


METHODS: dict[str, Callable[[Workbench, float], Iterator[Variant]]] = {
    "prune": _prune,
    "merge": _merge,
    "skip": _skip,
    "mixed": _mixed,
}
"""From a method's name to a function that yields its result first and then its baselines."""

"""What was recorded of a model's routing, as plain numbers.

Layer: ``moe_backbone``; the standard library only.

Shape suffixes: E experts, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["UNLABELLED", "LabelRouting", "LayerRouting", "RoutingStats", "relative_entropy", "specialisation"]

UNLABELLED = "unlabelled"
"""What tokens without a label are counted under, where a recorder has labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRouting:
    """How the tokens of one label were routed in one layer.

    :param n_tokens: Tokens routed.
    :param counts: Slots that went to each expert. *Length:* E.
    :param n_skipped: Slots that held no expert.
    """

    n_tokens: int
    counts: tuple[int, ...]
    n_skipped: int

    @property
    def load(self) -> tuple[float, ...]:
        """Share of the used slots that went to each expert; sums to 1, or all 0 if nothing was routed."""
        used = sum(self.counts)
        return tuple(count / used for count in self.counts) if used else (0.0,) * len(self.counts)

    @property
    def skipped(self) -> float:
        """Share of the slots that held no expert, in [0, 1]."""
        n_slots = sum(self.counts) + self.n_skipped
        return self.n_skipped / n_slots if n_slots else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRouting:
    """How one layer routed.

    :param name: Name of the router module in the model.
    :param n_tokens: Tokens routed; padding is not counted.
    :param counts: Slots that went to each expert. *Length:* E.
    :param n_skipped: Slots that held no expert.
    :param pairs: ``pairs[i][j]`` is how many tokens visited both expert i and expert j; the diagonal is how many
        visited i. *Shape:* ``(E, E)``, symmetric.
    :param router_entropy: Mean over tokens of the entropy of the softmax of the logits over its maximum, in [0, 1]: 0
        is certain, 1 undecided. NaN where the logits were not seen or never finite.
    :param confidence: Mean over tokens of the largest probability of that softmax, in [1/E, 1]; NaN as above.
    :param probabilities: Mean over tokens of that softmax, by expert; empty where no logits were seen. *Length:* E.
    :param mean_square_z: Mean over tokens of the squared log-partition, what a z-loss keeps small; NaN as above.
    :param largest_logit: The largest logit by size; NaN as above.
    :param n_not_finite: Tokens whose logits held a NaN or an infinity (but -inf, which forbids an expert).
    :param labels: The same counts for the tokens of each label.
    """

    name: str
    n_tokens: int
    counts: tuple[int, ...]
    n_skipped: int
    pairs: tuple[tuple[int, ...], ...]
    router_entropy: float
    confidence: float
    probabilities: tuple[float, ...]
    mean_square_z: float
    largest_logit: float
    n_not_finite: int
    labels: Mapping[str, LabelRouting] = field(default_factory=dict)

    @property
    def n_experts(self) -> int:
        """Routed experts E."""
        return len(self.counts)

    @property
    def load(self) -> tuple[float, ...]:
        """Share of the used slots that went to each expert; sums to 1, or all 0 if nothing was routed."""
        return LabelRouting(n_tokens=self.n_tokens, counts=self.counts, n_skipped=self.n_skipped).load

    @property
    def skipped(self) -> float:
        """Share of the slots that held no expert, in [0, 1]."""
        return LabelRouting(n_tokens=self.n_tokens, counts=self.counts, n_skipped=self.n_skipped).skipped

    @property
    def load_entropy(self) -> float:
        """Entropy of the load over its maximum, in [0, 1]: 1 is perfectly balanced, 0 collapsed."""
        return relative_entropy(self.load)

    @property
    def dead(self) -> tuple[int, ...]:
        """Experts that no slot went to; none if nothing was routed."""
        return tuple(expert for expert, count in enumerate(self.counts) if not count) if self.n_tokens else ()

    @property
    def balance_loss(self) -> float:
        """The load-balance loss of this layer alone: 1 if uniform, up to E if collapsed; NaN without probabilities.

        Source: Fedus et al. 2021, arXiv:2101.03961, section 2.2, over the top k.
        """
        if not self.probabilities:
            return math.nan
        return self.n_experts * sum(f * p for f, p in zip(self.load, self.probabilities, strict=True))

    @property
    def specialisation(self) -> float:
        """How differently the labels use the experts, in [0, 1] (:func:`specialisation`)."""
        return specialisation([one.load for one in self.labels.values() if sum(one.counts)])

    def together(self, first: int, second: int) -> float:
        """Return how often two experts are chosen together, beyond chance.

        :param first: An expert.
        :param second: Another one.
        :returns: Overlap of their tokens over their union (the Jaccard index), in [0, 1]; 0 if neither was used.
        """
        both = self.pairs[first][second]
        union = self.pairs[first][first] + self.pairs[second][second] - both
        return both / union if union else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingStats:
    """How every layer routed, in the order of the model; layers that saw no token are left out."""

    layers: tuple[LayerRouting, ...]

    def collapsed(self, *, below: float = 0.5) -> tuple[str, ...]:
        """Name the layers whose load entropy is below ``below``: at E=8, 0.5 is the load of fewer than 3 experts."""
        return tuple(layer.name for layer in self.layers if layer.n_tokens and layer.load_entropy < below)

    @property
    def pooled_balance_loss(self) -> float:
        """The loss as transformers computes it, over the tokens of all layers at once; NaN if layers differ in E."""
        layers = [layer for layer in self.layers if layer.probabilities]
        if len({layer.n_experts for layer in layers}) != 1:
            return math.nan
        n = sum(layer.n_tokens for layer in layers)
        load = [sum(layer.n_tokens * layer.load[e] for layer in layers) / n for e in range(layers[0].n_experts)]
        mean = [
            sum(layer.n_tokens * layer.probabilities[e] for layer in layers) / n for e in range(layers[0].n_experts)
        ]
        return len(load) * sum(f * p for f, p in zip(load, mean, strict=True))

    def dead(self) -> Mapping[str, tuple[int, ...]]:
        """Return by layer the experts that no slot went to, for the layers that have one."""
        return {layer.name: layer.dead for layer in self.layers if layer.dead}


def relative_entropy(shares: Sequence[float]) -> float:
    """Return the entropy of a distribution over its maximum.

    :param shares: Shares that sum to 1, or to 0.
    :returns: In [0, 1]: 1 if all are equal, 0 if one has everything.
    """
    largest = math.log(len(shares)) if len(shares) > 1 else 1.0
    return max(0.0, -sum(p * math.log(p) for p in shares if p > 0) / largest)


def specialisation(loads_LE: Sequence[Sequence[float]]) -> float:
    """Return the Jensen–Shannon divergence of several loads over its maximum.

    Source: Lin 1991, Divergence measures based on the Shannon entropy, section IV, with equal weights.

    :param loads_LE: One load per label, each summing to 1. *Shape:* ``(L, E)``.
    :returns: In [0, 1]: 0 if all are the same, 1 if no expert is shared; 0 for fewer than two labels.
    """
    if len(loads_LE) < 2:
        return 0.0
    mean_E = [sum(column) / len(loads_LE) for column in zip(*loads_LE, strict=True)]
    inside = sum(_entropy(load_E) for load_E in loads_LE) / len(loads_LE)
    return min(1.0, max(0.0, (_entropy(mean_E) - inside) / math.log(len(loads_LE))))


def _entropy(shares: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)

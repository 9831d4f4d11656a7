"""What is learnt about the rules: how much each counts beside the others that conclude the same relation.

Layer: ``generation``; NumPy only. :mod:`generation.completion.experts.rule_fitting` learns it.

Shape suffixes: Q rules, R relations and their inverses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "TIE_WEIGHT", "RuleStrengths"]

TIE_WEIGHT = 1e-3
"""What the share of an entity among the relation's ends counts beside the rules."""
FLOOR = 1e-7
"""What every entity counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStrengths:
    """The strength of each rule, in the order of the rules, and the tie weight of each relation; 1 is unlearnt."""

    rules_Q: NDArray[np.float32]  # noqa: N815 (shape suffix)
    ties_R: NDArray[np.float32]  # noqa: N815 (shape suffix)

    @classmethod
    def unlearnt(cls, *, n_rules: int, n_relations: int) -> RuleStrengths:
        """Make the strengths of a plain noisy-or.

        :param n_rules: Number of rules.
        :param n_relations: Number of relations without inverses.
        :returns: Ones.
        """
        return cls(rules_Q=np.ones(n_rules, dtype=np.float32), ties_R=np.ones(2 * n_relations, dtype=np.float32))

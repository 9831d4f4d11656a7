"""How names are matched where nobody was asked to: equal names mean one thing, and no two names are compared.

Layer: ``kg``; the standard library only. It satisfies :class:`kg.ports.EntityMatcher`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kg.ports import EntityProfile, LinkProposal, LocalEntity
from kg.types import GraphDelta

__all__ = ["NamesOnlyMatcher"]


class NamesOnlyMatcher:
    """One sense for each name, and no links."""

    version: str = "names-only-1"

    def features(self, delta: GraphDelta) -> Mapping[str, tuple[str, ...]]:
        """Return no features: nothing is told apart by them."""
        return {}

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        """Take all for one thing."""
        return [0] * len(locals_of_name)

    def blocks(self, profile: EntityProfile) -> frozenset[str]:
        """Return no keys: nothing is compared."""
        return frozenset()

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        """Propose nothing."""
        return None

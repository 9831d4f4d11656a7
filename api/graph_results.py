"""What the graph's service hands to the edges.

Layer: ``api``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.ports import GraphStatistics, Neighbour
from kg.types import Entity

if TYPE_CHECKING:
    from kg.graph.communities import CommunitySummary
    from kg.graph.views import Hop

__all__ = ["CommunityList", "CopyStatus", "Found", "Neighbourhood", "PathList"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The entity that a name was taken for, and the others that it could have meant."""

    entity: Entity
    others: tuple[Entity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """What an entity is related to, each with its best sentence, if one was asked for."""

    found: Found
    neighbours: tuple[Neighbour, ...]
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathList:
    """The shortest ways between two entities, hop by hop, with the sentence behind each."""

    start: Found
    end: Found
    paths: tuple[tuple[Hop, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityList:
    """Communities with their summaries; ``n_found`` counts those that were too small or too many to list as well."""

    communities: tuple[CommunitySummary, ...]
    n_found: int
    n_entities: int
    n_outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatus:
    """How the copy in the graph database stands; ``error`` says why it could not be asked."""

    uri: str
    record_version: int
    copy_version: int | None = None
    counts: GraphStatistics | None = None
    error: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the copy shows what the record holds."""
        return self.copy_version == self.record_version

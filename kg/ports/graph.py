"""The graph as others hold it: what can be read from a graph store, and how one is brought up to the record.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.ports`.

The record is the truth. A graph store is either a way of reading it (:mod:`kg.graph.record_graph`) or a copy that is
brought up to it by version (:mod:`kg.graph.mirror`), so it can vanish at any time without anything being lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Protocol, runtime_checkable

from kg.types import Entity, EvidenceLevel, Modality, Origin, Relation

__all__ = [
    "ChunkNode",
    "Direction",
    "DocumentNode",
    "GraphChanges",
    "GraphContents",
    "GraphPath",
    "GraphStatistics",
    "GraphStore",
    "MentionLink",
    "Neighbour",
    "RelationKey",
    "Statement",
    "Subgraph",
    "WritableGraphStore",
]

RelationKey = tuple[str, str, str]
"""``(head_id, name, tail_id)``."""


class Direction(StrEnum):
    """Which way a relation runs, seen from one entity."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentNode:
    """A document, as a graph store keeps it: what a citation needs, not its text."""

    document_id: str
    name: str
    source: str
    title: str
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkNode:
    """A chunk, as a graph store keeps it: its place, not its text."""

    chunk_id: str
    document_id: str
    ordinal: int
    page_first: int
    page_last: int
    modality: Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionLink:
    """An entity is named in a chunk, ``n_mentions`` times."""

    entity_id: str
    chunk_id: str
    n_mentions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence that supports a relation, with where it stands.

    ``start`` and ``end`` are in the coordinates of ``Chunk.span`` (the document's text, or the caption or table that
    the chunk was cut from, which ``asset_id`` and ``modality`` tell); ``quote`` is the text there. ``page`` counts from
    1, and is 0 where the document's format has no pages. ``score`` is the confidence in ``[0, 1]``, higher is better.
    """

    statement_id: str
    head_id: str
    name: str
    tail_id: str
    origin: Origin
    document_id: str
    document_name: str
    chunk_id: str
    page: int
    modality: Modality
    asset_id: str
    start: int
    end: int
    quote: str
    extractor: str
    score: float

    @property
    def relation(self) -> RelationKey:
        """The relation that it supports."""
        return (self.head_id, self.name, self.tail_id)

    @property
    def level(self) -> EvidenceLevel:
        """The grade of ``score``."""
        return EvidenceLevel.of(self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An entity at the other end of a relation; ``direction`` is the relation's way, seen from where one asked."""

    entity: Entity
    relation: Relation
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """Entities by nearness to the seeds, and all relations between them by id.

    ``hops`` are the entities' distances from the nearest seed, in relations. ``n_left_out`` counts the entities within
    reach of one relation that were left out because ``max_nodes`` was reached.
    """

    entities: tuple[Entity, ...]
    hops: tuple[int, ...]
    relations: tuple[Relation, ...]
    n_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPath:
    """A way between two entities. ``hops[i]`` are all relations between ``entities[i]`` and the next one.

    ``weight`` is the sum over hops of the statements of the best supported relation; higher is better.
    """

    entities: tuple[Entity, ...]
    hops: tuple[tuple[Relation, ...], ...]
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    """How much a graph store holds."""

    n_documents: int = 0
    n_chunks: int = 0
    n_entities: int = 0
    n_relations: int = 0
    n_statements: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphChanges:
    """A part of a change. Every part may be applied again, in the order of the whole: the outcome is the same.

    Applied in the order of the fields: what is removed goes first. A removed document takes its chunks, mentions and
    statements with it; a removed entity its relations. ``version`` is set in the last part only: the record's version
    that the store has reached when the part is in.
    """

    removed_documents: tuple[str, ...] = ()
    removed_entities: tuple[str, ...] = ()
    removed_statements: tuple[str, ...] = ()
    removed_relations: tuple[Relation, ...] = ()
    removed_mentions: tuple[MentionLink, ...] = ()
    documents: tuple[DocumentNode, ...] = ()
    chunks: tuple[ChunkNode, ...] = ()
    entities: tuple[Entity, ...] = ()
    mentions: tuple[MentionLink, ...] = ()
    relations: tuple[Relation, ...] = ()
    statements: tuple[Statement, ...] = ()
    version: int | None = None

    @property
    def n_rows(self) -> int:
        """Count the rows of all parts."""
        parts = (getattr(self, field.name) for field in fields(self) if field.name != "version")
        return sum(len(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContents:
    """What a graph store holds around some entities, to be compared with the record.

    ``statements`` gives the relation of each statement that has one of them at an end, by statement id.
    """

    mentions: frozenset[MentionLink] = frozenset()
    relations: frozenset[Relation] = frozenset()
    statements: Mapping[str, RelationKey] = field(default_factory=dict)


@runtime_checkable
class GraphStore(Protocol):
    """A graph that can be read. Every list is in an order that does not depend on the store."""

    name: str

    def version(self) -> int | None:
        """Return the record's version that the graph shows, or ``None`` if it never held a whole one."""
        ...

    def entities(self, entity_ids: Sequence[str] | None = None) -> list[Entity]:
        """Return these entities in the order given (``NotFoundError`` for an unknown one), or all of them by id."""
        ...

    def find(self, name: str, *, limit: int = 10) -> list[Entity]:
        """Return entities called ``name``: exactly, then but for case and white space, then as an alias."""
        ...

    def relations(self, *, entity_id: str | None = None) -> list[Relation]:
        """Return relations (that touch an entity), by id, then origin."""
        ...

    def neighbours(
        self,
        entity_id: str,
        *,
        names: Sequence[str] = (),
        direction: Direction = Direction.BOTH,
        limit: int = 50,
    ) -> list[Neighbour]:
        """Return what an entity is related to, the best supported first; ``names`` keeps these relations only."""
        ...

    def subgraph(self, entity_ids: Sequence[str], *, hops: int = 2, max_nodes: int = 200) -> Subgraph:
        """Return what lies within ``hops`` relations of the seeds, the best supported first, up to ``max_nodes``."""
        ...

    def shortest_paths(self, start_id: str, end_id: str, *, max_hops: int = 4, limit: int = 5) -> list[GraphPath]:
        """Return the shortest ways between two entities, whichever way relations run, the best supported first."""
        ...

    def statements(self, relation: RelationKey, *, limit: int = 20) -> list[Statement]:
        """Return what supports a relation, by falling score, then document id, place and statement id."""
        ...

    def statistics(self) -> GraphStatistics:
        """Count what the graph holds."""
        ...

    def close(self) -> None:
        """Release what the store holds open."""
        ...


@runtime_checkable
class WritableGraphStore(GraphStore, Protocol):
    """A graph store that is a copy, and is brought up to the record (:func:`kg.graph.mirror.sync`)."""

    def prepare(self) -> None:
        """Create constraints and indexes that are not there yet."""
        ...

    def document_ids(self) -> set[str]:
        """Return the ids of the documents it holds."""
        ...

    def contents(self, entity_ids: Sequence[str]) -> GraphContents:
        """Return what it holds around these entities; unknown ids have nothing around them."""
        ...

    def apply(self, changes: GraphChanges) -> None:
        """Write one part of a change in one transaction; applying it again changes nothing."""
        ...

    def clear(self) -> None:
        """Delete everything that belongs to the workspace; its version is forgotten first."""
        ...

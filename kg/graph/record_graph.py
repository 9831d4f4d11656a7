"""The record read as a graph: the embedded implementation of :class:`kg.ports.GraphStore`.

Layer: ``kg``; the standard library. Writing is the record's own business. Walks need the relations of many entities at
once, so all relations are read once and kept until the record's version changes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from kg.graph.names import name_tier
from kg.graph.statements import relation_statements
from kg.graph.walks import expand, require_walk, shortest
from kg.ports import Direction, GraphPath, GraphStatistics, Neighbour, RecordStore, RelationKey, Statement, Subgraph
from kg.types import DocumentInfo, Entity, Relation

__all__ = ["RecordGraph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adjacency:
    version: int
    touching: dict[str, list[Relation]]

    def of(self, entity_id: str) -> list[Relation]:
        return self.touching.get(entity_id, [])


class RecordGraph:
    """A record as a graph; safe to share between threads.

    :param store: The record, which the caller closes.
    """

    name = "record"

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._adjacency: _Adjacency | None = None
        self._listed: tuple[int, dict[str, DocumentInfo]] | None = None

    def version(self) -> int | None:
        """Return the record's version."""
        return self._store.version()

    def entities(self, entity_ids: Sequence[str] | None = None) -> list[Entity]:
        """Return these entities in the order given (``NotFoundError`` for an unknown one), or all of them by id."""
        return self._store.entities(entity_ids)

    def find(self, name: str, *, limit: int = 10) -> list[Entity]:
        """Return entities called ``name``: exactly, then but for case and white space, then as an alias."""
        require_walk(hops=1, limit=limit)
        found = self._store.find_entities(name, limit=limit)
        tiers = [(tier, entity) for entity in found if (tier := name_tier(entity, name)) is not None]
        tiers.sort(key=lambda item: (item[0], -item[1].n_mentions, item[1].entity_id))
        return [entity for _, entity in tiers]

    def relations(self, *, entity_id: str | None = None) -> list[Relation]:
        """Return relations (that touch an entity), by id, then origin."""
        return self._store.relations(entity_id=entity_id)

    def neighbours(
        self,
        entity_id: str,
        *,
        names: Sequence[str] = (),
        direction: Direction = Direction.BOTH,
        limit: int = 50,
    ) -> list[Neighbour]:
        """Return what an entity is related to, the best supported first; ``names`` keeps these relations only."""
        require_walk(hops=1, limit=limit)
        self._store.entities([entity_id])
        found = [
            (relation, way)
            for relation in self._store.relations(entity_id=entity_id)
            for way in _ways(relation, entity_id)
            if direction in (Direction.BOTH, way) and (not names or relation.name in names)
        ]
        found.sort(key=lambda item: (*_support(item[0]), item[0].relation_id, item[0].origin, item[1]))
        kept = found[:limit]
        others = self._store.entities([_other(relation, way) for relation, way in kept])
        return [
            Neighbour(entity=entity, relation=relation, direction=way)
            for (relation, way), entity in zip(kept, others, strict=True)
        ]

    def subgraph(self, entity_ids: Sequence[str], *, hops: int = 2, max_nodes: int = 200) -> Subgraph:
        """Return what lies within ``hops`` relations of the seeds, the best supported first, up to ``max_nodes``."""
        require_walk(hops=hops, limit=max_nodes)
        self._store.entities(entity_ids)
        graph = self._current()

        def next_ring(ring: Sequence[str], seen: set[str], room: int) -> tuple[list[str], int]:
            best: dict[str, tuple[int, float]] = {}
            for node in ring:
                for relation in graph.of(node):
                    other = relation.tail_id if relation.head_id == node else relation.head_id
                    if other not in seen:
                        best[other] = min(best.get(other, (0, 0.0)), _support(relation))
            return sorted(best, key=lambda other: (*best[other], other))[:room], len(best)

        rings = expand(entity_ids, next_ring, hops=hops, max_nodes=max_nodes)
        inside = {
            (relation.relation_id, relation.origin): relation
            for node in rings.hops
            for relation in graph.of(node)
            if relation.head_id in rings.hops and relation.tail_id in rings.hops
        }
        return Subgraph(
            entities=tuple(self._store.entities(list(rings.hops))),
            hops=tuple(rings.hops.values()),
            relations=tuple(inside[key] for key in sorted(inside)),
            n_left_out=rings.n_left_out,
        )

    def shortest_paths(self, start_id: str, end_id: str, *, max_hops: int = 4, limit: int = 5) -> list[GraphPath]:
        """Return the shortest ways between two entities, whichever way relations run, the best supported first."""
        require_walk(hops=max_hops, limit=limit)
        self._store.entities([start_id, end_id])
        graph = self._current()
        return [
            GraphPath(
                entities=tuple(self._store.entities(way.entity_ids)),
                hops=tuple(
                    tuple(relation for relation in graph.of(left) if right in (relation.head_id, relation.tail_id))
                    for left, right in zip(way.entity_ids, way.entity_ids[1:], strict=False)
                ),
                weight=way.weight,
            )
            for way in shortest(graph.of, start_id, end_id, max_hops=max_hops, limit=limit)
        ]

    def statements(self, relation: RelationKey, *, limit: int = 20) -> list[Statement]:
        """Return what supports a relation, by falling score, then document id, place and statement id."""
        require_walk(hops=1, limit=limit)
        return relation_statements(self._store, relation, limit=limit, documents=self._documents())

    def statistics(self) -> GraphStatistics:
        """Count what the record holds."""
        counts = self._store.statistics()
        return GraphStatistics(
            n_documents=counts["documents"],
            n_chunks=counts["chunks"],
            n_entities=counts["entities"],
            n_relations=counts["relations"],
            n_statements=counts["triples"],
        )

    def close(self) -> None:
        """Do nothing: the record belongs to whoever opened it."""

    def _documents(self) -> dict[str, DocumentInfo]:
        version = self._store.version()
        with self._lock:
            if self._listed is None or self._listed[0] != version:
                self._listed = (version, {info.document_id: info for info in self._store.documents()})
            return self._listed[1]

    def _current(self) -> _Adjacency:
        version = self._store.version()
        with self._lock:
            if self._adjacency is None or self._adjacency.version != version:
                touching: dict[str, list[Relation]] = {}
                for relation in self._store.relations():
                    for end in {relation.head_id, relation.tail_id}:
                        touching.setdefault(end, []).append(relation)
                self._adjacency = _Adjacency(version=version, touching=touching)
            return self._adjacency


def _support(relation: Relation) -> tuple[int, float]:
    """Sort key: better supported relations first."""
    return (-relation.n_statements, -relation.score)


def _ways(relation: Relation, entity_id: str) -> list[Direction]:
    ways = [Direction.OUT] if relation.head_id == entity_id else []
    return [*ways, Direction.IN] if relation.tail_id == entity_id else ways


def _other(relation: Relation, way: Direction) -> str:
    return relation.tail_id if way is Direction.OUT else relation.head_id

"""Neo4j, or any graph database that speaks Bolt and Cypher: an implementation of :class:`kg.ports.WritableGraphStore`.

Layer: ``kg``; the Cypher is in :mod:`kg.graph.cypher`, the connection in :mod:`kg.graph.neo4j_driver`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kg.errors import NotFoundError
from kg.graph import cypher
from kg.graph.names import fold, tidy
from kg.graph.neo4j_driver import BoltConnection, BoltServer
from kg.graph.neo4j_rows import Rows
from kg.graph.walks import expand, require_walk
from kg.ports import (
    Direction,
    GraphChanges,
    GraphContents,
    GraphPath,
    GraphStatistics,
    Neighbour,
    RelationKey,
    Statement,
    Subgraph,
)
from kg.types import Entity, Relation

__all__ = ["Neo4jGraph"]

_CLEAR_ROWS = 5000
"""Nodes deleted in one transaction: with their relationships some tens of MB of transaction state in Neo4j."""

_READ_KEYS = 1000
"""Keys of one read query."""


class Neo4jGraph:
    """A copy of one workspace in a graph database; safe to share between threads.

    :param server: Where the database is.
    :param workspace: The workspace; one database may hold several.
    """

    name = "neo4j"

    def __init__(self, server: BoltServer, *, workspace: str) -> None:
        self.workspace = workspace
        self.server = server
        self._bolt = BoltConnection(server)
        self._rows = Rows(workspace)

    # ------------------------------------------------------------------ reading

    def version(self) -> int | None:
        """Return the record's version that the copy has reached; ``None`` where it was never whole."""
        rows = self._bolt.read(cypher.READ_VERSION, workspace=self.workspace)
        return rows[0]["version"] if rows else None

    def entities(self, entity_ids: Sequence[str] | None = None) -> list[Entity]:
        """Return these entities in the order given (``NotFoundError`` for an unknown one), or all of them by id."""
        if entity_ids is None:
            rows = self._bolt.read(cypher.ENTITIES, workspace=self.workspace)
            return [self._rows.to_entity(row["found"]) for row in rows]
        rows = self._by_keys(cypher.ENTITIES_BY_KEY, dict.fromkeys(entity_ids))
        found = {row["found"]["entity_id"]: self._rows.to_entity(row["found"]) for row in rows}
        for entity_id in entity_ids:
            if entity_id not in found:
                raise NotFoundError(
                    f"There is no entity {entity_id!r} in workspace {self.workspace!r} of the graph database. Run "
                    "`mmkg graph sync` if the record has it."
                )
        return [found[entity_id] for entity_id in entity_ids]

    def find(self, name: str, *, limit: int = 10) -> list[Entity]:
        """Return entities called ``name``: exactly, then but for case and white space, then as an alias."""
        require_walk(hops=1, limit=limit)
        rows = self._bolt.read(cypher.FIND, workspace=self.workspace, name=tidy(name), folded=fold(name), limit=limit)
        return [self._rows.to_entity(row["found"]) for row in rows]

    def relations(self, *, entity_id: str | None = None) -> list[Relation]:
        """Return relations (that touch an entity), by id, then origin."""
        if entity_id is None:
            rows = self._bolt.read(cypher.RELATIONS, workspace=self.workspace)
        else:
            rows = self._by_keys(cypher.RELATIONS_OF, [entity_id])
        return self._relations(rows)

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
        self.entities([entity_id])
        ways = (Direction.OUT, Direction.IN) if direction is Direction.BOTH else (direction,)
        found = [
            Neighbour(
                entity=self._rows.to_entity(row["entity"]),
                relation=self._rows.to_relation(row["relation"]),
                direction=way,
            )
            for way in ways
            for row in self._bolt.read(
                cypher.NEIGHBOURS[way], key=self._rows.key(entity_id), names=list(names), limit=limit
            )
        ]
        return sorted(found, key=_support)[:limit]

    def subgraph(self, entity_ids: Sequence[str], *, hops: int = 2, max_nodes: int = 200) -> Subgraph:
        """Return what lies within ``hops`` relations of the seeds, the best supported first, up to ``max_nodes``."""
        require_walk(hops=hops, limit=max_nodes)
        self.entities(entity_ids)

        def next_ring(ring: Sequence[str], seen: set[str], room: int) -> tuple[list[str], int]:
            place = {"ring": self._keys(ring), "seen": self._keys(seen)}
            best = self._bolt.read(cypher.NEXT_RING, **place, room=room) if room else []
            size = len(best) if len(best) < room else self._bolt.read(cypher.NEXT_RING_SIZE, **place)[0]["n"]
            return [row["id"] for row in best], size

        rings = expand(entity_ids, next_ring, hops=hops, max_nodes=max_nodes)
        return Subgraph(
            entities=tuple(self.entities(list(rings.hops))),
            hops=tuple(rings.hops.values()),
            relations=tuple(self._among(rings.hops)),
            n_left_out=rings.n_left_out,
        )

    def shortest_paths(self, start_id: str, end_id: str, *, max_hops: int = 4, limit: int = 5) -> list[GraphPath]:
        """Return the shortest ways between two entities, whichever way relations run, the best supported first."""
        require_walk(hops=max_hops, limit=limit)
        self.entities([start_id, end_id])
        if start_id == end_id:
            return []
        ways = self._bolt.read(
            cypher.shortest_paths(max_hops), start=self._rows.key(start_id), end=self._rows.key(end_id), limit=limit
        )
        among = self._among(dict.fromkeys(entity_id for way in ways for entity_id in way["ids"]))
        return [
            GraphPath(
                entities=tuple(self.entities(way["ids"])),
                hops=tuple(
                    tuple(relation for relation in among if {relation.head_id, relation.tail_id} == {left, right})
                    for left, right in zip(way["ids"], way["ids"][1:], strict=False)
                ),
                weight=way["weight"],
            )
            for way in ways
        ]

    def statements(self, relation: RelationKey, *, limit: int = 20) -> list[Statement]:
        """Return what supports a relation, by falling score, then document id, place and statement id."""
        require_walk(hops=1, limit=limit)
        rows = self._bolt.read(cypher.STATEMENTS, relation=self._rows.relation_key(relation), limit=limit)
        return [self._rows.to_statement(row["found"]) for row in rows]

    def statistics(self) -> GraphStatistics:
        """Count what the copy holds."""
        counts = {
            name: self._bolt.read(query, workspace=self.workspace)[0]["n"] for name, query in cypher.COUNTS.items()
        }
        return GraphStatistics(**counts)

    # ------------------------------------------------------------------ writing

    def prepare(self) -> None:
        """Create constraints and indexes that are not there yet."""
        for query in cypher.SCHEMA:
            self._bolt.define(query)

    def document_ids(self) -> set[str]:
        """Return the ids of the documents it holds."""
        return {row["id"] for row in self._bolt.read(cypher.DOCUMENT_IDS, workspace=self.workspace)}

    def contents(self, entity_ids: Sequence[str]) -> GraphContents:
        """Return what it holds around these entities; unknown ids have nothing around them."""
        mentions = self._by_keys(cypher.HELD_MENTIONS, entity_ids)
        statements = self._by_keys(cypher.HELD_STATEMENTS, entity_ids)
        return GraphContents(
            mentions=frozenset(self._rows.to_mention(row["found"]) for row in mentions),
            relations=frozenset(self._relations(self._by_keys(cypher.HELD_RELATIONS, entity_ids))),
            statements={row["id"]: (row["head_id"], row["name"], row["tail_id"]) for row in statements},
        )

    def apply(self, changes: GraphChanges) -> None:
        """Write one part of a change in one transaction; applying it again changes nothing."""
        rows = self._rows
        removed = {
            "documents": [rows.removed(one) for one in changes.removed_documents],
            "entities": [rows.removed(one) for one in changes.removed_entities],
            "statements": [rows.removed(one) for one in changes.removed_statements],
            "relations": [rows.relation(one) for one in changes.removed_relations],
            "mentions": [rows.mention(one) for one in changes.removed_mentions],
        }
        written = {
            "documents": [rows.document(one) for one in changes.documents],
            "chunks": [rows.chunk(one) for one in changes.chunks],
            "entities": [rows.entity(one) for one in changes.entities],
            "mentions": [rows.mention(one) for one in changes.mentions],
            "relations": [rows.relation(one) for one in changes.relations],
            "statements": [rows.statement(one) for one in changes.statements],
        }
        queries: list[tuple[str, dict[str, Any]]] = [
            (query, {"rows": part})
            for texts, parts in ((cypher.REMOVE, removed), (cypher.WRITE, written))
            for name, part in parts.items()
            if part
            for query in texts[name]
        ]
        if changes.version is not None:
            queries.append((cypher.SET_VERSION, {"workspace": self.workspace, "version": changes.version}))
        if queries:
            self._bolt.write(queries)

    def clear(self) -> None:
        """Delete everything that belongs to the workspace; its version is forgotten first."""
        self._bolt.write([(cypher.FORGET_VERSION, {"workspace": self.workspace})])
        for query in cypher.CLEAR:
            while self._bolt.write([(query, {"workspace": self.workspace, "limit": _CLEAR_ROWS})])[0][0]["n"]:
                pass

    def ping(self) -> None:
        """Ask the server for a sign of life; raises as any read does."""
        self._bolt.read(cypher.PING)

    def close(self) -> None:
        """Close the connections."""
        self._bolt.close()

    # ------------------------------------------------------------------ helpers

    def _keys(self, entity_ids: Iterable[str]) -> list[str]:
        return [self._rows.key(entity_id) for entity_id in entity_ids]

    def _by_keys(self, query: str, entity_ids: Iterable[str]) -> list[dict[str, Any]]:
        keys = self._keys(entity_ids)
        return [
            row
            for start in range(0, len(keys), _READ_KEYS)
            for row in self._bolt.read(query, keys=keys[start : start + _READ_KEYS])
        ]

    def _among(self, entity_ids: Iterable[str]) -> list[Relation]:
        keys = self._keys(entity_ids)
        return self._relations(self._bolt.read(cypher.RELATIONS_AMONG, keys=keys) if keys else [])

    def _relations(self, rows: Iterable[dict[str, Any]]) -> list[Relation]:
        found = {self._rows.to_relation(row["found"]) for row in rows}
        return sorted(found, key=lambda relation: (relation.relation_id, relation.origin))


def _support(found: Neighbour) -> tuple[int, float, str, str, str]:
    relation = found.relation
    return (-relation.n_statements, -relation.score, relation.relation_id, relation.origin, found.direction)

"""All Cypher of the project. Accepted by Neo4j 5 and later, and by ArcadeDB.

Layer: ``kg``; text only. Values are parameters always; what is put into a text is a number of hops that was checked.

The shape of the graph
- ``(:Workspace)`` one per workspace: the record's ``version`` that the copy has reached.
- ``(:Chunk)-[:PART_OF]->(:Document)``
- ``(:Entity)-[:MENTIONED_IN {n_mentions}]->(:Chunk)``
- ``(:Entity)-[:RELATED {name, origin, score, n_statements}]->(:Entity)``: a relation's name is a property, because
  documents may say anything and a type of relationship cannot be a parameter.
- ``(:Statement)-[:SUBJECT]->(:Entity)``, ``-[:OBJECT]->(:Entity)``, ``-[:STATED_IN]->(:Chunk)``: one sentence that
  supports a relation, kept per source.

One database may hold several workspaces: every node has the property ``workspace``, and ``key`` is
``WORKSPACE/ID``, which the constraints keep unique. A relationship has both too.
"""

from __future__ import annotations

from collections.abc import Mapping

from kg.graph.walks import HOPS_MAX

__all__ = [
    "CLEAR",
    "COUNTS",
    "DOCUMENT_IDS",
    "ENTITIES",
    "ENTITIES_BY_KEY",
    "FIND",
    "FORGET_VERSION",
    "HELD_MENTIONS",
    "HELD_RELATIONS",
    "HELD_STATEMENTS",
    "NEIGHBOURS",
    "NEXT_RING",
    "NEXT_RING_SIZE",
    "PING",
    "READ_VERSION",
    "RELATIONS",
    "RELATIONS_AMONG",
    "RELATIONS_OF",
    "REMOVE",
    "SCHEMA",
    "SET_VERSION",
    "STATEMENTS",
    "WRITE",
    "shortest_paths",
]

PING = "RETURN 1 AS one"

_LABELS = ("Workspace", "Document", "Chunk", "Entity", "Statement")

SCHEMA: tuple[str, ...] = (
    *(
        f"CREATE CONSTRAINT mmkg_{label.lower()}_key IF NOT EXISTS FOR (n:{label}) REQUIRE n.key IS UNIQUE"
        for label in _LABELS
    ),
    *(
        f"CREATE INDEX mmkg_{label.lower()}_workspace IF NOT EXISTS FOR (n:{label}) ON (n.workspace)"
        for label in _LABELS[1:]
    ),
    "CREATE INDEX mmkg_chunk_document IF NOT EXISTS FOR (n:Chunk) ON (n.document_key)",
    "CREATE INDEX mmkg_statement_document IF NOT EXISTS FOR (n:Statement) ON (n.document_key)",
    "CREATE INDEX mmkg_statement_relation IF NOT EXISTS FOR (n:Statement) ON (n.relation_key)",
)
"""Constraints and indexes, each created only where it is missing."""

# ---------------------------------------------------------------------- the version that the copy has reached

READ_VERSION = "MATCH (w:Workspace {key: $workspace}) RETURN w.version AS version"
SET_VERSION = "MERGE (w:Workspace {key: $workspace}) SET w.workspace = $workspace, w.version = $version"
FORGET_VERSION = "MATCH (w:Workspace {key: $workspace}) DETACH DELETE w"

# ---------------------------------------------------------------------- writing: each takes $rows

REMOVE: Mapping[str, tuple[str, ...]] = {
    "documents": (
        "UNWIND $rows AS row MATCH (s:Statement {document_key: row.key}) DETACH DELETE s",
        "UNWIND $rows AS row MATCH (c:Chunk {document_key: row.key}) DETACH DELETE c",
        "UNWIND $rows AS row MATCH (d:Document {key: row.key}) DETACH DELETE d",
    ),
    "entities": ("UNWIND $rows AS row MATCH (e:Entity {key: row.key}) DETACH DELETE e",),
    "statements": ("UNWIND $rows AS row MATCH (s:Statement {key: row.key}) DETACH DELETE s",),
    "relations": (
        "UNWIND $rows AS row MATCH (h:Entity {key: row.head})-[r:RELATED {key: row.key}]->(:Entity) DELETE r",
    ),
    "mentions": (
        "UNWIND $rows AS row MATCH (e:Entity {key: row.entity})-[m:MENTIONED_IN]->(c:Chunk {key: row.chunk}) DELETE m",
    ),
}
"""What is removed, by part of :class:`kg.ports.GraphChanges`."""

WRITE: Mapping[str, tuple[str, ...]] = {
    "documents": ("UNWIND $rows AS row MERGE (d:Document {key: row.key}) SET d = row.properties",),
    "chunks": (
        "UNWIND $rows AS row MERGE (c:Chunk {key: row.key}) SET c = row.properties",
        "UNWIND $rows AS row MATCH (c:Chunk {key: row.key}) MATCH (d:Document {key: row.document}) "
        "MERGE (c)-[:PART_OF]->(d)",
    ),
    "entities": ("UNWIND $rows AS row MERGE (e:Entity {key: row.key}) SET e = row.properties",),
    "mentions": (
        "UNWIND $rows AS row MATCH (e:Entity {key: row.entity}) MATCH (c:Chunk {key: row.chunk}) "
        "MERGE (e)-[m:MENTIONED_IN]->(c) SET m = row.properties",
    ),
    "relations": (
        "UNWIND $rows AS row MATCH (h:Entity {key: row.head}) MATCH (t:Entity {key: row.tail}) "
        "MERGE (h)-[r:RELATED {key: row.key}]->(t) SET r = row.properties",
    ),
    "statements": (
        "UNWIND $rows AS row MATCH (s:Statement {key: row.key})-[link:SUBJECT|OBJECT|STATED_IN]->() DELETE link",
        "UNWIND $rows AS row MATCH (h:Entity {key: row.head}) MATCH (t:Entity {key: row.tail}) "
        "MATCH (c:Chunk {key: row.chunk}) MERGE (s:Statement {key: row.key}) SET s = row.properties "
        "MERGE (s)-[:SUBJECT]->(h) MERGE (s)-[:OBJECT]->(t) MERGE (s)-[:STATED_IN]->(c)",
    ),
}
"""What is written, by part of :class:`kg.ports.GraphChanges`, in the order of its fields."""

CLEAR: tuple[str, ...] = tuple(
    f"MATCH (n:{label} {{workspace: $workspace}}) WITH n LIMIT $limit DETACH DELETE n RETURN count(*) AS n"
    for label in ("Statement", "Chunk", "Document", "Entity")
)
"""Each deletes up to ``$limit`` nodes of the workspace and is run until it deletes none."""

# ---------------------------------------------------------------------- reading

DOCUMENT_IDS = "MATCH (d:Document {workspace: $workspace}) RETURN d.document_id AS id"

COUNTS: Mapping[str, str] = {
    "n_documents": "MATCH (n:Document {workspace: $workspace}) RETURN count(n) AS n",
    "n_chunks": "MATCH (n:Chunk {workspace: $workspace}) RETURN count(n) AS n",
    "n_entities": "MATCH (n:Entity {workspace: $workspace}) RETURN count(n) AS n",
    "n_relations": "MATCH (:Entity {workspace: $workspace})-[r:RELATED]->(:Entity) RETURN count(r) AS n",
    "n_statements": "MATCH (n:Statement {workspace: $workspace}) RETURN count(n) AS n",
}

ENTITIES = "MATCH (e:Entity {workspace: $workspace}) RETURN properties(e) AS found ORDER BY e.entity_id"
ENTITIES_BY_KEY = "UNWIND $keys AS key MATCH (e:Entity {key: key}) RETURN properties(e) AS found"

FIND = (
    "MATCH (e:Entity {workspace: $workspace}) WHERE e.folded = $folded OR $folded IN e.folded_aliases "
    "WITH e, CASE WHEN e.name = $name THEN 0 WHEN e.folded = $folded THEN 1 ELSE 2 END AS tier "
    "RETURN properties(e) AS found ORDER BY tier, e.n_mentions DESC, e.entity_id LIMIT $limit"
)

RELATIONS = (
    "MATCH (:Entity {workspace: $workspace})-[r:RELATED]->(:Entity) "
    "RETURN properties(r) AS found ORDER BY r.relation_id, r.origin"
)
RELATIONS_OF = (
    "UNWIND $keys AS key MATCH (:Entity {key: key})-[r:RELATED]-(:Entity) RETURN DISTINCT properties(r) AS found"
)
RELATIONS_AMONG = (
    "UNWIND $keys AS key MATCH (:Entity {key: key})-[r:RELATED]->(t:Entity) WHERE t.key IN $keys "
    "RETURN DISTINCT properties(r) AS found"
)

NEIGHBOURS: Mapping[str, str] = {
    direction: (
        f"MATCH (e:Entity {{key: $key}}){pattern}(o:Entity) WHERE size($names) = 0 OR r.name IN $names "
        "RETURN properties(o) AS entity, properties(r) AS relation "
        "ORDER BY r.n_statements DESC, r.score DESC, r.relation_id, r.origin LIMIT $limit"
    )
    for direction, pattern in (("out", "-[r:RELATED]->"), ("in", "<-[r:RELATED]-"))
}
"""By the relation's way, seen from the entity."""

_NEXT = "UNWIND $ring AS key MATCH (:Entity {key: key})-[r:RELATED]-(o:Entity) WHERE NOT o.key IN $seen "
NEXT_RING = (
    _NEXT + "WITH o, r ORDER BY r.n_statements DESC, r.score DESC WITH o, collect(r)[0] AS best "
    "RETURN o.entity_id AS id ORDER BY best.n_statements DESC, best.score DESC, id LIMIT $room"
)
NEXT_RING_SIZE = _NEXT + "RETURN count(DISTINCT o) AS n"

STATEMENTS = (
    "MATCH (s:Statement {relation_key: $relation}) "
    "RETURN properties(s) AS found ORDER BY s.score DESC, s.document_id, s.start, s.statement_id LIMIT $limit"
)

HELD_MENTIONS = (
    "UNWIND $keys AS key MATCH (e:Entity {key: key})-[m:MENTIONED_IN]->(:Chunk) RETURN properties(m) AS found"
)
HELD_RELATIONS = RELATIONS_OF
HELD_STATEMENTS = (
    "UNWIND $keys AS key MATCH (:Entity {key: key})<-[:SUBJECT|OBJECT]-(s:Statement) "
    "RETURN DISTINCT s.statement_id AS id, s.head_id AS head_id, s.name AS name, s.tail_id AS tail_id"
)

_SHORTEST_PATHS: Mapping[int, str] = {
    hops: (
        "MATCH (a:Entity {key: $start}) MATCH (b:Entity {key: $end}) "
        f"MATCH p = allShortestPaths((a)-[:RELATED*..{hops}]-(b)) "
        "WITH [n IN nodes(p) | n.entity_id] AS ids, "
        "reduce(total = 0, r IN relationships(p) | total + r.n_statements) AS weight "
        "WITH ids, max(weight) AS weight RETURN ids, weight ORDER BY weight DESC, ids LIMIT $limit"
    )
    for hops in range(1, HOPS_MAX + 1)
}


def shortest_paths(max_hops: int) -> str:
    """Return the query of ways of at most ``max_hops`` relations: the length of a pattern cannot be a parameter."""
    return _SHORTEST_PATHS[max_hops]

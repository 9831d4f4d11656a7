"""The ways through the graph from what a question names to what was found, to explain a hit.

Layer: ``retrieval``; imports ``kg``. A way goes along relations (entity to entity) and mentions (between entity and
chunk); one breadth-first search from all entities of the question serves all hits. It shows how a hit hangs together
with the question, not how its score came about: that is what ``Evidence.contributions`` say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kg.extraction.values import VALUE_LABELS
from kg.ports import RecordStore
from kg.types import Entity, Origin, Relation
from retrieval.types import Evidence

__all__ = ["Explanation", "Step", "Way", "explain_hits"]

MENTIONED = "mentioned in"
"""The name of the step from an entity to a chunk, and back."""
_MAX_STEPS = 4
"""Steps of the longest way: the question's entity, a relation, a passage, an entity, the hit."""
_NODES_MAX = 20_000
"""Nodes that the search visits at most, so that a name that everything mentions costs no more."""
_Edge = tuple[str, str]
"""The name of a step and the node that it leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: ids of entities or chunks, and what joins them; ``is_forward`` tells a relation's way."""

    start: str
    name: str
    end: str
    is_forward: bool = True


Way = tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How hits hang together with a question.

    ``entities`` are those that the question names. ``ways`` gives the shortest ways to each hit by chunk id, none where
    there is no short one. ``names`` says what to call each id in them; ``types`` the type of each entity.
    """

    entities: tuple[Entity, ...]
    ways: Mapping[str, tuple[Way, ...]]
    names: Mapping[str, str]
    types: Mapping[str, str]

    def drawn(self) -> tuple[list[Entity], list[Relation]]:
        """Return the subgraph of all ways as entities and relations, for a picture; chunks are of the type PASSAGE."""
        steps = list(dict.fromkeys(step for ways in self.ways.values() for way in ways for step in way))
        ends = dict.fromkeys([*(one.entity_id for one in self.entities), *(x for s in steps for x in (s.start, s.end))])
        nodes = [Entity(entity_id=x, name=self.names[x], type=self.types.get(x, "PASSAGE")) for x in ends]
        edges = {
            (head, step.name, tail): Relation(
                relation_id=f"{head} {step.name} {tail}",
                head_id=head,
                name=step.name,
                tail_id=tail,
                origin=Origin.EXTRACTED,
                n_statements=1,
            )
            for step in steps
            for head, tail in [(step.start, step.end) if step.is_forward else (step.end, step.start)]
        }
        return nodes, list(edges.values())


def explain_hits(
    store: RecordStore,
    entity_ids: Sequence[str],
    evidence: Sequence[Evidence],
    *,
    limit: int = 3,
    allowed: Collection[str] | None = None,
    document_ids: Sequence[str] | None = None,
) -> Explanation:
    """Find the shortest ways from the entities of a question to each hit.

    :param store: The record.
    :param entity_ids: What the question names.
    :param evidence: The hits.
    :param limit: The most ways to each hit, >= 1.
    :param allowed: Only what these chunks say exists; ``None`` allows all.
    :param document_ids: The documents of these chunks, which the names of entities are taken from.
    :returns: The ways, relations before mentions, then by id.
    """
    entities = store.entities(document_ids=None if allowed is None else document_ids)
    known = {one.entity_id: one for one in entities if one.type not in VALUE_LABELS}
    graph = _Neighbours(store, known, allowed)
    starts = [known[one] for one in entity_ids if one in known and (allowed is None or graph.of(one))]
    hits = [item.chunk.chunk_id for item in evidence]
    parents = _search([one.entity_id for one in starts], graph)
    ways = {hit: tuple(_ways(hit, parents, limit=limit)) for hit in hits}
    used = {x for found in ways.values() for way in found for step in way for x in (step.start, step.end)}
    names = {one: known[one].name for one in used if one in known} | {one.entity_id: one.name for one in starts}
    documents = {info.document_id: info.name for info in store.documents()}
    ranks = {item.chunk.chunk_id: item.rank for item in evidence}
    for chunk in store.chunks(sorted(used - known.keys())):
        rank = f"#{ranks[chunk.chunk_id]} " if chunk.chunk_id in ranks else ""
        names[chunk.chunk_id] = f"{rank}{documents[chunk.document_id]}, passage {chunk.ordinal + 1}"
    types = {one: known[one].type for one in names if one in known}
    return Explanation(entities=tuple(starts), ways=ways, names=names, types=types)


class _Neighbours:
    """What lies next to an entity or a chunk."""

    def __init__(self, store: RecordStore, known: Collection[str], allowed: Collection[str] | None) -> None:
        edges: dict[str, dict[tuple[int, str, str, bool], None]] = defaultdict(dict)
        for (head, name, tail), n_statements in _stated(store, allowed).items():
            if head in known and tail in known and head != tail:
                edges[head][(-n_statements, name, tail, True)] = None
                edges[tail][(-n_statements, name, head, False)] = None
        for row in store.mention_rows():
            if row.entity_id in known and not row.is_reference and (allowed is None or row.chunk_id in allowed):
                edges[row.entity_id][(1, MENTIONED, row.chunk_id, True)] = None
                edges[row.chunk_id][(1, MENTIONED, row.entity_id, False)] = None
        self._edges = edges

    def of(self, node: str) -> list[Step]:
        """Return the steps from a node: relations by falling support, then mentions, ties by name and id."""
        return [
            Step(start=node, name=name, end=end, is_forward=is_forward)
            for _, name, end, is_forward in sorted(self._edges.get(node, ()))
        ]


def _stated(store: RecordStore, allowed: Collection[str] | None) -> Mapping[tuple[str, str, str], int]:
    """Count the statements of each relation: all of them, or those of certain chunks."""
    if allowed is None:
        return {(one.head_id, one.name, one.tail_id): one.n_statements for one in store.relations()}
    return Counter((row.head_id, row.name, row.tail_id) for row in store.triple_rows() if row.chunk_id in allowed)


def _search(starts: Sequence[str], graph: _Neighbours) -> dict[str, list[Step]]:
    """Return for each node that is reached the last steps of its shortest ways; none for the starts."""
    parents: dict[str, list[Step]] = {start: [] for start in starts}
    ring = list(parents)
    for _ in range(_MAX_STEPS):
        grown: dict[str, list[Step]] = {}
        for node in ring:
            for step in graph.of(node):
                if step.end not in parents:
                    grown.setdefault(step.end, []).append(step)
            if len(parents) + len(grown) > _NODES_MAX:
                break
        parents.update(grown)
        ring = list(grown)
        if not ring or len(parents) > _NODES_MAX:
            break
    return parents


def _ways(node: str, parents: Mapping[str, list[Step]], *, limit: int) -> list[Way]:
    if node not in parents:
        return []
    found: list[Way] = []
    for way in _back(node, parents):
        found.append(way)
        if len(found) == limit:
            break
    return found


def _back(node: str, parents: Mapping[str, list[Step]]) -> Iterator[Way]:
    if not parents[node]:
        yield ()
        return
    for step in parents[node]:
        for way in _back(step.start, parents):
            yield (*way, step)

"""Make a graph to complete from a workspace's own record.

Layer: ``generation``; reads a :class:`kg.ports.RecordStore`.

A small workspace gives hundreds of statements whose predicates are open words, most of them said once. So:

* A predicate is a relation of its own if it links at least ``min_support`` different pairs of entities; one pair alone
  teaches nothing about others. The pairs of rarer predicates are kept, under the common relation ``related to``.
* Two entities that are mentioned within ``window_chars`` characters of one chunk are ``related to`` each other too, in
  both directions, each entity with its ``max_partners`` most frequent partners. So an entity that no pattern caught
  can still be ranked. This says that they are spoken of together and no more, and it is never shown as extracted. In a
  table both must stand in one row: that rows follow each other says nothing.
* Predicted relations in the record are left out: a prediction must not become evidence for the next one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet
from kg.errors import CompletionError
from kg.ports import MentionRow, RecordStore
from kg.types import Entity, Modality, Origin

__all__ = ["RELATED_TO", "asked_relations", "co_mentions", "graph_from_store"]

RELATED_TO = "related to"
_Edge = tuple[str, str, str]


def graph_from_store(
    store: RecordStore,
    *,
    name: str = "workspace",
    min_support: int = 2,
    window_chars: int = 200,
    max_partners: int = 10,
) -> TripleSet:
    """Read the entities and relations of a workspace as one train split.

    :param store: The record.
    :param name: What the graph is called in messages.
    :param min_support: The fewest different pairs that make a predicate a relation of its own, at least 1.
    :param window_chars: The most characters between two mentions that count as spoken of together.
    :param max_partners: How many partners of an entity are kept at most on its own account.
    :returns: The graph; relation ids are predicates. Entities without any edge are not in it.
    :raises CompletionError: If the workspace holds too little to learn from.
    """
    stated, counts = _stated_edges(store, min_support=min_support)
    together = co_mentions(store.mention_rows(), window_chars=window_chars, breaks=_row_ends(store))
    partners = _strongest(together, max_partners=max_partners)
    edges = stated | {(head, RELATED_TO, tail) for pair in partners for head, tail in (pair, pair[::-1])}
    known = {entity.entity_id: entity for entity in store.entities()}
    edges = {edge for edge in edges if edge[0] in known and edge[2] in known}
    entity_ids = sorted({end for head, _, tail in edges for end in (head, tail)})
    if len(entity_ids) < 3:
        raise CompletionError(
            f"{name}: {len(entity_ids)} of {len(known)} entities stand in a relation, which is too few to predict "
            "links. Ingest documents that say how things are related."
        )
    return _assemble(name, edges, [known[entity_id] for entity_id in entity_ids], counts)


def asked_relations(graph: TripleSet) -> NDArray[np.bool_]:
    """Say of each relation of a workspace's graph whether it says more than ``related to``. *Shape:* ``(R,)``."""
    return np.array([relation != RELATED_TO for relation in graph.relation_ids], dtype=np.bool_)


def _assemble(name: str, edges: set[_Edge], entities: Sequence[Entity], counts: Counter[str]) -> TripleSet:
    relations = sorted({relation for _, relation, _ in edges})
    place = {entity.entity_id: position for position, entity in enumerate(entities)}
    kind = {relation: position for position, relation in enumerate(relations)}
    rows = sorted((place[head], kind[relation], place[tail]) for head, relation, tail in edges)
    counts["related_to"] = sum(relation == RELATED_TO for _, relation, _ in edges)
    notes = [f"{key.replace('_', ' ')}: {value}" for key, value in counts.items()]
    return TripleSet(
        name=name,
        entity_ids=tuple(entity.entity_id for entity in entities),
        entity_names=tuple(" ".join(entity.name.split()) or entity.entity_id for entity in entities),
        entity_aliases=tuple(entity.aliases for entity in entities),
        relation_ids=tuple(relations),
        relation_names=tuple(relations),
        train=np.array(rows, dtype=np.int64).reshape(-1, 3),
        counts=dict(counts),
        notes=tuple(notes),
    )


def _stated_edges(store: RecordStore, *, min_support: int) -> tuple[set[_Edge], Counter[str]]:
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for relation in store.relations():
        predicate = " ".join(relation.name.split())
        if relation.origin is Origin.PREDICTED or not predicate:
            continue
        if relation.head_id == relation.tail_id:
            counts["reflexive"] += 1
            continue
        pairs[predicate].add((relation.head_id, relation.tail_id))
    edges: set[_Edge] = set()
    for predicate, linked in pairs.items():
        is_common = len(linked) >= min_support
        counts["predicates_kept" if is_common else "predicates_merged"] += 1
        edges |= {(head, predicate if is_common else RELATED_TO, tail) for head, tail in linked}
    return edges, counts


def _row_ends(store: RecordStore) -> dict[str, list[int]]:
    """Return where the rows of each table chunk end, in the coordinates of its mentions, ascending."""
    tables = sorted(row.chunk_id for row in store.chunk_rows() if row.modality is Modality.TABLE)
    return {
        chunk.chunk_id: [chunk.span.start + place for place, letter in enumerate(chunk.text) if letter == "\n"]
        for chunk in store.chunks(tables)
    }


def co_mentions(
    rows: Sequence[MentionRow], *, window_chars: int = 200, breaks: Mapping[str, Sequence[int]] | None = None
) -> Counter[tuple[str, str]]:
    """Count the chunks in which two entities are mentioned close to each other.

    :param rows: All mentions.
    :param window_chars: The most characters from the end of one mention to the start of the other.
    :param breaks: By chunk the places, ascending, that part what belongs together: the ends of a table's rows.
    :returns: Number of chunks for each pair of entity ids, smaller id first.
    """
    counts: Counter[tuple[str, str]] = Counter()
    ordered = sorted(rows, key=lambda row: (row.chunk_id, row.start, row.end, row.entity_id))
    for chunk_id, group in groupby(ordered, key=lambda row: row.chunk_id):
        mentions, ends = list(group), () if breaks is None else breaks.get(chunk_id, ())
        found: set[tuple[str, str]] = set()
        for index, left in enumerate(mentions):
            row_end = ends[place] if (place := bisect_left(ends, left.end)) < len(ends) else math.inf
            for right in mentions[index + 1 :]:
                if right.start - left.end > window_chars or right.start >= row_end:
                    break
                if left.entity_id != right.entity_id:
                    found.add((min(left.entity_id, right.entity_id), max(left.entity_id, right.entity_id)))
        counts.update(found)
    return counts


def _strongest(together: Counter[tuple[str, str]], *, max_partners: int) -> set[tuple[str, str]]:
    partners: dict[str, list[tuple[int, str, tuple[str, str]]]] = defaultdict(list)
    for pair, count in together.items():
        partners[pair[0]].append((-count, pair[1], pair))
        partners[pair[1]].append((-count, pair[0], pair))
    return {pair for candidates in partners.values() for _, _, pair in sorted(candidates)[:max_partners]}

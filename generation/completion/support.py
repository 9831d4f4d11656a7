"""Name the passages that a predicted link leans on.

Layer: ``generation``; reads a :class:`kg.ports.RecordStore`. Support is shown so that a person can judge a prediction;
none of it states the predicted link itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

from kg.ports import RecordStore
from kg.types import Origin

__all__ = ["SupportIndex"]


class SupportIndex:
    """The stated neighbourhood of each entity, with the chunk that states it.

    :param store: The record; it is read once, here.
    """

    def __init__(self, store: RecordStore) -> None:
        self._pairs: dict[frozenset[str], list[str]] = defaultdict(list)
        self._neighbours: dict[str, dict[str, None]] = defaultdict(dict)
        self._ends: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in sorted(store.triple_rows(), key=lambda row: (-row.score, row.triple_id)):
            if row.origin == Origin.PREDICTED or row.head_id == row.tail_id:
                continue
            self._pairs[frozenset((row.head_id, row.tail_id))].append(row.chunk_id)
            self._neighbours[row.head_id][row.tail_id] = None
            self._neighbours[row.tail_id][row.head_id] = None
            predicate = " ".join(row.name.split())
            self._ends[row.head_id, predicate].append(row.chunk_id)
            self._ends[row.tail_id, predicate].append(row.chunk_id)
        self._mentioned: dict[str, set[str]] = defaultdict(set)
        for mention in store.mention_rows():
            self._mentioned[mention.entity_id].add(mention.chunk_id)

    def chunks(self, head_id: str, relation: str, tail_id: str, *, limit: int = 4) -> tuple[str, ...]:
        """Return chunk ids that support a link, the most direct first.

        In order: statements that link the two otherwise; chunks that mention both; the two statements of a path through
        one other entity; statements that use the relation on either of them.

        :param head_id: Entity id of the head.
        :param relation: The predicted relation.
        :param tail_id: Entity id of the tail.
        :param limit: The most chunks to return.
        :returns: Chunk ids without repeats.
        """
        found: dict[str, None] = {}
        for chunk_id in self._candidates(head_id, relation, tail_id):
            found[chunk_id] = None
            if len(found) >= limit:
                break
        return tuple(found)

    def _candidates(self, head_id: str, relation: str, tail_id: str) -> Iterator[str]:
        yield from self._pairs.get(frozenset((head_id, tail_id)), ())
        yield from sorted(self._mentioned.get(head_id, set()) & self._mentioned.get(tail_id, set()))
        beyond = self._neighbours.get(tail_id, {})
        between = (entity for entity in self._neighbours.get(head_id, {}) if entity in beyond)
        for entity in islice(between, 2):
            yield self._pairs[frozenset((head_id, entity))][0]
            yield self._pairs[frozenset((entity, tail_id))][0]
        for entity_id in (head_id, tail_id):
            yield from self._ends.get((entity_id, relation), ())[:1]

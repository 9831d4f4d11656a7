"""Bring a copy of the graph up to the record, by version.

Layer: ``kg``; the standard library. Knows ports only.

The copy's version is asked for, the record says what changed since, and what is around the changed entities is
compared with what the copy holds, so that only differences are sent. Parts are bounded; the version is written in the
last one. A copy whose database vanishes between two parts is at its old version, and the next sync does the same again
to the same end, because every part is idempotent.

Where the record cannot say what changed (it is another record, or an older backup), or the copy turns out to hold other
documents than the record, it is made anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from kg.errors import InputError
from kg.graph.nodes import chunk_node, document_node
from kg.graph.statements import statements_of_rows
from kg.graph.surroundings import Surroundings, existing, surroundings
from kg.ports import (
    ChangeSet,
    GraphChanges,
    GraphContents,
    MentionLink,
    RecordStore,
    WritableGraphStore,
)
from kg.types import DocumentInfo, Entity

__all__ = ["BATCH_ROWS", "SyncReport", "sync"]

BATCH_ROWS = 500
"""Rows of one transaction: the round trip is spread over many, and the state of the transaction stays under 1 MB."""

_CONTENTS_KEYS = 200
"""Entities whose surroundings are read at once."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a sync did. ``is_fresh`` says that the copy was made anew; ``n_rows`` counts what was sent."""

    version: int
    from_version: int | None
    is_fresh: bool
    n_documents: int
    n_entities: int
    n_rows: int
    n_parts: int
    seconds: float


def sync(
    store: RecordStore,
    graph: WritableGraphStore,
    *,
    fresh: bool = False,
    batch_rows: int = BATCH_ROWS,
    on_part: Callable[[int, int], None] = lambda _parts, _rows: None,
) -> SyncReport:
    """Bring ``graph`` up to ``store``.

    What is written to the record meanwhile may be in the copy or not; the next sync brings the rest.

    :param store: The record.
    :param graph: The copy.
    :param fresh: Delete the copy and make it anew.
    :param batch_rows: The most rows of one part, at least 1.
    :param on_part: Told the numbers of parts and rows sent so far, after each part.
    :returns: What was done.
    :raises InputError: If ``batch_rows`` is below 1.
    :raises GraphUnreachableError: If the copy's database vanishes; the record is unharmed, and the next sync goes on.
    """
    if batch_rows < 1:
        raise InputError(f"sync: batch_rows must be at least 1, got {batch_rows}.")
    started = time.perf_counter()
    graph.prepare()
    held = graph.version()
    changes = None if fresh or held is None else _changes_since(store, held)
    sender = _Sender(graph, batch_rows, on_part)
    if changes is not None:
        _send(store, graph, sender, changes)
    if changes is None or graph.document_ids() != {info.document_id for info in store.documents()}:
        graph.clear()
        fresh, changes = True, store.changed_since(0)
        _send(store, graph, sender, changes, is_empty=True)
    return SyncReport(
        version=changes.version,
        from_version=held,
        is_fresh=fresh,
        n_documents=len(changes.document_ids),
        n_entities=len(changes.entity_ids),
        n_rows=sender.n_rows,
        n_parts=sender.n_parts,
        seconds=time.perf_counter() - started,
    )


def _changes_since(store: RecordStore, version: int) -> ChangeSet | None:
    try:
        return store.changed_since(version)
    except InputError:  # another record, or an older state of this one
        return None


class _Sender:
    """Sends rows in bounded parts and counts them."""

    def __init__(self, graph: WritableGraphStore, batch_rows: int, on_part: Callable[[int, int], None]) -> None:
        self._graph = graph
        self._batch_rows = batch_rows
        self._on_part = on_part
        self.n_rows = 0
        self.n_parts = 0

    def send(self, field: str, rows: Iterable[Any]) -> None:
        """Send the rows of one field of :class:`kg.ports.GraphChanges`."""
        for part in _parts(rows, self._batch_rows):
            fields: dict[str, Any] = {field: part}
            self._apply(GraphChanges(**fields))

    def finish(self, version: int) -> None:
        """Write the version that all parts together have reached."""
        self._apply(GraphChanges(version=version))

    def _apply(self, changes: GraphChanges) -> None:
        self._graph.apply(changes)
        self.n_rows += changes.n_rows
        self.n_parts += 1
        self._on_part(self.n_parts, self.n_rows)


def _parts(rows: Iterable[_T], size: int) -> Iterator[tuple[_T, ...]]:
    iterator = iter(rows)
    while part := tuple(islice(iterator, size)):
        yield part


def _send(
    store: RecordStore, graph: WritableGraphStore, sender: _Sender, changes: ChangeSet, *, is_empty: bool = False
) -> None:
    """Send one change set: what is gone first, then nodes, then what connects them, then the version."""
    documents = {info.document_id: info for info in store.documents()}
    touched = set(changes.entity_ids)
    if touched or changes.document_ids:
        entities = existing(store, touched)
        if not is_empty:
            sender.send("removed_documents", changes.document_ids)
            sender.send("removed_entities", sorted(touched - {entity.entity_id for entity in entities}))
        present = [documents[one] for one in changes.document_ids if one in documents]
        sender.send("documents", (document_node(info) for info in present))
        sender.send(
            "chunks",
            (chunk_node(chunk) for info in present for chunk in store.iter_chunks(document_id=info.document_id)),
        )
        sender.send("entities", entities)
        held = GraphContents() if is_empty else _contents(graph, entities)
        said = surroundings(store, [entity.entity_id for entity in entities])
        _send_links(sender, said, held)
        _send_statements(store, sender, said, held, documents)
    sender.finish(changes.version)


def _contents(graph: WritableGraphStore, entities: Sequence[Entity]) -> GraphContents:
    parts = [graph.contents([entity.entity_id for entity in part]) for part in _parts(entities, _CONTENTS_KEYS)]
    return GraphContents(
        mentions=frozenset().union(*(part.mentions for part in parts)),
        relations=frozenset().union(*(part.relations for part in parts)),
        statements={key: value for part in parts for key, value in part.statements.items()},
    )


def _send_links(sender: _Sender, said: Surroundings, held: GraphContents) -> None:
    """Send the mentions and relations that differ from what the copy holds."""
    mentions, relations = said.mentions, said.relations
    kept_links = {(link.entity_id, link.chunk_id) for link in mentions}
    kept_relations = {(relation.relation_id, relation.origin) for relation in relations}
    sender.send(
        "removed_mentions",
        sorted((x for x in held.mentions if (x.entity_id, x.chunk_id) not in kept_links), key=_mention_order),
    )
    sender.send("removed_relations", [x for x in held.relations if (x.relation_id, x.origin) not in kept_relations])
    sender.send("mentions", sorted(mentions - held.mentions, key=_mention_order))
    sender.send("relations", sorted(relations - held.relations, key=lambda x: (x.relation_id, x.origin)))


def _mention_order(link: MentionLink) -> tuple[str, str]:
    return (link.chunk_id, link.entity_id)


def _send_statements(
    store: RecordStore,
    sender: _Sender,
    said: Surroundings,
    held: GraphContents,
    documents: dict[str, DocumentInfo],
) -> None:
    """Send the statements that are new or speak of another relation now."""
    wanted = [row for row in said.rows if held.statements.get(row.triple_id) != (row.head_id, row.name, row.tail_id)]
    sender.send("removed_statements", sorted(set(held.statements) - {row.triple_id for row in said.rows}))
    sender.send("statements", statements_of_rows(store, wanted, documents=documents))

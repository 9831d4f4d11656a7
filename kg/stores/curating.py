"""Senses, links, decisions and contributions of a record: what people ask and say about its entities.

Layer: ``kg``; SQLAlchemy Core. The SQL stands in :mod:`kg.stores.curation_queries` and :mod:`kg.stores.deciding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC

from sqlalchemy import Connection, select, update

from kg.ports import (
    Contradiction,
    Contribution,
    Decision,
    DecisionKind,
    EntityLink,
    LinkStatus,
    Sense,
)
from kg.stores.changes import count_change
from kg.stores.contradictions import describe_functional, questioned, read_contradictions, recheck, recheck_all
from kg.stores.curation_queries import contributions_to, read_links, read_senses
from kg.stores.deciding import end_decision, find_decision, make_decision, save_decision
from kg.stores.decisions import read_decisions
from kg.stores.entities import drop_entities
from kg.stores.reading import RecordReads
from kg.stores.resolving import Progress, resolve_anew
from kg.stores.schema import documents, meta
from kg.stores.settle import settle

__all__ = ["RecordCuration"]


class RecordCuration(RecordReads):
    """Everything of a record store that concerns which entities are one thing."""

    def senses(self, *, entity_id: str | None = None) -> list[Sense]:
        """Return the senses (of one entity), by id."""
        with self._read("read senses") as connection:
            return read_senses(connection, entity_id=entity_id)

    def links(self, *, entity_id: str | None = None, status: LinkStatus | None = None) -> list[EntityLink]:
        """Return the links between senses (of one entity; of one status), by falling score, then ids."""
        with self._read("read links") as connection:
            return read_links(connection, entity_id=entity_id, status=status)

    def contributions(self, entity_id: str) -> list[Contribution]:
        """Return what each document says of an entity, by document id; raise ``NotFoundError`` for an unknown one."""
        with self._read("read contributions") as connection:
            return contributions_to(connection, entity_id, where=self.where)

    def decisions(self) -> list[Decision]:
        """Return every decision ever taken, in order; those that were undone say when."""
        with self._read("read decisions") as connection:
            return read_decisions(connection)

    def decide(
        self,
        kind: DecisionKind,
        left_id: str,
        right_id: str = "",
        *,
        document_ids: Sequence[str] = (),
        by: str = "",
        note: str = "",
        force: bool = False,
    ) -> Decision:
        """Take a person's word on entities; :meth:`version` rises if it was not taken before.

        :param kind: The two are the same, are different, or one name is another thing in some documents.
        :param left_id: An entity, a sense, or a name.
        :param right_id: Another one; not used for a split. Two senses of one name that are said to be different are
            kept apart by a split of the second one's documents.
        :param document_ids: For a split, the documents set apart.
        :param by: Who says so.
        :param note: Why.
        :param force: End the decisions that contradict it, instead of refusing it.
        :returns: The decision; the earlier one, if it holds already.
        :raises NotFoundError: If an id is not known.
        :raises InputError: If it contradicts a decision that holds, or would change nothing.
        """
        at = self._clock().astimezone(UTC).isoformat(timespec="seconds")
        with self._write("store a decision") as connection:
            self._bring_up_to_date(connection)
            wanted = make_decision(connection, kind, left_id, right_id, document_ids=document_ids, where=self.where)
            wanted = replace(wanted, by=by, note=note)
            taken, changed = save_decision(connection, wanted, at=at, is_forced=force)
            if changed:
                self._reconsider(connection, changed)
        return taken

    def undo(self, decision_id: int) -> Decision:
        """Take a decision back; the record is then as if it had never been taken, but for its line in the history.

        :param decision_id: Its number.
        :returns: The decision as it now stands.
        :raises NotFoundError: If there is none of that number.
        :raises InputError: If it was undone already.
        """
        at = self._clock().astimezone(UTC).isoformat(timespec="seconds")
        with self._write("undo a decision") as connection:
            self._bring_up_to_date(connection)
            ended = end_decision(connection, find_decision(connection, decision_id, where=self.where), at=at)
            self._reconsider(connection, [ended])
        return ended

    def _reconsider(self, connection: Connection, changed: Iterable[Decision]) -> None:
        changed = list(changed)
        split = {one.left_id for one in changed if one.kind is DecisionKind.SPLIT}
        settled = settle(connection, self._matcher, anew=split, reconsidered=changed)
        drop_entities(connection, settled.empty)
        recheck(connection, questioned(settled.moved, self._functional), self._functional)
        count_change(connection, entity_ids=settled.touched)

    def contradictions(self, entity_id: str | None = None) -> list[Contradiction]:
        """Return what sources contradict each other about (one entity), by entity and relation."""
        with self._read("read contradictions") as connection:
            return read_contradictions(connection, entity_id=entity_id)

    def resolve_again(self, progress: Progress | None = None) -> None:
        """Decide senses and links of the whole record anew, in one transaction.

        :param progress: Told the stage, and how many of how many things are done.
        """
        with self._write("resolve the record again") as connection:
            self._resolve(connection, progress)

    def _bring_up_to_date(self, connection: Connection) -> None:
        """Before a write: resolve the record again if another matcher, or another set of relations, was used."""
        used = connection.execute(select(meta.c.matcher, meta.c.functional)).one()
        if used.matcher != self._matcher.version:
            self._resolve(connection, None)
        elif used.functional != describe_functional(self._functional):
            self._recheck_all(connection)

    def _resolve(self, connection: Connection, progress: Progress | None) -> None:
        settled = resolve_anew(connection, self._matcher, progress=progress)
        drop_entities(connection, settled.empty)
        self._recheck_all(connection)
        if connection.execute(select(documents.c.document_id).limit(1)).first() is not None:
            count_change(connection, entity_ids=settled.touched)

    def _recheck_all(self, connection: Connection) -> None:
        recheck_all(connection, self._functional)
        connection.execute(update(meta).values(functional=describe_functional(self._functional)))

"""Predicted links in the record's database: the implementation of :class:`kg.ports.PredictionStore`.

Layer: ``kg``; SQLAlchemy Core. Each method is one transaction. Only accepting, and taking that back, change what the
record says; nothing else here raises its version.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from kg.errors import InputError, NotFoundError
from kg.ids import content_id, prediction_id
from kg.ports import (
    DecisionKind,
    NewPrediction,
    PredictionStatus,
    SavedPredictions,
    StoredPrediction,
)
from kg.stores import writes
from kg.stores.deciding import end_decision, make_decision, save_decision
from kg.stores.decisions import read_decisions
from kg.stores.prediction_rows import by_link, read_predictions, relation_words, sides_of_link, stated_links
from kg.stores.prediction_tables import prediction_chunks, predictions
from kg.stores.queries import in_batches
from kg.stores.record import SqlRecordStore
from kg.stores.rows import Values
from kg.stores.schema import chunks, triples
from kg.types import GraphDelta

__all__ = ["SqlPredictionStore"]

_P = predictions.c


class SqlPredictionStore:
    """The predictions of one record.

    :param record: The record.
    """

    def __init__(self, record: SqlRecordStore) -> None:
        self._record = record

    def save(self, found: Sequence[NewPrediction], *, model: str, run: str) -> SavedPredictions:
        """Keep predictions, all or none.

        An open one of the same link is refreshed and keeps its id. One that a person decided stays as it is, and what a
        document states is no prediction.

        :param found: Predicted links.
        :param model: What predicted them.
        :param run: The job in which.
        :returns: What became of them.
        :raises NotFoundError: If an entity is not known.
        """
        counts = dict.fromkeys(("n_new", "n_refreshed", "n_rejected", "n_accepted", "n_stated"), 0)
        with self._record._write("store predictions") as connection:
            relations = {content_id(relation_words(one.relation)) for one in found}
            known = by_link(read_predictions(connection, relation_ids=relations))
            stated = stated_links(connection, {one.head_id for one in found})
            for one in found:
                relation = relation_words(one.relation)
                older = known.get((one.head_id, content_id(relation), one.tail_id))
                if older is not None and older.status is not PredictionStatus.OPEN:
                    counts[f"n_{older.status}"] += 1
                    continue
                if (one.head_id, relation, one.tail_id) in stated:
                    counts["n_stated"] += 1
                    continue
                counts["n_new" if older is None else "n_refreshed"] += 1
                self._put(connection, one, model=model, run=run, older=older)
        return SavedPredictions(**counts)

    def _put(
        self, connection: Connection, one: NewPrediction, *, model: str, run: str, older: StoredPrediction | None
    ) -> str:
        relation = relation_words(one.relation)
        passages = _known_chunks(connection, one.chunk_ids)
        values: Values = {
            "status": PredictionStatus.OPEN.value,
            "relation_id": content_id(relation),
            "relation": relation,
            "score": one.score,
            "probability": one.probability,
            "calibrated": one.calibrated,
            "rank": one.rank,
            "n_passages": len(passages),
            "model": model,
            "run": run,
            "made_at": self._now(),
            "evidence": dict(one.evidence),
            "by": "",
            "note": "",
            "decided_at": "",
            "document_id": None,
        }
        if older is not None:
            this = older.prediction_id
            connection.execute(update(predictions).where(_is(this)).values(values))
            connection.execute(delete(prediction_chunks).where(prediction_chunks.c.prediction_id == this))
        else:
            link = (one.head_id, relation, one.tail_id)
            head, tail = sides_of_link(connection, link, where=self._record.where)
            this = _fresh_id(connection, link)
            ends = {"head_name_id": head[0], "head_sources": list(head[1])}
            ends |= {"tail_name_id": tail[0], "tail_sources": list(tail[1])}
            connection.execute(insert(predictions).values({"prediction_id": this, **ends, **values}))
        rows = [{"prediction_id": this, "chunk_id": chunk, "ordinal": place} for place, chunk in enumerate(passages)]
        if rows:
            connection.execute(insert(prediction_chunks), rows)
        return this

    def predictions(
        self, *, status: PredictionStatus | None = None, relation: str | None = None
    ) -> list[StoredPrediction]:
        """Return predictions, one a link, by falling likelihood, then id.

        :param status: Only those of this status.
        :param relation: Only those of this relation.
        :returns: Predictions, stale ones among them.
        """
        relations = None if relation is None else {content_id(relation_words(relation))}
        is_decided = status not in (None, PredictionStatus.OPEN)  # those decide what a link is, whatever is open
        with self._record._read("read predictions") as connection:
            found = by_link(read_predictions(connection, relation_ids=relations, is_decided=is_decided)).values()
        kept = [one for one in found if status in (None, one.status)]
        return sorted(kept, key=lambda one: (-one.likelihood, one.prediction_id))

    def prediction(self, prediction_id: str) -> StoredPrediction:
        """Return one prediction.

        :param prediction_id: Its id.
        :returns: The prediction.
        :raises NotFoundError: If there is none of that id; the message names the nearest.
        """
        with self._record._read("read a prediction") as connection:
            return self._one(connection, prediction_id)

    def reject(self, prediction_id: str, *, by: str, note: str = "") -> StoredPrediction:
        """Never offer a link again; saying it twice changes nothing.

        :param prediction_id: Its id.
        :param by: Who says so.
        :param note: Why.
        :returns: The prediction as it is now.
        :raises NotFoundError: If there is none of that id.
        :raises InputError: If it was accepted.
        """
        with self._record._write("reject a prediction") as connection:
            self._reject(connection, self._one(connection, prediction_id), by=by, note=note)
            return self._one(connection, prediction_id)

    def _reject(self, connection: Connection, one: StoredPrediction, *, by: str, note: str) -> None:
        if one.status is PredictionStatus.ACCEPTED:
            raise InputError(
                f"{one.prediction_id} was accepted{_who(one)}. Take that back first (reopen it), then reject it."
            )
        if one.status is PredictionStatus.OPEN:
            self._decide(connection, one.prediction_id, PredictionStatus.REJECTED, by=by, note=note)

    def reject_link(self, link: NewPrediction, *, by: str, note: str = "") -> StoredPrediction:
        """Never offer a link that may not be kept yet.

        :param link: The link.
        :param by: Who says so.
        :param note: Why.
        :returns: The prediction, rejected.
        :raises NotFoundError: If an entity is not known.
        :raises InputError: If it was accepted.
        """
        with self._record._write("reject a link") as connection:
            key = (link.head_id, content_id(relation_words(link.relation)), link.tail_id)
            older = by_link(read_predictions(connection, relation_ids={key[1]})).get(key)
            this = self._put(connection, link, model="", run="", older=None) if older is None else older.prediction_id
            self._reject(connection, self._one(connection, this), by=by, note=note)
            return self._one(connection, this)

    def accept(self, prediction_id: str, delta: GraphDelta, *, by: str, note: str = "") -> StoredPrediction:
        """Assert a link by a document of its own, in one transaction; accepting twice changes nothing.

        :param prediction_id: Its id.
        :param delta: The document: one statement between the names at the link's ends, of origin ``asserted``.
        :param by: Who says so.
        :param note: Why.
        :returns: The prediction as it is now.
        :raises NotFoundError: If there is none of that id.
        :raises InputError: If it was rejected, lost an end, or its names mean other things by themselves.
        """
        record = self._record
        with record._write("accept a prediction") as connection:
            record._bring_up_to_date(connection)
            one = self._one(connection, prediction_id)
            if one.status is PredictionStatus.ACCEPTED:
                return one
            if one.status is PredictionStatus.REJECTED:
                raise InputError(f"{prediction_id} was rejected{_who(one)}. Reopen it first, then accept it.")
            if one.stale and not (one.head_id and one.tail_id and one.relation):
                raise InputError(f"{prediction_id} cannot be accepted: {one.stale}.")
            writes.apply_delta(
                connection, delta, matcher=record._matcher, functional=record._functional, added_at=self._now()
            )
            self._require_meant(connection, one, delta, by=by)
            self._decide(connection, prediction_id, PredictionStatus.ACCEPTED, by=by, note=note)
            connection.execute(
                update(predictions).where(_is(prediction_id)).values(document_id=delta.document.document_id)
            )
            return self._one(connection, prediction_id)

    def _require_meant(self, connection: Connection, one: StoredPrediction, delta: GraphDelta, *, by: str) -> None:
        """See to it that the note's names are the entities of the link, where these names have several senses."""
        record, document = self._record, delta.document.document_id
        wanted = (one.head_id, one.tail_id)
        for place in (0, 1):
            found = _ends(connection, document)[place]
            if found == wanted[place]:
                continue
            said = make_decision(
                connection, DecisionKind.SAME, found, wanted[place], document_ids=(), where=record.where
            )
            said = replace(said, by=by, note=_because(one.prediction_id))
            _, changed = save_decision(connection, said, at=self._now(), is_forced=False)
            record._reconsider(connection, changed)
        if _ends(connection, document) != self._meant_now(connection, one.prediction_id):
            raise InputError(
                f"{one.prediction_id} cannot be accepted: its names stand for several things, and the record does not "
                f"take the ones meant ({', '.join(wanted)}). Merge or split them first (`mmkg entities`)."
            )

    def _meant_now(self, connection: Connection, prediction_id: str) -> tuple[str, str]:
        one = self._one(connection, prediction_id)
        return one.head_id, one.tail_id

    def reopen(self, prediction_id: str) -> StoredPrediction:
        """Take a person's word back: what was rejected may be offered again, what was accepted is asserted no more.

        :param prediction_id: Its id.
        :returns: The prediction, open.
        :raises NotFoundError: If there is none of that id.
        :raises InputError: If nobody has decided on it.
        """
        record = self._record
        with record._write("reopen a prediction") as connection:
            record._bring_up_to_date(connection)
            one = self._one(connection, prediction_id)
            if one.status is PredictionStatus.OPEN:
                raise InputError(f"{prediction_id} is open: nobody has accepted or rejected it.")
            self._decide(connection, prediction_id, PredictionStatus.OPEN, by="", note="")
            if one.document_id:
                writes.remove_document(
                    connection,
                    one.document_id,
                    matcher=record._matcher,
                    functional=record._functional,
                    where=record.where,
                )
            taken = read_decisions(connection, is_active=True)
            ended = [
                end_decision(connection, decision, at=self._now())
                for decision in taken
                if decision.note == _because(prediction_id)
            ]
            if ended:
                record._reconsider(connection, ended)
            return self._one(connection, prediction_id)

    def drop(self, prediction_ids: Collection[str]) -> int:
        """Delete those of these predictions that are open.

        :param prediction_ids: Ids; unknown ones are ignored.
        :returns: How many there were.
        """
        dropped = 0
        with self._record._write("drop predictions") as connection:
            decided = _P.status.in_([PredictionStatus.REJECTED.value, PredictionStatus.ACCEPTED.value])
            for batch in in_batches(sorted(prediction_ids)):
                ours = delete(predictions).where(_P.prediction_id.in_(batch), ~decided)
                dropped += int(connection.execute(ours).rowcount)
        return dropped

    def _decide(self, connection: Connection, this: str, status: PredictionStatus, *, by: str, note: str) -> None:
        at = "" if status is PredictionStatus.OPEN else self._now()
        values = {"status": status.value, "by": by, "note": note, "decided_at": at}
        connection.execute(update(predictions).where(_is(this)).values(values))

    def _one(self, connection: Connection, wanted: str) -> StoredPrediction:
        found = read_predictions(connection, [wanted])
        if found:
            return found[0]
        known = list(connection.execute(select(_P.prediction_id)).scalars())
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        hint = f"Near it are {', '.join(near)}." if near else f"There are {len(known)}; list them to see their ids."
        raise NotFoundError(f"There is no prediction {wanted!r} in {self._record.where}. {hint}")

    def _now(self) -> str:
        return self._record._clock().astimezone(UTC).isoformat(timespec="seconds")


def _is(wanted: str) -> ColumnElement[bool]:
    return _P.prediction_id == wanted


def _because(prediction_id: str) -> str:
    """Note a decision that was taken to accept a prediction, so that it is ended when that is taken back."""
    return f"accepted {prediction_id}"


def _who(one: StoredPrediction) -> str:
    return f" ({one.decided_at}{f', by {one.by}' if one.by else ''})"


def _ends(connection: Connection, document_id: str) -> tuple[str, str]:
    t = triples.c
    query = select(t.head_id, t.tail_id).join(chunks, chunks.c.chunk_id == t.chunk_id)
    row = connection.execute(query.where(chunks.c.document_id == document_id)).one()
    return row.head_id, row.tail_id


def _fresh_id(connection: Connection, link: tuple[str, str, str]) -> str:
    """Return an id for a new row; that of the link may be taken by one whose ends were led elsewhere since."""
    this = prediction_id(*link)
    n_taken = 0
    while connection.execute(select(_P.prediction_id).where(_is(this))).first() is not None:
        n_taken += 1
        this = prediction_id(link[0], f"{link[1]}\n{n_taken}", link[2])
    return this


def _known_chunks(connection: Connection, chunk_ids: Sequence[str]) -> list[str]:
    known: set[str] = set()
    for batch in in_batches(sorted(set(chunk_ids))):
        known |= set(connection.execute(select(chunks.c.chunk_id).where(chunks.c.chunk_id.in_(batch))).scalars())
    return [one for one in dict.fromkeys(chunk_ids) if one in known]

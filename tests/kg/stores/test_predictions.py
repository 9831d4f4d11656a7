"""Predicted links stay apart from what documents say, follow merges and splits, and keep a person's word."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.accepted import accepted_delta
from kg.errors import InputError, NotFoundError
from kg.ids import entity_id
from kg.ports import DecisionKind, NewPrediction, PredictionStatus, StoredPrediction
from kg.stores.predictions import SqlPredictionStore
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import CompanyMatcher, canonical_dump, make_delta
from kg.types import Origin

OPEN, ACCEPTED, REJECTED = PredictionStatus


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlRecordStore]:
    record = open_record(tmp_path / "record.db")
    for name, text in {
        "ann": "Ann knows Bob",
        "bob": "Bob likes Oslo",
        "cem": "Cem likes Rome",
    }.items():
        record.apply(make_delta(text, name=f"{name}.txt"))
    yield record
    record.close()


def link(head: str, relation: str, tail: str, probability: float = 0.5, **more: object) -> NewPrediction:
    ends = {"head_id": entity_id(head), "relation": relation, "tail_id": entity_id(tail)}
    return NewPrediction(**ends, score=1.0, probability=probability, **more)  # type: ignore[arg-type]


def put(store: SqlRecordStore, *links: NewPrediction, model: str = "m1") -> list[StoredPrediction]:
    kept = SqlPredictionStore(store)
    kept.save(links, model=model, run="j1")
    return kept.predictions()


def accept(store: SqlRecordStore, one: StoredPrediction, by: str = "Eve") -> StoredPrediction:
    delta = accepted_delta(store, one, by=by, at="2026-01-02T03:04:05+00:00")
    return SqlPredictionStore(store).accept(one.prediction_id, delta, by=by)


def chunk_of(store: SqlRecordStore, name: str) -> str:
    document = next(info for info in store.documents() if info.name == name)
    return next(store.iter_chunks(document_id=document.document_id)).chunk_id


def test_a_prediction_changes_nothing_that_the_record_says(store: SqlRecordStore):
    before, version = canonical_dump(store), store.version()

    (one,) = put(store, link("ann", "likes", "oslo"))

    assert (one.status, one.origin, one.stale) == (OPEN, Origin.PREDICTED, "")
    assert canonical_dump(store) == before
    assert store.version() == version
    assert store.statistics()["relations"] == 3  # as many as the texts state


def test_predicting_a_link_again_refreshes_it_and_keeps_its_id(store: SqlRecordStore):
    (first,) = put(store, link("ann", "likes", "oslo", 0.5, calibrated=0.4))
    (second,) = put(store, link("ann", "likes", "oslo", 0.7), model="m2")

    assert second.prediction_id == first.prediction_id
    assert (first.likelihood, second.likelihood, second.model) == (0.4, 0.7, "m2")


def test_what_a_document_states_is_not_kept_as_a_prediction(store: SqlRecordStore):
    kept = SqlPredictionStore(store)

    assert kept.save([link("bob", "likes", "oslo")], model="m", run="").n_stated == 1
    assert kept.predictions() == []


def test_a_rejected_link_is_never_kept_again_until_it_is_reopened(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    (one,) = put(store, link("ann", "likes", "oslo"))
    rejected = kept.reject(one.prediction_id, by="Eve", note="no")

    assert (rejected.status, rejected.by, rejected.note) == (REJECTED, "Eve", "no")
    assert rejected.decided_at
    assert kept.save([link("ann", "likes", "oslo")], model="m2", run="").n_rejected == 1
    assert kept.predictions(status=OPEN) == []
    assert kept.drop([one.prediction_id]) == 0
    assert kept.reopen(one.prediction_id).status is OPEN
    with pytest.raises(InputError, match="is open"):
        kept.reopen(one.prediction_id)


def test_an_accepted_prediction_is_asserted_by_a_note_that_says_by_whom_and_reopening_deletes_it(
    store: SqlRecordStore,
):
    before = canonical_dump(store)
    (one,) = put(store, link("ann", "likes", "oslo"))
    accepted = accept(store, one)

    assert (accepted.status, accepted.origin, accepted.by) == (ACCEPTED, Origin.ASSERTED, "Eve")
    (relation,) = [r for r in store.relations(entity_id=entity_id("ann")) if r.name == "likes"]
    assert (relation.tail_id, relation.origin) == (entity_id("oslo"), Origin.ASSERTED)
    note = store.document(accepted.document_id)
    assert note.source == f"prediction:{one.prediction_id}"
    assert note.text == "Ann likes Oslo."
    assert (note.metadata["accepted_by"], note.metadata["prediction"]) == ("Eve", one.prediction_id)
    assert accept(store, one).decided_at == accepted.decided_at  # twice changes nothing

    reopened = SqlPredictionStore(store).reopen(one.prediction_id)
    assert (reopened.status, reopened.document_id) == (OPEN, "")
    assert canonical_dump(store) == before


def test_what_was_accepted_is_not_rejected_and_the_other_way_round(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    one, other = put(store, link("ann", "likes", "oslo", 0.9), link("ann", "likes", "rome", 0.1))
    accept(store, one)
    kept.reject(other.prediction_id, by="")

    with pytest.raises(InputError, match="was accepted .*by Eve"):
        kept.reject(one.prediction_id, by="")
    with pytest.raises(InputError, match="was rejected"):
        accept(store, other)


def test_a_later_document_that_states_an_accepted_link_stands_beside_the_note(store: SqlRecordStore):
    (one,) = put(store, link("ann", "likes", "oslo"))
    accept(store, one)
    store.apply(make_delta("Ann likes Oslo", name="later.txt"))

    rows = store.triple_rows(relation=(entity_id("ann"), "likes", entity_id("oslo")))
    assert sorted(row.origin for row in rows) == ["asserted", "extracted"]
    SqlPredictionStore(store).reopen(one.prediction_id)
    assert [row.origin for row in store.triple_rows() if row.name == "likes" and row.head_id == entity_id("ann")] == [
        "extracted"
    ]


def test_deleting_the_note_of_an_accepted_link_opens_it_again(store: SqlRecordStore):
    (one,) = put(store, link("ann", "likes", "oslo"))
    store.remove(accept(store, one).document_id)

    assert SqlPredictionStore(store).prediction(one.prediction_id).status is OPEN


def test_a_prediction_follows_a_merge_and_its_undoing(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    (one,) = put(store, link("ann", "likes", "oslo"))
    merge = store.decide(DecisionKind.SAME, entity_id("ann"), entity_id("cem"))
    merged = next(e.entity_id for e in store.entities() if {"Ann", "Cem"} <= {e.name, *e.aliases})

    assert kept.prediction(one.prediction_id).head_id == merged
    kept.reject(one.prediction_id, by="")
    same = NewPrediction(head_id=merged, relation="likes", tail_id=entity_id("oslo"), score=1, probability=1)
    assert kept.save([same], model="m2", run="").n_rejected == 1  # rejected under the name of one, so of both

    store.undo(merge.decision_id)
    assert kept.prediction(one.prediction_id).head_id == entity_id("ann")
    assert kept.save([link("cem", "likes", "oslo")], model="m2", run="").n_new == 1


def test_reopening_keeps_a_prediction_whose_relation_no_document_states(store: SqlRecordStore):
    (one,) = put(store, link("ann", "related to", "oslo"))
    accept(store, one)

    reopened = SqlPredictionStore(store).reopen(one.prediction_id)
    assert (reopened.status, reopened.relation, reopened.stale) == (OPEN, "related to", "")


def test_two_predictions_that_a_merge_makes_one_are_listed_once_and_a_persons_word_counts(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    found = put(store, link("ann", "likes", "oslo", 0.9), link("cem", "likes", "oslo", 0.1))
    kept.reject(found[1].prediction_id, by="")
    store.decide(DecisionKind.SAME, entity_id("ann"), entity_id("cem"))

    assert [(one.prediction_id, one.status) for one in kept.predictions()] == [(found[1].prediction_id, REJECTED)]


def test_lists_by_status_and_relation_are_those_of_the_whole_list(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    links = [link("ann", "likes", "oslo", 0.9), link("cem", "likes", "oslo", 0.1), link("ann", "knows", "cem", 0.3)]
    more = [link("bob", "knows", "rome", 0.2), link("bob", "related to", "cem", 0.4)]
    ids = {(one.head_id, one.relation, one.tail_id): one.prediction_id for one in put(store, *links, *more)}
    kept.reject(ids[entity_id("cem"), "likes", entity_id("oslo")], by="")
    accepted = kept.prediction(ids[entity_id("bob"), "related to", entity_id("cem")])
    note = accept(store, accepted).document_id
    accept(store, kept.prediction(ids[entity_id("ann"), "knows", entity_id("cem")]))
    store.remove(note)  # so that it is open again, whatever its row says
    store.decide(DecisionKind.SAME, entity_id("ann"), entity_id("cem"))  # so that a rejected and an open one are one

    whole = kept.predictions()

    assert [one.status for one in whole].count(REJECTED) == 1
    for status in (None, *PredictionStatus):
        for relation in (None, "likes", "knows", "related  to", "owns"):
            wanted = None if relation is None else " ".join(relation.split())
            expected = [one for one in whole if status in (None, one.status) and wanted in (None, one.relation)]
            assert kept.predictions(status=status, relation=relation) == expected


def test_a_prediction_whose_passage_was_deleted_is_stale_and_says_nothing_of_it_any_more(store: SqlRecordStore):
    kept = SqlPredictionStore(store)
    passages = (chunk_of(store, "ann.txt"), chunk_of(store, "cem.txt"))
    (one,) = put(
        store, link("bob", "likes", "rome", evidence={"texts": ["Cem likes Rome"]}, chunk_ids=(*passages, "c_unknown"))
    )
    assert (one.n_passages, one.stale) == (2, "")

    store.remove(next(info.document_id for info in store.documents() if info.name == "ann.txt"))

    after = kept.prediction(one.prediction_id)
    assert after.stale == "1 of the 2 passages that it leant on are gone"
    assert (after.chunk_ids, after.evidence) == (passages[1:], {})


def test_no_word_of_a_deleted_document_stays_in_a_rejected_prediction_and_it_stays_rejected(tmp_path: Path):
    path = tmp_path / "record.db"
    store = open_record(path)
    store.apply(make_delta("Ann knows Bob", name="kept.txt"))
    secret = make_delta("Zyxxo divorced_in Quuxville", name="secret.txt")
    store.apply(secret)
    kept = SqlPredictionStore(store)
    evidence = {"paths": [["Zyxxo", "divorced_in"]], "entities": [entity_id("zyxxo")]}
    (one,) = put(store, link("ann", "divorced_in", "bob", evidence=evidence))
    kept.reject(one.prediction_id, by="")

    store.remove(secret.document.document_id)

    after = kept.prediction(one.prediction_id)
    assert (after.relation, after.evidence, after.status) == ("", {}, REJECTED)
    assert after.stale == "no document uses its relation any more"
    connection = sqlite3.connect(path)
    dump = "\n".join(connection.iterdump()).lower()
    connection.close()
    assert "zyxxo" not in dump
    assert "divorced" not in dump
    store.apply(secret)
    assert kept.save([link("ann", "divorced_in", "bob")], model="m", run="").n_rejected == 1
    store.close()


def test_a_prediction_whose_entity_is_gone_is_stale_and_cannot_be_accepted(store: SqlRecordStore):
    (one,) = put(store, link("ann", "likes", "rome"))
    delta = accepted_delta(store, one, by="", at="")
    store.remove(next(info.document_id for info in store.documents() if info.name == "cem.txt"))

    kept = SqlPredictionStore(store)
    assert kept.prediction(one.prediction_id).stale.startswith("an entity at its end")
    with pytest.raises(InputError, match="cannot be accepted"):
        kept.accept(one.prediction_id, delta, by="")


def test_accepting_a_link_of_a_homonym_asserts_it_of_the_sense_meant(tmp_path: Path):
    store = open_record(tmp_path / "record.db", matcher=CompanyMatcher())
    for name, text in {"a": "Bob knows Cem", "b": "Bob knows Cem", "c": "Bob likes Rome. Bob likes Bergen"}.items():
        store.apply(make_delta(text, name=f"{name}.txt"))
    senses = {one.entity_id for one in store.senses() if "Bob" in one.names}
    assert len(senses) == 2  # by their company
    (rare,) = {row.head_id for row in store.triple_rows() if row.name == "likes"}
    put(store, NewPrediction(head_id=rare, relation="likes", tail_id=entity_id("cem"), score=1, probability=1))

    (one,) = SqlPredictionStore(store).predictions()
    accepted = accept(store, one)

    asserted = [row for row in store.triple_rows() if row.origin == Origin.ASSERTED]
    assert [(row.head_id, row.tail_id) for row in asserted] == [(accepted.head_id, entity_id("cem"))]
    assert [row.head_id for row in store.triple_rows() if row.name == "likes" and row.origin == "extracted"] == [
        accepted.head_id
    ] * 2
    (taken,) = store.decisions()
    assert taken.note == f"accepted {one.prediction_id}"
    reopened = SqlPredictionStore(store).reopen(one.prediction_id)
    assert reopened.head_id == rare
    assert [one.undone_at != "" for one in store.decisions()] == [True]
    store.close()


def test_an_unknown_id_is_refused_with_the_nearest_ones(store: SqlRecordStore):
    (one,) = put(store, link("ann", "likes", "oslo"))
    with pytest.raises(NotFoundError, match=f"Near it are {one.prediction_id}"):
        SqlPredictionStore(store).prediction(one.prediction_id[:-2] + "zz")
    with pytest.raises(NotFoundError, match="no entity"):
        SqlPredictionStore(store).save([link("nobody", "likes", "oslo")], model="m", run="")


def test_a_failure_in_the_middle_of_accepting_leaves_nothing_half_written(store: SqlRecordStore, monkeypatch):
    (one,) = put(store, link("ann", "likes", "oslo"))
    before = canonical_dump(store)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(SqlPredictionStore, "_decide", fail)
    with pytest.raises(RuntimeError):
        accept(store, one)
    assert canonical_dump(store) == before
    assert SqlPredictionStore(store).prediction(one.prediction_id).status is OPEN


def test_threads_that_accept_and_reject_one_prediction_end_with_one_word(store: SqlRecordStore):
    (one,) = put(store, link("ann", "likes", "oslo"))
    refused: list[str] = []

    def work(place: int) -> None:
        try:
            if place % 2:
                accept(store, one, by=f"t{place}")
            else:
                SqlPredictionStore(store).reject(one.prediction_id, by=f"t{place}")
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    after = SqlPredictionStore(store).prediction(one.prediction_id)
    asserted = [row for row in store.triple_rows() if row.origin == Origin.ASSERTED]
    assert len(refused) == 4  # those who came with the other word
    assert len(asserted) == (1 if after.status is ACCEPTED else 0)


def _accept_for_ever(path: str, ids: list[str]) -> None:
    record = open_record(path)
    kept = SqlPredictionStore(record)
    os.kill(os.getppid(), signal.SIGUSR1)
    while True:
        for this in ids:
            one = kept.prediction(this)
            kept.accept(this, accepted_delta(record, one, by="worker", at=""), by="worker")
        for this in ids:
            kept.reopen(this)


def test_a_process_killed_while_it_accepts_leaves_each_prediction_wholly_accepted_or_open(store, tmp_path):
    found = put(store, link("ann", "likes", "oslo"), link("ann", "likes", "rome"), link("cem", "knows", "bob"))
    ids = [one.prediction_id for one in found]
    started = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: started.set())
    try:
        for pause_s in (0.0, 0.07):
            started.clear()
            worker = multiprocessing.get_context("spawn").Process(
                target=_accept_for_ever, args=(str(tmp_path / "record.db"), ids)
            )
            worker.start()
            assert started.wait(30)
            threading.Event().wait(pause_s)
            worker.kill()
            worker.join()
            notes = {info.source for info in store.documents() if info.source.startswith("prediction:")}
            accepted = SqlPredictionStore(store).predictions(status=ACCEPTED)
            assert notes == {f"prediction:{one.prediction_id}" for one in accepted}
            for one in accepted:
                SqlPredictionStore(store).reopen(one.prediction_id)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_record_without_relations_keeps_predictions_too(tmp_path: Path):
    store = open_record(tmp_path / "record.db")
    assert SqlPredictionStore(store).predictions() == []
    store.apply(make_delta("Ann. Bob", name="a.txt"))
    put(store, link("ann", "related to", "bob"))
    assert json.dumps([one.relation for one in SqlPredictionStore(store).predictions()]) == '["related to"]'
    store.close()

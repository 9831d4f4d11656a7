"""Senses, links, entities and contradictions follow from the documents that remain and the decisions that hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select

from kg.errors import InputError, NotFoundError
from kg.ports import DecisionKind
from kg.stores import profiles, senses
from kg.stores.record import SqlRecordStore, open_record
from kg.stores.schema import metadata
from kg.testing import CompanyMatcher, canonical_dump, make_delta

DERIVED = (
    "locals",
    "names",
    "senses",
    "blocks",
    "block_windows",
    "links",
    "entities",
    "entity_names",
    "contradictions",
)
FILES = ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt")
# Names that are homonyms by their company, and aliases by their last word and initial.
NAMES = st.sampled_from(["Ada King", "Al King", "Ann King", "Ada", "ADA", "Bob Ray", "Bo Ray", "Rome", "Oslo"])
SENTENCES = st.tuples(NAMES, st.sampled_from(["knows", "born_in"]), NAMES, st.sampled_from([". ", ".\n\n"]))
TEXTS = st.lists(SENTENCES, min_size=1, max_size=4).map(
    lambda found: "".join(f"{head} {name} {tail}{end}" for head, name, tail, end in found)
)
CORPORA = st.dictionaries(st.sampled_from(FILES), TEXTS, min_size=1, max_size=5)
SMALL = pytest.mark.parametrize(("sample", "window"), [(32, 32), (2, 2)], ids=["ordinary", "two-of-each"])


@contextmanager
def opened(*names: str, sample: int = 32, window: int = 32, **options: Any) -> Iterator[list[SqlRecordStore]]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(senses, "SAMPLE", sample)
        patch.setattr(profiles, "WINDOW", window)
        options = {"matcher": CompanyMatcher(), **options}
        stores = [open_record(Path(folder) / f"{name}.db", **options) for name in names]
        for store in stores:  # nothing here is about a power failure, and each commit would wait for the disk
            store.engine.dispose()
            event.listen(store.engine.pool, "connect", lambda driver, _: driver.execute("PRAGMA synchronous=OFF"))
        try:
            yield stores
        finally:
            for store in stores:
                store.close()


def everything(store: SqlRecordStore) -> tuple[str, dict[str, list[tuple[Any, ...]]]]:
    """What a record says, and what its derived tables hold."""
    with store.engine.begin() as connection:
        rows = {name: sorted(map(repr, connection.execute(select(metadata.tables[name])).all())) for name in DERIVED}
    return canonical_dump(store), rows


@SMALL
@settings(max_examples=15)
@given(corpus=CORPORA, data=st.data())
def test_inserting_and_deleting_any_document_restores_the_record(
    corpus: dict[str, str], data: st.DataObject, sample: int, window: int
):
    extra = data.draw(TEXTS, label="extra")
    order = data.draw(st.permutations(sorted(corpus)), label="order")
    with opened("one", sample=sample, window=window) as (store,):
        for name in order:
            store.apply(make_delta(corpus[name], name=name))
        before = everything(store)
        added = make_delta(extra, name="extra.txt")
        store.apply(added)
        store.remove(added.document.document_id)
        assert everything(store) == before


@SMALL
@settings(max_examples=15)
@given(corpus=CORPORA, data=st.data())
def test_order_and_history_do_not_show(corpus: dict[str, str], data: st.DataObject, sample: int, window: int):
    detours = data.draw(st.lists(st.tuples(st.sampled_from(FILES), TEXTS), max_size=4), label="detours")
    with opened("lived", "fresh", sample=sample, window=window) as (lived, fresh):
        for name, text in detours:
            lived.apply(make_delta(text, name=name))
        for info in lived.documents():
            if info.name not in corpus:
                lived.remove(info.document_id)
        for name in data.draw(st.permutations(sorted(corpus)), label="order"):
            lived.apply(make_delta(corpus[name], name=name))
        for name in sorted(corpus):
            fresh.apply(make_delta(corpus[name], name=name))
        assert everything(lived) == everything(fresh)


@SMALL
@settings(max_examples=12)
@given(corpus=CORPORA)
def test_record_resolved_again_by_a_new_matcher_is_the_one_it_would_have_made(
    corpus: dict[str, str], sample: int, window: int
):
    with (
        opened("old", sample=sample, window=window, matcher=None) as (old,),
        opened("new", sample=sample, window=window) as (new,),
    ):
        for name, text in sorted(corpus.items()):
            old.apply(make_delta(text, name=name))
            new.apply(make_delta(text, name=name))
        again = open_record(old.where, matcher=CompanyMatcher())
        again.resolve_again()
        assert everything(again) == everything(new)
        again.close()


def _decide(store: SqlRecordStore, data: st.DataObject) -> int | None:
    """Take a decision on things drawn from the record; ``None`` where there is nothing to decide."""
    known = [sense.sense_id for sense in store.senses()]
    kind = data.draw(st.sampled_from(list(DecisionKind)), label="kind")
    left, right = data.draw(st.sampled_from(known)), data.draw(st.sampled_from(known))
    documents = data.draw(st.sets(st.sampled_from([info.document_id for info in store.documents()]), min_size=1))
    try:
        return store.decide(kind, left, right, document_ids=sorted(documents)).decision_id
    except (InputError, NotFoundError):
        return None


@SMALL
@settings(max_examples=20)
@given(corpus=CORPORA, data=st.data())
def test_undone_decision_leaves_the_record_as_if_it_had_never_been_taken(
    corpus: dict[str, str], data: st.DataObject, sample: int, window: int
):
    names = sorted(corpus)
    n_before = data.draw(st.integers(1, len(names)), label="documents before the decisions")
    with opened("decided", "undecided", sample=sample, window=window) as (decided, undecided):
        for name in names[:n_before]:
            decided.apply(make_delta(corpus[name], name=name))
        if not decided.senses():
            return
        taken = {_decide(decided, data) for _ in range(data.draw(st.integers(1, 3), label="decisions"))} - {None}
        for name in names[n_before:]:
            decided.apply(make_delta(corpus[name], name=name))
        for decision_id in data.draw(st.permutations(sorted(taken)), label="undone in this order"):
            if decided.decisions()[decision_id - 1].is_active:
                decided.undo(decision_id)
        for name in names:
            undecided.apply(make_delta(corpus[name], name=name))
        assert everything(decided) == everything(undecided)


@SMALL
@settings(max_examples=20)
@given(corpus=CORPORA, data=st.data())
def test_decisions_hold_through_insertion_and_deletion_in_any_order(
    corpus: dict[str, str], data: st.DataObject, sample: int, window: int
):
    """Under decisions too, a document leaves nothing behind, and one that is replaced by itself changes nothing."""
    with opened("one", sample=sample, window=window) as (store,):
        for name in sorted(corpus):
            store.apply(make_delta(corpus[name], name=name))
        if not store.senses():
            return
        for _ in range(data.draw(st.integers(1, 3), label="decisions")):
            _decide(store, data)
        before = everything(store)
        name = data.draw(st.sampled_from(sorted(corpus)), label="replaced")
        store.apply(make_delta(data.draw(TEXTS), name=name))
        store.apply(make_delta(corpus[name], name=name))
        extra = make_delta(data.draw(TEXTS), name="extra.txt")
        store.apply(extra)
        store.remove(extra.document.document_id)
        assert everything(store) == before


@settings(max_examples=12)
@given(corpus=CORPORA, data=st.data())
def test_changes_name_every_entity_that_reads_differently(corpus: dict[str, str], data: st.DataObject):
    def seen(store: SqlRecordStore) -> dict[str, str]:
        found = {}
        for entity in store.entities():
            rows = store.relations(entity_id=entity.entity_id)
            places = [row for row in store.mention_rows() if row.entity_id == entity.entity_id]
            found[entity.entity_id] = repr((entity, rows, places))
        return found

    with opened("one") as (store,):
        for name in data.draw(st.permutations(sorted(corpus))):
            before, version = seen(store), store.version()
            if data.draw(st.booleans()) and store.documents():
                store.remove(store.documents()[0].document_id)
            else:
                store.apply(make_delta(corpus[name], name=name))
            after = seen(store)
            changed = {one for one in {*before, *after} if before.get(one) != after.get(one)}
            assert changed <= set(store.changed_since(version).entity_ids)

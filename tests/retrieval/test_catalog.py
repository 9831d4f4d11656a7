"""The catalogue: what was caught up equals what is read whole, and costs no reading of what did not change."""

from __future__ import annotations

import random

import pytest

from kg.stores.record import open_record
from kg.testing import make_delta
from kg.types import Modality
from retrieval import catalog as module
from retrieval.catalog import Catalog, LayeredMap, difference, read_catalog


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    yield opened
    opened.close()


def text(number: int, n_paragraphs: int = 3) -> str:
    return "\n\n".join([f"Document {number}", *(f"Paragraph {n} of {number}." for n in range(n_paragraphs))])


def content(catalog: Catalog):
    return (
        dict(catalog.documents),
        dict(catalog.document_of),
        dict(catalog.modality_of),
        dict(catalog.heading_of),
        dict(catalog.pages_of),
        dict(catalog.chunks_of),
    )


@pytest.mark.parametrize("layer_least", [0, 3, 10_000])
def test_a_layered_map_is_the_dictionary_with_the_same_changes(monkeypatch, layer_least):
    monkeypatch.setattr(module, "_LAYER_LEAST", layer_least)
    rng = random.Random(layer_least)
    plain = {f"k{n}": n for n in range(50)}
    layered = LayeredMap(dict(plain))
    for step in range(60):
        older, before = layered, dict(plain)
        changes = {f"k{rng.randrange(80)}": rng.choice([None, step]) for _ in range(rng.randrange(5))}
        layered = layered.changed(changes)
        for key, value in changes.items():
            plain.pop(key, None)
            if value is not None:
                plain[key] = value
        assert dict(layered) == plain
        assert len(layered) == len(plain)
        assert all((f"k{n}" in layered) == (f"k{n}" in plain) for n in range(80))
        assert dict(older) == before  # a search that holds the older one sees it unchanged


def test_a_key_that_is_gone_or_never_was_raises():
    layered = LayeredMap({"a": 1}).changed({"a": None})

    for key in ("a", "b"):
        with pytest.raises(KeyError):
            layered[key]


@pytest.mark.parametrize("seed", range(3))
def test_a_catalogue_caught_up_over_any_history_equals_one_read_whole(store, seed, monkeypatch):
    monkeypatch.setattr(module, "_LAYER_LEAST", 4)
    rng = random.Random(seed)
    caught_up: Catalog | None = None
    versions: list[tuple[int, frozenset[str]]] = []
    for _ in range(25):
        for _ in range(rng.randrange(1, 3)):
            documents = store.documents()
            if documents and rng.random() < 0.4:
                store.remove(rng.choice(documents).document_id)
            else:  # a new document, or another text of the same source
                number = rng.randrange(12)
                store.apply(make_delta(text(rng.randrange(1000), rng.randrange(4)), name=f"{number}.txt"))
        caught_up = read_catalog(store, store.version(), before=caught_up)
        whole = read_catalog(store, store.version(), before=None)

        assert content(caught_up) == content(whole)
        assert caught_up.chunk_ids == store.chunk_ids()
        versions.append((caught_up.version, frozenset(caught_up.document_of)))
        for version, had in versions:
            expected = (sorted(had - set(caught_up.document_of)), sorted(set(caught_up.document_of) - had))
            stale, missing = difference(lambda had=had: had, caught_up, since=version)
            # by the list of changes, what came and went again, or is there again, may be named too: never less
            assert set(expected[0]) <= set(stale)
            assert set(expected[1]) <= set(missing)
            assert not set(stale) & set(caught_up.document_of)
            assert set(missing) <= set(caught_up.document_of)
            assert difference(lambda had=had: had, caught_up) == expected


def test_only_changed_documents_are_read_again(store, monkeypatch):
    for number in range(5):
        store.apply(make_delta(text(number), name=f"{number}.txt"))
    before = read_catalog(store, store.version(), before=None)
    store.apply(make_delta(text(9), name="9.txt"))
    asked: list[object] = []

    def noting(read):
        def call(*, document_ids):
            asked.append(document_ids)
            return read(document_ids=document_ids)

        return call

    monkeypatch.setattr(store, "chunk_rows", noting(store.chunk_rows))
    monkeypatch.setattr(store, "documents", noting(store.documents))

    after = read_catalog(store, store.version(), before=before)

    (new,) = {one for one in after.documents if one not in before.documents}
    assert asked == [[new], [new]]
    stale, missing = difference(lambda: pytest.fail("all ids were compared"), after, since=before.version)
    assert stale == []
    assert missing == sorted(after.chunks_of[new])


def test_the_list_of_changes_is_forgotten_once_it_is_long(store, monkeypatch):
    monkeypatch.setattr(module, "_LAYER_LEAST", 1)
    monkeypatch.setattr(module, "_LOG_SHARE", 0.0)
    store.apply(make_delta(text(1), name="1.txt"))
    first = read_catalog(store, store.version(), before=None)
    store.apply(make_delta(text(2), name="2.txt"))
    second = read_catalog(store, store.version(), before=first)

    assert second.changed_since(first.version) is None
    assert second.changed_since(second.version) == frozenset()
    assert difference(lambda: first.document_of, second, since=first.version)[1] == sorted(
        set(second.document_of) - set(first.document_of)
    )


def test_a_record_that_was_replaced_by_an_older_copy_is_read_whole(store, tmp_path):
    for number in range(3):
        store.apply(make_delta(text(number), name=f"{number}.txt"))
    newer = read_catalog(store, store.version(), before=None)
    older = open_record(tmp_path / "older.sqlite")
    older.apply(make_delta(text(7), name="7.txt"))

    again = read_catalog(older, older.version(), before=newer)

    assert content(again) == content(read_catalog(older, older.version(), before=None))
    older.close()


def test_filters_by_document_and_kind_hold_together(store):
    store.apply(make_delta("Fish\n\nHerring swim.\n\n[picture: Chart of herring]", name="fish.txt"))
    store.apply(make_delta(text(1), name="1.txt"))
    catalog = read_catalog(store, store.version(), before=None)
    (fish,) = (info.document_id for info in catalog.documents.values() if info.name == "fish.txt")
    pictures = {one for one, kind in catalog.modality_of.items() if kind is Modality.IMAGE}

    assert catalog.allowed(None, None) is None
    assert catalog.allowed([fish, "d_unknown"], None) == set(catalog.chunks_of[fish])
    assert catalog.allowed(None, [Modality.IMAGE]) == pictures
    assert len(pictures) == 1
    assert catalog.allowed([fish], [Modality.TEXT]) == set(catalog.chunks_of[fish]) - pictures
    assert catalog.allowed([], None) == frozenset()

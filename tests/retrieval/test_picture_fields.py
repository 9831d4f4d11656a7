"""Each voice of a picture's caption is heard by itself, and what each contributes can be seen."""

from __future__ import annotations

import pytest

from kg.captioning.lines import compose, loose_line
from kg.stores.record import open_record
from kg.testing import make_delta
from kg.types import GraphDelta
from retrieval.catalog import read_catalog
from retrieval.chunk_vectors import IngestChunkEncoder
from retrieval.config import RetrievalConfig
from retrieval.engine import RetrievalEngine
from retrieval.evidence import EvidenceReader, FoundChunk
from retrieval.fakes import HashingTextEncoder
from retrieval.picture_fields import FIELDS, field_space, field_texts
from retrieval.types import Query

CHART = "Tide\n\nThe tide rises.\n\n[picture: Chart]"
LINES = (
    ("ocr", "alpha bravo charlie delta echo foxtrot golf hotel"),
    ("context", "Herring were landed in Velden that year"),
    ("caption", "Ferries of Osterby"),
)


def delta_with(lines, *, name="tide.txt") -> GraphDelta:
    """A document whose picture's caption has these lines."""
    from dataclasses import replace

    from kg.testing.fakes import chunk_by_paragraph

    delta = make_delta(CHART, name=name)
    (asset,) = delta.document.assets
    caption = compose(asset.asset_id, [loose_line(text, source) for source, text in lines], "said")
    chunks = chunk_by_paragraph(delta.document, (caption,))
    extraction = replace(delta.extraction, mentions=(), triples=())
    return replace(delta, captions=(caption,), chunks=chunks, extraction=extraction)


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    yield opened
    opened.close()


def make_engine(store, tmp_path, encoder=None, config=None):
    return RetrievalEngine(store, encoder or HashingTextEncoder(), config or RetrievalConfig(), tmp_path / "index")


def picture_cosine(engine, question: str) -> float:
    evidence, _ = engine.search(Query(text=question), k=9, mode="naive")
    (item,) = [item for item in evidence if item.chunk.asset_id is not None]
    return item.contributions[0].score


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("herring landed in Velden that year were", "context"),
        ("Ferries of Osterby", "caption"),
        ("alpha bravo charlie delta echo foxtrot golf hotel", "ocr"),
    ],
)
def test_a_question_that_one_field_answers_is_as_near_as_that_field(store, tmp_path, question, field):
    store.apply(delta_with(LINES))
    encoder = HashingTextEncoder()
    texts = dict(LINES)
    query, *vectors = encoder.encode([question, *texts.values()])
    cosines = dict(zip(texts, (float(vector @ query) for vector in vectors), strict=True))
    whole = float(encoder.encode(["\n".join(text for _, text in LINES)])[0] @ query)

    assert max(cosines, key=cosines.get) == field
    assert picture_cosine(make_engine(store, tmp_path), question) == pytest.approx(cosines[field], abs=1e-5)
    assert cosines[field] > whole  # what one text of all fields would say


def test_a_caption_of_one_field_has_no_vectors_of_its_own(store, tmp_path):
    store.apply(delta_with(LINES[:1]))
    engine = make_engine(store, tmp_path)
    engine.refresh()

    assert set(store.vector_counts()) == {engine.vector_space}
    assert field_texts(None) == {}


def test_fields_join_the_lines_of_their_sources_in_order():
    (asset,) = make_delta(CHART).document.assets
    lines = (
        ("alt", "A map"),
        ("ocr", "x"),
        ("caption", "Map 1"),
        ("ocr", "y"),
        ("model", "It shows"),
        ("name", "f.png"),
    )
    caption = compose(asset.asset_id, [loose_line(text, source) for source, text in lines], "said")

    assert field_texts(caption) == {"ocr": "x\ny", "caption": "A map\nMap 1\nIt shows"}


def test_ingest_makes_the_vectors_that_a_search_would_make(store, tmp_path):
    delta = delta_with(LINES)
    store.apply(delta)
    encoder = HashingTextEncoder()
    (rows,) = IngestChunkEncoder(encoder, RetrievalConfig(), store=store).encode([delta])
    made = {(row.space, row.chunk_id): row.vector.tolist() for row in rows if row.space}
    make_engine(store, tmp_path).refresh()

    spaces = [field_space(encoder, field) for field in FIELDS]
    assert {space for space, _ in made} == set(spaces)
    for (space, chunk_id), vector in made.items():
        assert store.vectors(encoder=space, chunk_ids=[chunk_id])[chunk_id].tolist() == vector


def test_a_filter_binds_fields_too(store, tmp_path):
    store.apply(delta_with(LINES))
    store.apply(delta_with(LINES, name="other.txt"))
    (other,) = [info for info in store.documents() if info.name == "other.txt"]
    evidence, _ = make_engine(store, tmp_path).search(
        Query(text="Ferries of Osterby"), k=9, mode="naive", document_ids=[other.document_id]
    )

    assert {item.document.name for item in evidence} == {"other.txt"}
    assert evidence[0].chunk.asset_id is not None


def test_too_many_missing_fields_are_told_and_made_by_reindex(store, tmp_path):
    store.apply(delta_with(LINES))
    engine = make_engine(store, tmp_path, config=RetrievalConfig(max_encoded_by_search=2))
    engine.reindex()  # chunks alone
    plain = picture_cosine(engine, "Ferries of Osterby")
    _, trace = engine.search(Query(text="Ferries of Osterby"), k=9, mode="naive")

    assert any("3 fields of pictures have no vector" in note for note in trace.notes)
    assert engine.fields.reindex() == 3
    assert plain < 0.9 < picture_cosine(engine, "Ferries of Osterby")
    assert engine.fields.reindex() == 0


def test_pictures_of_a_deleted_document_leave_the_index(store, tmp_path):
    delta = delta_with(LINES)
    store.apply(delta)
    store.apply(delta_with(LINES, name="other.txt"))
    engine = make_engine(store, tmp_path)
    engine.refresh()
    store.remove(delta.document.document_id)
    evidence, _ = engine.search(Query(text="Ferries of Osterby"), k=9, mode="naive")

    assert {item.document.name for item in evidence} == {"other.txt"}
    assert len(engine.fields._index) == len(LINES)


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_missing_or_damaged_index_file_is_built_again_without_encoding(store, tmp_path, spoil):
    store.apply(delta_with(LINES))
    make_engine(store, tmp_path).refresh()
    spoil(tmp_path / "index" / "fields.index")
    encoder = HashingTextEncoder()

    assert picture_cosine(make_engine(store, tmp_path, encoder), "Ferries of Osterby") == pytest.approx(1.0, abs=1e-5)
    assert encoder.encoded == ["Ferries of Osterby"]


def test_a_caption_is_read_once_however_many_pieces_of_its_picture_are_found(store, tmp_path, monkeypatch):
    store.apply(delta_with(LINES))
    (piece,) = [chunk for chunk in store.iter_chunks() if chunk.asset_id is not None]
    catalog = read_catalog(store, store.version(), before=None)
    asked, caption = [], store.caption
    monkeypatch.setattr(store, "caption", lambda asset_id: asked.append(asset_id) or caption(asset_id))

    found = [FoundChunk(chunk_id=piece.chunk_id, score=score, shares={}) for score in (2.0, 1.0)]
    evidence = EvidenceReader(store).read(found, {}, catalog)

    assert [[line.text for line in item.lines] for item in evidence] == [[text for _, text in LINES]] * 2
    assert [item.n_parts for item in evidence] == [1, 1]  # what was read off it: one line of source ocr
    assert asked == [piece.asset_id]

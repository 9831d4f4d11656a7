"""What is searched of a chunk, cut into fields, and the setting that weighs them."""

from __future__ import annotations

import pytest

from kg.types import CaptionLine, Chunk, Modality, Span
from retrieval.config import RetrievalConfig
from retrieval.derived import searchable_text
from retrieval.engine import RetrievalEngine
from retrieval.fields import fielded_text
from retrieval.types import Query

TEXTS = {
    "fish.txt": "Fish\n\nHerring swim in cold water.\n\n[picture: Chart of zander caught by year]",
    "zoo.txt": "Zoo\n\nThe zander sleeps, the zebra does not, and nobody knows why that is so in a zoo.",
}


def chunk(text: str, start: int = 0) -> Chunk:
    return Chunk(
        chunk_id="c",
        document_id="d",
        ordinal=0,
        text=text,
        span=Span(start=start, end=start + len(text)),
        page_first=1,
        page_last=1,
        modality=Modality.IMAGE,
        asset_id="a",
        n_tokens=5,
    )


def line(start: int, end: int, source: str) -> CaptionLine:
    return CaptionLine(text="x" * (end - start), span=Span(start=start, end=end), source=source)


def test_each_part_of_a_pictures_chunk_has_its_field():
    # the caption's characters 10 to 40; its lines begin before it, and end after it
    text = "2019: 4.5\nCatches by year\nmore"
    one = chunk(text, start=10)
    lines = [line(20, 35, "caption"), line(0, 19, "ocr"), line(36, 60, "context")]

    parts = fielded_text(one, searchable=searchable_text(one, title="Report", max_context_characters=50), lines=lines)

    assert parts == [
        ("title", "Report\n"),
        ("ocr", "2019: 4.5"),
        ("caption", "Catches by year"),
        ("context", "more"),
    ]


def test_words_outside_every_line_and_chunks_of_text_are_text():
    one = chunk("before 12 after")
    assert fielded_text(one, searchable=one.text, lines=[line(7, 9, "ocr")]) == [
        ("text", "before "),
        ("ocr", "12"),
        ("text", " after"),
    ]
    assert fielded_text(one, searchable=one.text, lines=[]) == [("text", "before 12 after")]


@pytest.mark.parametrize(("weights", "first"), [({}, "fish.txt"), ({"alt": 0.0}, "zoo.txt")])
def test_a_field_that_weighs_nothing_is_not_found_and_another_weight_rebuilds_the_index(
    store, encoder, tmp_path, weights, first
):
    plain = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    assert plain.search(Query(text="zander"), k=1, mode="bm25")[0][0].document.name == "fish.txt"

    config = RetrievalConfig(lexical_field_weights=weights)
    found, _ = RetrievalEngine(store, encoder, config, tmp_path / "index").search(
        Query(text="zander"), k=5, mode="bm25"
    )

    assert found[0].document.name == first
    assert len(found) == (2 if first == "fish.txt" else 1)


def test_another_analyser_rebuilds_the_index(store, encoder, tmp_path):
    plain = RetrievalEngine(store, encoder, RetrievalConfig(), tmp_path / "index")
    assert plain.search(Query(text="sleep"), k=1, mode="bm25")[0]

    whole = RetrievalEngine(store, encoder, RetrievalConfig(lexical_language=None), tmp_path / "index")

    assert whole.search(Query(text="sleep"), k=1, mode="bm25")[0] == []
    assert whole.search(Query(text="sleeps"), k=1, mode="bm25")[0]

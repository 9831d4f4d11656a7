"""A statement is as sure as the words it was read from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kg.captioning.grading import grade_statements
from kg.ports import CaptionRequest
from kg.stores.record import open_record
from kg.testing import AltTextCaptioner, make_delta, make_pipeline, make_raw
from kg.types import EvidenceLevel

TEXT = "Marie Curie discovered Polonium.\n\n[picture: Pierre Curie married Marie Curie]"


def doubtful(caption, score):
    return replace(caption, lines=tuple(replace(line, score=score) for line in caption.lines))


def test_a_statement_from_a_doubtful_line_is_doubtful_and_one_from_the_text_is_not():
    delta = make_delta(TEXT)
    captions = [doubtful(caption, 0.4) for caption in delta.captions]
    graded = grade_statements(delta.extraction, chunks=delta.chunks, captions=captions)

    assert [(triple.name, triple.score) for triple in graded.triples] == [
        ("discovered", 0.5),
        ("married", 0.2),
    ]  # the extractor says 0.5
    assert graded.triples[1].level is EvidenceLevel.WEAK
    assert graded.mentions == delta.extraction.mentions


def test_the_least_certain_of_the_lines_that_a_statement_touches_counts():
    delta = make_delta(TEXT)
    (caption,) = delta.captions
    whole = caption.lines[0]
    parts = [(0, 20, 0.9), (20, len(whole.text), 0.3)]
    lines = tuple(
        replace(whole, text=whole.text[a:b], span=replace(whole.span, start=a, end=b), score=score)
        for a, b, score in parts
    )  # fmt: skip
    graded = grade_statements(delta.extraction, chunks=delta.chunks, captions=[replace(caption, lines=lines)])

    assert graded.triples[1].score == pytest.approx(0.5 * 0.3)


def test_ingest_grades_what_it_stores(tmp_path):
    class Doubtful(AltTextCaptioner):
        def caption(self, requests: list[CaptionRequest]):
            return [doubtful(caption, 0.4) for caption in super().caption(requests)]

    store = open_record(tmp_path / "record.db")
    delta = replace(make_pipeline(store), captioner=Doubtful()).build(make_raw(TEXT))
    store.close()

    assert [triple.score for triple in delta.extraction.triples] == pytest.approx([0.5, 0.2])

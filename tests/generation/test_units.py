"""Units of a picture: what was read off it, what the document says of it, and what only stands beside it."""

from dataclasses import replace

from generation.citations import CitationBook
from generation.context import build_context
from generation.extractive import write_sentence
from generation.testing import make_evidence
from generation.units import units_of
from kg.types import CaptionLine, Modality, Span

CAPTION = "Figure 2: The yearly catch, in tonnes, as the harbour office counts it."
READ = "2021 | 40\n2022 | 55"
AROUND = "The museum is open from ten to five on every day but Monday."


def picture():
    text = f"{CAPTION}\n{READ}\n{AROUND}"
    evidence = make_evidence(text, modality=Modality.CHART)
    start = evidence.chunk.span.start
    lines, at = [], start
    for part, source in ((CAPTION, "caption"), *((row, "ocr") for row in READ.splitlines()), (AROUND, "context")):
        lines.append(CaptionLine(text=part, source=source, span=Span(start=at, end=at + len(part))))
        at += len(part) + 1
    return replace(evidence, lines=tuple(lines))


def test_the_words_around_a_picture_are_no_unit_of_it():
    assert [unit.text for unit in units_of([picture()])] == [CAPTION, READ]


def test_only_what_stands_on_the_picture_is_said_to_be_read_off_it():
    evidence = [picture()]
    caption, rows = units_of(evidence)

    assert write_sentence(caption, evidence, CitationBook()).text == f"The caption of the chart says: “{CAPTION}”"
    assert write_sentence(rows, evidence, CitationBook()).text == "The chart reads: “2021 | 40 · 2022 | 55”"


def test_the_span_of_a_unit_is_exact_in_the_caption():
    evidence = picture()
    start = evidence.chunk.span.start

    for unit in units_of([evidence]):
        assert evidence.chunk.text[unit.span.start - start : unit.span.end - start] == unit.text


def test_what_a_model_says_of_a_picture_is_never_said_to_be_read_off_it():
    described = "The chart compares two years."
    evidence = make_evidence(f"{READ}\n{described}", modality=Modality.CHART)
    start, at = evidence.chunk.span.start, evidence.chunk.span.start + len(READ) + 1
    lines = (
        CaptionLine(text=READ, source="ocr", span=Span(start=start, end=start + len(READ))),
        CaptionLine(text=described, source="model", span=Span(start=at, end=at + len(described)), score=0.5),
    )
    shown = [replace(evidence, lines=lines)]
    rows, model = units_of(shown)

    assert (rows.picture, model.picture, model.said) == (True, False, "model")
    sentence = write_sentence(model, shown, CitationBook()).text
    assert sentence == f"The machine-written description of the chart says: “{described}”"
    context = build_context(shown, budget_tokens=1000, count_tokens=len)
    assert f"(description by a model) {described}" in context.text

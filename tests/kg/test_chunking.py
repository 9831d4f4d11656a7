"""Chunks cover the text, keep their limits, and say exactly where they stand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.chunking import ChunkingConfig, chunk_document
from kg.errors import InputError
from kg.ids import chunk_id
from kg.loaders.tables import make_table
from kg.types import Asset, Box, Caption, CaptionLine, Chunk, Document, Heading, Modality, Page, Span


class WordTokenizer:
    """One token a word or mark, as most encoders count short words."""

    def token_spans(self, text: str) -> list[Span]:
        return [Span(start=m.start(), end=m.end()) for m in re.finditer(r"\w+|[^\w\s]", text)]


class LetterTokenizer:
    """One token a character: the worst case, where every cut inside a word matters."""

    def token_spans(self, text: str) -> list[Span]:
        return [Span(start=i, end=i + 1) for i, c in enumerate(text) if not c.isspace()]


class JoinPenaltyTokenizer(WordTokenizer):
    """Counts one token more for each line break: a whole costs more than the sum of its sentences."""

    def token_spans(self, text: str) -> list[Span]:
        breaks = [Span(start=i, end=i + 1) for i, c in enumerate(text) if c == "\n"]
        return sorted(super().token_spans(text) + breaks, key=lambda span: span.start)


def make_document(
    text: str,
    *,
    page_starts: tuple[int, ...] = (0,),
    headings: tuple[Heading, ...] = (),
    assets: tuple[Asset, ...] = (),
) -> Document:
    ends = (*page_starts[1:], len(text))
    pages = tuple(
        Page(number=n, span=Span(start=a, end=b)) for n, (a, b) in enumerate(zip(page_starts, ends, strict=True), 1)
    )
    return Document(
        document_id="d_1", source="/a.txt", name="a.txt", media_type="text/plain", sha256="0" * 64, n_bytes=1,
        title="A", text=text, pages=pages, is_paged=len(pages) > 1, headings=headings, assets=assets,
    )  # fmt: skip


def make_asset(*, ordinal: int = 0, anchor: int = 0, page: int = 1, kind: Modality = Modality.CHART) -> Asset:
    return Asset(
        asset_id=f"a_{ordinal}", document_id="d_1", ordinal=ordinal, kind=kind, media_type="image/png", data=b"x",
        sha256="1" * 64, width_px=10, height_px=10, page=page, anchor=anchor, box=Box(x0=0.1, y0=0.2, x1=0.3, y1=0.4),
    )  # fmt: skip


def make_caption(asset: Asset, lines: list[str]) -> Caption:
    parts, position = [], 0
    for line in lines:
        parts.append(CaptionLine(text=line, source="ocr", span=Span(start=position, end=position + len(line))))
        position += len(line) + 1
    return Caption(asset_id=asset.asset_id, text="\n".join(lines), captioner="test", lines=tuple(parts))


def assert_sound(
    chunks: tuple[Chunk, ...], document: Document, config: ChunkingConfig, tokenizer: WordTokenizer
) -> None:
    covered = set()
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == document.text[chunk.span.start : chunk.span.end]
        assert chunk.n_tokens == len(tokenizer.token_spans(chunk.text)) <= config.max_tokens
        assert len(chunk.text) <= config.max_characters
        assert chunk.text == chunk.text.strip()
        covered.update(range(chunk.span.start, chunk.span.end))
    assert {i for i, c in enumerate(document.text) if not c.isspace()} <= covered
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    starts = [chunk.span.start for chunk in chunks]
    assert starts == sorted(starts)


WORDS = st.sampled_from(
    ["Anna", "went", "home", "3.5", "Dr.", "a" * 300, "end.", "why?", "\n", "\n\n", "—", "• x", "no."]
)


@settings(max_examples=150)
@given(
    words=st.lists(WORDS, max_size=120),
    tokenizer=st.sampled_from([WordTokenizer(), LetterTokenizer(), JoinPenaltyTokenizer()]),
    max_tokens=st.integers(8, 60),
    overlap=st.integers(0, 4),
    minimum=st.integers(0, 4),
    n_pages=st.integers(1, 4),
    cross=st.booleans(),
)
def test_any_text_is_covered_by_exact_chunks_within_the_limits(
    words, tokenizer, max_tokens, overlap, minimum, n_pages, cross
):
    text = " ".join(words)
    page_starts = tuple(sorted({len(text) * i // n_pages for i in range(n_pages)}))
    document = make_document(text, page_starts=page_starts)
    config = ChunkingConfig(
        max_tokens=max_tokens, overlap_tokens=overlap, min_tokens=minimum, max_characters=200, cross_pages=cross
    )

    chunks = chunk_document(document, (), tokenizer, config)

    assert_sound(chunks, document, config, tokenizer)
    for chunk in chunks:
        assert chunk.page_first == document.page_at(chunk.span.start)
        assert chunk.page_last == document.page_at(chunk.span.end - 1)
        if document.is_paged and not cross:
            assert chunk.page_first == chunk.page_last


def naive_packing(sentences: list[int], max_tokens: int) -> list[int]:
    """Pack sentence lengths greedily, without overlap: the number of sentences in each chunk."""
    counts, used = [], max_tokens + 1
    for n_tokens in sentences:
        if used + n_tokens > max_tokens:
            counts.append(0)
            used = 0
        counts[-1] += 1
        used += n_tokens
    return counts


@settings(max_examples=100)
@given(lengths=st.lists(st.integers(1, 19), min_size=1, max_size=40))
def test_without_overlap_sentences_are_packed_as_the_naive_packer_packs_them(lengths):
    text = " ".join("Word" + " word" * (n - 1) + "." for n in lengths)
    config = ChunkingConfig(max_tokens=20, overlap_tokens=0, min_tokens=0)

    chunks = chunk_document(make_document(text), (), WordTokenizer(), config)

    assert [chunk.text.count(".") for chunk in chunks] == naive_packing([n + 1 for n in lengths], 20)


def test_next_chunk_repeats_the_last_sentences_that_fit_the_overlap():
    text = "One two three. Four five. Six seven. Eight nine ten. Eleven."
    config = ChunkingConfig(max_tokens=10, overlap_tokens=4, min_tokens=0)

    chunks = chunk_document(make_document(text), (), WordTokenizer(), config)

    assert [chunk.text for chunk in chunks] == [
        "One two three. Four five. Six seven.",  # 4 + 3 + 3 tokens
        "Six seven. Eight nine ten. Eleven.",  # 3 tokens repeated; two sentences would be 6 > 4
    ]


def test_chunk_never_crosses_a_page_by_default_and_says_so_when_it_may():
    text = "Page one ends here. Page two begins here."
    document = make_document(text, page_starts=(0, 20))

    apart = chunk_document(document, (), WordTokenizer(), ChunkingConfig())
    together = chunk_document(document, (), WordTokenizer(), ChunkingConfig(cross_pages=True))

    assert [(c.page_first, c.page_last, c.text) for c in apart] == [
        (1, 1, "Page one ends here."),
        (2, 2, "Page two begins here."),
    ]
    assert [(c.page_first, c.page_last) for c in together] == [(1, 2)]


def test_line_of_a_hundred_thousand_characters_without_a_space_is_cut_hard():
    text = "x" * 100_000
    config = ChunkingConfig(max_characters=2000)

    by_letters = chunk_document(make_document(text), (), LetterTokenizer(), config)
    one_token = chunk_document(make_document(text), (), WordTokenizer(), config)

    assert "".join(chunk.text for chunk in by_letters) == text
    assert {len(chunk.text) for chunk in by_letters} == {200}
    assert [len(chunk.text) for chunk in one_token] == [2000] * 50


def test_work_grows_linearly_with_the_text():
    class Counting(WordTokenizer):
        n_characters = 0

        def token_spans(self, text: str) -> list[Span]:
            self.n_characters += len(text)
            return super().token_spans(text)

    def work(n: int) -> int:
        tokenizer = Counting()
        chunk_document(make_document("This is a sentence of nine words, more or less. " * n), (), tokenizer)
        return tokenizer.n_characters

    assert work(800) / work(400) == pytest.approx(2, rel=0.05)


def heading(text: str, document_text: str, level: int) -> Heading:
    start = document_text.index(text)
    return Heading(level=level, text=text, span=Span(start=start, end=start + len(text)))


def test_headings_open_chunks_and_name_the_path_above_them():
    text = (
        "Manual\n\nIntro\n\nThis pump moves water from one tank to another tank.\n\n"
        "Safety\n\nNever open the lid while the motor runs, or you lose a hand."
    )
    headings = (heading("Manual", text, 1), heading("Intro", text, 2), heading("Safety", text, 2))
    config = ChunkingConfig(min_tokens=6, overlap_tokens=6)

    chunks = chunk_document(make_document(text, headings=headings), (), WordTokenizer(), config)

    assert [(c.heading, c.text.splitlines()[0]) for c in chunks] == [
        ("Manual > Intro", "Manual"),
        ("Manual > Safety", "Safety"),
    ]


def test_tiny_sections_share_a_chunk_under_their_common_heading():
    text = "Menu\n\nMonday\n\nSoup.\n\nTuesday\n\nFish."
    headings = (heading("Menu", text, 1), heading("Monday", text, 2), heading("Tuesday", text, 2))

    (chunk,) = chunk_document(make_document(text, headings=headings), (), WordTokenizer())

    assert chunk.heading == "Menu"
    assert chunk.text == text


def test_short_tail_reaches_back_instead_of_standing_alone():
    text = "One two three four five six. Seven eight nine ten. End."
    config = ChunkingConfig(max_tokens=12, overlap_tokens=0, min_tokens=4)

    chunks = chunk_document(make_document(text), (), WordTokenizer(), config)

    assert [c.text for c in chunks] == [
        "One two three four five six. Seven eight nine ten.",
        "Seven eight nine ten. End.",
    ]


def test_caption_chunk_carries_the_place_of_its_picture_and_follows_its_anchor():
    text = "First page text.\fSecond page text."
    asset = make_asset(anchor=20, page=2)
    document = make_document(text, page_starts=(0, 17), assets=(asset,))
    caption = make_caption(asset, ["Sales by year", "2015: 40", "2016: 55"])

    chunks = chunk_document(document, (caption,), WordTokenizer())

    assert [chunk.modality for chunk in chunks] == [Modality.TEXT, Modality.TEXT, Modality.CHART]
    picture = chunks[2]
    assert (picture.text, picture.asset_id, picture.box) == (caption.text, "a_0", asset.box)
    assert (picture.page_first, picture.page_last) == (2, 2)


def test_picture_without_anchor_stands_on_its_page():
    text = "First page text.\fSecond page text.\fThird page text."
    asset = make_asset(page=2)
    document = make_document(text, page_starts=(0, 17, 35), assets=(asset,))

    chunks = chunk_document(document, (make_caption(asset, ["Label"]),), WordTokenizer())

    assert [chunk.text for chunk in chunks] == ["First page text.", "Second page text.", "Label", "Third page text."]


def test_caption_lines_are_never_torn_when_they_fit():
    asset = make_asset()
    lines = [f"Row {i}: {i}, {i + 1}, {i + 2}" for i in range(40)]
    document = make_document("Text.", assets=(asset,))
    config = ChunkingConfig(max_tokens=30, overlap_tokens=8, min_tokens=8)

    chunks = chunk_document(document, (make_caption(asset, lines),), WordTokenizer(), config)

    picture_lines = [line for chunk in chunks if chunk.asset_id for line in chunk.text.splitlines()]
    assert set(picture_lines) == set(lines)


def test_document_without_words_has_no_chunks():
    assert chunk_document(make_document(" \n\t\n "), (), WordTokenizer()) == ()
    assert chunk_document(make_document(""), (), WordTokenizer()) == ()


def test_ids_depend_on_content_alone():
    document = make_document("One sentence. Another one.")

    first = chunk_document(document, (), WordTokenizer())
    again = chunk_document(document, (), WordTokenizer())

    assert first == again


def test_caption_of_an_unknown_asset_is_refused():
    with pytest.raises(InputError, match="unknown asset"):
        chunk_document(make_document("Text."), (make_caption(make_asset(), ["x"]),), WordTokenizer())


@pytest.mark.parametrize("bad", [{"max_tokens": 7}, {"overlap_tokens": 101}, {"min_tokens": -1}, {"max_characters": 1}])
def test_sizes_that_contradict_each_other_are_refused(bad):
    with pytest.raises(InputError, match="ChunkingConfig"):
        ChunkingConfig(**bad)


def table_document(before: str, rows: list[list[str]], after: str, *, caption: str = "") -> Document:
    draft = make_table(rows, source="markup", n_header_rows=1, caption=caption)
    text = "\n\n".join(part for part in (before, draft.block, after) if part)
    start = text.index(draft.block)
    table = draft.to_table(document_id="d_1", ordinal=0, span=Span(start=start, end=start + len(draft.block)))
    return replace(make_document(text), tables=(table,))


def test_table_has_chunks_of_its_own_between_those_of_the_text():
    document = table_document(
        "Before it.", [["Ship", "Seats"], ["Kestrel", "180"]], "After it.", caption="Table 1: Fleet"
    )

    chunks = chunk_document(document, (), WordTokenizer())

    (table,) = document.tables
    assert [(c.modality, c.text) for c in chunks] == [
        (Modality.TEXT, "Before it."),
        (Modality.TABLE, "Table 1: Fleet\nShip: Kestrel; Seats: 180"),
        (Modality.TEXT, "After it."),
    ]
    assert chunks[1].table_id == table.table_id
    assert chunks[1].chunk_id == chunk_id("d_1", table.table_id, 0, len(table.text))


def test_chunk_of_a_table_without_its_caption_has_it_in_the_heading():
    rows = [["Ship", "Seats"], *([f"Ship{i}", str(i)] for i in range(9))]
    document = table_document("", rows, "", caption="Table 1: Fleet")
    heading = Heading(level=1, text="Ships", span=Span(start=0, end=0))

    chunks = chunk_document(
        replace(document, headings=(heading,)),
        (),
        WordTokenizer(),
        ChunkingConfig(max_tokens=16, overlap_tokens=0, min_tokens=0),
    )

    assert [c.heading for c in chunks][:2] == ["Ships", "Ships > Table 1: Fleet"]
    # A caption of 4 tokens, then rows of 7 ("Ship : Ship0 ; Seats : 0"): one with the caption, then two a chunk.
    assert [c.text.count("Seats") for c in chunks] == [1, 2, 2, 2, 2]


def test_row_longer_than_a_chunk_is_cut_at_its_cells():
    rows = [[f"n{i}" for i in range(12)], [f"v{i}" for i in range(12)], ["w"] + [""] * 11]

    chunks = chunk_document(
        table_document("", rows, ""), (), WordTokenizer(), ChunkingConfig(max_tokens=8, overlap_tokens=0, min_tokens=0)
    )

    # "n0: v0;" has 4 tokens, so two cells a chunk; the last cell of the row shares its chunk with the next row.
    assert chunks[0].text == "n0: v0; n1: v1;"
    assert all(c.n_tokens <= 8 for c in chunks)


@settings(max_examples=100)
@given(
    rows=st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=2, max_size=15),
    words=st.lists(WORDS, max_size=20),
    tokenizer=st.sampled_from([WordTokenizer(), LetterTokenizer(), JoinPenaltyTokenizer()]),
    max_tokens=st.integers(8, 60),
)
def test_words_of_tables_and_text_are_all_in_exact_chunks_within_the_limits(rows, words, tokenizer, max_tokens):
    if make_table(rows, source="markup", n_header_rows=1) is None:
        return
    document = table_document(" ".join(words).strip(), rows, " ".join(words).strip(), caption="Some rows")
    config = ChunkingConfig(max_tokens=max_tokens, overlap_tokens=4, min_tokens=4, max_characters=200)

    chunks = chunk_document(document, (), tokenizer, config)

    (table,) = document.tables
    seen = {"text": set(), "table": set()}
    for chunk in chunks:
        whole = table.text if chunk.table_id else document.text
        assert chunk.text == whole[chunk.span.start : chunk.span.end]
        assert chunk.n_tokens <= config.max_tokens
        assert len(chunk.text) <= config.max_characters
        seen[chunk.modality.value].update(range(chunk.span.start, chunk.span.end))
    inside = set(range(table.span.start, table.span.end))
    assert not seen["text"] & inside
    assert {i for i, c in enumerate(document.text) if not c.isspace()} - inside <= seen["text"]
    assert {i for i, c in enumerate(table.text) if not c.isspace()} <= seen["table"]
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)

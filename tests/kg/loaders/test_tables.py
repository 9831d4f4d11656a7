"""Grids become tables whose rows can be found in their words, character for character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.loaders.table_header import guess_header, looks_like_value
from kg.loaders.tables import SpanCell, cell_text, expand_spans, is_table_caption, label_of, make_table
from kg.types import Span

FERRIES = [["Ship", "Seats", "Built"], ["Kestrel", "180", "1998"], ["Petrel", "64", "2004"]]


def placed(draft):
    return draft.to_table(document_id="d_1", ordinal=0, span=Span(start=0, end=len(draft.block)))


def test_each_row_names_the_column_of_each_value():
    draft = make_table(FERRIES, source="markup", n_header_rows=1, caption="Table 3: The fleet")

    table = placed(draft)

    assert table.text == (
        "Table 3: The fleet\nShip: Kestrel; Seats: 180; Built: 1998\nShip: Petrel; Seats: 64; Built: 2004"
    )
    assert [table.text[s.start : s.end] for s in table.row_spans] == list(draft.lines)
    assert (table.header, table.label) == (("Ship", "Seats", "Built"), "Table 3")
    assert draft.block == "Ship | Seats | Built\nKestrel | 180 | 1998\nPetrel | 64 | 2004"


def test_rows_of_a_table_without_a_header_are_named_by_their_first_cell():
    draft = make_table([["Born", "1902"], ["Died:", "1971"], ["Trade", ""]], source="markup", n_header_rows=0)

    assert draft.lines == ("Born: 1902", "Died: 1971", "Trade")


def test_ragged_rows_are_padded_and_empty_rows_and_columns_dropped():
    draft = make_table([["", "A", "", "B"], [], ["", "1"], ["", "2", "", "3"]], source="markup", n_header_rows=1)

    assert draft.rows == (("A", "B"), ("1", ""), ("2", "3"))
    assert draft.lines == ("A: 1", "A: 2; B: 3")


def test_header_that_is_repeated_on_the_next_page_is_no_row():
    draft = make_table([*FERRIES[:2], *FERRIES[:1], *FERRIES[2:]], source="drawn")

    assert draft.n_header_rows == 1
    assert [row[0] for row in draft.rows] == ["Ship", "Kestrel", "Petrel"]


def test_single_value_over_the_columns_is_the_caption():
    draft = make_table([["Fleet, 2024"], *FERRIES], source="sheet")

    assert draft.caption == "Fleet, 2024"
    assert draft.rows[0] == ("Ship", "Seats", "Built")
    assert draft.block.startswith("Fleet, 2024\nShip | Seats")


def test_line_between_the_rows_is_said_without_a_column():
    draft = make_table([*FERRIES, ["Retired", "", ""], ["Marigold", "40", "1921"]], source="sheet")

    assert draft.lines[2] == "Retired"
    assert draft.lines[3] == "Ship: Marigold; Seats: 40; Built: 1921"


def test_header_of_two_rows_joins_their_names():
    grid = [["Island", "2023", "2023"], ["Island", "Sheep", "Goats"], ["Aldis", "80", "45"]]

    assert make_table(grid, source="markup", n_header_rows=2).lines == (
        "Island: Aldis; 2023 / Sheep: 80; 2023 / Goats: 45",
    )


@pytest.mark.parametrize("grid", [[], [[]], [["", ""]], [["one"], ["two"]], [["a", "b"]], [["a", ""], ["b", ""]]])
def test_one_column_or_one_row_is_no_table(grid):
    assert make_table(grid, source="markup") is None


@pytest.mark.parametrize(
    ("rows", "assume", "expected"),
    [
        (FERRIES, False, 1),
        (FERRIES[1:], False, 0),
        ([["", "2021", "2022"], ["Pairs", "1,278", "1,209"], ["Chicks", "310", "355"]], False, 1),
        ([["Name", "Home"], ["Ines", "Aldis"], ["Maren", "Grenholm"]], False, 0),
        ([["Name", "Home"], ["Ines", "Aldis"], ["Maren", "Grenholm"]], True, 1),
        ([["yes", "no"], ["yes", "yes"], ["no", "no"]], True, 0),
        ([["", "Men", "Men"], ["Year", "old", "young"], ["2020", "3", "4"]], False, 2),
        ([["1", "2"], ["3", "4"]], True, 0),
        ([["Name", "Home"]], True, 0),
        ([["r0", "cast member"], ["r1", "screenwriter"], ["r2", "occupation"]], True, 0),
        ([["Item", "Q1"], ["Fuel", "31"], ["Paint", "12"]], True, 1),
    ],
)
def test_header_is_guessed_from_what_stands_below_it(rows, assume, expected):
    assert guess_header(rows, assume=assume) == expected


@pytest.mark.parametrize("cell", ["1,184", "-3.5 %", "€ 2.4m", "2023-04-01", "12:30", "n/a", "1e-5", "65 km", "(12)"])
def test_numbers_amounts_and_dates_are_values(cell):
    assert looks_like_value(cell)


@pytest.mark.parametrize("cell", ["Year", "Ship 2", "", "65 cubic metres", "A1"])
def test_words_are_no_values(cell):
    assert not looks_like_value(cell)


def test_cells_that_cover_others_are_repeated_in_each_place():
    rows = [
        [SpanCell(text="a", n_rows=2), SpanCell(text="b", n_columns=2)],
        [SpanCell(text="c"), SpanCell(text="d", n_rows=9)],
        [SpanCell(text="e"), SpanCell(text="f")],
    ]

    assert expand_spans(rows, max_cells=100_000) == [["a", "b", "b"], ["a", "c", "d"], ["e", "f", "d"]]


def test_hostile_spans_cost_no_more_than_the_limit():
    rows = [[SpanCell(text="x", n_columns=999_999, n_rows=65_000)] * 3 for _ in range(2_000)]

    grid = expand_spans(rows, max_cells=50_000)

    # One row may pass the limit (three cells of 1,000 columns each beside what covers it); then each cell is one place.
    assert sum(map(len, grid)) < 50_000 + 20_000


@pytest.mark.parametrize(
    ("caption", "label"),
    [
        ("Table 3: Ships", "Table 3"),
        ("Tab. B.2 Ships", "Tab. B.2"),
        ("Tabelle 4", "Tabelle 4"),
        ("表 2 船", "表 2"),
        ("The table 3", ""),
        ("Figure 3", ""),
    ],
)
def test_label_is_what_the_caption_opens_with(caption, label):
    assert label_of(caption) == label
    assert is_table_caption(caption) == bool(label)


def test_grid_that_padding_would_blow_up_is_no_table():
    assert make_table([["x"] * 5_000, *([["a", "b"]] * 1_000)], source="markup") is None


CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)) | st.sampled_from(["|", ";", ":", "\n", "\t"]), max_size=12
)


@settings(max_examples=200)
@given(
    grid=st.lists(st.lists(CELLS, max_size=5), max_size=8),
    header=st.none() | st.integers(0, 3),
    caption=CELLS,
    label=st.sampled_from(["", "Table 1"]),
)
def test_rows_are_exact_in_the_words_and_every_value_survives(grid, header, caption, label):
    draft = make_table(grid, source="sheet", n_header_rows=header, caption=caption, label=label)
    if draft is None:
        return
    table = placed(draft)

    assert [table.text[s.start : s.end] for s in table.row_spans] == list(draft.lines)
    assert table.text.count("\n") == len(draft.lines) - (not table.text[: table.row_spans[0].start])
    kept = {cell for row in table.rows for cell in row} | set(table.caption.split())
    assert {cell_text(cell) for row in grid for cell in row} - {""} <= kept | {table.caption, *kept} or table.caption
    for row, line in zip(table.body, draft.lines, strict=True):
        position = 0
        for cell in row if len(set(row)) > 1 else row[:1]:
            position = line.index(cell, position) + len(cell) if cell else position


@settings(max_examples=100)
@given(rows=st.lists(st.lists(st.sampled_from(["", "a", "7", "b c"]), min_size=3, max_size=3), min_size=2, max_size=6))
def test_full_grid_keeps_its_body_unchanged(rows):
    full = [["n1", "n2", "n3"], *([cell or "-" for cell in row] for row in rows)]

    draft = make_table(full, source="markup", n_header_rows=1)

    assert [list(row) for row in draft.rows] == full

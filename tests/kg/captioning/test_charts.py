"""The table behind a chart, from the places of its words. Pieces are given as ``text x0 y0 x1 y1``, in pixels."""

from __future__ import annotations

import random

import pytest

from kg.captioning.chart_values import ChartPieces, bare_number, is_year, split_pieces
from kg.captioning.charts import read_chart, reading_score
from kg.captioning.layout import TextPiece
from kg.captioning.pieces import parted


def piece(text: str, x0: float, y0: float, x1: float, y1: float, score: float = 1.0) -> TextPiece:
    return TextPiece(text=text, x0=x0, y0=y0, x1=x1, y1=y1, score=score)


BARS = [
    piece("Share who agree", 0, 0, 120, 20),
    piece("Barley and", 20, 52, 90, 68),
    piece("oats", 60, 69, 90, 85),
    piece("61%", 150, 60, 180, 76),
    piece("Rye", 65, 110, 90, 126),
    piece("8", 110, 110, 120, 126),
    piece("Source: the harbour office, 2019", 0, 200, 220, 214),
]

STACKED = [
    piece("Yes", 150, 30, 175, 44),
    piece("No", 250, 30, 268, 44),
    piece("Not sure", 330, 30, 380, 44),
    piece("Old town", 30, 60, 90, 76),
    piece("50", 160, 60, 176, 76),
    piece("30", 250, 60, 266, 76),
    piece("20", 340, 60, 356, 76),
    piece("AMONG VISITORS", 0, 92, 110, 106),
    piece("Students", 30, 120, 90, 136),
    piece("70", 170, 120, 186, 136),
    piece("25", 300, 120, 316, 136),
    piece("5", 350, 120, 358, 136),
    piece("Retired", 40, 160, 90, 176),
    piece("60", 165, 160, 181, 176),
    piece("38", 290, 160, 306, 176),
]

COLUMNS = [
    piece("1000", 0, 20, 30, 34),
    piece("750", 6, 70, 30, 84),
    piece("500", 6, 120, 30, 134),
    piece("250", 6, 170, 30, 184),
    piece("0", 20, 220, 30, 234),
    piece("870", 60, 40, 84, 54),
    piece("410", 140, 130, 164, 144),
    piece("1,002", 215, 10, 250, 24),
    piece("2021", 56, 240, 88, 254),
    piece("2022", 136, 240, 168, 254),
    piece("2023", 216, 240, 248, 254),
]


def test_wrapped_labels_stand_beside_their_values():
    grid = read_chart(BARS)

    assert grid is not None
    assert grid.header == ()
    assert grid.rows == (("Barley and oats", "61%"), ("Rye", "8"))
    assert grid.explained == 1.0


def test_the_legend_names_the_parts_of_stacked_bars_and_a_missing_part_stays_empty():
    grid = read_chart(STACKED)

    assert grid is not None
    assert grid.header == ("", "Yes", "No", "Not sure")
    assert grid.rows == (
        ("Old town", "50", "30", "20"),
        ("AMONG VISITORS: Students", "70", "25", "5"),
        ("AMONG VISITORS: Retired", "60", "38", ""),
    )


def test_years_under_bars_name_the_values_and_ticks_of_the_axis_are_no_values():
    grid = read_chart(COLUMNS)

    assert grid is not None
    assert grid.rows == (("2021", "870"), ("2022", "410"), ("2023", "1,002"))
    assert [tick.text for tick in ChartPieces.of(COLUMNS).ticks] == ["1000", "750", "500", "250", "0"]


def test_bars_side_by_side_are_told_apart_by_their_order():
    pieces = [
        piece("Men", 60, 0, 90, 14), piece("Women", 130, 0, 180, 14),
        piece("40", 30, 40, 46, 54), piece("55", 70, 30, 86, 44),
        piece("38", 150, 50, 166, 64), piece("61", 190, 20, 206, 34),
        piece("Urban", 40, 200, 80, 214), piece("Rural", 160, 200, 200, 214),
    ]  # fmt: skip
    grid = read_chart(pieces)

    assert grid is not None
    assert grid.header == ("", "Men", "Women")
    assert grid.rows == (("Urban", "40", "55"), ("Rural", "38", "61"))


def test_of_bars_side_by_side_a_missing_value_is_told_by_its_place():
    pieces = [
        piece("Men", 60, 0, 90, 14), piece("Women", 130, 0, 180, 14),
        piece("40", 30, 40, 46, 54), piece("55", 70, 30, 86, 44), piece("61", 190, 20, 206, 34),
        piece("Urban", 40, 200, 80, 214), piece("Rural", 160, 200, 200, 214),
    ]  # fmt: skip
    grid = read_chart(pieces)

    assert grid is not None
    assert grid.rows == (("Urban", "40", "55"), ("Rural", "", "61"))


def test_bars_under_one_another_share_the_label_at_their_middle():
    pieces = [
        piece("Before", 60, 0, 100, 14), piece("After", 130, 0, 160, 14),
        piece("Road traffic", 10, 41, 90, 55), piece("30", 130, 30, 146, 44), piece("44", 170, 52, 186, 66),
        piece("Ferries", 40, 111, 90, 125), piece("12", 110, 100, 126, 114), piece("19", 120, 122, 136, 136),
    ]  # fmt: skip
    grid = read_chart(pieces)

    assert grid is not None
    assert grid.header == ("", "Before", "After")
    assert grid.rows == (("Road traffic", "30", "44"), ("Ferries", "12", "19"))


def test_slices_of_a_pie_have_their_words_over_their_shares():
    pieces = [
        piece("Satisfied", 40, 165, 95, 179), piece("29%", 55, 182, 85, 195),
        piece("Dissatisfied", 110, 208, 175, 221), piece("70%", 132, 225, 163, 239),
        piece("Don't", 9, 268, 41, 281), piece("know", 9, 283, 42, 296), piece("1%", 12, 298, 31, 311),
    ]  # fmt: skip
    grid = read_chart(pieces)

    assert grid is not None
    assert grid.rows == (("Satisfied", "29%"), ("Dissatisfied", "70%"), ("Don't know", "1%"))


def test_one_bar_of_several_parts_is_read_downwards():
    pieces = [
        piece("Very", 100, 10, 130, 24), piece("Somewhat", 200, 10, 260, 24),
        piece("29%", 105, 40, 130, 54), piece("46", 220, 40, 236, 54),
    ]  # fmt: skip
    grid = read_chart(pieces)

    assert grid is not None
    assert grid.rows == (("Very", "29%"), ("Somewhat", "46"))


@pytest.mark.parametrize("drawn", [BARS, STACKED, COLUMNS])
def test_the_order_of_the_pieces_does_not_matter(drawn):
    shuffled = list(drawn)
    random.Random(3).shuffle(shuffled)

    assert read_chart(shuffled).rows == read_chart(drawn).rows


def test_parts_without_names_are_no_table():
    assert read_chart([p for p in STACKED if p.y0 >= 60]) is None


def test_a_page_of_prose_and_an_empty_picture_are_no_table():
    prose = [
        piece(f"The ferry carried {n} people in the year {1990 + n}.", 0, 20 * n, 300, 20 * n + 14) for n in range(9)
    ]

    assert read_chart(prose) is None
    assert read_chart([]) is None


def test_values_that_stand_alone_lower_the_share_and_too_many_of_them_undo_the_table():
    alone = [piece(str(n), 300 + 40 * n, 400 + 30 * n, 316 + 40 * n, 414 + 30 * n) for n in (3, 7, 11, 12)]

    assert read_chart(BARS + alone[:0]).explained == 1.0
    assert read_chart(BARS + alone) is None  # 2 of 6 values


def test_the_score_is_the_share_explained_times_the_readers_confidence():
    doubtful = [piece(p.text, p.x0, p.y0, p.x1, p.y1, score=0.9) for p in BARS]

    assert reading_score(read_chart(doubtful)) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "value"),
    [("61%", 61), ("$1,184", 1184), ("−3", -3), ("-0.5", -0.5), ("<1", 1), ("12 to 15", None), ("x", None)],
)
def test_printed_numbers_have_values(text, value):
    assert bare_number(text) == value


def test_years_and_spans_of_years_are_categories():
    assert all(is_year(text) for text in ("1996", "2015-16", "2015–2016", "’98", "2013*"))
    assert not any(is_year(text) for text in ("996", "3000", "2015 kg", "20.15"))


def test_run_together_years_and_labels_with_shares_are_parted():
    parts = split_pieces([piece("1960 1970", 0, 0, 90, 10), piece("Satisfied 29%", 0, 20, 130, 30)])

    assert [p.text for p in parts] == ["1960", "1970", "Satisfied", "29%"]
    assert (parts[0].x1, parts[1].x0) == (40, 50)  # 9 characters over 90 pixels


def test_a_line_is_parted_at_gaps_wider_than_spaces():
    legend = piece("Creates jobsIncreases wages", 70, 110, 250, 124)
    words = [("Creates", 83, 121), ("jobs", 126, 145), ("Increases", 163, 212), ("wages", 217, 248)]

    parts = parted(legend, words)

    assert [(p.text, p.x0, p.x1) for p in parts] == [("Creates jobs", 70, 145), ("Increases wages", 163, 250)]


def test_a_line_whose_words_are_not_those_read_stays_whole():
    line = piece("harbour office", 0, 0, 140, 10)

    assert parted(line, [("harbour", 0, 60), ("bureau", 90, 140)]) == [line]
    assert parted(line, []) == [line]

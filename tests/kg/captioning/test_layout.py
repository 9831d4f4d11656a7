"""Pieces of text are put into reading order. All boxes are made by hand; the unit is a pixel."""

from __future__ import annotations

import random

import pytest

from kg.captioning.layout import TextPiece, reading_order


def piece(text: str, x: float, y: float, *, height: float = 10, width: float | None = None) -> TextPiece:
    width = 0.5 * height * len(text) if width is None else width
    return TextPiece(text=text, x0=x, y0=y, x1=x + width, y1=y + height)


def read(*pieces: TextPiece) -> list[str]:
    return [line.text for line in reading_order(pieces)]


def test_label_and_the_numbers_on_its_row_stay_together():
    assert read(
        piece("White", 30, 100), piece("41", 120, 101), piece("42", 250, 99),
        piece("Black", 30, 112), piece("17", 100, 113), piece("62", 260, 112),
    ) == ["White: 41, 42", "Black: 17, 62"]  # fmt: skip


def test_wrapped_label_is_one_label_with_the_number_level_with_its_middle():
    assert read(
        piece("Videos that are", 10, 100), piece("altered or made up", 10, 111), piece("61%", 200, 105),
        piece("Satire about", 10, 140), piece("an issue", 10, 151), piece("34%", 180, 145),
    ) == ["Videos that are altered or made up: 61%", "Satire about an issue: 34%"]  # fmt: skip


def test_column_headers_of_several_lines_are_cells_of_one_row():
    assert read(
        piece("Has already", 100, 10), piece("achieved it", 100, 21),
        piece("On way to", 200, 10), piece("achieving it", 200, 21),
    ) == ["Has already achieved it | On way to achieving it"]  # fmt: skip


def test_ticks_of_an_axis_are_one_row():
    assert read(piece("2013", 10, 50), piece("2014", 60, 51), piece("2015", 110, 50)) == ["2013 | 2014 | 2015"]


def test_lines_of_a_paragraph_flow_and_paragraphs_stay_apart():
    lines = ["It was a bright cold day in April,", "and the clocks were striking thir-", "teen in the old town."]
    second = ["Winston slipped quickly through the", "glass doors of the old mansions."]
    pieces = [piece(text, 20, 10 + 12 * i, width=170) for i, text in enumerate(lines)]
    pieces += [piece(text, 20, 70 + 12 * i, width=170) for i, text in enumerate(second)]

    assert read(*pieces) == [
        "It was a bright cold day in April, and the clocks were striking thirteen in the old town.",
        "Winston slipped quickly through the glass doors of the old mansions.",
    ]


def test_indent_opens_a_paragraph():
    assert read(
        piece("The first paragraph runs over", 20, 10, width=200),
        piece("two lines and then it is over.", 20, 22, width=200),
        piece("The second one is indented as", 40, 34, width=180),
        piece("books used to do it in print.", 20, 46, width=200),
    ) == [
        "The first paragraph runs over two lines and then it is over.",
        "The second one is indented as books used to do it in print.",
    ]


def test_title_is_not_run_into_the_smaller_line_under_it():
    assert read(
        piece("Sales rose in every year", 10, 10, height=20),
        piece("In thousands of pieces", 10, 32, height=12),
    ) == ["Sales rose in every year", "In thousands of pieces"]


def test_two_columns_of_prose_are_read_one_after_the_other_under_their_common_title():
    left = ["The left column has text that", "goes on for some more lines,", "and it ends in this last line."]
    right = ["The right one is beside it and", "has to be read only after the", "left has been read to its end."]
    pieces = [piece("A title that spans both of the columns of this page", 10, 0, width=390)]
    pieces += [piece(text, 10, 30 + 12 * i, width=180) for i, text in enumerate(left)]
    pieces += [piece(text, 220, 30 + 12 * i, width=180) for i, text in enumerate(right)]

    assert read(*pieces) == ["A title that spans both of the columns of this page", " ".join(left), " ".join(right)]


def test_long_labels_beside_values_are_no_column_of_prose():
    labels = ["People who read a daily newspaper", "People who listen to the radio", "People who do neither of both"]
    pieces = [piece(text, 10, 20 * i, width=170) for i, text in enumerate(labels)]
    pieces += [piece(str(10 + i), 220, 20 * i) for i in range(3)]

    assert read(*pieces) == [f"{label}: {10 + i}" for i, label in enumerate(labels)]


def test_pieces_of_one_line_are_joined():
    assert read(piece("or are on", 40, 30), piece("dream", 10, 31), piece("their way", 90, 30)) == [
        "dream or are on their way"
    ]


def test_notes_and_sources_begin_a_line_of_their_own():
    assert read(piece("Note: whites include only non-Hispanics.", 0, 0), piece("Source: survey of 2017.", 0, 11)) == [
        "Note: whites include only non-Hispanics.",
        "Source: survey of 2017.",
    ]


def test_box_of_a_line_is_the_union_of_its_pieces_and_its_score_their_mean():
    (line,) = reading_order(
        [
            TextPiece(text="White", x0=30, y0=100, x1=55, y1=110, score=1.0),
            TextPiece(text="41", x0=120, y0=101, x1=130, y1=112, score=0.8),
        ]
    )

    assert (line.x0, line.y0, line.x1, line.y1) == (30, 100, 130, 112)
    assert line.score == pytest.approx(0.9)


def test_order_of_the_input_does_not_matter():
    pieces = [piece(f"label {i}", 10, 20 * i) for i in range(9)] + [piece(str(i), 90, 20 * i) for i in range(9)]
    expected = read(*pieces)
    random.Random(7).shuffle(pieces)

    assert read(*pieces) == expected
    assert expected[0] == "label 0, 0"  # A label that ends in a number is parted from its value by a comma.


def test_no_piece_is_lost_whatever_the_geometry():
    rng = random.Random(3)
    for _ in range(50):
        words = [f"w{i}{'x' * rng.randrange(30)}" for i in range(rng.randrange(40))]
        pieces = [piece(w, rng.randrange(300), rng.randrange(300), height=rng.randrange(5, 30)) for w in words]
        text = " ".join(read(*pieces)).replace(",", " ").replace(":", " ")
        assert sorted(w for w in text.split() if w != "|") == sorted(words)


def test_nothing_to_read_gives_no_lines():
    assert read() == []
    assert read(piece(" ", 0, 0)) == []

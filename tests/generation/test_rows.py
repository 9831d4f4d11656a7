"""Rows of a table answer by the column that is asked about, and are cited by their number."""

from dataclasses import replace

import pytest

from generation.answerer import Answerer
from generation.render import citation_line, citation_to_json
from generation.rows import rows_of, tied_otherwise
from generation.testing import HashingEncoder, make_evidence, make_table_evidence
from generation.units import units_of

FLEET = [["Ship", "Year", "Seats", "Captain"], ["Kestrel", "2020", "180", "Jonas Ekblad"],
         ["Kestrel", "2021", "190", "Sunniva Dahl"], ["Petrel", "2021", "64", "Ylva Sandberg"]]  # fmt: skip
YEARS = [["Ship", "2020", "2021"], ["Kestrel", "1,180", "1,190"], ["Petrel", "640", "655"]]
VOTES = [["Motion", "For", "Against"], ["Repair of the breakwater", "6", "1"], ["Paint for the Marigold", "5", "2"]]
SHEEP = [["Island", "Sheep", "Goats"], ["Skerrin", "120", "31"], ["Aldis", "80", "45"]]


@pytest.mark.parametrize(
    ("rows", "question", "expected"),
    [
        (FLEET, "How many seats did the Kestrel have in 2021?", "190"),
        (FLEET, "How many seats did the Petrel have in 2021?", "64"),
        (FLEET, "Who was captain of the Kestrel in 2020?", "Jonas Ekblad"),
        (YEARS, "How many passengers did the Kestrel carry in 2021?", "1,190"),
        (YEARS, "How many passengers did the Petrel carry in 2020?", "640"),
        (VOTES, "How many voted against the repair of the breakwater?", "1"),
        (SHEEP, "How many goats live on Aldis?", "45"),
    ],
)
def test_the_cell_of_the_row_and_column_asked_about_answers(rows, question, expected):
    evidence = make_table_evidence(rows, caption="Table 1: Passengers, seats and votes")

    answer = Answerer(encoder=HashingEncoder(), models={}).answer(question, [evidence])

    assert answer.short_answer == expected
    assert any(expected in citation.quote for citation in answer.citations)


@pytest.mark.parametrize("question", ["How many goats are there?", "How many animals live on Aldis?"])
def test_no_number_is_given_where_two_cells_fit_equally_well(question):
    evidence = make_table_evidence(SHEEP)

    assert Answerer(encoder=HashingEncoder(), models={}).answer(question, [evidence]).short_answer == ""


def test_each_row_is_a_unit_of_its_own():
    units = units_of([make_table_evidence(SHEEP, caption="Livestock")])

    assert [unit.text for unit in units] == [
        "Livestock",
        "Island: Skerrin; Sheep: 120; Goats: 31",
        "Island: Aldis; Sheep: 80; Goats: 45",
    ]
    assert all(unit.row and not unit.picture for unit in units)


def test_citation_of_a_row_says_its_page_and_its_number():
    evidence = make_table_evidence(SHEEP, caption="Livestock", page=2, name="islands.xlsx")

    answer = Answerer(encoder=HashingEncoder(), models={}).answer("How many goats live on Aldis?", [evidence])

    assert answer.text.startswith("The table reads: “Island: Aldis; Sheep: 80; Goats: 45”")
    assert citation_line(answer.citations[0]) == (
        "[1] islands.xlsx, p. 2, table, row 2: “Island: Aldis; Sheep: 80; Goats: 45”"
    )
    assert citation_to_json(answer.citations[0])["row"] == 2


def test_citation_of_a_row_is_right_in_a_chunk_from_the_middle_of_a_table():
    evidence = make_table_evidence(SHEEP)
    cut = evidence.rows[1].span
    chunk = replace(evidence.chunk, text="Island: Aldis; Sheep: 80; Goats: 45", span=cut)

    answer = Answerer(encoder=HashingEncoder(), models={}).answer(
        "How many goats live on Aldis?", [replace(evidence, chunk=chunk, rows=evidence.rows[1:])]
    )

    assert answer.citations[0].row == 2


@pytest.mark.parametrize(
    ("rows", "sentence", "is_tied_otherwise"),
    [
        (FLEET, "The Kestrel had 190 seats in 2021.", False),
        (FLEET, "The Kestrel had 64 seats in 2021.", True),
        (FLEET, "In 2021 the Kestrel had 190 seats and the Petrel had 64.", False),
        (FLEET, "In 2021 the Kestrel had 64 seats and the Petrel had 190.", True),
        (FLEET, "In 2021 the captain of the Petrel was Ylva Sandberg.", False),
        (FLEET, "In 2021 the captain of the Petrel was Jonas Ekblad.", True),
        (YEARS, "In 2021 the Kestrel carried 1,190 passengers.", False),
        (YEARS, "In 2020 the Kestrel carried 1,190 passengers.", True),
        (VOTES, "Six members voted for the repair of the breakwater.", False),
    ],
)
def test_claim_must_keep_to_one_row_and_its_columns(rows, sentence, is_tied_otherwise):
    said = [unit.text for unit in units_of([make_table_evidence(rows)])]

    assert tied_otherwise(sentence, said) is is_tied_otherwise


def test_rows_are_told_from_prose_before_a_claim_is_checked_against_them():
    rows = units_of([make_table_evidence(SHEEP, caption="Livestock")])
    prose = units_of([make_evidence("Ann: no. Bob: yes.")])

    assert rows_of(rows) == ["Island: Skerrin; Sheep: 120; Goats: 31", "Island: Aldis; Sheep: 80; Goats: 45"]
    assert rows_of([*rows, *prose]) == []
    assert rows_of([]) == []

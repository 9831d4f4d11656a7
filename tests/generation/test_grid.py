import pytest

from generation.answerer import Answerer
from generation.grid import find_cell
from generation.question import read_question
from generation.testing import HashingEncoder, make_evidence
from generation.units import units_of
from kg.types import Modality

YEARS = "Puffins: breeding pairs by year\n2021 | 1,278\n2022 | 1,209\n2023 | 1,184"
TANKS = "Drinking water\nRain cistern | Sand filter | Header tank\n420 cubic metres | every May | 65 cubic metres"
TABLE = "Island | Sheep | Goats\nSkerrin | 120 | 31\nAldis | 80 | 45"


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        (YEARS, "How many breeding pairs of puffins were there in 2023?", "1,184"),
        (TANKS, "How much water does the header tank hold?", "65 cubic metres"),
        (TANKS, "How much water does the rain cistern hold?", "420 cubic metres"),
        (TABLE, "How many goats live on Aldis?", "45"),
        (TABLE, "How many sheep live on Skerrin?", "120"),
    ],
)
def test_the_cell_under_and_beside_the_labels_asked_about_answers(text, question, expected):
    chart = make_evidence(text, modality=Modality.CHART)
    answer = Answerer(encoder=HashingEncoder(), models={}).answer(question, [chart])

    assert answer.short_answer == expected
    assert any(expected in citation.quote for citation in answer.citations)


def test_nothing_is_read_where_two_cells_fit_equally_well():
    (unit,) = units_of([make_evidence(TABLE, modality=Modality.TABLE)])
    question = read_question("How many goats are there?")

    assert find_cell(question, unit, dict.fromkeys(question.stems, 1.0)) is None


def test_nothing_is_read_off_prose():
    (unit,) = units_of([make_evidence("Goats: 21", modality=Modality.CHART)])
    question = read_question("How many goats are there?")

    assert find_cell(question, unit, dict.fromkeys(question.stems, 1.0)) is None

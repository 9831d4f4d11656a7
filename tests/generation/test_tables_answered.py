"""A table or chart that was read is answered from by row and column; what it does not hold stays unanswered."""

from dataclasses import replace

import pytest

from generation.answerer import Answerer
from generation.question import read_question
from generation.scoring import score_units
from generation.short_answer import find_in_tables
from generation.table_match import unit_of, with_unit
from generation.tables import read_tables
from generation.testing import HashingEncoder, make_evidence, make_table_evidence
from generation.units import units_of
from generation.verify import Verifier
from kg.types import CaptionLine, Modality, Span


def chart(*lines, heading="", name="notes.txt", rows=()):
    """Make a chart's evidence: ``lines`` were read in reading order, ``rows`` say the table behind it."""
    said = [*((text, "ocr") for text in lines), *((text, "table") for text in rows)]
    evidence = make_evidence("\n".join(text for text, _ in said), modality=Modality.CHART, heading=heading, name=name)
    placed, at = [], 0
    for text, source in said:
        placed.append(CaptionLine(text=text, source=source, span=Span(start=at, end=at + len(text))))
        at += len(text) + 1
    return replace(evidence, lines=tuple(placed), n_parts=len(said))


def ask(question, *evidence):
    return Answerer(encoder=HashingEncoder(), models={}).answer(question, list(evidence))


BICYCLES = chart("Oslo: 417", "Rome: 862", heading="Bicycles sold")
TURNS = chart("Oslo", "417", "Rome", "862", heading="Bicycles sold")
WHEAT = chart("Harvest of wheat by year", "0", "20", "40", "2021: 31", "2022: 44", "2023: 39")
AXIS = chart("Harvest of wheat by year", "0", "20", "40", "60", "80", "2021", "2022", "2023")
LISTS = chart("Oslo: 28, 52, 20", "Rome: 31, 40, 29", heading="Trips by mode")
VIDEOS = chart(
    "What people say of videos",
    rows=(
        "Videos that are altered; Too much to ask: 61%; Should recognize: 38%",
        "News articles; Too much to ask: 40%; Should recognize: 58%",
    ),
)
AGES = chart("Turnout by age", rows=("Under 30; Men: 41%; Women: 47%", "30 and over; Men: 66%; Women: 69%"))
VOTED = chart("Turnout", rows=("Voted: 61%", "Did not vote: 39%"))
ROTA = chart(
    "Week | Primary | Secondary", "12 May | Ann Lee | Bo Chen", "19 May | Cy Diaz | Di Olsen", heading="On call rota"
)
HARVEST = chart(
    "Harvest by crop, in tonnes", "44", "40", "31", "30", "20 | 18", "10", "0", "Wheat | Barley | Oats",
    rows=("Wheat: 44", "Barley: 31", "Oats: 18"),
)  # fmt: skip
CALL = make_table_evidence(
    [["Week", "Primary", "Secondary"], ["12", "Ann Lee", "Bo Chen"], ["13", "Cy Diaz", "Di Olsen"]], caption="On call"
)
CROPS = make_table_evidence(
    [["Crop", "Yield (t/ha)", "Area, ha"], ["Wheat", "7.2", "120"], ["Barley", "6.1", "300"], ["Oats", "5.5", "80"]],
    caption="Harvest 2023",
)
SHIPS = make_table_evidence(
    [["Ship", "2020", "2021"], ["Kestrel", "1,180", "1,190"], ["Petrel", "640", "655"]], caption="Passengers by ship"
)
FLEET = make_table_evidence(
    [["Ship", "Built", "Captain", "Seats"], ["Kestrel", "1931", "Jo Ek", "180"], ["Petrel", "1954", "Sun Dahl", "64"]],
    caption="Fleet",
)
SUPPORT = make_table_evidence(
    [["Group", "Support (%)", "Number"], ["Men", "41", "120"], ["Women", "47", "133"]], caption="Support for the bridge"
)
RESULTS = make_table_evidence(
    [["Quarter", "Revenue ($m)", "Days open"], ["Q1", "12.5", "80"], ["Q2", "14.1", "85"]], caption="Results"
)
SHEEP = make_table_evidence(
    [["Island", "Sheep", "Goats"], ["Skerrin", "120", "31"], ["Aldis", "80", "45"], ["Total", "200", "76"]],
    caption="Livestock of the islands",
)
WINTER = make_table_evidence(
    [["Island", "Sheep", "Goats"], ["Skerrin", "90", "11"], ["Aldis", "60", "25"]],
    caption="Livestock in winter",
    name="winter.txt",
)


@pytest.mark.parametrize(
    ("evidence", "question", "expected"),
    [
        ([BICYCLES], "How many bicycles were sold in Rome?", "862"),
        ([BICYCLES], "How many bicycles were sold in Oslo?", "417"),
        ([TURNS], "How many bicycles were sold in Rome?", "862"),
        ([WHEAT], "How much wheat in 2022?", "44"),
        ([HARVEST], "How much barley was harvested?", "31"),
        ([VIDEOS], "What percentage say it is too much to ask to recognize videos that are altered?", "61%"),
        ([VIDEOS], "What share say people should recognize videos that are altered?", "38%"),
        ([AGES], "What was the turnout of women under 30?", "47%"),
        ([AGES], "What was the turnout of men over 30?", "66%"),
        ([AGES], "What percentage of men aged 30 and over turned out?", "66%"),
        ([VOTED], "What percentage voted?", "61%"),
        ([VOTED], "What percentage did not vote?", "39%"),
        ([ROTA], "Who is secondary on call in the week of 12 May?", "Bo Chen"),
        ([ROTA], "Who is secondary on call in the week of 19 May?", "Di Olsen"),
        ([CALL], "Who is secondary on call in week 12?", "Bo Chen"),
        ([CALL], "Who is primary on call in week 13?", "Cy Diaz"),
        ([CROPS], "What was the yield of barley in 2023?", "6.1 t/ha"),
        ([SHIPS], "How many passengers did the Kestrel carry in 2021?", "1,190"),
        ([FLEET], "When was the Kestrel built?", "1931"),
        ([FLEET], "Which ship was built in 1954?", "Petrel"),
        ([SUPPORT], "What percentage of women support the bridge?", "47%"),
        ([SUPPORT], "What share of men support the bridge?", "41%"),
        ([RESULTS], "What was the revenue in Q2?", "$14.1m"),
        ([RESULTS], "How many days were we open in Q2?", "85"),
        ([SHEEP], "How many sheep are there in total?", "200"),
        ([SHEEP, WINTER], "How many goats live on Aldis in winter?", "25"),
    ],
)
def test_the_cell_answers_whose_row_and_column_are_asked_about(evidence, question, expected):
    answer = ask(question, *evidence)

    assert answer.short_answer == expected
    assert any(expected.strip("%$m").removesuffix(" t/ha") in citation.quote for citation in answer.citations)


@pytest.mark.parametrize(
    ("evidence", "question", "expected"),
    [
        ([BICYCLES], "Which city sold the most bicycles?", "Rome"),
        ([BICYCLES], "Which sold more bicycles, Oslo or Rome?", "Rome"),
        ([BICYCLES], "Which sold fewer bicycles, Oslo or Rome?", "Oslo"),
        ([WHEAT], "In which year was the wheat harvest highest?", "2022"),
        ([HARVEST], "Which crop had the highest harvest?", "Wheat"),
        ([AGES], "Which age had the highest turnout among women?", "30 and over"),
        ([CROPS], "Which crop had the highest yield?", "Wheat"),
        ([CROPS], "Which crop had the smallest area?", "Oats"),
        ([CROPS], "What was the lowest yield?", "5.5 t/ha"),
        ([SHIPS], "Which ship carried the most passengers in 2020?", "Kestrel"),
        ([SHIPS], "Which ship had the smallest number of passengers in 2021?", "Petrel"),
        ([SHIPS], "In which year did the Kestrel carry the most passengers?", "2021"),
        ([FLEET], "Who was captain of the ship with the most seats?", "Jo Ek"),
        ([SUPPORT], "Which group supports the bridge most?", "Women"),
        ([RESULTS], "Which quarter had the highest revenue?", "Q2"),
        ([SHEEP], "Which island has the most sheep?", "Skerrin"),
        ([SHEEP, WINTER], "Which island has the fewest goats in winter?", "Skerrin"),
    ],
)
def test_the_most_and_the_least_are_told_from_one_column_of_one_table(evidence, question, expected):
    answer = ask(question, *evidence)

    assert answer.short_answer == expected
    assert answer.citations


@pytest.mark.parametrize(
    ("evidence", "question"),
    [
        ([BICYCLES], "How many bicycles were sold in Paris?"),
        ([BICYCLES], "How many cars were sold in Rome?"),
        ([BICYCLES], "How many bicycles were sold in Rome in 1990?"),
        ([WHEAT], "How much wheat in 2020?"),
        ([HARVEST], "How much rye was harvested?"),
        ([AXIS], "How much wheat in 2022?"),
        ([LISTS], "How many trips were made in Oslo?"),
        ([LISTS], "How many trips were there by bus in Rome?"),
        ([chart("21%", "Goats", "40%", "Sheep", heading="Animals")], "What percentage are sheep?"),
        ([VIDEOS], "What percentage say it is too much to ask for photographs?"),
        ([AGES], "What share of women over 65 turned out?"),
        ([CALL], "Who is tertiary on call in week 12?"),
        ([CALL], "Who is on call in week 12?"),
        ([CALL], "Who is secondary on call in week 14?"),
        ([CROPS], "What was the yield of rye?"),
        ([CROPS], "What was the price of barley?"),
        ([CROPS], "What was the yield of barley in 2019?"),
        ([CROPS], "Which crop had the highest price?"),
        ([CROPS], "Which crop had the second highest yield?"),
        ([CROPS], "What is the difference in yield between wheat and barley?"),
        ([SHIPS], "How many more passengers did the Kestrel carry in 2021 than in 2020?"),
        ([SHIPS], "Which ship carried the fewest passengers?"),
        ([FLEET], "When was the Kestrel sold?"),
        ([FLEET], "Who painted the Kestrel?"),
        ([SHEEP], "How many pigs live on Aldis?"),
        ([SHEEP], "How many sheep live on Bressay?"),
        ([SHEEP, WINTER], "How many goats live on Aldis?"),
    ],
)
def test_a_row_or_column_that_is_not_there_or_not_told_apart_gives_no_short_answer(evidence, question):
    assert ask(question, *evidence).short_answer == ""


def test_the_most_is_not_told_from_a_part_of_a_table():
    part = replace(SHEEP, n_parts=9)

    assert ask("Which island has the most sheep?", part).short_answer == ""


def test_equal_values_have_no_most():
    tied = chart("Oslo: 417", "Rome: 417", heading="Bicycles sold")

    assert ask("Which city sold the most bicycles?", tied).short_answer == ""


def test_values_in_different_units_are_not_compared():
    mixed = chart("Oslo: 417 km", "Rome: 2 m", heading="Cycle paths")

    assert ask("Which city has the most cycle paths?", mixed).short_answer == ""


def test_the_exact_row_is_quoted_as_read_off_the_chart():
    answer = ask("What was the turnout of women under 30?", AGES)
    row = "Under 30; Men: 41%; Women: 47%"

    assert answer.text.startswith(f"The chart reads: “{row}” [1]")
    span = answer.citations[0].span
    assert AGES.chunk.text[span.start : span.end] == answer.citations[0].quote == row


def test_both_rows_are_quoted_of_a_comparison():
    answer = ask("Which sold more bicycles, Oslo or Rome?", BICYCLES)

    assert [citation.quote for citation in answer.citations] == ["Rome: 862", "Oslo: 417"]


def test_a_row_further_down_is_quoted_with_its_header():
    answer = ask("Who is secondary on call in the week of 19 May?", ROTA)

    assert [citation.quote for citation in answer.citations] == [
        "19 May | Cy Diaz | Di Olsen",
        "Week | Primary | Secondary",
    ]


@pytest.mark.parametrize(
    ("evidence", "question"),
    [
        (BICYCLES, "How many bicycles were sold in Rome?"),
        (AGES, "What was the turnout of women under 30?"),
        (CROPS, "What was the yield of barley in 2023?"),
        (CROPS, "Which crop had the highest yield?"),
        (ROTA, "Who is secondary on call in the week of 12 May?"),
    ],
)
def test_each_sentence_that_quotes_a_row_passes_the_check_of_sentences(evidence, question):
    verifier = Verifier([evidence], encoder=HashingEncoder())

    for sentence in ask(question, evidence).sentences:
        support = verifier.check(sentence.text, [0])
        assert support.is_supported, (sentence.text, support.problems)


@pytest.mark.parametrize(
    ("evidence", "claim", "is_supported"),
    [
        (BICYCLES, "In Rome 862 bicycles were sold.", True),
        (BICYCLES, "In Rome 417 bicycles were sold.", False),
        (AGES, "The turnout of women under 30 was 47%.", True),
        (AGES, "The turnout of women under 30 was 41%.", False),
        (AGES, "The turnout of men under 30 was 66%.", False),
    ],
)
def test_a_claim_that_ties_a_value_to_another_row_or_column_is_refused(evidence, claim, is_supported):
    assert Verifier([evidence], encoder=HashingEncoder()).check(claim, [0]).is_supported is is_supported


def test_lines_of_the_table_behind_a_chart_are_units_of_their_own():
    units = units_of([AGES])

    assert [(unit.text, unit.row, unit.picture) for unit in units] == [
        ("Turnout by age", False, True),
        ("Under 30; Men: 41%; Women: 47%", True, True),
        ("30 and over; Men: 66%; Women: 69%", True, True),
    ]


def test_a_table_whose_rows_lie_in_two_chunks_is_one():
    first, second = SHEEP.rows[0].span, SHEEP.rows[-1].span
    text, cut = SHEEP.chunk.text, SHEEP.rows[1].span.start
    upper = replace(SHEEP.chunk, text=text[: first.end], span=Span(start=0, end=first.end))
    lower = replace(SHEEP.chunk, chunk_id="c2", text=text[cut:], span=Span(start=cut, end=second.end))
    parts = [replace(SHEEP, chunk=upper, rows=SHEEP.rows[:1]), replace(SHEEP, chunk=lower, rows=SHEEP.rows[1:])]

    (whole,), (half,) = read_tables(parts), read_tables(parts[:1])

    assert [row.label for row in whole.rows] == ["Skerrin", "Aldis", "Total"]
    assert (whole.is_whole, half.is_whole) == (True, False)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Yield (t/ha)", "t/ha"),
        ("Length in km", "km"),
        ("Area, ha", "ha"),
        ("Share, %", "%"),
        ("Percent of men", "%"),
        ("Revenue ($m)", "$m"),
        ("Revenue (2021)", ""),
        ("Born in Oslo", ""),
        ("Men (all ages)", ""),
    ],
)
def test_the_unit_of_a_column_is_read_off_its_name_only_where_it_is_sure(name, unit):
    assert unit_of(name) == unit


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("61", "%", "61%"),
        ("61%", "%", "61%"),
        ("7.2", "t/ha", "7.2 t/ha"),
        ("14.1", "$m", "$14.1m"),
        ("14.1", "$ million", "$14.1 million"),
        ("n/a", "%", "n/a"),
        ("61", "", "61"),
    ],
)
def test_a_value_keeps_its_own_unit_and_takes_its_columns_where_it_has_none(value, unit, expected):
    assert with_unit(value, unit) == expected


def test_rows_answer_though_only_the_words_read_beside_them_rank_among_the_best():
    whole, cut = HARVEST.chunk, HARVEST.chunk.text.index("Wheat: 44")
    words = replace(whole, text=whole.text[: cut - 1], span=Span(start=0, end=cut - 1))
    rows = replace(whole, chunk_id="rows", text=whole.text[cut:], span=Span(start=cut, end=whole.span.end))
    evidence = [replace(HARVEST, chunk=words), replace(HARVEST, chunk=rows)]
    question = read_question("How much barley was harvested?")
    scores = score_units(question, evidence, encoder=HashingEncoder())
    best = replace(scores, ranked=tuple(item for item in scores.ranked if item.unit.index == 0))

    found = find_in_tables(question, best, evidence)

    assert found is not None
    assert found.text == "31"

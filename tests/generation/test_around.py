import pytest

from generation.around import defining_sentence
from generation.extractive import extract
from generation.question import read_question
from generation.testing import HashingEncoder, make_evidence
from kg.types import Modality

ENCODER = HashingEncoder()
CHAT = make_evidence(
    "Time: 20310405_18:00\nMaraVoss: Hey Tom!\nMaraVoss: I transferred the rent for the studio today.\nTomHale: Great!",
    name="a.txt",
)
EARLIER = make_evidence(
    "Time: 20310301_09:30\nTomHale: I repaired the broken kitchen window this morning.", name="b.txt", rank=2
)
TOWNS = (
    make_evidence("Arvik is a town in Norland province, on the coast.", name="arvik.txt", title="Arvik"),
    make_evidence("Belmo is a town in Sorland province, in the hills.", name="belmo.txt", title="Belmo", rank=2),
)
FILMS = (
    make_evidence("Quiet Harbour is a silent drama film of 1921 by Jon Aske.", name="q.txt", title="Quiet Harbour"),
    make_evidence("Jon Aske was a painter who once made a drama.", name="j.txt", title="Jon Aske", rank=2),
)


def short(question, *evidence):
    found = extract(question, evidence, encoder=ENCODER, threshold=0.0)
    return found.short.text if found.short is not None else ""


def test_the_date_at_the_head_of_a_message_answers_when_something_was_told_and_is_quoted_beside_it():
    found = extract("When did Mara transfer the rent for the studio?", [CHAT, EARLIER], encoder=ENCODER, threshold=0.0)

    assert found.short is not None
    assert found.short.text == "20310405_18:00"
    assert [unit.text for unit in found.picks][-1] == "Time: 20310405_18:00"
    for unit in found.picks:
        assert [CHAT, EARLIER][unit.index].chunk.text[unit.span.start : unit.span.end] == unit.text


def test_the_date_of_a_message_does_not_answer_when_something_is_planned():
    assert short("When is Mara going to transfer the rent for the studio?", CHAT) == ""


@pytest.mark.parametrize(("word", "verdict"), [("before", "yes"), ("after", "no")])
def test_two_dated_messages_decide_which_came_first(word, verdict):
    question = f"Did Tom repair the broken kitchen window {word} Mara transferred the rent for the studio?"

    assert short(question, CHAT, EARLIER) == verdict


def test_a_passage_that_defines_what_is_asked_for_answers_with_its_title():
    assert short("Which silent drama film of 1921 was made by Jon Aske?", *FILMS) == "Quiet Harbour"


def test_the_same_noun_with_two_names_is_not_the_same():
    assert short("Are Arvik and Belmo in the same province?", *TOWNS) == "no"


def test_a_definition_is_only_read_where_the_title_is_its_subject():
    assert defining_sentence("Arvik", TOWNS[0]) == "town in Norland province, on the coast"
    assert defining_sentence("Belmo", TOWNS[0]) == ""


def test_greetings_and_headings_are_not_shown_where_a_sentence_answers():
    found = extract("What did Mara transfer for the studio?", [CHAT], encoder=ENCODER, threshold=0.0)

    assert [unit.text for unit in found.picks] == ["MaraVoss: I transferred the rent for the studio today."]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("How many wells are there? Please write the answer as an integer.", "How many wells are there?"),
        ('Which colours appear? Answer in list format, e.g., ["a", "b"]', "Which colours appear?"),
        ("Where did she write down the order?", "Where did she write down the order?"),
        ("Write the answer in words.", "Write the answer in words."),
    ],
)
def test_wishes_about_the_form_of_the_answer_are_not_searched_for(asked, kept):
    assert read_question(asked).text == kept


def test_the_clause_that_asks_is_the_focus():
    assert read_question("The studio that made the series that premiered on which date?").focus == ("premier",)


def test_a_year_that_no_evidence_names_makes_the_evidence_insufficient():
    text = "In the survey of 2013 the cooperative counted 410 members who own a boat."
    answered = extract(
        "How many members own a boat in the survey of 2013?", [make_evidence(text)], encoder=ENCODER
    ).scores.answerable
    refused = extract(
        "How many members own a boat in the survey of 2022?", [make_evidence(text)], encoder=ENCODER
    ).scores.answerable

    assert refused < 0.4 <= answered


def test_the_quote_of_a_table_is_cut_to_the_rows_that_matter_and_stays_exact():
    table = make_evidence(
        "Year | Members\n2020 | 310\n2021 | 355\n2022 | 390\n2023 | 1,184", name="t.png", modality=Modality.TABLE
    )
    found = extract("How many members were there in 2023?", [table], encoder=ENCODER, threshold=0.0)

    assert found.short is not None
    assert found.short.text == "1,184"
    assert found.picks[0].text == "2023 | 1,184"
    assert table.chunk.text[found.picks[0].span.start : found.picks[0].span.end] == "2023 | 1,184"

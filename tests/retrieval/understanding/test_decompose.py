"""Questions with several parts are told by their words alone."""

import pytest

from retrieval.understanding.decompose import PlanKind, plan_question
from retrieval.understanding.names import names_in


@pytest.mark.parametrize(
    ("question", "subjects", "parts"),
    [
        (
            "Which bridge is longer, the Selke Bridge or the Bode Bridge?",
            ("Selke Bridge", "Bode Bridge"),
            ("Which bridge is longer, the Selke Bridge?", "Which bridge is longer, the Bode Bridge?"),
        ),
        (
            "Are Ann Lee and Karl Berg both engineers?",
            ("Ann Lee", "Karl Berg"),
            ("Is Ann Lee engineers?", "Is Karl Berg engineers?"),
        ),
        (
            "Between Northwind and Delta Chem, which firm is older?",
            ("Northwind", "Delta Chem"),
            ("Northwind, which firm is older?", "Delta Chem, which firm is older?"),
        ),
        (
            "Both Night Ferry 2 and The Salt Road were filmed in what town?",
            ("Night Ferry 2", "Salt Road"),
            ("Night Ferry 2 were filmed in what town?", "Salt Road were filmed in what town?"),
        ),
    ],
)
def test_two_names_that_are_compared_become_a_question_each(question, subjects, parts):
    plan = plan_question(question)

    assert plan.kind is PlanKind.COMPARISON
    assert plan.parts == parts
    assert plan.subjects == subjects


@pytest.mark.parametrize("word", ["before", "after"])
def test_two_events_in_time_become_a_question_each(word):
    plan = plan_question(f"Did the council close the harbour {word} the storm broke the wall?")

    assert plan.kind is PlanKind.SEQUENCE
    assert plan.parts == ("The council close the harbour?", "The storm broke the wall?")


@pytest.mark.parametrize(
    "question",
    [
        "Who directed the film that was shot in Leland?",
        "When was the company founded whose office is in Kiel?",
        "What is the name of the daughter of the founder of Northwind?",
        "Ann Lee painted a bridge designed by an engineer born where?",
    ],
)
def test_a_description_in_the_place_of_a_name_asks_for_a_bridge(question):
    plan = plan_question(question)

    assert plan.kind is PlanKind.BRIDGE
    assert plan.parts == ()


@pytest.mark.parametrize(
    "question",
    [
        "Who founded Northwind?",
        "How long is the Selke Bridge?",
        "What did Ann Lee and Karl Berg found?",
        "Where is Brandenburg and what is it?",
        "Herring",
        "",
        "?!",
        "word " * 20_000,
        "Is A or B? " * 500,
    ],
)
def test_a_question_that_asks_for_one_thing_is_left_alone(question):
    assert plan_question(question) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Who is the mayor of Port Aldis?", ["Port Aldis"]),
        ("When did Géza von Cziffra leave Budapest?", ["Géza von Cziffra", "Budapest"]),
        ('Who wrote "the salt road"?', ["the salt road"]),
        ("Is it in the Bode's valley?", ["Bode"]),
        ("what is this about?", []),
        ("Her daughter lives. There it is.", []),
    ],
)
def test_names_are_told_by_their_capitals(text, names):
    assert [name for name, _, _ in names_in(text)] == names
    assert all(text[start:end].strip('"') == name for name, start, end in names_in(text))

"""Questions that lean on a conversation are completed by it; half of the conversations were never tuned on."""

import json
import re
from pathlib import Path

import pytest

from retrieval.options import Refinement
from retrieval.retriever import Retriever
from retrieval.types import Query
from retrieval.understanding.history import complete_question

TURNS = json.loads((Path(__file__).parent / "conversations.json").read_text(encoding="utf-8"))
TEXTS = {
    "curie.txt": "Curie\n\nMarie Curie was born in Warsaw. Marie Curie won a prize.",
    "city.txt": "Warsaw\n\nWarsaw stands on the river Vistula.",
}


def plain(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def share_right(split):
    turns = [turn for turn in TURNS if turn["split"] == split]
    right = [
        plain(
            complete_question(
                turn["question"], turn["history"], type_of=lambda name, t=turn: t["types"].get(name, "")
            ).text
        )
        in {plain(one) for one in turn["expected"]}
        for turn in turns
    ]
    return sum(right), len(right)


def test_every_turn_of_the_development_half_is_completed():
    assert share_right("development") == (22, 22)


def test_the_held_out_half_is_completed_but_for_three_turns():
    right, n = share_right("held-out")

    assert n == 23
    assert right >= 20  # measured when the rules were done; a change of the rules must not lose any


@pytest.mark.parametrize(
    "question",
    [
        "Who founded Delta Chem?",
        "Is it true that Delta Chem closed?",
        "How many people are there in Kiel?",
        "Who is the man that founded Delta Chem?",
        "Did Karl Berg sell his share?",
        "How do partisans differ in resolving their disputes?",
        "What is the area of the city of Kiel?",
        "Which firms sell their pumps?",
    ],
)
def test_a_question_that_stands_alone_stays_as_it_is(question):
    found = complete_question(
        question, ["Who founded Northwind?", "assistant: Ann Lee founded Northwind in Rome in 1998."]
    )

    assert (found.text, found.changes) == (question, ())


def test_what_was_put_for_what_is_told():
    found = complete_question("Where is its office?", ["Who founded Northwind?"])

    assert found.text == "Where is Northwind's office?"
    assert found.changes == ("its → Northwind",)


def test_without_earlier_turns_nothing_is_changed():
    for history in ([], [" "], ["assistant: "], ["??"]):
        assert complete_question("And in 2021?", history).text == "And in 2021?"


@pytest.mark.parametrize(
    "question", ["", " ", "?", "and", "it", "what about", "and in", "she " * 9000, "and \0?", "和二零二一年呢？", "😀"]
)
@pytest.mark.parametrize(
    "history", [["x" * 200_000], ["Who is Ann Lee?"] * 500, ["\0", "😀"], ["it", "she", "and in 2021?"]]
)
def test_odd_questions_and_histories_are_completed_without_an_error(question, history):
    assert isinstance(complete_question(question, history).text, str)


def test_a_search_uses_the_completed_question_and_shows_it(engine):
    history = ("Where was Marie Curie born?", "assistant: In the east.")
    retriever = Retriever(engine)
    evidence, trace = retriever.search(Query(text="What did she win?"), k=2, refinement=Refinement(history=history))

    assert trace.question == "What did Marie Curie win?"
    assert any(note.startswith("read as 'What did Marie Curie win?'") for note in trace.notes)
    assert evidence[0].document.name == "curie.txt"

    _, off = retriever.search(
        Query(text="What did she win?"), k=2, refinement=Refinement(history=history, rewrite="off")
    )
    assert off.question == ""

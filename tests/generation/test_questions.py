"""A language model completes questions and takes them apart; what is no question is not used."""

import pytest

from generation.questions import LanguageQuestionModel
from retrieval.understanding.ports import QuestionModel


class Scripted:
    """A language model that writes what it is told to, counts a word as a token, and remembers its prompts."""

    name = "scripted"

    def __init__(self, reply, *, context_tokens=2048):
        self.reply, self.context_tokens, self.prompts = reply, context_tokens, []

    def count_tokens(self, text):
        return len(text.split())

    def stream(self, messages, *, max_new_tokens, stop=()):
        self.prompts.append(messages[-1].content)
        yield from (self.reply[place : place + 3] for place in range(0, len(self.reply), 3))


@pytest.mark.parametrize(
    "reply",
    [
        "Where was Ann Lee born?",
        "  Rewritten question: Where was Ann Lee born?\nThat is it.",
        'Question: "Where was Ann Lee born?"',
        "Sure!\n1. Where was Ann Lee born?",
    ],
)
def test_a_completed_question_is_read_from_what_a_model_writes(reply):
    model = LanguageQuestionModel(Scripted(reply))

    assert isinstance(model, QuestionModel)
    assert model.rewrite("Where was she born?", ["Who is Ann Lee?"]) == "Where was Ann Lee born?"


@pytest.mark.parametrize("reply", ["", "I cannot help with that.", "?", "x" * 600 + "?", "\n\n"])
def test_what_is_no_question_leaves_the_question_as_it_was_asked(reply):
    model = LanguageQuestionModel(Scripted(reply))

    assert model.rewrite("Where was she born?", ["Who is Ann Lee?"]) == "Where was she born?"
    assert model.take_apart("Which is older, A or B?") == []


def test_parts_come_in_order_once_and_not_too_many():
    lines = ["- How old is A?", "2) How old is B?", "How old is A?", *[f"How old is C{n}?" for n in range(9)]]
    parts = LanguageQuestionModel(Scripted("\n".join(lines))).take_apart("Which is older?")

    assert parts == ["How old is A?", "How old is B?", "How old is C0?", "How old is C1?"]


def test_the_oldest_turns_are_left_out_where_the_window_is_too_short():
    model = Scripted("Where was Ann Lee born?", context_tokens=400)
    LanguageQuestionModel(model).rewrite("Where was she born?", ["word " * 300, "Who is Ann Lee?"])

    assert "word" not in model.prompts[0].split("Conversation:")[1]
    assert "Who is Ann Lee?" in model.prompts[0]


def test_a_question_that_no_window_holds_stays_whole():
    model = Scripted("Where?", context_tokens=300)
    long = "word " * 1000

    assert LanguageQuestionModel(model).rewrite(long, ["Who is Ann Lee?"]) == long
    assert LanguageQuestionModel(model).take_apart(long) == []
    assert model.prompts == []

"""Which questions are taken for database-like, and that no question whatever breaks the reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.exact_questions.recognise import LEAST, MOST, recognise
from retrieval.exact_questions.types import ExactKind, UnclearQuestionError

_WORDS = [
    *sorted(MOST | LEAST),
    *["how", "many", "which", "what", "list", "number", "of", "the", "in", "is", "at", "not", "ships", "first-ever"],
    *["first's", "2,023", "“most”", "(oldest)", "who", "average", "total", "&", "—", "é", "\n", "?", "top-ten", "10th"],
]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many ships sailed in 1901?", ExactKind.COUNT),
        ("Which ship is the oldest?", ExactKind.MIN),
        ("What was the largest cargo?", ExactKind.MAX),
        ("List all ships of Orvik.", ExactKind.LIST),
        ("Which ships carried at least 20 passengers?", ExactKind.LIST),
        ("Which ship made the first-ever crossing?", ExactKind.LIST),
    ],
)
def test_kinds(question: str, kind: ExactKind):
    asked = recognise(question)

    assert asked is not None
    assert asked.kind is kind


@pytest.mark.parametrize("question", ["Who was the keeper of the lighthouse?", "Why did the ferry stop?", "", "?"])
def test_other_questions_are_left_alone(question: str):
    assert recognise(question) is None


@given(st.lists(st.sampled_from(_WORDS) | st.text(max_size=8), max_size=14))
def test_no_question_breaks_the_reading(words: list[str]):
    try:
        asked = recognise(" ".join(words))
    except UnclearQuestionError:
        return
    assert asked is None or all(0 <= place < len(asked.words) for place in asked.noun)

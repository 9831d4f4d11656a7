"""What lexical search looks for in a question: not the words that only ask."""

from __future__ import annotations

import pytest

from retrieval.analysis import Analyzer
from retrieval.lexical import Bm25Index


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("What's the swim time, and how did the herring swim?", ["swim", "time", "herring", "swim"]),
        ("How many people moved to the US in May?", ["mani", "peopl", "move", "us", "may"]),
        ("May we ask? Who played with The Who?", ["ask", "play", "who"]),
        ('He said: "Does it rain?" Who\u2019s there?', ["said", "rain"]),
        ("Can't we read what_is in how2?", ["can't", "read", "what_i", "how2"]),
        ("Who are you?", []),
    ],
)
def test_words_that_only_ask_are_no_terms_of_a_question_unless_written_like_names(question: str, terms: list[str]):
    assert Analyzer().question_terms(question) == terms


def test_a_word_that_only_asks_does_not_find_a_text_beside_one_that_tells():
    index = Bm25Index.build(["poll", "trout"], ["How do you say you feel?", "Trout: 12 tons a year."])

    assert [item_id for item_id, _ in index.search("How do you catch trout?", 2)] == ["trout"]
    assert [item_id for item_id, _ in index.search("How do you?", 2)] == ["poll"]

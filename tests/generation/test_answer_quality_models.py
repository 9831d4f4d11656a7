"""The golden questions with the real encoder: what can be answered is, what cannot is refused."""

import json
import os
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from generation.answerer import Answerer
from generation.metrics import f1_score, normalise_answer
from generation.testing import make_evidence
from generation.types import AnswerStatus
from generation.verify import Verifier
from retrieval.encoders.transformer import TransformerTextEncoder

pytestmark = pytest.mark.models
GOLDEN = json.loads((Path(__file__).parent / "golden" / "answerable.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def encoder():
    folder = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models" / "minilm"
    if not folder.exists():
        pytest.skip(f"the encoder is not in {folder}: run `mmkg models pull`")
    return TransformerTextEncoder(folder)


@pytest.fixture(scope="module")
def ask(encoder):
    vectors = encoder.encode([f"{row['title']}: {row['text']}" for row in GOLDEN])

    def answer(question):
        nearest = np.argsort(-(vectors @ encoder.encode([question])[0]), kind="stable")[:5]
        evidence = [
            make_evidence(GOLDEN[i]["text"], rank=rank, name=GOLDEN[i]["id"], title=GOLDEN[i]["title"])
            for rank, i in enumerate(nearest, start=1)
        ]
        return Answerer(encoder=encoder, models={}).answer(question, evidence)

    return answer


def held_out(kind):
    return [item for row in GOLDEN if row["part"] == "check" for item in row[kind]]


def test_what_can_be_answered_is_answered_with_the_answer_in_the_quoted_text(ask):
    items = held_out("answerable")
    answers = [ask(item["question"]) for item in items]
    answered = [a.status is AnswerStatus.ANSWERED for a in answers]
    inside = [normalise_answer(i["answer"]) in normalise_answer(a.text) for i, a in zip(items, answers, strict=True)]

    assert np.mean(answered) >= 0.85
    assert np.mean(inside) >= 0.8


def test_short_answers_are_right_more_often_than_not_where_they_are_given(ask):
    items = held_out("answerable")
    scores = [f1_score(a.short_answer, [item["answer"]]) for item in items if (a := ask(item["question"])).short_answer]

    assert len(scores) >= len(items) / 3
    assert np.mean(scores) >= 0.6


def test_what_cannot_be_answered_is_refused(ask):
    refused = [ask(question).status is AnswerStatus.INSUFFICIENT for question in held_out("unanswerable")]

    assert np.mean(refused) >= 0.85


@pytest.mark.parametrize(
    ("sentence", "is_supported"),
    [
        ("In the factory's first year, 1998, production began.", True),
        ("Production at the plant started in 1998.", True),
        ("The plant was shut down in 1998.", False),
        ("Production at the plant started in 1989.", False),
        ("The plant makes bicycles.", False),
    ],
)
def test_paraphrase_is_accepted_and_change_of_meaning_is_not(encoder, sentence, is_supported):
    evidence = make_evidence("The plant began production in 1998. It employs 300 people.", title="The factory")

    assert Verifier([evidence], encoder=encoder).check(sentence, [0]).is_supported is is_supported

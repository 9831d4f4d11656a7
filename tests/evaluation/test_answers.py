"""Answers are scored by hand-worked matches, refusals and citations."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.evaluation.answers import AnswerReport, evaluate_answers, said
from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion, read_folder
from generation.testing import make_evidence
from generation.types import Answer, AnswerSentence, AnswerStatus, Citation
from retrieval.types import Evidence

EVIDENCE = (make_evidence("Mona Arden built it.", name="kestrel"), make_evidence("Orvik.", rank=2, name="orvik"))


def cite(evidence: Evidence) -> Citation:
    chunk, document = evidence.chunk, evidence.document
    return Citation(
        number=1, chunk_id=chunk.chunk_id, document_id=document.document_id, source=document.source,
        name=document.name, page=1, is_paged=False, modality=chunk.modality, quote=chunk.text, span=chunk.span,
    )  # fmt: skip


def make_answer(short: str = "", *, text: str = "", cited: tuple[Evidence, ...] = (), refused: bool = False) -> Answer:
    sentence = AnswerSentence(text=text or short, citations=(1,), support=1.0, is_supported=True)
    return Answer(
        question="?",
        status=AnswerStatus.INSUFFICIENT if refused else AnswerStatus.ANSWERED,
        text=f"{text or short} [1]",
        short_answer=short,
        sentences=(sentence,),
        citations=tuple(cite(item) for item in cited),
        evidence=EVIDENCE,
        generator="extractive",
    )


@dataclass
class Scripted:
    """A service whose answers are written down."""

    answers: dict[str, Answer]
    asked: list[tuple[str, int, str]] = field(default_factory=list)

    def ask(self, workspace: str, question: str, *, k: int, generator: str) -> Answer:
        self.asked.append((workspace, k, generator))
        return self.answers[question]


def folder_of(*questions: tuple[str, set[str], list[str]]) -> EvaluationFolder:
    rows = [
        EvaluationQuestion(question_id=text, text=text, gold=frozenset(gold), answers=tuple(answers))
        for text, gold, answers in questions
    ]
    return EvaluationFolder(folder=Path("corpus"), layout="passages", questions=tuple(rows))


def score(folder: EvaluationFolder, answers: dict[str, Answer]) -> AnswerReport:
    return evaluate_answers(folder, Scripted(answers), "w", k=5, generator="extractive")


def test_scores_of_four_answers_worked_by_hand():
    folder = folder_of(
        ("exact", {"kestrel"}, ["mona arden"]),
        ("half", {"kestrel"}, ["Mona Arden of Orvik"]),
        ("declined", {"orvik"}, ["Petra Voss"]),
        ("wrong", {"orvik"}, ["Petra Voss"]),
    )
    report = score(
        folder,
        {
            "exact": make_answer("The Mona Arden.", cited=(EVIDENCE[0],)),
            "half": make_answer("Mona Arden", cited=(EVIDENCE[0],)),
            "declined": make_answer("Petra Voss", refused=True),
            "wrong": make_answer("gluten", cited=(EVIDENCE[0],)),
        },
    )

    assert report.n == 4
    assert report.exact_match == pytest.approx(1 / 4)  # an article, a full stop and capitals do not count
    assert report.f1 == pytest.approx((1 + 2 * (1 * 0.5) / 1.5 + 0 + 0) / 4)  # "half": precision 1, recall 2 of 4
    assert report.answered == pytest.approx(3 / 4)
    assert report.cited_gold == pytest.approx(2 / 3)  # "wrong" cites kestrel where orvik is gold
    assert report.refused is None
    assert report.n_unanswerable == 0


def test_refusals_are_scored_on_the_questions_without_gold_alone():
    folder = folder_of(("known", {"kestrel"}, ["Mona Arden"]), ("a", set(), []), ("b", set(), []), ("c", set(), []))
    report = score(
        folder,
        {
            "known": make_answer("Mona Arden", cited=EVIDENCE),
            "a": make_answer(refused=True),
            "b": make_answer("Orvik", cited=(EVIDENCE[1],)),
            "c": make_answer(refused=True),
        },
    )

    assert (report.n, report.n_unanswerable) == (1, 3)
    assert report.refused == pytest.approx(2 / 3)
    assert report.answered == 1.0
    assert report.as_json() == {
        "n": 1, "n_unanswerable": 3, "generator": "extractive", "exact_match": 1.0, "f1": 1.0, "answered": 1.0,
        "refused": 0.6667, "cited_gold": 1.0,
    }  # fmt: skip


def test_a_question_with_gold_and_no_written_answer_counts_for_citations_only():
    report = score(
        folder_of(("listed", {"kestrel"}, ["Mona Arden"]), ("unlisted", {"orvik"}, [])),
        {"listed": make_answer("Mona Arden", cited=(EVIDENCE[0],)), "unlisted": make_answer("x", cited=(EVIDENCE[1],))},
    )

    assert report.exact_match == 1.0
    assert report.cited_gold == 1.0


def test_without_any_gold_the_shares_are_zero():
    report = score(folder_of(("a", set(), [])), {"a": make_answer(refused=True)})

    assert (report.n, report.answered, report.f1, report.cited_gold, report.refused) == (0, 0.0, 0.0, 0.0, 1.0)


def test_what_is_scored_is_the_short_answer_else_the_text_without_its_marks_else_nothing():
    assert said(make_answer("Mona Arden", text="It was Mona Arden.")) == "Mona Arden"
    assert said(make_answer(text="It was Mona Arden.")) == "It was Mona Arden."
    assert said(make_answer("Mona Arden", refused=True)) == ""


def test_every_question_is_asked_once_with_the_recipes_k_and_generator():
    service = Scripted({"a": make_answer(refused=True), "b": make_answer("x")})
    told = []

    evaluate_answers(
        folder_of(("a", set(), []), ("b", {"orvik"}, ["x"])),
        service,
        "space",
        k=3,
        generator="lm",
        on_question=told.append,
    )

    assert service.asked == [("space", 3, "lm")] * 2
    assert told == ["a", "b"]


@pytest.mark.models
def test_real_answers_over_passages_are_right_and_cite_their_passage(settings, passages_folder):
    folder = read_folder(passages_folder)
    service, workspace = evaluation_service(settings, passages_folder, retrieval={})
    ingest_corpus(service, workspace, folder)

    report = evaluate_answers(folder, service, workspace, k=8, generator="extractive")
    service.close()

    assert (report.n, report.n_unanswerable) == (3, 1)
    assert report.exact_match >= 2 / 3  # two questions ask for a name
    assert report.cited_gold == 1.0
    assert report.refused == 1.0

"""``mmkg eval answers``: answer every question of a folder, and score the answers and the refusals.

Layer: ``api.evaluation``. Exact match and token F1 are SQuAD's (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1),
the best over the answers that count as right, on the short answer where there is one and else on the whole text.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion
from api.service import Service
from generation.metrics import exact_match, f1_score
from generation.types import Answer, AnswerStatus

__all__ = ["AnswerReport", "evaluate_answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReport:
    """Scores as fractions.

    ``answered`` is the share of questions with gold that got an answer, ``refused`` the share of questions without gold
    that got none, ``cited_gold`` the share of answered ones that cite a gold unit.
    """

    n: int
    n_unanswerable: int
    exact_match: float
    f1: float
    answered: float
    refused: float | None
    cited_gold: float
    generator: str

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values."""
        return {
            "n": self.n,
            "n_unanswerable": self.n_unanswerable,
            "generator": self.generator,
            "exact_match": round(self.exact_match, 4),
            "f1": round(self.f1, 4),
            "answered": round(self.answered, 4),
            "refused": None if self.refused is None else round(self.refused, 4),
            "cited_gold": round(self.cited_gold, 4),
        }


def evaluate_answers(
    folder: EvaluationFolder,
    service: Service,
    workspace: str,
    *,
    k: int,
    generator: str,
    on_question: Callable[[str], None] = lambda _: None,
) -> AnswerReport:
    """Answer and score.

    :param folder: The questions.
    :param service: The service that holds the ingested corpus.
    :param workspace: The corpus' workspace.
    :param k: How many pieces of evidence each question gets.
    :param generator: Who writes.
    :param on_question: Called with the question's id when it is answered.
    :returns: The scores.
    """
    with_gold: list[tuple[EvaluationQuestion, Answer]] = []
    without_gold: list[Answer] = []
    for question in folder.questions:
        answer = service.ask(workspace, question.text, k=k, generator=generator)
        if question.gold:
            with_gold.append((question, answer))
        else:
            without_gold.append(answer)
        on_question(question.question_id)
    scored = [(said(answer), question.answers) for question, answer in with_gold if question.answers]
    answered = [(q, a) for q, a in with_gold if a.status is AnswerStatus.ANSWERED]
    refusals = [answer.status is not AnswerStatus.ANSWERED for answer in without_gold]
    return AnswerReport(
        n=len(with_gold),
        n_unanswerable=len(without_gold),
        exact_match=_mean([exact_match(text, answers) for text, answers in scored]),
        f1=_mean([f1_score(text, answers) for text, answers in scored]),
        answered=len(answered) / len(with_gold) if with_gold else 0.0,
        refused=_mean([float(refused) for refused in refusals]) if refusals else None,
        cited_gold=_mean([float(_cites_gold(folder, question, answer)) for question, answer in answered]),
        generator=generator,
    )


def said(answer: Answer) -> str:
    """Return what is scored: the short answer, else the whole text without its marks, else nothing."""
    if answer.status is not AnswerStatus.ANSWERED:
        return ""
    return answer.short_answer or " ".join(sentence.text for sentence in answer.sentences)


def _cites_gold(folder: EvaluationFolder, question: EvaluationQuestion, answer: Answer) -> bool:
    cited = {citation.chunk_id for citation in answer.citations}
    units = {unit for item in answer.evidence if item.chunk.chunk_id in cited for unit in folder.units_of(item)}
    return bool(units & question.gold)


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else 0.0

"""Train triples as questions with their answers: one row of scores serves all answers of a question.

Layer: ``generation``; imports torch. A graph asks far fewer questions ``(anchor, relation, ?)`` than it has triples in
both directions (of FB15k-237's 544,230 only 149,689), and the softmax over all entities is what training costs.

Shape suffixes: M triples or answers, Q questions, B questions of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["QuestionBatch", "TrainQuestions", "with_inverses"]


def with_inverses(triples_M3: NDArray[np.int64], n_relations: int) -> NDArray[np.int64]:
    """Return the triples followed by their inverses ``(t, r + n_relations, h)``. *Shape:* ``(2 * M, 3)``."""
    inverses = triples_M3[:, ::-1].copy()
    inverses[:, 1] += n_relations
    return np.concatenate([triples_M3, inverses])


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionBatch:
    """Questions with all their answers.

    ``questions_B2`` are anchors and relations; ``answers_M`` the right entities, ``owners_M`` the place of their
    question, ascending; ``weight`` what a sum over the answers is multiplied with: one by the answers that a batch of
    this many questions has on average, so that a question counts by its answers, whatever it is drawn with.
    """

    questions_B2: Tensor  # noqa: N815 (shape suffix)
    answers_M: Tensor  # noqa: N815 (shape suffix)
    owners_M: Tensor  # noqa: N815 (shape suffix)
    weight: float


class TrainQuestions:
    """The distinct questions of a train split, both directions.

    A question with thousands of answers (who is a human?) dominates the batch that it is drawn with. Adagrad bears
    that, Adam does not (the text expert's loss on MKG-W rose from 8.0 to 11.9 in three epochs), so such a question may
    be asked in parts, dealt out anew each round.

    :param triples_M3: Triples without inverses; what stands there twice counts once. *Shape:* ``(M, 3)``.
    :param n_relations: Number of relations without inverses.
    :param device: Where batches are wanted.
    :param most_answers: The most answers of a question; one that has more is asked in parts. ``None``: no bound.
    """

    def __init__(
        self,
        triples_M3: NDArray[np.int64],
        n_relations: int,
        *,
        device: str = "cpu",
        most_answers: int | None = None,
    ) -> None:
        rows = np.unique(with_inverses(triples_M3, n_relations), axis=0)
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        begins = np.ones(len(rows), dtype=np.bool_)
        begins[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
        self._asked_M = np.cumsum(begins)
        if most_answers is not None:
            places = np.arange(len(rows)) - np.flatnonzero(begins)[self._asked_M - 1]
            begins |= places % most_answers == 0
        self._is_parted = most_answers is not None
        firsts = np.flatnonzero(begins)
        self.questions_Q2, self.answers_M, self.device = rows[firsts, :2], rows[:, 2], device
        self._sorted_M, self.firsts_Q = self.answers_M, firsts
        self.counts_Q = np.diff(np.append(firsts, len(rows)))

    def __len__(self) -> int:
        return len(self.questions_Q2)

    @property
    def n_answers(self) -> int:
        """Count the triples, inverses included."""
        return len(self.answers_M)

    def batch_questions(self, n_triples: int) -> int:
        """Return how many questions have this many answers on average, at least 1.

        :param n_triples: Wanted triples of a batch.
        :returns: The questions of a batch.
        """
        return max(1, min(len(self), round(n_triples * len(self) / max(1, self.n_answers))))

    def batch(self, numbers_B: NDArray[np.int64]) -> QuestionBatch:
        """Collect questions.

        :param numbers_B: Their numbers. *Shape:* ``(B,)``.
        :returns: The batch.
        """
        counts = self.counts_Q[numbers_B]
        owners = np.repeat(np.arange(len(numbers_B)), counts)
        starts = self.firsts_Q[numbers_B] - np.cumsum(counts) + counts
        answers = self.answers_M[starts[owners] + np.arange(len(owners))]
        return QuestionBatch(
            questions_B2=torch.from_numpy(self.questions_Q2[numbers_B]).to(self.device),
            answers_M=torch.from_numpy(answers).to(self.device),
            owners_M=torch.from_numpy(owners).to(self.device),
            weight=len(self) / (self.n_answers * len(numbers_B)),
        )

    def batches(self, rng: np.random.Generator, *, n_questions: int) -> Iterator[QuestionBatch]:
        """Go once through all questions in random order.

        :param rng: Gives the order.
        :param n_questions: Questions of a batch; the last may have fewer.
        :yields: The batches.
        """
        if self._is_parted:
            self.answers_M = self._sorted_M[np.lexsort((rng.random(self.n_answers), self._asked_M))]
        order = rng.permutation(len(self))
        for first in range(0, len(order), n_questions):
            yield self.batch(order[first : first + n_questions])

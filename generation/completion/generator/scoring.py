"""Score what a sequence model would answer: log probabilities of candidate answers, the prompt read once.

Layer: ``generation``; imports torch. The naive reference (:func:`score_naively`) reads prompt and answer together, one
candidate at a time; tests hold the fast road against it.

How long an answer is must not decide, so there are three readings of one log probability, see :data:`LENGTHS`:

* ``sum``: ``log p(answer | prompt)``. Long names lose.
* ``mean``: the sum over the number of tokens. Long names of predictable ends win.
* ``pmi``, the default: ``log p(answer | prompt) - log p(answer | last line of the prompt)``, what the context adds to
  the relation alone. Both terms are of the same tokens, so length and how common a name is cancel. The score is added
  to a blend that knows already which answers are usual for the relation, and by Bayes' rule what is to be added to a
  prior is this ratio, not the probability itself, which would count the prior twice.

Source: Holtzman et al. 2021, "Surface Form Competition: Why the Highest Probability Answer Isn't Always Right",
arXiv:2104.08315, section 3 (domain conditional PMI; the last line is the domain premise).

Shape suffixes: C candidates, B answers at a time, A tokens of the longest answer, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.generator.contexts import LinkContexts, drop_neighbours
from generation.completion.generator.memory import ScoreMemory
from kg.errors import CompletionError

__all__ = [
    "LENGTHS",
    "AnswerScorer",
    "AnswerScores",
    "CandidateScorer",
    "LocalScorer",
    "SequenceModel",
    "answer_tokens",
    "fitted_prompt",
    "score_naively",
    "standardised",
]

LENGTHS = ("pmi", "mean", "sum")
_KEPT_PREMISES = 200_000
_ANSWER_SHARE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScores:
    """Log probability (nats) of each answer, its end included, and how many tokens that is. *Shape:* both ``(C,)``."""

    log_probabilities: NDArray[np.float64]
    n_tokens: NDArray[np.int64]


class AnswerScorer(Protocol):
    """Anything that says how probable answers are after a prompt: a model in this process or behind a server."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells it from other models; weights that were fitted for one are not used with another."""
        ...

    def score(self, prompt: str, answers: Sequence[str]) -> AnswerScores:
        """Score answers after one prompt."""
        ...


class SequenceModel(Protocol):
    """A model in this process that reads a prompt once and then weighs continuations of it."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells its weights and its tokenizer from others."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt."""
        ...

    def answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer with its end."""
        ...

    def read(self, prompt_ids: list[int]) -> Any:
        """Read a prompt and return what continuations need of it."""
        ...

    def log_probabilities(self, read: Any, rows: Sequence[Sequence[int]]) -> Tensor:
        """Weigh every next token after 0, 1, … tokens of each row, the shorter ones filled up.

        *Shape:* rows of up to A tokens → ``(B, A + 1, V)``.
        """
        ...

    def read_whole(self, prompt_ids: list[int], answer_ids: list[int]) -> Tensor:
        """Weigh every token of an answer in one pass over prompt and answer. *Shape:* ``(A, V)``."""
        ...


class LocalScorer:
    """Scores answers with a model in this process, many at a time.

    :param model: The model.
    :param batch_size: Answers read at once. Each copies the prompt's cache, so memory grows with it.
    """

    def __init__(self, model: SequenceModel, *, batch_size: int = 16) -> None:
        self.model, self.batch_size = model, batch_size

    @property
    def name(self) -> str:
        """What people call the model."""
        return self.model.name

    @property
    def fingerprint(self) -> str:
        """What tells the model from others."""
        return self.model.fingerprint

    def score(self, prompt: str, answers: Sequence[str]) -> AnswerScores:
        """Score answers after one prompt, which is read once; of a prompt that is too long neighbours are dropped.

        :param prompt: The prompt.
        :param answers: The answers.
        :returns: Their scores, in the order given.
        :raises CompletionError: If even the question alone does not fit the model's context.
        """
        ids = [answer_tokens(self.model, answer) for answer in answers]
        sums = np.zeros(len(ids))
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        if order:
            read = self.model.read(fitted_prompt(self.model, prompt, n_answer=len(ids[order[-1]])))
        for first in range(0, len(order), self.batch_size):
            places = order[first : first + self.batch_size]
            rows = [ids[place] for place in places]
            log_BAV = self.model.log_probabilities(read, [row[:-1] for row in rows])
            for number, (place, row) in enumerate(zip(places, rows, strict=True)):
                steps = torch.arange(len(row), device=log_BAV.device)
                chosen = log_BAV[number, steps, torch.tensor(row, device=log_BAV.device)]
                sums[place] = float(chosen.double().sum())
        return AnswerScores(log_probabilities=sums, n_tokens=np.array([len(row) for row in ids], dtype=np.int64))


def score_naively(model: SequenceModel, prompt: str, answers: Sequence[str]) -> AnswerScores:
    """Score answers one at a time, reading prompt and answer together: the reference for :class:`LocalScorer`.

    :param model: The model.
    :param prompt: The prompt.
    :param answers: The answers.
    :returns: Their scores, in the order given.
    """
    ids = [answer_tokens(model, answer) for answer in answers]
    prompt_ids = fitted_prompt(model, prompt, n_answer=max(map(len, ids), default=0))
    sums = [
        sum(float(row_V[token]) for row_V, token in zip(model.read_whole(prompt_ids, row), row, strict=True))
        for row in ids
    ]
    return AnswerScores(
        log_probabilities=np.array(sums, dtype=np.float64), n_tokens=np.array([len(row) for row in ids], dtype=np.int64)
    )


def answer_tokens(model: SequenceModel, answer: str) -> list[int]:
    """Return the tokens of an answer, at most a quarter of what the model reads: one endless name must not end a run.

    :param model: The model.
    :param answer: The answer.
    :returns: Tokens; of a name that is cut the end is missing, so those that begin alike tie.
    """
    return model.answer_ids(answer)[: max(1, model.context_tokens // _ANSWER_SHARE)]


def fitted_prompt(model: SequenceModel, prompt: str, *, n_answer: int) -> list[int]:
    """Return the tokens of a prompt with as many neighbours as the model can read.

    :param model: The model.
    :param prompt: The prompt.
    :param n_answer: Tokens of the longest answer.
    :returns: The tokens.
    :raises CompletionError: If the question without any context does not fit.
    """
    n_lines = max(1, prompt.count("\n"))
    for n_dropped in range(n_lines):
        ids = model.prompt_ids(drop_neighbours(prompt, n=n_dropped))
        if len(ids) + n_answer <= model.context_tokens:
            return ids
    raise CompletionError(
        f"{model.name} reads {model.context_tokens} tokens, but the question {prompt.split(chr(10), 1)[0][:80]!r} with "
        f"an answer of {n_answer} tokens does not fit even without its context. Take a model that reads more."
    )


class CandidateScorer:
    """Scores entities as answers; those that are called the same get one and the same score.

    :param scorer: What scores texts.
    :param contexts: What puts questions and entities into words.
    :param length: How the length of an answer is evened out, one of :data:`LENGTHS`.
    :param memory: Where scores are kept, so that interrupted work goes on; ``None`` keeps none.
    :raises CompletionError: If ``length`` is unknown.
    """

    def __init__(
        self, scorer: AnswerScorer, contexts: LinkContexts, *, length: str = "pmi", memory: ScoreMemory | None = None
    ) -> None:
        if length not in LENGTHS:
            raise CompletionError(f"There is no length handling {length!r}. Use one of {', '.join(LENGTHS)}.")
        self.scorer, self.contexts, self.length, self._memory = scorer, contexts, length, memory
        self._premises: OrderedDict[tuple[str, str], float] = OrderedDict()

    def of(
        self, anchor: int, relation: int, candidates: NDArray[np.int64], *, left_out: int | None = None
    ) -> NDArray[np.float64]:
        """Score candidates of a question.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param candidates: Entities. *Shape:* ``(C,)``.
        :param left_out: As in :meth:`LinkContexts.prompt`.
        :returns: Scores in nats (per token for ``mean``), higher is better. *Shape:* ``(C,)``.
        :raises CompletionError: If the model returns something that is not a finite number.
        """
        if not len(candidates):
            return np.zeros(0)
        question = (anchor, relation, left_out)
        known = None if self._memory is None else self._memory.get(question, candidates)
        if known is not None:
            return known
        values = self._values(anchor, relation, candidates, left_out)
        if self._memory is not None:
            self._memory.put(question, candidates, values)
        return values

    def _values(
        self, anchor: int, relation: int, candidates: NDArray[np.int64], left_out: int | None
    ) -> NDArray[np.float64]:
        prompt = self.contexts.prompt(anchor, relation, left_out=left_out)
        texts = [self.contexts.answer(entity) for entity in candidates.tolist()]
        distinct = list(dict.fromkeys(texts))
        found = self.scorer.score(prompt, distinct)
        values = found.log_probabilities
        if self.length == "mean":
            values = values / np.maximum(1, found.n_tokens)
        elif self.length == "pmi":
            values = values - self._without_context(prompt.rsplit("\n", 1)[-1], distinct)
        if not np.isfinite(values).all():
            raise CompletionError(
                f"{self.scorer.name} returned log probabilities that are not finite numbers for the answers to "
                f"{prompt.split(chr(10), 1)[0][:80]!r}; the model is damaged, or too coarse a number format was chosen."
            )
        of_text = dict(zip(distinct, values.tolist(), strict=True))
        return np.array([of_text[text] for text in texts])

    def _without_context(self, premise: str, answers: list[str]) -> NDArray[np.float64]:
        missing = [answer for answer in answers if (premise, answer) not in self._premises]
        if missing:
            found = self.scorer.score(premise, missing).log_probabilities.tolist()
            self._premises.update({(premise, answer): value for answer, value in zip(missing, found, strict=True)})
        values = np.array([self._premises[premise, answer] for answer in answers])
        while len(self._premises) > _KEPT_PREMISES:
            self._premises.popitem(last=False)
        return values


def standardised(values_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring scores of one shortlist to mean 0 and standard deviation 1, so that one weight holds for all questions.

    :param values_C: Scores. *Shape:* ``(C,)``.
    :returns: The same in units of their spread; zeros where all are equal. *Shape:* ``(C,)``.
    """
    centred = values_C - values_C.mean() if len(values_C) else values_C
    spread = float(centred.std()) if len(values_C) else 0.0
    return centred / spread if spread > 1e-9 else np.zeros_like(centred)

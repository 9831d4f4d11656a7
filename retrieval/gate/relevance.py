"""How relevant found passages are to a question, each and together, calibrated to ``[0, 1]``, without a model.

Layer: ``retrieval``; ``retrieval.analysis``. Source: the gates of MMKB-RAG (Ling et al. 2025, arXiv:2504.10074), whose
tags a trained model writes; here a logistic regression over what search knows, fitted by
``tests/benchmarks/gate_quality.py`` on the golden questions of the package.

``generation.scoring`` has an answerability of its own, over sentences. This layer cannot use it: it lies higher, and it
answers another question, whether an answer can be *read off*. A gate before generation asks whether the passages are
*about* what is asked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval.analysis import Analyzer
from retrieval.types import Evidence

__all__ = [
    "BIAS",
    "COEFFICIENTS",
    "ENOUGH_COSINE",
    "LEAST_RELEVANCE",
    "Relevance",
    "RelevanceModel",
    "features_of",
    "is_relevant",
]

_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'’-]*\b")
_NUMBER = re.compile(r"(?<![\w.])\d[\d.,]*(?![\w])")
_PRIOR = 10
"""Passages without the question's words, imagined beside the real ones: rarity among three passages is chance."""
_TOGETHER = 3
"""How many passages may hold the question's words together: as many as a chain of facts has."""
_NO_COSINE = 0.35
"""What stands for the best cosine where search used no vectors: little more than passages about something else have."""
COEFFICIENTS: Mapping[str, float] = {"dense": 2.23, "together": 3.69, "best": 3.8, "names": 1.88, "numbers": 0.56}
"""Fitted on 29 golden questions with their passage and 57 without it. Of the others the gate refuses none of the 19
that their passage answers, and all 38 where it was taken out (:data:`LEAST_RELEVANCE`)."""
BIAS = -5.78
LEAST_RELEVANCE = 0.4
"""Below it, and below :data:`ENOUGH_COSINE`, evidence is called irrelevant.

Both must agree: a question in other words than its passage has the cosine, one in the same words the coverage, and a
wrong "nothing" costs more than a wrong "something", which the answer's own check still sees. Measured (the first eight
passages; refused of answerable questions, and of questions about something else): multi-hop .00 and .55, pages .10 and
.71, charts .00 and .84; of the pages' 17 questions that only a detail makes unanswerable, none. The regression alone at
.5 refuses .00, .21 and .05 of the answerable ones."""
ENOUGH_COSINE = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """Of the evidence together and of each passage, in ``[0, 1]``, and the features of the former."""

    together: float
    passages: tuple[float, ...]
    features: Mapping[str, float]

    @property
    def is_any(self) -> bool:
        """Whether anything is relevant."""
        return bool(self.features) and is_relevant(self.together, self.features)


def is_relevant(relevance: float, features: Mapping[str, float]) -> bool:
    """Tell whether evidence is relevant, by the regression or by the cosine.

    :param relevance: What the regression says, in ``[0, 1]``.
    :param features: What it was made of.
    :returns: ``False`` where both say no.
    """
    return relevance >= LEAST_RELEVANCE or features["dense"] >= ENOUGH_COSINE


class RelevanceModel:
    """Judges evidence. Safe between threads.

    :param analyzer: Cuts texts into terms; ``None`` takes that of lexical search.
    """

    def __init__(self, analyzer: Analyzer | None = None) -> None:
        self._analyzer = analyzer or Analyzer()

    def judge(self, question: str, evidence: Sequence[Evidence]) -> Relevance:
        """Judge evidence together and piece by piece.

        :param question: What is asked.
        :param evidence: What was found, best first.
        :returns: The relevance; 0 for no evidence.
        """
        if not evidence:
            return Relevance(together=0.0, passages=(), features={})
        features = features_of(question, evidence, analyzer=self._analyzer)
        alone = tuple(
            _logistic(features_of(question, [item], analyzer=self._analyzer, among=evidence)) for item in evidence
        )
        return Relevance(together=_logistic(features), passages=alone, features=features)


def features_of(
    question: str,
    evidence: Sequence[Evidence],
    *,
    analyzer: Analyzer,
    among: Sequence[Evidence] | None = None,
) -> dict[str, float]:
    """Return what relevance is made of, each in ``[0, 1]``: the fitting script reads the same numbers.

    :param question: What is asked.
    :param evidence: The passages judged, at least one.
    :param analyzer: Cuts texts into terms.
    :param among: The passages that rarity is counted over; ``None`` takes ``evidence``.
    :returns: ``dense`` (the best cosine that search saw), ``together`` and ``best`` (the share of the question's weight
        that the best three passages hold together, and that the best holds alone), ``names`` and ``numbers`` (the share
        of its names and numbers that stand anywhere; 1 where it has none).
    """
    held = [_terms(item, analyzer) for item in evidence]
    over = held if among is None else [_terms(item, analyzer) for item in among]
    terms = analyzer.named_terms(question)
    df = Counter(term for own in over for term in own)
    n = len(over) + _PRIOR
    idf = {term: math.log1p((n - df[term] + 0.5) / (df[term] + 0.5)) for term in terms}
    total = sum(idf.values()) or 1.0
    shares = [sum(weight for term, weight in idf.items() if term in own) / total for own in held]
    first = frozenset().union(
        *(own for _, own in sorted(zip(shares, held, strict=True), key=lambda p: -p[0])[:_TOGETHER])
    )
    everything = frozenset().union(*held)
    cosines = [one.score for item in evidence for one in item.contributions if one.retriever == "dense"]
    return {
        "dense": min(max(max(cosines, default=_NO_COSINE), 0.0), 1.0),
        "together": sum(weight for term, weight in idf.items() if term in first) / total,
        "best": max(shares),
        "names": _share([term in everything for name in _NAME.findall(question) for term in analyzer.terms(name)]),
        "numbers": _share([term in everything for one in _NUMBER.findall(question) for term in analyzer.terms(one)]),
    }


def _terms(item: Evidence, analyzer: Analyzer) -> frozenset[str]:
    words = f"{item.document.title}\n{item.document.name}\n{item.chunk.heading}\n{item.chunk.text}"
    return frozenset(analyzer.terms(words))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 1.0


def _logistic(features: Mapping[str, float]) -> float:
    logit = BIAS + sum(COEFFICIENTS[name] * value for name, value in features.items())
    return 1.0 / (1.0 + math.exp(-logit))

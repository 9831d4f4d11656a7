"""The arranger ``coverage``: after the best candidate comes the one that brings most of what the question still lacks.

Layer: ``retrieval``; NumPy, ``retrieval.coverage``. It needs no model and no index.

The modes ``mix`` and ``auto`` cover by themselves (:attr:`retrieval.config.RetrievalConfig.coverage`). As a reranker it
does the same for the other modes, and once more after a reranker that scored each candidate alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval.analysis import Analyzer
from retrieval.coverage import order_by_coverage
from retrieval.types import Evidence, Query

__all__ = ["CoverageArranger"]

STRENGTH = 1.5
"""What bringing all that is missing counts beside one standard deviation of the scores so far, >= 0; the value and the
measurement of :attr:`retrieval.config.RetrievalConfig.coverage`."""
N_GROUPS = 5
"""How many pages are chosen so, >= 1; the rest keeps its order. With 5, 8, 10 and 20 Recall@5 is the same."""
_CHUNKS_KEPT = 4096
"""Chunks whose terms are kept between searches: some ten kilobytes each."""


class CoverageArranger:
    """Satisfies :class:`retrieval.rerank.types.Arranger`. Safe between threads.

    :param analyzer: Cuts texts into terms; ``None`` takes that of lexical search.
    :param strength: What bringing everything that is missing counts, >= 0.
    :param n_groups: How many pages are chosen so, >= 1.
    """

    name = "coverage"

    def __init__(
        self, *, analyzer: Analyzer | None = None, strength: float = STRENGTH, n_groups: int = N_GROUPS
    ) -> None:
        self._analyzer = analyzer or Analyzer()
        self._strength = strength
        self._n_groups = n_groups
        self._known: dict[str, frozenset[str]] = {}

    def arrange(self, query: Query, evidence: Sequence[Evidence], base: Sequence[float]) -> list[tuple[int, float]]:
        """Return the places of the candidates in their new order, with the share of the question that each brought.

        :param query: Its words are read; a picture is not.
        :param evidence: Candidates, best first.
        :param base: Their standard scores.
        :returns: Each place once.
        """
        terms = self._analyzer.named_terms(query.text)
        own = [self._terms(item) for item in evidence]
        holds_NT = np.array([[term in held for term in terms] for held in own], dtype=np.bool_)
        groups = [
            (item.document.document_id, item.chunk.page_first if item.document.is_paged else item.chunk.chunk_id)
            for item in evidence
        ]
        return order_by_coverage(
            np.asarray(base, dtype=np.float64),
            holds_NT.reshape(len(evidence), len(terms)),
            groups=groups,
            strength=self._strength,
            n_groups=self._n_groups,
        )

    def _terms(self, item: Evidence) -> frozenset[str]:
        """Return the terms of a candidate with its title and heading; a chunk never changes under its id."""
        terms = self._known.get(item.chunk.chunk_id)
        if terms is None:
            words = f"{item.document.title}\n{item.chunk.heading}\n{item.chunk.text}"
            terms = frozenset(self._analyzer.terms(words))
            if len(self._known) >= _CHUNKS_KEPT:
                self._known.clear()
            self._known[item.chunk.chunk_id] = terms
        return terms

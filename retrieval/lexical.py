"""Lexical search: BM25 over chunks, for words, names, numbers and codes that a dense vector blurs.

Layer: ``retrieval``; imports ``kg.errors``, NumPy, and bm25s (lazily, it takes 0.15 s).
Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3; the variant is
Lucene's without its lossy length encoding (Kamphuis et al., ECIR 2020, table 1, "Lucene (accurate)"), computed eagerly
into a sparse matrix by bm25s (Lù 2024, arXiv:2407.03618)::

    score(q, d) = sum over t in q of  idf_t * tf / (tf + k1 * (1 - b + b * |d| / avgdl))
    idf_t = ln(1 + (N - df_t + 0.5) / (df_t + 0.5))

Changes. A BM25 score depends on every document through ``N``, ``df`` and ``avgdl``, and bm25s stores finished scores,
so its matrix cannot be patched exactly. The index therefore keeps each chunk's term numbers, analysed once, and
rebuilds the matrix from them at the first search after a change. ``tests/benchmarks/lexical_speed.py`` measures that
rebuild.

Shape suffixes: N chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, VectorIndexError
from retrieval.analysis import Analyzer
from retrieval.indexes.topk import best_first, require_k

__all__ = ["Bm25Index"]


class Bm25Index:
    """A BM25 index that takes additions and removals and may be shared between threads.

    :param analyzer: Cuts chunks and questions into terms; by default English with stemming.
    :param k1: Saturation of term frequency, >= 0, dimensionless. 1.2 is Lucene's default, and lies in the range 1.2 to
        2 that Robertson & Zaragoza 2009 recommend.
    :param b: Strength of length normalisation, in ``[0, 1]``. 0.75 is Lucene's default.
    :raises ConfigError: If ``k1`` or ``b`` is out of range.
    """

    name = "bm25"

    def __init__(self, *, analyzer: Analyzer | None = None, k1: float = 1.2, b: float = 0.75) -> None:
        if k1 < 0.0 or not 0.0 <= b <= 1.0:
            raise ConfigError(f"Bm25Index: need k1 >= 0 and 0 <= b <= 1, got k1={k1}, b={b}.")
        self.analyzer = Analyzer() if analyzer is None else analyzer
        self.k1 = k1
        self.b = b
        self._lock = threading.RLock()
        self._vocabulary: dict[str, int] = {}
        self._documents: dict[str, NDArray[np.int32]] = {}
        self._built: _Built | None = None

    @classmethod
    def build(
        cls,
        ids: Sequence[str],
        texts: Sequence[str],
        *,
        analyzer: Analyzer | None = None,
        k1: float = 1.2,
        b: float = 0.75,
    ) -> Bm25Index:
        """Index a corpus at once.

        :param ids: One id per text.
        :param texts: The texts; one without any term is kept and never found.
        :param analyzer: As in the class.
        :param k1: As in the class.
        :param b: As in the class.
        :returns: The index, its matrix built.
        """
        index = cls(analyzer=analyzer, k1=k1, b=b)
        index.add(ids, texts)
        index._current()  # builds the matrix now, not at the first question
        return index

    def add(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Add texts; an id that is there already is replaced.

        :param ids: One id per text.
        :param texts: The texts.
        :raises VectorIndexError: If the two differ in length or one id comes twice.
        """
        if len(ids) != len(texts) or len(set(ids)) != len(ids):
            raise VectorIndexError(
                f"Bm25Index.add: got {len(ids)} ids ({len(set(ids))} different) for {len(texts)} texts. "
                "Give one id per text."
            )
        terms = [self.analyzer.terms(text) for text in texts]
        with self._lock:
            numbers = self._vocabulary
            for item_id, words in zip(ids, terms, strict=True):
                self._documents[item_id] = np.array(
                    [numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32
                )
            if ids:
                self._built = None

    def remove(self, ids: Sequence[str]) -> None:
        """Take texts out; unknown ids are ignored."""
        with self._lock:
            gone = [self._documents.pop(item_id, None) is not None for item_id in ids]
            if any(gone):
                self._built = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids in the index, sorted: the order of :meth:`scores`."""
        return self._current().ids

    def __len__(self) -> int:
        return len(self._documents)

    def scores(self, text: str) -> NDArray[np.float32]:
        """Score every text of the index against ``text``; 0 means that they share no term.

        A term that the question repeats counts as often as it is repeated, as in Lucene.

        :param text: The question.
        :returns: One score per id of :attr:`ids`, in that order. *Shape:* ``(N,)``.
        """
        return self._current().scores(self.analyzer.terms(text))

    def search(self, text: str, k: int, allowed: frozenset[str] | None = None) -> list[tuple[str, float]]:
        """Return up to ``k`` ``(id, score)`` pairs, best first, ties by id; texts that share no term are not hits.

        :param text: The question.
        :param k: The most hits to return.
        :param allowed: Only these ids may be found; the filter is applied before the cut to ``k``. ``None`` allows all.
        :returns: Hits with a score above 0.
        :raises InputError: If ``k`` is below 1.
        """
        require_k(k, where="Bm25Index.search")
        built = self._current()
        scores_N = built.scores(self.analyzer.terms(text))
        if allowed is not None:
            scores_N = scores_N * built.mask(allowed)
        return best_first(scores_N, built.ids, k=k, above=0.0)

    def _current(self) -> _Built:
        built = self._built
        if built is None:
            with self._lock:
                built = self._built
                if built is None:
                    built = _Built(self._documents, self._vocabulary, k1=self.k1, b=self.b)
                    self._built = built
        return built


class _Built:
    """The score matrix of one state of the corpus: immutable, so that searches need no lock."""

    def __init__(
        self, documents: dict[str, NDArray[np.int32]], vocabulary: dict[str, int], *, k1: float, b: float
    ) -> None:
        self.ids = tuple(sorted(documents))
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self._vocabulary = dict(vocabulary)
        self._model: Any = None
        corpus = [documents[item_id] for item_id in self.ids]
        if any(len(terms) for terms in corpus):
            import bm25s

            # Explicitly NumPy: bm25s would pick numba up where it happens to be installed and compile for seconds.
            self._model = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", dtype="float32")
            self._model.index((corpus, self._vocabulary), create_empty_token=False, show_progress=False)

    def scores(self, terms: Sequence[str]) -> NDArray[np.float32]:
        known = [self._vocabulary[term] for term in terms if term in self._vocabulary]
        if self._model is None or not known:
            return np.zeros(len(self.ids), dtype=np.float32)
        scores_N: NDArray[np.float32] = self._model.get_scores_from_ids(known)
        return scores_N

    def mask(self, allowed: frozenset[str]) -> NDArray[np.float32]:
        mask_N = np.zeros(len(self.ids), dtype=np.float32)
        mask_N[[self._rows[item_id] for item_id in allowed if item_id in self._rows]] = 1.0
        return mask_N

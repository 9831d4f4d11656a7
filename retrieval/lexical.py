"""Lexical search: BM25 over chunks, for words, names, numbers and codes that a dense vector blurs.

Layer: ``retrieval``; imports ``kg.errors``, NumPy, and bm25s (only to build: a saved index is searched without it).
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

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, VectorIndexError
from retrieval.analysis import QUESTION_WORDS, Analyzer
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file
from retrieval.indexes.topk import best_first, require_k

__all__ = ["Bm25Index"]

_Matrix = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]
"""Scores and their rows, term after term, and where each term starts: a sparse matrix by columns."""


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
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._lock = threading.RLock()
        self._asking = frozenset(term for word in QUESTION_WORDS for term in self.analyzer.terms(word))
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

    def holds(self, text: str, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which of a question's terms each text holds.

        Terms that no text of the index holds, and words that only ask ("which", "did"), are left out.

        :param text: The question.
        :param ids: Ids of texts; one that is not in the index holds nothing.
        :returns: One row a text, one column a term. *Shape:* ``(len(ids), T)``.
        """
        terms = [
            self._vocabulary[term]
            for term in dict.fromkeys(self.analyzer.terms(text))
            if term in self._vocabulary and term not in self._asking
        ]
        held_NT = np.zeros((len(ids), len(terms)), dtype=np.bool_)
        nothing = np.empty(0, dtype=np.int32)
        for row, item_id in enumerate(ids):
            held_NT[row] = np.isin(terms, self._documents.get(item_id, nothing))
        return held_NT

    def scores(self, text: str) -> NDArray[np.float32]:
        """Score every text of the index against ``text``; 0 means that they share no term.

        A term that the question repeats counts as often as it is repeated, as in Lucene.

        :param text: The question.
        :returns: One score per id of :attr:`ids`, in that order. *Shape:* ``(N,)``.
        """
        return self._current().scores(self._known(text))

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
        scores_N = built.scores(self._known(text))
        if allowed is not None:
            scores_N = built.only(scores_N, allowed)
        return best_first(scores_N, built.ids, k=k, above=0.0)

    def save(self, path: Path, *, record_version: int) -> None:
        """Write the index to a file, whole or not at all.

        Analysing and building 10**5 chunks takes some 13 s, reading them back well under one: the file pays.

        :param path: The file; an older one is replaced.
        :param record_version: The version of the record that the index is of.
        :raises VectorIndexError: If the file cannot be written.
        """
        with self._lock:
            built = self._current()
            corpus = [self._documents[item_id] for item_id in built.ids]
            scores, rows, starts = built.matrix
            sections = {
                "ids": json.dumps(built.ids).encode(),
                "vocabulary": json.dumps(list(self._vocabulary)).encode(),
                "lengths": np.array([len(terms) for terms in corpus], dtype=np.int64).tobytes(),
                "terms": b"".join(terms.tobytes() for terms in corpus),
                "scores": scores.tobytes(),
                "rows": rows.tobytes(),
                "starts": starts.tobytes(),
            }
        file = IndexFile(
            kind=self.name,
            built_with=self._fingerprint(),
            record_version=record_version,
            details={"k1": self.k1, "b": self.b},
            sections=sections,
        )
        write_index_file(path, file)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        analyzer: Analyzer | None = None,
        k1: float = 1.2,
        b: float = 0.75,
        record_version: int | None = None,
    ) -> Self:
        """Read an index that :meth:`save` wrote.

        :param path: The file.
        :param analyzer: The analyser in use now; as in the class.
        :param k1: As in the class.
        :param b: As in the class.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :returns: The index; its matrix need not be built again.
        :raises VectorIndexError: If the file is missing, damaged, stale, or was made with other settings.
        """
        index = cls(analyzer=analyzer, k1=k1, b=b)
        file = read_index_file(path, kind=cls.name, built_with=index._fingerprint(), record_version=record_version)
        ids = json.loads(bytes(file.sections["ids"]))
        index._vocabulary = {term: n for n, term in enumerate(json.loads(bytes(file.sections["vocabulary"])))}
        ends = np.cumsum(np.frombuffer(file.sections["lengths"], dtype=np.int64))
        terms = np.frombuffer(file.sections["terms"], dtype=np.int32)
        index._documents = (
            {
                item_id: terms[start:end]
                for item_id, start, end in zip(ids, [0, *ends[:-1].tolist()], ends.tolist(), strict=True)
            }
            if ids
            else {}
        )
        matrix = (
            np.frombuffer(file.sections["scores"], dtype=np.float32),
            np.frombuffer(file.sections["rows"], dtype=np.int32),
            np.frombuffer(file.sections["starts"], dtype=np.int64),
        )
        index._built = _Built(ids, matrix)
        index.record_version = file.record_version
        return index

    def _fingerprint(self) -> str:
        return f"{self.analyzer.fingerprint}/lucene/{self.k1}/{self.b}"

    def _known(self, text: str) -> list[int]:
        return [self._vocabulary[term] for term in self.analyzer.terms(text) if term in self._vocabulary]

    def _current(self) -> _Built:
        built = self._built
        if built is None:
            with self._lock:
                built = self._built
                if built is None:
                    ids = sorted(self._documents)
                    corpus = [self._documents[item_id] for item_id in ids]
                    built = _Built(ids, _matrix(corpus, len(self._vocabulary), k1=self.k1, b=self.b))
                    self._built = built
        return built


class _Built:
    """The score matrix of one state of the corpus, by term: immutable, so that searches need no lock."""

    def __init__(self, ids: Sequence[str], matrix: _Matrix) -> None:
        self.ids = tuple(ids)
        self.matrix = matrix
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}

    def scores(self, terms: Sequence[int]) -> NDArray[np.float32]:
        scores_N = np.zeros(len(self.ids), dtype=np.float32)
        scores, rows, starts = self.matrix
        for term in terms:
            if term < len(starts) - 1:  # a term that came after this state is in none of its texts
                part = slice(starts[term], starts[term + 1])
                scores_N[rows[part]] += scores[part]
        return scores_N

    def only(self, scores_N: NDArray[np.float32], allowed: frozenset[str]) -> NDArray[np.float32]:
        kept_N = np.zeros_like(scores_N)
        rows = [self._rows[item_id] for item_id in allowed if item_id in self._rows]
        kept_N[rows] = scores_N[rows]
        return kept_N


def _matrix(corpus: list[NDArray[np.int32]], n_terms: int, *, k1: float, b: float) -> _Matrix:
    """Let bm25s compute the score of each term in each text. *Shape:* ``(P,)``, ``(P,)``, ``(n_terms + 1,)``."""
    if not any(len(terms) for terms in corpus):
        return np.empty(0, np.float32), np.empty(0, np.int32), np.zeros(n_terms + 1, np.int64)
    import bm25s

    # Explicitly NumPy: bm25s would pick numba up where it happens to be installed and compile for seconds.
    model = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", dtype="float32")
    numbers = {term: term for term in range(n_terms)}  # bm25s looks at the numbers only
    model.index((corpus, numbers), create_empty_token=False, show_progress=False)
    scores = model.scores
    return scores["data"], scores["indices"].astype(np.int32, copy=False), scores["indptr"].astype(np.int64)

"""Lexical search: BM25 over chunks, for words, names, numbers and codes that a dense vector blurs.

Layer: ``retrieval``; imports ``kg.errors``, NumPy, and bm25s (only to build: a saved index is searched without it).
Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3; the variant is
Lucene's without its lossy length encoding (Kamphuis et al., ECIR 2020, table 1, "Lucene (accurate)"), computed eagerly
into a sparse matrix by bm25s (Lù 2024, arXiv:2407.03618)::

    score(q, d) = sum over t in q of  idf_t * tf / (tf + k1 * (1 - b + b * |d| / avgdl))
    idf_t = ln(1 + (N - df_t + 0.5) / (df_t + 0.5))

Questions. Words that only ask ("how", "did") count in chunks and not in questions, unless nothing else is asked: where
texts are terse, as on charts, they are rare, and would weigh like names. Without and with them in the default search,
packaged encoder: chats' Recall@2 / @5 .849 / .927 and .841 / .920 (difference of Recall@5 +.001 to +.014, paired
bootstrap, 95 %), charts' Recall@1 .813 and .807, pages' Recall@2 / @5 .531 / .630 and .515 / .646, multi-hop the same.

Changes. Each chunk's term numbers are kept, analysed once. A change up to :data:`REBUILD_SHARE` of the corpus is joined
to the scores of the last build (:mod:`retrieval.bm25_matrix`), with the outcome of a new build; past it the corpus is
built anew at the next search. ``tests/benchmarks/lexical_speed.py`` measures both.

Fields. Words of a picture's text, of its caption and so on can weigh more or less than others: a term of a field of
weight w counts w times, in its frequency and in the text's length (Robertson, Zaragoza & Taylor 2004, "Simple BM25
extension to multiple weighted fields"). bm25s counts whole terms, so weights are multiples of .05: all are scaled to
whole numbers, terms are repeated so often, and ``k1`` is scaled alike, which leaves every score as it was.

Shape suffixes: N chunks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, VectorIndexError
from retrieval.analysis import Analyzer
from retrieval.bm25_matrix import Built, Patched, Postings, Scorer, built
from retrieval.field_weights import repeats
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file
from retrieval.indexes.topk import best_first, require_k

__all__ = ["REBUILD_SHARE", "Bm25Index", "Fielded"]

REBUILD_SHARE = 0.05
"""Past this share of changed chunks all scores are worked out anew, so that additions cost what 20 builds do in all."""
_LAYOUT = "lucene-2"

Fielded = str | Sequence[tuple[str, str]]
"""A text, or its parts, each with the field that it belongs to."""


class Bm25Index:
    """A BM25 index that takes additions and removals and may be shared between threads.

    :param analyzer: Cuts chunks and questions into terms; by default English with stemming.
    :param k1: Saturation of term frequency, >= 0, dimensionless. 1.2 is Lucene's default, and lies in the range 1.2 to
        2 that Robertson & Zaragoza 2009 recommend.
    :param b: Strength of length normalisation, in ``[0, 1]``. 0.75 is Lucene's default.
    :param field_weights: How much a term of each of :data:`FIELDS` counts, >= 0, a multiple of .05; 1 where it is not
        named. A text that comes without fields is ``text``.
    :raises ConfigError: If ``k1`` or ``b`` is out of range, or a field is unknown or its weight cannot be.
    """

    name = "bm25"

    def __init__(
        self,
        *,
        analyzer: Analyzer | None = None,
        k1: float = 1.2,
        b: float = 0.75,
        field_weights: Mapping[str, float] | None = None,
    ) -> None:
        if k1 < 0.0 or not 0.0 <= b <= 1.0:
            raise ConfigError(f"Bm25Index: need k1 >= 0 and 0 <= b <= 1, got k1={k1}, b={b}.")
        self.analyzer = Analyzer() if analyzer is None else analyzer
        self.k1 = k1
        self.b = b
        self._repeats, self._scale = repeats(field_weights or {})
        self.record_version = 0
        """The version of the record that a loaded index was saved at."""
        self._lock = threading.RLock()
        self._vocabulary: dict[str, int] = {}
        self._documents: dict[str, NDArray[np.int32]] = {}
        self._settled: Built | None = None
        self._gone: set[str] = set()  # of the settled corpus: removed or replaced since
        self._new: set[str] = set()
        self._scorer: Scorer | None = None

    @property
    def has_fields(self) -> bool:
        """Whether it matters to which field a word belongs."""
        return len(set(self._repeats.values())) > 1

    @classmethod
    def build(
        cls,
        ids: Sequence[str],
        texts: Sequence[Fielded],
        *,
        analyzer: Analyzer | None = None,
        k1: float = 1.2,
        b: float = 0.75,
        field_weights: Mapping[str, float] | None = None,
    ) -> Bm25Index:
        """Index a corpus at once.

        :param ids: One id per text.
        :param texts: The texts; one without any term is kept and never found.
        :param analyzer: As in the class.
        :param k1: As in the class.
        :param b: As in the class.
        :param field_weights: As in the class.
        :returns: The index, its matrix built.
        """
        index = cls(analyzer=analyzer, k1=k1, b=b, field_weights=field_weights)
        index.add(ids, texts)
        index._current()  # builds the matrix now, not at the first question
        return index

    def add(self, ids: Sequence[str], texts: Sequence[Fielded]) -> None:
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
        terms = [self._terms(text) for text in texts]
        with self._lock:
            numbers = self._vocabulary
            for item_id, words in zip(ids, terms, strict=True):
                self._documents[item_id] = np.array(
                    [numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32
                )
            self._gone.update(ids)
            self._new.update(ids)
            if ids:
                self._scorer = None

    def _terms(self, text: Fielded) -> list[str]:
        """Return the terms of a text, each as often as its field weighs."""
        parts = [("text", text)] if isinstance(text, str) else text
        return [
            term
            for field, words in parts
            for term in self.analyzer.terms(words)
            for _ in range(self._repeats.get(field, self._repeats["text"]))
        ]

    def remove(self, ids: Sequence[str]) -> None:
        """Take texts out; unknown ids are ignored."""
        with self._lock:
            known = [item_id for item_id in ids if self._documents.pop(item_id, None) is not None]
            self._gone.update(known)
            self._new.difference_update(known)
            if known:
                self._scorer = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids in the index, sorted: the order of :meth:`scores`."""
        return self._current().order[0]

    def __len__(self) -> int:
        return len(self._documents)

    def holds(self, text: str, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which of a question's terms each text holds.

        Terms that no text of the index holds, and words that only ask ("which", "did"), are left out.

        :param text: The question.
        :param ids: Ids of texts; one that is not in the index holds nothing.
        :returns: One row a text, one column a term. *Shape:* ``(len(ids), T)``.
        """
        terms = [self._vocabulary[term] for term in self.analyzer.named_terms(text) if term in self._vocabulary]
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
        scorer = self._current()
        return scorer.scores(self._known(text))[scorer.order[1]]

    def search(self, text: str, k: int, allowed: frozenset[str] | None = None) -> list[tuple[str, float]]:
        """Return up to ``k`` ``(id, score)`` pairs, best first, ties by id; texts that share no term are not hits.

        :param text: The question.
        :param k: The most hits to return.
        :param allowed: Only these ids may be found; the filter is applied before the cut to ``k``. ``None`` allows all.
        :returns: Hits with a score above 0.
        :raises InputError: If ``k`` is below 1.
        """
        require_k(k, where="Bm25Index.search")
        scorer = self._current()
        scores_N = scorer.scores(self._known(text))
        if allowed is not None:
            rows = [row for item_id in allowed if (row := scorer.row(item_id)) is not None]
            kept_N = np.zeros_like(scores_N)
            kept_N[rows] = scores_N[rows]
            scores_N = kept_N
        return best_first(scores_N, scorer.ids, k=k, above=0.0)

    def save(self, path: Path, *, record_version: int) -> None:
        """Write the index to a file, whole or not at all. What changed since the last build is built in first.

        Analysing and building 10**5 chunks takes some 13 s, reading them back well under one: the file pays.

        :param path: The file; an older one is replaced.
        :param record_version: The version of the record that the index is of.
        :raises VectorIndexError: If the file cannot be written.
        """
        with self._lock:
            settled = self._settle()
            postings = settled.postings
            sections = {
                "ids": json.dumps(settled.ids).encode(),
                "vocabulary": json.dumps(list(self._vocabulary)).encode(),
                "lengths": postings.lengths.tobytes(),
                "terms": b"".join(self._documents[item_id].tobytes() for item_id in settled.ids),
                "scores": settled.pair_scores.tobytes(),
                "counts": postings.counts.tobytes(),
                "rows": postings.rows.tobytes(),
                "starts": postings.starts.tobytes(),
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
        field_weights: Mapping[str, float] | None = None,
        record_version: int | None = None,
    ) -> Self:
        """Read an index that :meth:`save` wrote.

        :param path: The file.
        :param analyzer: The analyser in use now; as in the class.
        :param k1: As in the class.
        :param b: As in the class.
        :param field_weights: As in the class.
        :param record_version: The version of the record that the index must be of; ``None`` takes any, and the caller
            compares :attr:`record_version` and catches up.
        :returns: The index; its matrix need not be built again.
        :raises VectorIndexError: If the file is missing, damaged, stale, or was made with other settings.
        """
        index = cls(analyzer=analyzer, k1=k1, b=b, field_weights=field_weights)
        file = read_index_file(path, kind=cls.name, built_with=index._fingerprint(), record_version=record_version)
        ids = json.loads(bytes(file.sections["ids"]))
        index._vocabulary = {term: n for n, term in enumerate(json.loads(bytes(file.sections["vocabulary"])))}
        lengths = np.frombuffer(file.sections["lengths"], dtype=np.int64)
        ends, terms = np.cumsum(lengths).tolist(), np.frombuffer(file.sections["terms"], dtype=np.int32)
        index._documents = {
            item_id: terms[start:end] for item_id, start, end in zip(ids, [0, *ends][:-1], ends, strict=True)
        }
        postings = Postings(
            counts=np.frombuffer(file.sections["counts"], dtype=np.int32),
            rows=np.frombuffer(file.sections["rows"], dtype=np.int32),
            starts=np.frombuffer(file.sections["starts"], dtype=np.int64),
            lengths=lengths,
        )
        index._settled = Built(ids, postings, np.frombuffer(file.sections["scores"], dtype=np.float32))
        index._scorer = index._settled
        index.record_version = file.record_version
        return index

    def _fingerprint(self) -> str:
        weights = ",".join(f"{field}={n}" for field, n in sorted(self._repeats.items()) if n != self._scale)
        return f"{self.analyzer.fingerprint}/{_LAYOUT}/{self.k1}/{self.b}/{self._scale}:{weights}"

    def _known(self, text: str) -> list[int]:
        """Return the numbers of a question's terms; where it holds nothing but words that ask, they count."""
        terms = self.analyzer.question_terms(text) or self.analyzer.terms(text)
        return [self._vocabulary[term] for term in terms if term in self._vocabulary]

    def _current(self) -> Scorer:
        scorer = self._scorer
        if scorer is None:
            with self._lock:
                scorer = self._scorer
                if scorer is None:
                    scorer = self._scorer = self._patched() or self._settle()
        return scorer

    def _patched(self) -> Patched | None:
        """Join what changed to the settled corpus; ``None`` where there is none, or too much has changed."""
        settled = self._settled
        if settled is None or len(self._gone) > REBUILD_SHARE * len(settled.ids):
            return None
        return Patched(
            settled,
            gone=self._gone,
            new={item_id: self._documents[item_id] for item_id in sorted(self._new)},
            n_terms=len(self._vocabulary),
            k1=self.k1 * self._scale,
            b=self.b,
        )

    def _settle(self) -> Built:
        """Build the whole corpus, if anything has changed since it was built last."""
        if self._settled is None or self._gone:
            ids = sorted(self._documents)
            corpus = [self._documents[item_id] for item_id in ids]
            self._settled = built(ids, corpus, len(self._vocabulary), k1=self.k1 * self._scale, b=self.b)
            self._gone, self._new = set(), set()
            self._scorer = self._settled
        return self._settled

"""The scores of BM25: worked out by bm25s for a settled corpus, and kept exact while chunks come and go.

Layer: ``retrieval``; imports NumPy, and bm25s and SciPy to build alone.

A BM25 score depends on every document through ``N``, ``df`` and ``avgdl``, and bm25s stores finished scores, so its
matrix cannot be patched. :class:`Built` therefore keeps each term's counts beside the scores. After a small change
:class:`Patched` works the formula out again for the terms of a question alone, from the counts of the built corpus and
of what came since, with ``N``, ``df`` and ``avgdl`` of now: the scores are those of a new build. A change then costs
what has changed since the last build, not what there is.

Shape suffixes: N chunks, P pairs of a term and a chunk that holds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Built", "Patched", "Postings", "Scorer", "built"]


class Scorer(Protocol):
    """One state of the corpus: immutable, so that searches need no lock."""

    @property
    def ids(self) -> Sequence[str]:
        """The chunk of each row; a row may be of none that is there still."""
        ...

    def scores(self, terms: Sequence[int]) -> NDArray[np.float32]:
        """Score each row by the terms of a question; 0 for a row of a chunk that is gone. *Shape:* ``(N,)``."""
        ...

    def row(self, item_id: str) -> int | None:
        """Return the row of a chunk, ``None`` where it is not there."""
        ...

    @property
    def order(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The ids of the chunks that are there, sorted, and their rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """Which rows hold each term and how often, term after term; rows rise within a term.

    *Shapes:* ``counts`` and ``rows`` ``(P,)``, ``starts`` (where each term's part begins) ``(n_terms + 1,)``,
    ``lengths`` (how many terms a row has) ``(N,)``.
    """

    counts: NDArray[np.int32]
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Sequence[NDArray[np.int32]], n_terms: int) -> Postings:
        """Count the terms of each text.

        :param corpus: The terms of each text, repeats included.
        :param n_terms: How many terms there are; all numbers are below it.
        :returns: The counts.
        """
        lengths = np.array([len(terms) for terms in corpus], dtype=np.int64)
        if not lengths.sum():
            empty = np.empty(0, np.int32)
            return cls(counts=empty, rows=empty, starts=np.zeros(n_terms + 1, np.int64), lengths=lengths)
        terms = np.concatenate(corpus).astype(np.int64)
        pairs, counts = np.unique(terms * len(corpus) + np.repeat(np.arange(len(corpus)), lengths), return_counts=True)
        held, rows = np.divmod(pairs, len(corpus))
        return cls(
            counts=counts.astype(np.int32),
            rows=rows.astype(np.int32),
            starts=np.searchsorted(held, np.arange(n_terms + 1)),
            lengths=lengths,
        )

    def pairs(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the rows that hold a term, and how often each does."""
        part = self.part(term)
        return self.rows[part], self.counts[part]

    def part(self, term: int) -> slice:
        """Return where a term's rows and counts stand; nowhere for one that came later."""
        return slice(self.starts[term], self.starts[term + 1]) if term < len(self.starts) - 1 else slice(0, 0)


class Built:
    """The scores of one settled corpus, by term.

    :param ids: The chunks, sorted.
    :param postings: Their terms.
    :param scores: What bm25s says of each pair of ``postings``. *Shape:* ``(P,)``.
    """

    def __init__(self, ids: Sequence[str], postings: Postings, scores: NDArray[np.float32]) -> None:
        self.ids = tuple(ids)
        self.postings = postings
        self.pair_scores = scores

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.ids)}

    def scores(self, terms: Sequence[int]) -> NDArray[np.float32]:
        """Score each row. *Shape:* ``(N,)``."""
        scores_N = np.zeros(len(self.ids), dtype=np.float32)
        for term in terms:
            part = self.postings.part(term)
            scores_N[self.postings.rows[part]] += self.pair_scores[part]
        return scores_N

    def row(self, item_id: str) -> int | None:
        """Return the row of a chunk."""
        return self._rows.get(item_id)

    @cached_property
    def order(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The ids, sorted, and their rows."""
        return self.ids, np.arange(len(self.ids))


class Patched:
    """A built corpus without some of its chunks and with others: the rows of those that came stand behind its own.

    :param base: The built corpus.
    :param gone: Chunks of it that are not there any more, or have other terms now.
    :param new: The terms of the chunks that came.
    :param n_terms: How many terms there are by now.
    :param k1: As in :class:`retrieval.lexical.Bm25Index`.
    :param b: As there.
    """

    def __init__(
        self,
        base: Built,
        *,
        gone: Iterable[str],
        new: Mapping[str, NDArray[np.int32]],
        n_terms: int,
        k1: float,
        b: float,
    ) -> None:
        self.ids = (*base.ids, *new)
        self._base = base
        self._n_base = len(base.ids)
        self._added = {item_id: self._n_base + row for row, item_id in enumerate(new)}
        self._postings = (base.postings, Postings.of(list(new.values()), n_terms))
        self._gone = np.array(sorted(row for one in gone if (row := base.row(one)) is not None), dtype=np.int64)
        lengths_N = np.concatenate([postings.lengths for postings in self._postings])
        lengths_N[self._gone] = 0
        self._n_there = len(self.ids) - len(self._gone)
        average = lengths_N.sum() / max(self._n_there, 1)
        self._norm_N = k1 * (1.0 - b + b * lengths_N / (average or 1.0))

    def scores(self, terms: Sequence[int]) -> NDArray[np.float32]:
        """Score each row; 0 for those that are gone. *Shape:* ``(N,)``."""
        scores_N = np.zeros(len(self.ids), dtype=np.float32)
        for term in terms:
            (rows, counts), (new_rows, new_counts) = (postings.pairs(term) for postings in self._postings)
            places = np.searchsorted(rows, self._gone)
            n_gone = int(np.count_nonzero(rows[np.minimum(places, len(rows) - 1)] == self._gone)) if len(rows) else 0
            df = len(rows) - n_gone + len(new_rows)
            idf = math.log(1.0 + (self._n_there - df + 0.5) / (df + 0.5))
            for at, often in ((rows, counts), (new_rows + self._n_base, new_counts)):
                scores_N[at] += (idf * (often / (often + self._norm_N[at]))).astype(np.float32)
        scores_N[self._gone] = 0.0
        return scores_N

    def row(self, item_id: str) -> int | None:
        """Return the row of a chunk, ``None`` where it is not there."""
        row = self._added.get(item_id)
        if row is None:
            row = self._base.row(item_id)
            if row is not None and row in self._gone_rows:
                return None
        return row

    @cached_property
    def _gone_rows(self) -> frozenset[int]:
        return frozenset(self._gone.tolist())

    @cached_property
    def order(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The ids of the chunks that are there, sorted, and their rows."""
        there = [(item_id, row) for row, item_id in enumerate(self.ids) if row not in self._gone_rows]
        there.sort()
        return tuple(item_id for item_id, _ in there), np.array([row for _, row in there], dtype=np.int64)


def built(ids: Sequence[str], corpus: Sequence[NDArray[np.int32]], n_terms: int, *, k1: float, b: float) -> Built:
    """Let bm25s compute the score of each term in each text.

    :param ids: The chunks, sorted.
    :param corpus: Their terms, repeats included.
    :param n_terms: How many terms there are; all numbers are below it.
    :param k1: As in :class:`retrieval.lexical.Bm25Index`.
    :param b: As there.
    :returns: The scores.
    """
    postings = Postings.of(corpus, n_terms)
    if not len(postings.rows):
        return Built(ids, postings, np.empty(0, np.float32))
    import bm25s

    # Explicitly NumPy: bm25s would pick numba up where it happens to be installed and compile for seconds.
    model = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", dtype="float32")
    numbers = {term: term for term in range(n_terms)}  # bm25s looks at the numbers only
    model.index((list(corpus), numbers), create_empty_token=False, show_progress=False)
    scores, rows, starts = (model.scores[name] for name in ("data", "indices", "indptr"))
    if not np.array_equal(rows, postings.rows):  # its order within a term is its own affair
        terms = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        scores = scores[np.lexsort((rows, terms))]
    return Built(ids, postings, scores)

"""Vectors of what a sentence encoder blurs: the letters of a name, and the rare words of a text.

Layer: ``generation``; NumPy, SciPy. Of a name the runs of three to five letters of each word (a surname tells a
country, an ending a kind of place), of a text its words and pairs of words. Each is hashed to one of 32,768 buckets, so
that new texts need no vocabulary, weighed by ``(1 + log tf) * idf``, and projected on the strongest directions of the
graph's own entities.
Sources: Bojanowski et al. 2017 (TACL 5), section 3.2 (runs of letters with word boundaries); Weinberger et al. 2009
(ICML; hashing); Deerwester et al. 1990 (JASIS 41; latent semantic indexing); Halko et al. 2011 (SIAM Review 53),
algorithm 4.4 (randomised subspace iteration).

Shape suffixes: N entities, H buckets, D directions.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["LEXICAL_BLOCKS", "LexicalMap"]

LEXICAL_BLOCKS = ("letters", "words")
N_BUCKETS = 2**15
_WIDTH, _SPARE, _ROUNDS = 256, 32, 3
_RUNS = (3, 4, 5)
_MOST_FITTED = 50_000
_FEWEST = 3
"""A run or word of fewer entities says nothing of another one."""
_WORD = re.compile(r"\w+")


def _letters(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.casefold()):
        bounded = f"<{word}>"
        yield bounded
        for size in _RUNS:
            yield from (bounded[first : first + size] for first in range(len(bounded) - size + 1))


def _words(text: str) -> Iterator[str]:
    words = _WORD.findall(text.casefold())
    yield from words
    yield from (f"{one} {two}" for one, two in zip(words, words[1:], strict=False))


_PARTS = {"letters": _letters, "words": _words}


@dataclass(frozen=True, slots=True, kw_only=True)
class LexicalMap:
    """Turns texts into vectors. ``kind`` is one of :data:`LEXICAL_BLOCKS`.

    ``idf_H`` weighs the buckets, 0 for those that too few entities fill; ``directions_HD`` are orthonormal columns,
    rounded to float16 precision.
    """

    kind: str
    idf_H: NDArray[np.float32]  # noqa: N815 (shape suffix)
    directions_HD: NDArray[np.float32]  # noqa: N815 (shape suffix)

    @classmethod
    def fit(cls, kind: str, texts: Sequence[str], *, width: int = _WIDTH, seed: int = 0) -> LexicalMap:
        """Find the strongest directions of texts.

        :param kind: One of :data:`LEXICAL_BLOCKS`.
        :param texts: Texts, empty ones left out; of more than 50,000 so many are drawn.
        :param width: The most directions.
        :param seed: Seed of the draw and of the directions that the search begins with.
        :returns: The map; it has no direction where no part stands in three texts.
        """
        rng = np.random.default_rng([seed, 0x1E])
        present = [text for text in texts if text]
        if len(present) > _MOST_FITTED:
            drawn = np.sort(rng.permutation(len(present))[:_MOST_FITTED])
            present = [present[number] for number in drawn]
        counts = _counted(kind, present)
        n_holding = np.bincount(counts.indices, minlength=N_BUCKETS)
        kept = n_holding >= _FEWEST
        idf = np.where(kept, np.log(max(1, len(present)) / np.maximum(1, n_holding)), 0.0).astype(np.float32)
        weighed = _weighed(counts, idf)
        width = min(width, len(present), int((idf > 0).sum()))
        return cls(kind=kind, idf_H=idf, directions_HD=_strongest(weighed, width, rng))

    @property
    def width(self) -> int:
        """Count the directions."""
        return int(self.directions_HD.shape[1])

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Project texts.

        :param texts: Texts.
        :returns: Unit rows; 0 where a text is empty or holds nothing that the map knows. *Shape:* ``(N, D)``.
        """
        found = _weighed(_counted(self.kind, texts), self.idf_H) @ self.directions_HD
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        result: NDArray[np.float32] = (found / np.where(norms > 0, norms, 1.0)).astype(np.float32)
        return result


def _counted(kind: str, texts: Sequence[str]) -> sparse.csr_array:
    """Count the hashed parts of each text. *Shape:* ``(N, H)``."""
    buckets: list[int] = []
    values: list[int] = []
    starts = [0]
    for text in texts:
        counts = Counter(zlib.crc32(part.encode("utf-8", "surrogatepass")) % N_BUCKETS for part in _PARTS[kind](text))
        for bucket, count in sorted(counts.items()):
            buckets.append(bucket)
            values.append(count)
        starts.append(len(buckets))
    shape = (len(texts), N_BUCKETS)
    data = np.array(values, dtype=np.float32)
    return sparse.csr_array((data, np.array(buckets, dtype=np.int32), np.array(starts)), shape=shape)


def _weighed(counts: sparse.csr_array, idf_H: NDArray[np.float32]) -> sparse.csr_array:
    """Weigh counts and scale each row to length 1, where it is not 0."""
    values = (1.0 + np.log(counts.data)) * idf_H[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(rows, weights=values**2, minlength=counts.shape[0]))
    values = values / np.where(norms > 0, norms, 1.0)[rows]
    return sparse.csr_array((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def _strongest(matrix_NH: sparse.csr_array, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the first right singular vectors of a matrix. *Shape:* ``(H, width)``."""
    if width == 0:
        return np.zeros((matrix_NH.shape[1], 0), dtype=np.float32)
    wide = min(width + _SPARE, *matrix_NH.shape)
    basis = matrix_NH @ rng.standard_normal((matrix_NH.shape[1], wide)).astype(np.float32)
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(basis)
        basis = matrix_NH @ (matrix_NH.T @ basis)
    basis, _ = np.linalg.qr(basis)
    _, _, directions = np.linalg.svd((matrix_NH.T @ basis).T, full_matrices=False)
    result: NDArray[np.float32] = directions[:width].T.astype(np.float16).astype(np.float32)
    return result

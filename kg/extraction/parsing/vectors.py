"""Vectors of tokens as spaCy's tok2vec computes them, with each distinct token embedded once.

Layer: ``kg``; NumPy and a loaded spaCy model. Source: ``spacy.Tok2Vec.v2`` of spaCy 3.8: an embedding (hashes of a
token's features, summed, through one maxout layer) that looks at one token, then convolutions that look at four to
either side. Equal features have equal embeddings, and a text repeats its words, so an embedding is looked up where its
features were met before. The convolutions are spaCy's own.

Shape suffixes: N tokens, F features of a token, D embedding width.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spacy.tokens import Doc
else:
    Doc = Any

__all__ = ["TokenVectors"]

_MIXERS = (2654435761, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd multipliers that keep the columns of features apart; where two keys collide all the same, it is noticed."""
_FEWEST_ROWS = 16
"""Fewer rows are filled up: OpenBLAS multiplies 1 to 3 rows by another routine, which rounds differently."""
_EMBED_STEPS = ("extract_features", "list2ragged", "with_array", "with_array", "ragged2list")


class TokenVectors:
    """A tok2vec model that remembers embeddings.

    Memory: ``capacity * (4 * D + 8 * F)`` bytes, 14 MiB for the pinned model. It may be used by many threads.

    :param model: A model for which :meth:`fits` holds.
    :param capacity: The most embeddings kept, >= 1; when they are full, all are forgotten. A thousand short articles
        have some 15,000 kinds of token.
    """

    def __init__(self, model: Any, *, capacity: int = 32_768) -> None:
        embed, self._encode = model.layers
        self._columns = list(embed.layers[0].attrs["columns"])
        self._hash, self._mix = embed.layers[2].layers[0], embed.layers[3].layers[0]
        self._capacity = capacity
        n_features, width = len(self._columns), int(embed.get_dim("nO"))
        self._mixers_F = np.array([_MIXERS[i % 5] * (2 * (i // 5) + 1) % 2**64 for i in range(n_features)], np.uint64)
        self._features_KF = np.zeros((capacity, n_features), np.uint64)
        self._embedded_KD = np.zeros((capacity, width), np.float32)
        self._rows: dict[int, int] = {}
        self._lock = threading.Lock()

    @staticmethod
    def fits(model: Any) -> bool:
        """Tell whether ``model`` is an embedding of features, without static vectors, followed by one encoder."""
        if len(model.layers) != 2 or not model.layers[1].name.startswith("with_array"):
            return False
        embed = model.layers[0]
        steps = tuple(layer.name.split("(")[0] for layer in embed.layers)
        return steps == _EMBED_STEPS and bool(embed.layers[0].attrs.get("columns")) and embed.has_dim("nO") is True

    def of(self, docs: Sequence[Doc]) -> list[NDArray[np.float32]]:
        """Compute what ``model.predict(docs)`` does.

        :param docs: Tokenised texts, of which at least one has a token.
        :returns: The vectors of each text's tokens. *Shape:* each ``(N, D)``.
        """
        features_NF = np.concatenate(
            [doc.to_array(self._columns).reshape(len(doc), len(self._columns)) for doc in docs]
        )
        embedded_ND = self._embedded(features_NF)
        ends = np.cumsum([len(doc) for doc in docs])[:-1]
        vectors: list[NDArray[np.float32]] = self._encode.predict(np.split(embedded_ND, ends))
        return vectors

    def _embedded(self, features_NF: NDArray[np.uint64]) -> NDArray[np.float32]:
        keys, first, inverse = np.unique(
            (features_NF * self._mixers_F).sum(axis=1, dtype=np.uint64), return_index=True, return_inverse=True
        )
        if len(keys) > self._capacity:
            return self._embed(features_NF)
        with self._lock:
            rows = self._rows_of(keys.tolist(), features_NF[first])[inverse]
            if np.array_equal(self._features_KF[rows], features_NF):
                return self._embedded_KD[rows]
        return self._embed(features_NF)  # two tokens share a key

    def _rows_of(self, keys: Sequence[int], features_UF: NDArray[np.uint64]) -> NDArray[np.intp]:
        new = [place for place, key in enumerate(keys) if key not in self._rows]
        if len(self._rows) + len(new) > self._capacity:
            self._rows.clear()
            new = list(range(len(keys)))
        if new:
            start, stop = len(self._rows), len(self._rows) + len(new)
            self._features_KF[start:stop] = features_UF[new]
            self._embedded_KD[start:stop] = self._embed(features_UF[new])
            self._rows.update(zip((keys[place] for place in new), range(start, stop), strict=True))
        return np.fromiter((self._rows[key] for key in keys), np.intp, len(keys))

    def _embed(self, features_NF: NDArray[np.uint64]) -> NDArray[np.float32]:
        n_rows = len(features_NF)
        if n_rows < _FEWEST_ROWS:
            features_NF = np.resize(features_NF, (_FEWEST_ROWS, features_NF.shape[1]))
        embedded_ND: NDArray[np.float32] = self._mix.predict(self._hash.predict(features_NF))[:n_rows]
        return embedded_ND

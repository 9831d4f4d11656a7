"""Encode only what the record has no vector of, by the hash of what would be encoded.

Layer: ``retrieval``; imports ``kg``.

A text that the record holds already, in another document or in the version of this one that is about to be replaced,
is not encoded again: its vector is looked up by the hash of what would be encoded. So a new version of a long document
costs its changed passages alone, and a renamed or copied file costs nothing, unless its title changes with its name.

Shape suffixes: N texts, D vector width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kg.ids import content_id
from kg.ports import VectorStore
from retrieval.types import TextEncoder

__all__ = ["Recent", "encode_new"]

_REMEMBERED = 4096
"""Vectors that an ingest remembers until they are surely in the record: 6 MB at a width of 384."""


class Recent:
    """The vectors that were made last, by what they are of. Not safe between threads.

    An ingest writes vectors some hundred at a time, so the record does not know yet what was encoded a moment ago.

    :param capacity: The most vectors.
    """

    def __init__(self, capacity: int = _REMEMBERED) -> None:
        self._capacity = capacity
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def known(self, keys: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of those keys that are remembered."""
        return {key: self._vectors[key] for key in keys if key in self._vectors}

    def remember(self, made: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep these vectors, and forget the oldest where there are too many."""
        self._vectors.update(made)
        for key in list(self._vectors)[: max(0, len(self._vectors) - self._capacity)]:
            del self._vectors[key]


def encode_new(
    texts: Sequence[str],
    encoder: TextEncoder,
    *,
    space: str,
    store: VectorStore | None,
    recent: Recent | None = None,
) -> tuple[list[str], Mapping[str, NDArray[np.float32]]]:
    """Return the vectors of texts, encoding each text once, and none that the record has a vector of.

    :param texts: What chunks say, as it is encoded.
    :param encoder: Turns texts into vectors.
    :param space: The name of its vectors in the record.
    :param store: Where known vectors are; ``None`` knows none.
    :param recent: Further vectors that are known; those that are made join them.
    :returns: The id of each text, in order, and the vector of each id. *Shape:* ``(D,)`` each.
    :raises EncoderError: If the encoder fails.
    """
    contents = [content_id(text) for text in texts]
    known = {} if recent is None else recent.known(contents)
    if store is not None:
        asked = [content for content in contents if content not in known]
        known |= store.vectors_by_content(encoder=space, contents=asked)
    missing = {content: text for content, text in zip(contents, texts, strict=True) if content not in known}
    if not missing:
        return contents, known
    made = dict(zip(missing, encoder.encode(list(missing.values())), strict=True))
    if recent is not None:
        recent.remember(made)
    return contents, {**known, **made}

"""Encode only what the record has no vector of, by the hash of what would be encoded.

Layer: ``retrieval``; imports ``kg``.

A text that the record holds already, in another document or in the version of this one that is about to be replaced,
is not encoded again: its vector is looked up by the hash of what would be encoded. So a new version of a long document
costs its changed passages alone, and a renamed or copied file costs nothing, unless its title changes with its name.

Shape suffixes: N texts, D vector width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kg.ids import content_id
from kg.ports import VectorStore
from retrieval.types import TextEncoder

__all__ = ["encode_new"]


def encode_new(
    texts: Sequence[str], encoder: TextEncoder, *, space: str, store: VectorStore | None
) -> tuple[list[str], Mapping[str, NDArray[np.float32]]]:
    """Return the vectors of texts, encoding each text once, and none that the record has a vector of.

    :param texts: What chunks say, as it is encoded.
    :param encoder: Turns texts into vectors.
    :param space: The name of its vectors in the record.
    :param store: Where known vectors are; ``None`` knows none.
    :returns: The id of each text, in order, and the vector of each id. *Shape:* ``(D,)`` each.
    :raises EncoderError: If the encoder fails.
    """
    contents = [content_id(text) for text in texts]
    known = {} if store is None else store.vectors_by_content(encoder=space, contents=contents)
    missing = {content: text for content, text in zip(contents, texts, strict=True) if content not in known}
    if not missing:
        return contents, known
    made_ND = encoder.encode(list(missing.values()))
    return contents, {**known, **dict(zip(missing, made_ND, strict=True))}

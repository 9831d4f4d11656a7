"""A small, real text encoder for tests: deterministic, without a model, and simple enough to work out by hand.

Layer: ``retrieval``; imports ``kg`` and NumPy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kg.types import Span

__all__ = ["HashingTextEncoder"]

_WORD = re.compile(r"\w+")


class HashingTextEncoder:
    """Counts words into hashed directions: two texts are as near as the share of words that they have in common.

    :param dimension: Width of the vectors; at 256 few words of a small test collide.
    :param fingerprint: What tells its vectors from another encoder's.
    """

    name = "hashing"
    max_tokens = 10_000

    def __init__(self, *, dimension: int = 256, fingerprint: str = "hashing-1") -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.encoded: list[str] = []
        """Every text that was encoded so far, for tests that count."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text; a text without words points along the first axis. *Shape:* ``(N, D)``."""
        self.encoded.extend(texts)
        vectors_ND = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.casefold()):
                digest = hashlib.sha256(word.encode()).digest()
                vectors_ND[row, int.from_bytes(digest[:4], "big") % self.dimension] += 1.0
            if not vectors_ND[row].any():
                vectors_ND[row, 0] = 1.0
        unit_ND: NDArray[np.float32] = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        return unit_ND

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what :meth:`encode` does. *Shape:* ``(N, D)``."""
        return self.encode(texts)

    def token_spans(self, text: str) -> list[Span]:
        """Return the span of each word."""
        return [Span(start=word.start(), end=word.end()) for word in _WORD.finditer(text)]

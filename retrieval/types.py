"""The typed values and protocols of retrieval.

Layer: ``retrieval``; imports ``kg`` only. ``Query → {dense, lexical, graph} Hits → fused Hits → Evidence``.
Every score is "higher is better"; scores of different retrievers are not comparable before fusion.

Shape suffixes: N items, Q queries, D vector width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kg.errors import InputError
from kg.types import CaptionLine, Chunk, DocumentInfo, Span
from retrieval.verdicts import GateVerdict

__all__ = [
    "Contribution",
    "Evidence",
    "Hit",
    "ImageEncoder",
    "PictureVectors",
    "Query",
    "TableRow",
    "TextEncoder",
    "Trace",
    "VectorIndex",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked: words, or a picture (the bytes of an image file), or both.

    :raises InputError: If both are missing or the words are nothing but white space.
    """

    text: str = ""
    image: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.text.strip() and not self.image:
            raise InputError("The question is empty. Ask something in words, or give a picture.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An item that a retriever found: its score there (higher is better) and its rank (from 1)."""

    item_id: str
    score: float
    rank: int
    retriever: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one retriever said of a piece of evidence: its rank (from 1), its raw score, its share of the fused one."""

    retriever: str
    rank: int
    score: float
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A row of a table's body: its number, from 1, and its place in the coordinates of ``Chunk.span``."""

    number: int
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A chunk that was found, where it stands, and who found it."""

    rank: int
    score: float
    """What the last search of the mode gave it, higher is better. Ranks follow it, but for pieces that were put forward
    because they bring what the better ones lack: their ``contributions`` name ``coverage``."""
    chunk: Chunk
    document: DocumentInfo
    contributions: tuple[Contribution, ...] = ()
    entities: tuple[str, ...] = ()
    """Names of the entities through which graph search reached the chunk, strongest first."""
    community: str = ""
    """Of evidence for a global question: the name of the community that it supports."""
    sub_question: str = ""
    """The part of the question that brought it, or the question that it completes; empty where the whole one did."""
    lines: tuple[CaptionLine, ...] = ()
    """Of a picture's chunk: its caption's lines, in the coordinates of ``chunk.span``. Their ``source`` tells the words
    that stand on the picture (``ocr``) from what the document says of it (``caption``, ``alt``) and the words around it
    (``context``), so that nothing passes for something read off the picture that is not."""
    rows: tuple[TableRow, ...] = ()
    """Of a table's chunk: the rows that it holds, or holds a part of."""
    n_parts: int = 0
    """How many rows the whole table has, of which this chunk holds some, or how many lines were read off the picture
    (sources ``ocr`` and ``table``); 0 where it is not known. A "largest" is told only where none is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How long each stage took, in seconds, in order, and what was chosen on the way."""

    stages: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    question: str = ""
    """The question that was searched for, where the conversation completed the one that was asked; else empty."""
    gate: GateVerdict | None = None
    """What a gate said of the request, where one was asked."""


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into unit vectors.

    Some encoders put other words before a query than before a passage. Two passages, or two sentences, are compared by
    their vectors as passages.
    """

    name: str
    fingerprint: str
    """Changes whenever the same passage would get another vector: model, weights, pooling, prompt, length limit."""
    max_tokens: int

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per passage. *Shape:* ``(N, D)``, float32, ``(0, D)`` for no texts."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per query, to be compared with those of passages. *Shape:* ``(N, D)``, float32."""
        ...

    def token_spans(self, text: str) -> list[Span]:
        """Return the character span of each token, without special tokens: the port ``kg.ports.Tokenizer``."""
        ...


@runtime_checkable
class PictureVectors(Protocol):
    """Turns pictures into unit vectors: the nearer, the more alike."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same picture would get another vector."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        ...

    def encode_images(self, images: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return one unit vector per picture, *shape* ``(D,)``, ``None`` where it has none: it cannot be decoded."""
        ...


@runtime_checkable
class ImageEncoder(PictureVectors, Protocol):
    """Turns pictures and words into unit vectors of one space, so that either finds the other."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text, to be compared with those of pictures. *Shape:* ``(N, D)``, float32."""
        ...


@runtime_checkable
class VectorIndex(Protocol):
    """Nearest neighbours by inner product of unit vectors. Derived state: it can be deleted and built again."""

    name: str
    dimension: int

    def add(self, ids: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Add vectors; an id that is there already is replaced. Refuses wrong widths and values that are not finite."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Take vectors out; unknown ids are ignored."""
        ...

    def search(
        self, queries_QD: NDArray[np.float32], *, k: int, allowed: frozenset[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return up to ``k`` ``(id, inner product)`` pairs for each query, best first, ties by id.

        ``allowed`` restricts the search *before* the cut to ``k``, so a filter never empties the list by accident.
        """
        ...

    def ids(self) -> frozenset[str]:
        """Return the ids that are in the index."""
        ...

    def __len__(self) -> int:
        """Count the vectors."""
        ...

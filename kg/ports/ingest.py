"""The stages between a file and its graph: loading, captioning, tokenising, extracting, resolving within a document.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.ports`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from kg.types import Asset, Caption, Chunk, Document, Extraction, GraphDelta, RawFile, Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BatchExtractor",
    "CaptionRequest",
    "CaptionScorer",
    "Captioner",
    "ChunkEncoder",
    "EncodedChunk",
    "EncodedPicture",
    "Extractor",
    "Loader",
    "PictureEncoder",
    "Resolver",
    "Tokenizer",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """A chunk's vector, *shape* ``(D,)``, and the id of the text that was encoded (:func:`kg.ids.content_id`).

    ``space`` is the name of its vectors in the record, where that is another one than the encoder's ``space``.
    """

    chunk_id: str
    vector: NDArray[np.float32]
    content: str = ""
    space: str = ""


EncodedPicture: TypeAlias = "tuple[str, NDArray[np.float32]]"
"""The SHA-256 of a picture's bytes and its vector."""


@runtime_checkable
class Loader(Protocol):
    """Turns the bytes of one media type into a document."""

    media_types: frozenset[str]

    def load(self, raw: RawFile) -> Document:
        """Parse ``raw``; raise a :class:`kg.errors.LoadError` that says what is wrong with it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionRequest:
    """A picture to describe, with the document's words that a captioner may use.

    ``context`` are the words around the picture and the sentences that refer to it, up to a budget that the pipeline
    sets; ``known_entities`` are names that the document's text gives. ``draft`` is what an earlier stage of a cascade
    said.
    """

    asset: Asset
    document_title: str = ""
    known_entities: tuple[str, ...] = ()
    context: str = ""
    draft: Caption | None = None


@runtime_checkable
class Captioner(Protocol):
    """Turns pictures into text: OCR by default, a vision-language model where one is configured."""

    name: str

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order; ``None`` where nothing could be said. One bad picture fails only itself."""
        ...


@runtime_checkable
class CaptionScorer(Protocol):
    """Says how well words fit a picture: an image–text encoder, or agreement with what was read off and around it."""

    name: str

    def score(self, request: CaptionRequest, statements: Sequence[str]) -> list[float]:
        """Return the support of each statement by the picture and its context, in ``[0, 1]``, higher is better."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Counts in the units of the encoder that will read the chunks."""

    def token_spans(self, text: str) -> list[Span]:
        """Return the character span of each token of ``text``, in order, without special tokens."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Finds entities and relations in chunks."""

    name: str

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        """Return unresolved mentions and the triples between them."""
        ...


@runtime_checkable
class BatchExtractor(Extractor, Protocol):
    """An :class:`Extractor` that reads many documents at once; optional, found with ``isinstance``."""

    def extract_many(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> list[Extraction]:
        """Return what :meth:`Extractor.extract` would return for each document, in their order.

        It raises if one document fails; the caller then reads them one at a time, and only that one is lost.
        """
        ...


@runtime_checkable
class Resolver(Protocol):
    """Decides which mentions name the same thing."""

    def resolve(self, extraction: Extraction) -> Extraction:
        """Return the same extraction with every mention's ``entity_id`` set."""
        ...


@runtime_checkable
class ChunkEncoder(Protocol):
    """Makes the vectors of chunks while other documents are being read; ``space`` names them in the record."""

    space: str

    def encode(self, deltas: Sequence[GraphDelta]) -> list[list[EncodedChunk]]:
        """Return the vectors of each document's chunks, in order, as the search would make them later."""
        ...


@runtime_checkable
class PictureEncoder(Protocol):
    """Makes the vectors of pictures while other documents are being read; each encoder has a name in the record."""

    def encode(self, assets: Sequence[Asset]) -> Mapping[str, Sequence[EncodedPicture]]:
        """Return, for each encoder's name, vectors of those pictures that the record has none of, each once."""
        ...

"""A real ingest of picture files and notes into a record, with captions that a test gives by the file's name."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kg.captioning.lines import compose, loose_line
from kg.chunking import chunk_document
from kg.ingest import IngestPipeline
from kg.limits import LoadLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.ports import CaptionRequest, PictureEncoder, RecordStore
from kg.testing import CapitalisedWordExtractor, NameResolver
from kg.types import Caption, IngestReport
from retrieval.chunk_vectors import IngestChunkEncoder
from retrieval.config import RetrievalConfig
from retrieval.fakes import HashingTextEncoder
from retrieval.picture_index import IngestPictureEncoder
from retrieval.types import PictureVectors

__all__ = ["SaidCaptioner", "chart", "ingest", "saved"]


def chart(seed: int, *, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A bar chart of ten random bars."""
    heights = np.random.default_rng(seed).integers(20, 180, 10)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for bar, height in enumerate(heights):
        pen.rectangle((20 + 28 * bar, 220 - height, 40 + 28 * bar, 220), fill=(30, 60, 20 * bar))
    return image


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


class SaidCaptioner:
    """Says of a picture what it was told, as if it had read it off."""

    name = "said"

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = dict(said)

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        return [self._one(request) for request in requests]

    def _one(self, request: CaptionRequest) -> Caption | None:
        words = self._said.get(request.asset.sha256, "")
        return compose(request.asset.asset_id, [loose_line(words, "ocr")], self.name) if words else None


def ingest(
    store: RecordStore,
    files: Mapping[str, bytes],
    *,
    said: Mapping[bytes, str] | None = None,
    encoder: HashingTextEncoder | None = None,
    pictures: Sequence[PictureVectors] = (),
) -> IngestReport:
    """Ingest files by their bytes; ``said`` are the words on a picture."""
    from kg.ids import sha256_hex

    texts = encoder or HashingTextEncoder()
    limits = LoadLimits()
    eyes: PictureEncoder = IngestPictureEncoder(pictures, store)
    pipeline = IngestPipeline(
        store=store,
        loaders=LoaderRegistry(default_loaders(limits), limits),
        chunker=partial(chunk_document, tokenizer=texts),
        extractor=CapitalisedWordExtractor(),
        resolver=NameResolver(),
        captioner=SaidCaptioner({sha256_hex(data): words for data, words in (said or {}).items()}),
        encoder=IngestChunkEncoder(texts, RetrievalConfig(), store=store),
        picture_encoder=eyes,
    )
    return pipeline.ingest([raw_from_bytes(name, data) for name, data in files.items()])

"""Small, real implementations of the ports: they do the work, by the simplest rule that can be checked by hand.

Layer: ``kg``; the standard library only. Deterministic, and without state.

The text format: pages are parted by form feeds, chunks are paragraphs, and a line ``[picture: words]`` is a picture
with these words as its alt text. Names are runs of capitalised words; two names that follow each other in one paragraph
stand in the relation that the words between them spell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kg import ids
from kg.errors import CorruptFileError, EmptyFileError
from kg.ports import CaptionRequest
from kg.types import (
    Asset,
    Caption,
    CaptionLine,
    Chunk,
    Document,
    Extraction,
    Mention,
    Modality,
    Page,
    RawFile,
    Span,
    Triple,
)

__all__ = [
    "AltTextCaptioner",
    "CapitalisedWordExtractor",
    "NameResolver",
    "PlainTextLoader",
    "WordTokenizer",
    "chunk_by_paragraph",
]

_PICTURE = re.compile(r"^\[picture: ?(?P<words>[^\]\n]*)\]$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\S(?:.*?\S)?(?=\s*?(?:\n\s*\n|\f|\Z))", re.DOTALL)
_NAME = re.compile(r"\b[A-Z]\w+(?:[ \n][A-Z]\w+)*")


class PlainTextLoader:
    """Reads UTF-8 text in the format of this module."""

    media_types: frozenset[str] = frozenset({"text/plain"})

    def load(self, raw: RawFile) -> Document:
        """Return the document.

        :param raw: The file.
        :returns: Its text, pages and pictures; the title is the first line.
        :raises EmptyFileError: If there is nothing but white space.
        :raises CorruptFileError: If it is not UTF-8.
        """
        try:
            text = raw.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{raw.name} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
        if not text.strip():
            raise EmptyFileError(f"{raw.name} is empty. Give a file with text.")
        document_id = ids.document_id(raw.source, raw.sha256)
        document = Document(
            document_id=document_id,
            source=raw.source,
            name=raw.name,
            media_type=raw.media_type,
            sha256=raw.sha256,
            n_bytes=len(raw.data),
            title=text.strip().splitlines()[0],
            text=text,
            pages=_pages(text),
            is_paged="\f" in text,
        )
        return replace(document, assets=_pictures(document))


def _pages(text: str) -> tuple[Page, ...]:
    pages: list[Page] = []
    start = 0
    for number, part in enumerate(text.split("\f"), start=1):
        pages.append(Page(number=number, span=Span(start=start, end=start + len(part))))
        start += len(part) + 1
    return tuple(pages)


def _pictures(document: Document) -> tuple[Asset, ...]:
    assets = []
    for ordinal, found in enumerate(_PICTURE.finditer(document.text)):
        data = f"pixels of {found['words']}".encode()
        sha256 = ids.sha256_hex(data)
        assets.append(
            Asset(
                asset_id=ids.asset_id(document.document_id, ordinal, sha256),
                document_id=document.document_id,
                ordinal=ordinal,
                kind=Modality.IMAGE,
                media_type="image/png",
                data=data,
                sha256=sha256,
                width_px=8,
                height_px=8,
                page=document.page_at(found.start()),
                anchor=found.start(),
                alt_text=found["words"],
            )
        )
    return tuple(assets)


class AltTextCaptioner:
    """Says of a picture what its alt text says, and nothing where there is none."""

    name = "alt-text"

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Return a caption of one line for each picture that has words."""
        return [self.caption_asset(request.asset) for request in requests]

    def caption_asset(self, asset: Asset) -> Caption | None:
        """Return the caption of one picture."""
        if not asset.alt_text:
            return None
        line = CaptionLine(text=asset.alt_text, source="alt", span=Span(start=0, end=len(asset.alt_text)))
        return Caption(asset_id=asset.asset_id, text=asset.alt_text, captioner=self.name, lines=(line,))


class WordTokenizer:
    """Counts words: runs of anything but white space."""

    def token_spans(self, text: str) -> list[Span]:
        """Return the span of each word."""
        return [Span(start=word.start(), end=word.end()) for word in re.finditer(r"\S+", text)]


def chunk_by_paragraph(document: Document, captions: Sequence[Caption]) -> tuple[Chunk, ...]:
    """Make a chunk of each paragraph that is not a picture, then one of each caption."""
    chunks: list[Chunk] = []
    for found in _PARAGRAPH.finditer(document.text):
        if not _PICTURE.fullmatch(found[0]):
            page = document.page_at(found.start())
            chunks.append(_chunk(document, found[0], ordinal=len(chunks), start=found.start(), page=page))
    assets = {asset.asset_id: asset for asset in document.assets}
    for caption in captions:
        asset = assets[caption.asset_id]
        chunks.append(_chunk(document, caption.text, ordinal=len(chunks), start=0, page=asset.page, asset=asset))
    return tuple(chunks)


def _chunk(document: Document, text: str, *, ordinal: int, start: int, page: int, asset: Asset | None = None) -> Chunk:
    end = start + len(text)
    asset_id = None if asset is None else asset.asset_id
    return Chunk(
        chunk_id=ids.chunk_id(document.document_id, asset_id, start, end),
        document_id=document.document_id,
        ordinal=ordinal,
        text=text,
        span=Span(start=start, end=end),
        page_first=page,
        page_last=page,
        modality=Modality.TEXT if asset is None else asset.kind,
        n_tokens=len(text.split()),
        asset_id=asset_id,
    )


class CapitalisedWordExtractor:
    """Takes runs of capitalised words for names, and what stands between two of them for their relation."""

    name = "capitalised-words"

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        """Return the mentions and statements of all chunks."""
        mentions: list[Mention] = []
        triples: list[Triple] = []
        for chunk in chunks:
            found = [self._mention(chunk, match) for match in _NAME.finditer(chunk.text)]
            mentions.extend(found)
            triples.extend(self._triple(chunk, head, tail) for head, tail in zip(found, found[1:], strict=False))
        return Extraction(mentions=tuple(mentions), triples=tuple(triples))

    def _mention(self, chunk: Chunk, match: re.Match[str]) -> Mention:
        start, end = chunk.span.start + match.start(), chunk.span.start + match.end()
        return Mention(
            mention_id=ids.mention_id(chunk.chunk_id, start, end, "NAME"),
            chunk_id=chunk.chunk_id,
            text=match[0],
            span=Span(start=start, end=end),
            label="NAME",
            source="capitals",
        )

    def _triple(self, chunk: Chunk, head: Mention, tail: Mention) -> Triple:
        between = chunk.text[head.span.end - chunk.span.start : tail.span.start - chunk.span.start]
        name = "_".join(re.findall(r"\w+", between)) or "beside"
        start, end = head.span.start, tail.span.end
        return Triple(
            triple_id=ids.triple_id(chunk.chunk_id, head.mention_id, name, tail.mention_id, start, end),
            chunk_id=chunk.chunk_id,
            head_mention_id=head.mention_id,
            name=name,
            tail_mention_id=tail.mention_id,
            span=Span(start=start, end=end),
            extractor=self.name,
            score=0.5,
        )


class NameResolver:
    """Takes mentions for the same thing if their names are equal but for case and white space."""

    def resolve(self, extraction: Extraction) -> Extraction:
        """Set every mention's entity id."""
        mentions = tuple(
            replace(mention, entity_id=ids.entity_id(" ".join(mention.text.split()).casefold()))
            for mention in extraction.mentions
        )
        return replace(extraction, mentions=mentions)

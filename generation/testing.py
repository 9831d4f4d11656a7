"""Fakes and builders for tests of answers: evidence from plain words, a hashing encoder, scripted language models.

Layer: ``generation``; NumPy only. Everything is deterministic across processes and machines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from generation.types import Message
from generation.words import content_stems
from kg import ids
from kg.loaders.tables import make_table
from kg.types import Box, Chunk, DocumentInfo, Modality, Span
from retrieval.types import Evidence, TableRow

__all__ = ["EchoPromptModel", "HashingEncoder", "ScriptedModel", "make_evidence", "make_table_evidence"]


class HashingEncoder:
    """A bag of hashed stems: texts that share words are alike. Words of one synonym group count as the same word.

    :param synonyms: Groups of words that get one vector, for tests of paraphrase.
    :param dimension: Width of the vectors.
    """

    name = "hashing"
    fingerprint = "hashing-1"
    max_tokens = 256

    def __init__(self, *, synonyms: Sequence[str] = (), dimension: int = 256) -> None:
        self.dimension = dimension
        self._group = {found: group for group in synonyms for found in content_stems(group)}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text; a text without content words points along the first axis."""
        out_ND = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for found in content_stems(text):
                word = self._group.get(found, found)
                digest = hashlib.sha256(word.encode()).digest()
                out_ND[row, int.from_bytes(digest[:4], "big") % self.dimension] += 1.0 if digest[4] % 2 else -1.0
            norm = float(np.linalg.norm(out_ND[row]))
            if norm > 0.0:
                out_ND[row] /= norm
            else:
                out_ND[row, 0] = 1.0
        return out_ND

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what :meth:`encode` does."""
        return self.encode(texts)

    def token_spans(self, text: str) -> list[Span]:
        """Return the spans of the words and marks of ``text``."""
        return [Span(start=m.start(), end=m.end()) for m in re.finditer(r"\w+|[^\w\s]", text)]


class ScriptedModel:
    """A language model that answers with a script, in pieces of three characters, whatever it is asked.

    :param reply: What it says.
    :param name: Its name.
    :param context_tokens: Its window, in words.
    """

    def __init__(self, reply: str, *, name: str = "scripted", context_tokens: int = 2048) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self._reply = reply

    def count_tokens(self, text: str) -> int:
        """Count the words and marks of ``text``."""
        return len(re.findall(r"\w+|[^\w\s]", text))

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """Yield the script in pieces."""
        for start in range(0, len(self._reply), 3):
            yield self._reply[start : start + 3]


class EchoPromptModel(ScriptedModel):
    """A language model that repeats what it was asked, so that a test can read the prompt."""

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """Yield the contents of all messages."""
        for message in messages:
            yield message.content


def make_evidence(
    text: str,
    *,
    rank: int = 1,
    name: str = "notes.txt",
    title: str = "",
    heading: str = "",
    page: int = 1,
    start: int = 0,
    modality: Modality = Modality.TEXT,
    metadata: Mapping[str, str] | None = None,
) -> Evidence:
    """Make a piece of evidence of one chunk.

    :param text: The chunk's words: a document's text or, for a picture, its caption.
    :param rank: Its rank in retrieval, from 1.
    :param name: The file's name; it stands for the document's identity too.
    :param title: The document's title.
    :param heading: The path of headings above the chunk.
    :param page: The page, from 1; more than 1 makes the document paged.
    :param start: Where the chunk starts in its document.
    :param modality: Anything but ``TEXT`` makes it a picture's caption, with an asset and a box.
    :param metadata: The document's metadata.
    :returns: The evidence.
    """
    document = ids.document_id(f"/docs/{name}", ids.sha256_hex(name.encode()))
    asset = None if modality is Modality.TEXT else ids.asset_id(document, 0, ids.sha256_hex(text.encode()))
    span = Span(start=start, end=start + len(text))
    chunk = Chunk(
        chunk_id=ids.chunk_id(document, asset, span.start, span.end),
        document_id=document,
        ordinal=0,
        text=text,
        span=span,
        page_first=page,
        page_last=page,
        modality=modality,
        n_tokens=len(text.split()),
        heading=heading,
        asset_id=asset,
        box=None if asset is None else Box(x0=0.1, y0=0.2, x1=0.9, y1=0.8),
    )
    info = DocumentInfo(
        document_id=document,
        source=f"/docs/{name}",
        name=name,
        media_type="text/plain",
        sha256=ids.sha256_hex(name.encode()),
        n_bytes=len(text),
        title=title,
        n_pages=page,
        is_paged=page > 1,
        n_chunks=1,
        n_assets=int(asset is not None),
        added_at="2024-01-01T00:00:00Z",
        metadata=dict(metadata or {}),
    )
    return Evidence(rank=rank, score=1.0 / rank, chunk=chunk, document=info)


def make_table_evidence(
    rows: Sequence[Sequence[str]], *, caption: str = "", name: str = "notes.txt", page: int = 1
) -> Evidence:
    """Make a piece of evidence of one chunk that holds a whole table.

    :param rows: The table; its first row is the header.
    :param caption: Its caption.
    :param name: The file's name.
    :param page: The page, from 1; more than 1 makes the document paged.
    :returns: The evidence, with the place of each row.
    :raises ValueError: If the rows are no table.
    """
    draft = make_table(rows, source="markup", n_header_rows=1, caption=caption)
    if draft is None:
        raise ValueError(f"{rows!r} is no table: give at least two columns and a row below the header.")
    plain = make_evidence("x", name=name, page=page)
    table = draft.to_table(document_id=plain.chunk.document_id, ordinal=0, page=page, span=Span(start=0, end=1))
    chunk = replace(
        plain.chunk,
        text=table.text,
        span=Span(start=0, end=len(table.text)),
        modality=Modality.TABLE,
        table_id=table.table_id,
    )
    numbered = tuple(TableRow(number=number, span=span) for number, span in enumerate(table.row_spans, 1))
    return replace(plain, chunk=chunk, rows=numbered, n_parts=len(numbered))

"""Short documents, invented for this repository, in which every marked name says which thing it is.

``[Ada North|PERSON|ada-painter]`` is a mention of the thing ``ada-painter`` with the label an entity recogniser gives
it, its slips included; ``[canvas|CONCEPT]`` is a mention that is not scored. What stands after ``picture=`` was read
off a picture of the document. Documents of one family speak of one little world; a family is wholly in one half.
Things of different families are different things.

Nothing here is about anything real: names that also exist do not mean what they mean elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kg.ids import asset_id, chunk_id, document_id, mention_id, sha256_hex
from kg.ports import Extractor
from kg.resolution import NameResolver
from kg.types import (
    Asset,
    Caption,
    CaptionLine,
    Chunk,
    Document,
    Extraction,
    GraphDelta,
    Mention,
    Modality,
    Page,
    Span,
)
from tests.kg.resolution.labelled_development import DEVELOPMENT
from tests.kg.resolution.labelled_families import Story
from tests.kg.resolution.labelled_held_out import HELD_OUT

__all__ = ["HALVES", "Labelled", "as_found", "labelled_deltas", "make_labelled"]

HALVES = {"development": DEVELOPMENT, "held-out": HELD_OUT}

_MARK = re.compile(r"\[([^\]|]+)\|([A-Z_]+)(?:\|([\w-]+))?\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A document's change with hand-given mentions, and which thing each scored mention is."""

    family: str
    delta: GraphDelta
    gold: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Marked:
    text: str
    marks: list[tuple[int, int, str, str]]


def labelled_deltas(half: str) -> list[Labelled]:
    """Return the documents of one half."""
    return [
        make_labelled(family, number, story)
        for family, stories in HALVES[half].items()
        for number, story in enumerate(stories)
    ]


def make_labelled(family: str, number: int, story: Story) -> Labelled:
    """Make one document with its mentions, resolved within the document."""
    body, picture = _read(story.text), _read(story.picture)
    source = f"/{family}/{number}.txt"
    sha256 = sha256_hex((story.text + story.picture).encode())
    document = document_id(source, sha256)
    assets = (_asset(document),) if picture.text else ()
    chunks = [_chunk(document, body.text, None)]
    captions = []
    if picture.text:
        captions.append(_caption(assets[0].asset_id, picture.text))
        chunks.append(_chunk(document, picture.text, assets[0].asset_id))
    mentions: list[Mention] = []
    gold: dict[str, str] = {}
    for chunk, marked in zip(chunks, (body, picture), strict=False):
        for start, end, label, thing in marked.marks:
            identity = mention_id(chunk.chunk_id, start, end, label)
            mentions.append(
                Mention(
                    mention_id=identity, chunk_id=chunk.chunk_id, text=marked.text[start:end], label=label,
                    span=Span(start=start, end=end), source="ner" if label != "CONCEPT" else "noun_phrase",
                )
            )  # fmt: skip
            if thing:
                gold[identity] = thing
    delta = GraphDelta(
        document=Document(
            document_id=document, source=source, name=f"{number}.txt", media_type="text/plain", sha256=sha256,
            n_bytes=len(story.text), title=story.title, text=body.text, is_paged=False, assets=assets,
            pages=(Page(number=1, span=Span(start=0, end=len(body.text))),),
        ),
        captions=tuple(captions),
        chunks=tuple(chunks),
        extraction=NameResolver().resolve(Extraction(mentions=tuple(mentions))),
    )  # fmt: skip
    return Labelled(family=family, delta=delta, gold=gold)


def as_found(labelled: Labelled, extractor: Extractor) -> Labelled:
    """Return the same document with the mentions that an extractor really finds.

    A found mention is scored as the labelled one that it covers at least half of, and that covers half of it.
    """
    delta = labelled.delta
    found = NameResolver().resolve(extractor.extract(delta.chunks, document=delta.document))
    gold = {}
    for mention in found.mentions:
        for other in delta.extraction.mentions:
            common = min(mention.span.end, other.span.end) - max(mention.span.start, other.span.start)
            is_same = mention.chunk_id == other.chunk_id and 2 * common >= max(len(mention.span), len(other.span))
            if is_same and other.mention_id in labelled.gold:
                gold[mention.mention_id] = labelled.gold[other.mention_id]
    return Labelled(family=labelled.family, delta=replace(delta, extraction=found), gold=gold)


def _read(marked: str) -> _Marked:
    text = ""
    marks = []
    position = 0
    for match in _MARK.finditer(marked):
        text += marked[position : match.start()]
        marks.append((len(text), len(text) + len(match[1]), match[2], match[3] or ""))
        text += match[1]
        position = match.end()
    return _Marked(text + marked[position:], marks)


def _asset(document: str) -> Asset:
    return Asset(
        asset_id=asset_id(document, 0, sha256_hex(b"picture")), document_id=document, ordinal=0, kind=Modality.IMAGE,
        media_type="image/png", data=b"picture", sha256=sha256_hex(b"picture"), width_px=8, height_px=8, page=1,
    )  # fmt: skip


def _caption(asset: str, text: str) -> Caption:
    lines = []
    for match in re.finditer(r"[^\n]+", text):
        span = Span(start=match.start(), end=match.end())
        lines.append(CaptionLine(text=match.group(), source="ocr", span=span, score=0.9))
    return Caption(asset_id=asset, text=text, captioner="ocr", lines=tuple(lines))


def _chunk(document: str, text: str, asset: str | None) -> Chunk:
    span = Span(start=0, end=len(text))
    return Chunk(
        chunk_id=chunk_id(document, asset, 0, len(text)), document_id=document, ordinal=0 if asset is None else 1,
        text=text, span=span, page_first=1, page_last=1, asset_id=asset, n_tokens=len(text.split()),
        modality=Modality.TEXT if asset is None else Modality.IMAGE,
    )  # fmt: skip

"""Collects blocks of text, headings and pictures, and makes a document in which every span is exact.

Layer: ``kg``. Loaders hand in text that is already clean (:func:`kg.loaders.text_tools.clean`); nothing is changed
after its span is known. Blocks are separated by one empty line, which belongs to no page.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kg import ids
from kg.errors import EmptyFileError
from kg.limits import LoadLimits
from kg.loaders.deadline import Deadline
from kg.loaders.figures import label_of, mentions_of
from kg.loaders.pictures import Picture
from kg.loaders.tables import PlacedTable, TableDraft, finish_tables
from kg.loaders.text_tools import clean, is_caption, readable_stem, squash, tidy_lines, window
from kg.types import Asset, Box, Document, Equation, Heading, Modality, Page, RawFile, Span

__all__ = ["DocumentBuilder"]

_SEPARATOR = "\n\n"
_MIN_SIDE_PX = 32  # smaller pictures are bullets, icons and tracking pixels
_MAX_CAPTION = 1_000  # characters; a paragraph that is longer and opens with "Figure 3" talks about the figure


@dataclass(slots=True, kw_only=True)
class _Pending:
    picture: Picture
    sha256: str
    kind: Modality
    page: int
    box: Box | None
    anchor: int
    alt_text: str
    caption: str
    label: str


class DocumentBuilder:
    """One document in the making. Not for use by several threads.

    :param raw: The file that is being read.
    :param limits: ``max_assets`` and ``max_asset_bytes`` bound the pictures; ``timeout_s`` starts to run here.
    """

    def __init__(self, raw: RawFile, *, limits: LoadLimits) -> None:
        self.raw = raw
        self.limits = limits
        self.deadline = Deadline(limits.timeout_s, where=raw.name)
        self._document_id = ids.document_id(raw.source, raw.sha256)
        self._parts: list[str] = []
        self._n_chars = 0
        self._blocks: list[Span] = []
        self._headings: list[Heading] = []
        self._equations: list[tuple[str, Span, str]] = []
        self._pages: list[Page] = []
        self._page_start: int | None = None
        self._pictures: list[_Pending] = []
        self._tables: list[PlacedTable] = []
        self._seen: set[str] = set()
        self._n_asset_bytes = 0
        self._left_out: dict[str, int] = {}
        self.n_drawings = 0

    @property
    def next_offset(self) -> int:
        """Return the character at which the next block will begin."""
        return self._n_chars + (len(_SEPARATOR) if self._n_chars else 0)

    @property
    def n_headings(self) -> int:
        """Count the headings so far."""
        return len(self._headings)

    @property
    def n_pictures(self) -> int:
        """Count the pictures so far."""
        return len(self._pictures)

    def start_page(self) -> None:
        """Begin a page of a paged document; blocks added until :meth:`end_page` are its text."""
        self._page_start = self.next_offset

    def end_page(self, number: int) -> None:
        """Close page ``number``, whose text is all that was added since :meth:`start_page`."""
        start = self._page_start if self._page_start is not None else self.next_offset
        start = min(start, self._n_chars)  # nothing was added: an empty page at the end of the text
        self._pages.append(Page(number=number, span=Span(start=start, end=self._n_chars)))
        self._page_start = None

    def add(self, block: str, *, math: Sequence[str] = ()) -> Span:
        """Append one block, a paragraph or a table or more.

        :param block: Clean text; white space at its ends is dropped. Nothing happens if nothing is left.
        :param math: The sources of equations inside the block, exactly as they stand there, in their order.
        :returns: Its place in the text.
        """
        self.deadline.check("the next block of text")
        block = block.strip()
        if not block:
            return Span(start=self._n_chars, end=self._n_chars)
        if self._n_chars:
            self._parts.append(_SEPARATOR)
        span = Span(start=self.next_offset, end=self.next_offset + len(block))
        self._parts.append(block)
        self._n_chars = span.end
        self._blocks.append(span)
        place = 0
        for source in math:
            found = block.find(source, place) if source.strip() else -1
            if found >= 0:
                place = found + len(source)
                where = Span(start=span.start + found, end=span.start + place)
                self._equations.append((source, where, ""))
        return span

    def add_equation(self, source: str, *, label: str = "") -> Span:
        """Append an equation that stands by itself, as its source.

        :param source: LaTeX, or whatever the format keeps; it is cleaned here.
        :param label: What the document refers to it by.
        :returns: Its place in the text.
        """
        kept = tidy_lines(clean(source)).strip()
        span = self.add(kept)
        if kept:
            self._equations.append((kept, span, squash(clean(label))))
        return span

    def add_heading(self, text: str, *, level: int) -> None:
        """Append a heading on a line of its own; ``level`` counts from 1."""
        line = squash(text)
        if line:
            self.mark_heading(line, level=level, span=self.add(line))

    def mark_heading(self, text: str, *, level: int, span: Span) -> None:
        """Say that ``span``, already added, is a heading."""
        self._headings.append(Heading(level=level, text=text, span=span))

    def add_picture(
        self,
        picture: Picture,
        *,
        kind: Modality = Modality.IMAGE,
        page: int = 1,
        box: Box | None = None,
        anchor: int | None = None,
        alt_text: str = "",
        caption: str = "",
        label: str = "",
        min_side_px: int = _MIN_SIDE_PX,
    ) -> None:
        """Append a picture, unless it is tiny, was added before, or passes a limit.

        :param picture: A checked picture.
        :param kind: What it shows; never ``TEXT``.
        :param page: Its page, from 1.
        :param box: Its place on that page.
        :param anchor: The character where it stands; the start of the next block by default.
        :param alt_text: What the mark-up says of it.
        :param caption: Its caption; where it is empty, a block right after or before it that opens like one is taken.
        :param label: What the document calls it; where it is empty, what its caption opens with.
        :param min_side_px: Pictures with a shorter side are left out.
        """
        self.deadline.check(f"picture {len(self._pictures) + 1}")
        sha256 = ids.sha256_hex(picture.data)
        if min(picture.width_px, picture.height_px) < min_side_px:
            self.leave_out("tiny")
        elif sha256 in self._seen:
            self.leave_out("repeated")
        elif len(self._pictures) >= self.limits.max_assets:
            self.leave_out("over the limit max_assets")
        elif self._n_asset_bytes + len(picture.data) > self.limits.max_asset_bytes:
            self.leave_out("over the limit max_asset_bytes")
        else:
            self._seen.add(sha256)
            self._n_asset_bytes += len(picture.data)
            self._pictures.append(
                _Pending(
                    picture=picture,
                    sha256=sha256,
                    kind=kind,
                    page=page,
                    box=box,
                    anchor=self.next_offset if anchor is None else anchor,
                    alt_text=squash(alt_text),
                    caption=squash(caption),
                    label=squash(label),
                )
            )

    def add_table(self, draft: TableDraft, *, box: Box | None = None) -> Span:
        """Append a table as a block of lines of cells, and keep its cells.

        :param draft: What :func:`kg.loaders.tables.make_table` made of it. Where it has no caption, a block right
            before or after it that opens like one is taken.
        :param box: Its place on the page.
        :returns: Its place in the text, which says its page.
        """
        span = self.add(draft.block)
        self._tables.append(PlacedTable(draft=draft, span=span, box=box))
        return span

    def leave_out(self, reason: str) -> None:
        """Count one picture that does not come in; the counts stand in ``Document.metadata``."""
        self._left_out[reason] = self._left_out.get(reason, 0) + 1

    def build(self, *, title: str, is_paged: bool = False, metadata: Mapping[str, str] | None = None) -> Document:
        """Make the document.

        :param title: Its title; the readable file name where this is blank.
        :param is_paged: Whether its pages are those added, rather than the whole text as one.
        :param metadata: What else is known of it.
        :returns: The document, with every picture's caption and surrounding text.
        :raises EmptyFileError: If there is neither text nor a picture.
        """
        text = "".join(self._parts)
        if not text and not self._pictures:
            raise EmptyFileError(
                f"{self.raw.name}: read as {self.raw.media_type}, but it holds neither text nor a picture of at least "
                f"{_MIN_SIDE_PX} pixels a side."
            )
        pages = tuple(self._pages) if is_paged else (Page(number=1, span=Span(start=0, end=len(text))),)
        notes = dict(metadata or {})
        if self._left_out:
            notes["pictures_left_out"] = ", ".join(f"{n} {reason}" for reason, n in sorted(self._left_out.items()))
        return Document(
            document_id=self._document_id,
            source=self.raw.source,
            name=self.raw.name,
            media_type=self.raw.media_type,
            sha256=self.raw.sha256,
            n_bytes=len(self.raw.data),
            title=squash(title) or readable_stem(self.raw.name),
            text=text,
            pages=pages,
            is_paged=is_paged,
            headings=tuple(self._headings),
            assets=self._assets(text, pages),
            tables=finish_tables(
                self._tables, document_id=self._document_id, text=text, blocks=self._blocks, pages=pages
            ),
            equations=tuple(
                Equation(source=source, span=span, label=label, page=_page_at(pages, span.start))
                for source, span, label in self._equations
            ),
            metadata=notes,
        )

    def _assets(self, text: str, pages: tuple[Page, ...]) -> tuple[Asset, ...]:
        spans = {page.number: page.span for page in pages}
        captions = self._captions(text)
        labels = [pending.label or label_of(caption) for pending, caption in zip(self._pictures, captions, strict=True)]
        mentions = self._mentions(text, labels=labels, captions=captions)
        assets = []
        for ordinal, (pending, caption) in enumerate(zip(self._pictures, captions, strict=True)):
            page = spans.get(pending.page, pages[0].span)
            anchor = max(page.start, min(pending.anchor, page.end))
            assets.append(
                Asset(
                    asset_id=ids.asset_id(self._document_id, ordinal, pending.sha256),
                    document_id=self._document_id,
                    ordinal=ordinal,
                    kind=pending.kind,
                    media_type=pending.picture.media_type,
                    data=pending.picture.data,
                    sha256=pending.sha256,
                    width_px=pending.picture.width_px,
                    height_px=pending.picture.height_px,
                    page=pending.page,
                    box=pending.box,
                    anchor=anchor,
                    alt_text=pending.alt_text,
                    caption=caption,
                    surrounding_text=window(text, at=anchor, first=page.start, last=page.end),
                    label=labels[ordinal],
                    mentioned_at=mentions.get(labels[ordinal], ()),
                )
            )
        return tuple(assets)

    def _mentions(self, text: str, *, labels: list[str], captions: list[str]) -> dict[str, tuple[Span, ...]]:
        """Find the sentences that refer to each label, the figures' own captions left out."""
        if not any(labels):
            return {}
        label_by_caption = {caption: label for caption, label in zip(captions, labels, strict=True) if caption}
        own: dict[str, list[Span]] = {}
        for span in self._blocks:
            block = _EMPHASIS.sub("", text[span.start : span.end]) if len(span) <= _MAX_CAPTION else ""
            label = label_by_caption.get(squash(block))
            if label:
                own.setdefault(label, []).append(span)
        return mentions_of(labels, text, captions=own)

    def _captions(self, text: str) -> list[str]:
        """Return each picture's caption: its own, else that of the block after it, else of the block before it.

        A block that is the caption of the picture before it is not taken again by the picture after it.
        """
        by_start = {span.start: span for span in self._blocks}
        ends = [span.end for span in self._blocks]
        captions = [pending.caption or _caption_of(text, by_start.get(pending.anchor)) for pending in self._pictures]
        taken = {pending.anchor for pending, caption in zip(self._pictures, captions, strict=True) if caption}
        for index, pending in enumerate(self._pictures):
            place = bisect_left(ends, pending.anchor)  # blocks are in order of their ends, the pictures need not be
            previous = self._blocks[place - 1] if place else None
            if not captions[index] and previous is not None and previous.start not in taken:
                captions[index] = _caption_of(text, previous)
        return captions


def _page_at(pages: tuple[Page, ...], offset: int) -> int:
    place = bisect_right(pages, offset, key=lambda page: page.span.start) - 1
    return pages[max(0, place)].number


_EMPHASIS = re.compile(r"^[*_\s]+|[*_\s]+$")


def _caption_of(text: str, span: Span | None) -> str:
    """Return the block at ``span`` if it opens like a caption and is no longer than one."""
    if span is None or len(span) > _MAX_CAPTION:
        return ""
    block = _EMPHASIS.sub("", text[span.start : span.end])
    return squash(block) if is_caption(block) else ""

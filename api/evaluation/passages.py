"""Load an evaluation passage as a document, so passages take the same road as any file.

Layer: ``api.evaluation``.
"""

from __future__ import annotations

import json

from api.evaluation.dataset import PASSAGE_MEDIA_TYPE
from kg.ids import document_id
from kg.types import Document, Heading, Page, RawFile, Span

__all__ = ["PassageLoader"]


class PassageLoader:
    """A :class:`kg.ports.Loader` of ``{"title", "text"}``: the title is a heading above the text."""

    media_types = frozenset({PASSAGE_MEDIA_TYPE})

    def load(self, raw: RawFile) -> Document:
        """Return the passage as a document of one page.

        :param raw: The JSON bytes of a passage.
        :returns: A document whose text is the title, an empty line, and the passage.
        """
        row = json.loads(raw.data)
        title, body = str(row["title"]).strip(), str(row["text"]).strip()
        text = f"{title}\n\n{body}" if title else body
        headings = (Heading(level=1, text=title, span=Span(start=0, end=len(title))),) if title else ()
        return Document(
            document_id=document_id(raw.source, raw.sha256),
            source=raw.source,
            name=raw.name,
            media_type=raw.media_type,
            sha256=raw.sha256,
            n_bytes=len(raw.data),
            title=title or raw.name,
            text=text,
            pages=(Page(number=1, span=Span(start=0, end=len(text))),),
            is_paged=False,
            headings=headings,
        )

"""What BM25 counts of a chunk, by field: its own words, where it stands, the lines of a picture by their origin.

Layer: ``retrieval``; imports ``kg``. Only asked where the fields of :mod:`retrieval.lexical` have different weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.types import CaptionLine, Chunk

__all__ = ["fielded_text"]


def fielded_text(chunk: Chunk, *, searchable: str, lines: Sequence[CaptionLine]) -> list[tuple[str, str]]:
    """Cut what is searched of a chunk into parts, each with its field.

    :param chunk: The chunk.
    :param searchable: Title and headings, if any, and the chunk's words: ``retrieval.derived.searchable_text``.
    :param lines: The lines of its picture's caption, in the coordinates of ``chunk.span``; none for other chunks.
    :returns: Fields and their words; together they are ``searchable``, but for white space between lines.
    """
    context = searchable.removesuffix(chunk.text)
    parts = [("title", context)] if context.strip() else []
    place, text = 0, chunk.text
    for line in sorted(lines, key=lambda line: line.span.start):
        start = max(line.span.start - chunk.span.start, place)
        end = min(line.span.end - chunk.span.start, len(text))
        if start >= end:
            continue
        parts += [("text", text[place:start]), (line.source, text[start:end])]
        place = end
    parts.append(("text", text[place:]))
    return [(field, words) for field, words in parts if words.strip()]

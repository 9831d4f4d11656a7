"""Put the parts of a caption together, each with its place and its score.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.types import Asset, Caption, CaptionLine, Document, Span, Table

__all__ = ["NAMED_BY_FILE", "TRUNCATED_SCORE", "compose", "loose_line", "model_caption", "name_caption"]

TRUNCATED_SCORE = 0.7
"""Times this is the score of a description that broke off: what it said stands, but it was not done. A convention."""
NAMED_BY_FILE = "file name"
"""The captioner of pictures that nothing can be said of."""
_SEEN = frozenset({"ocr", "model", "table"})
"""Sources of lines that someone saw on the picture: their confidence is the caption's."""


def loose_line(text: str, source: str, *, score: float = 1.0) -> CaptionLine:
    """Make a line that has no place in a caption yet; :func:`compose` gives it one."""
    return CaptionLine(text=text, source=source, span=Span(start=0, end=len(text)), score=score)


def compose(
    asset_id: str, parts: Sequence[CaptionLine], captioner: str, *, tables: tuple[Table, ...] = ()
) -> Caption | None:
    """Write parts one below the other and give each its place.

    :param asset_id: The picture.
    :param parts: Lines in reading order; their spans are made anew.
    :param captioner: Who said so.
    :param tables: What was read off the picture as rows and columns.
    :returns: The caption, ``None`` without parts. Its score is the mean of the scores of what was seen on the picture
        (lines of source ``ocr``, ``table`` and ``model``), by characters; 1 where nothing was.
    """
    if not parts:
        return None
    placed: list[CaptionLine] = []
    position = 0
    for part in parts:
        span = Span(start=position, end=position + len(part.text))
        placed.append(CaptionLine(text=part.text, source=part.source, span=span, box=part.box, score=part.score))
        position = span.end + 1
    seen = [(len(part.text), part.score) for part in parts if part.source in _SEEN]
    score = sum(n * s for n, s in seen) / sum(n for n, _ in seen) if seen else 1.0
    return Caption(
        asset_id=asset_id,
        text="\n".join(part.text for part in parts),
        captioner=captioner,
        lines=tuple(placed),
        score=score,
        tables=tables,
    )


def model_caption(asset_id: str, sentences: Sequence[str], captioner: str, *, is_truncated: bool) -> Caption | None:
    """Make a caption of what a model said, one sentence a line, of source ``model``."""
    score = TRUNCATED_SCORE if is_truncated else 1.0
    return compose(asset_id, [loose_line(sentence, "model", score=score) for sentence in sentences], captioner)


def name_caption(asset: Asset, document: Document) -> Caption:
    """Call a picture by its file, for want of any words: without a caption it could be found by nobody.

    :param asset: A picture of the document.
    :param document: The document.
    :returns: A caption of one line of source ``name``: the file's name, and which picture of it this is.
    """
    place = f", page {asset.page}" if document.is_paged else ""
    number = f", picture {asset.ordinal + 1}" if len(document.assets) > 1 else ""
    line = loose_line(f"{document.name}{place}{number}", "name")
    return Caption(asset_id=asset.asset_id, text=line.text, captioner=NAMED_BY_FILE, lines=(line,))

"""Cut evidence into the units that an answer quotes: sentences of prose, lines of a picture's caption, rows of a table.

Layer: ``generation``. A unit's text is exactly the characters at its span, in the coordinates of its chunk (the
document's text or the picture's caption), so that what is quoted can be found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from generation.words import collapse
from kg.sentences import sentence_spans
from kg.types import Modality, Span
from retrieval.types import Evidence

__all__ = ["Unit", "is_picture", "is_table", "picture_noun", "units_of"]

_LABEL_CHARS = 48
"""A caption line shorter than this is a label (an axis, a legend, a value), not a sentence; chosen on captions of
charts."""
_GROUP_LINES = 6
"""Labels are quoted in groups of up to this many lines, because a value means nothing without its neighbours."""
_GROUP_STEP = 3
_LONG_CHARS = 600
"""A "sentence" longer than this (a table without stops, a list) is cut at line ends, for nobody reads it as a quote."""
_TABLE = "table"
"""The source of a caption's lines that say the rows of the table behind a picture."""
_NOUNS = {
    Modality.CHART: "chart",
    Modality.TABLE: "table",
    Modality.PAGE: "page picture",
    Modality.IMAGE: "picture",
    Modality.TEXT: "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A stretch of one piece of evidence that can be quoted. ``index`` counts the evidence from 0, in its order.

    ``picture`` tells words that stand on a picture; ``said`` is ``caption`` or ``alt`` for what the document says of
    one, ``model`` for what a vision model says of it, and empty for everything else. ``row`` tells a row of a table,
    said as ``Column: value; Column: value``, of a document or, with ``picture``, of the table behind a chart.
    """

    index: int
    text: str
    span: Span
    picture: bool
    said: str = ""
    row: bool = False

    @property
    def flat(self) -> str:
        """Return the text on one line; the lines of a picture are joined by a middle dot."""
        lines = [collapse(line) for line in self.text.splitlines() if line.strip()]
        return " · ".join(lines) if self.picture else " ".join(lines)


def is_picture(evidence: Evidence) -> bool:
    """Tell whether this evidence was read off a picture rather than out of a text or a table."""
    return evidence.chunk.modality is not Modality.TEXT and not is_table(evidence)


def is_table(evidence: Evidence) -> bool:
    """Tell whether this evidence is rows of a table that the document holds as such."""
    return evidence.chunk.table_id is not None


def picture_noun(modality: Modality) -> str:
    """Return what to call a picture of this kind in a sentence: "chart", "table", "page picture", "picture"."""
    return _NOUNS[modality]


def units_of(evidence: Sequence[Evidence]) -> list[Unit]:
    """Cut evidence into units, in the order of the evidence and of its text; repeats of the same words are left out.

    Chunks overlap, and the same notice stands in many files: a unit whose words (white space and case aside) were seen
    in an earlier one is not offered twice.
    """
    seen: set[str] = set()
    units: list[Unit] = []
    for index, item in enumerate(evidence):
        for part, source in _parts(item):
            rows = is_table(item) or source == _TABLE
            said = "" if source == _TABLE else source
            picture = is_picture(item) and not said
            for within in _spans(item.chunk.text[part.start : part.end], picture=picture, rows=rows):
                span = Span(start=part.start + within.start, end=part.start + within.end)
                text = item.chunk.text[span.start : span.end]
                key = collapse(text).casefold()
                if key in seen or not any(char.isalnum() for char in text):
                    continue
                seen.add(key)
                offset = item.chunk.span.start
                moved = Span(start=offset + span.start, end=offset + span.end)
                units.append(Unit(index=index, text=text, span=moved, picture=picture, said=said, row=rows))
    return units


def _parts(item: Evidence) -> list[tuple[Span, str]]:
    """Split a picture's chunk, in its own coordinates, into what was read off it, its rows, and what is said of it.

    The words around the picture are left out: they are the document's text, and are quoted from there. So is the name
    of its file, which says nothing.
    """
    chunk = item.chunk
    if not item.lines:
        return [(Span(start=0, end=len(chunk.text)), "")]
    parts: list[tuple[Span, str]] = []
    for line in sorted(item.lines, key=lambda line: line.span.start):
        start = max(line.span.start, chunk.span.start) - chunk.span.start
        end = min(line.span.end, chunk.span.end) - chunk.span.start
        said = line.source if line.source in ("caption", "alt", "model", _TABLE) else ""
        if line.source in ("context", "name") or end <= start:
            continue
        if parts and not said and not parts[-1][1] and not chunk.text[parts[-1][0].end : start].strip():
            parts[-1] = (Span(start=parts[-1][0].start, end=end), "")
        else:
            parts.append((Span(start=start, end=end), said))
    return parts


def _spans(text: str, *, picture: bool, rows: bool) -> list[Span]:
    if rows:
        return _lines(text, Span(start=0, end=len(text)))
    if picture:
        return _picture_spans(text)
    spans: list[Span] = []
    for span in sentence_spans(text):
        spans += [span] if len(span) <= _LONG_CHARS else _lines(text, span)
    return spans


def _lines(text: str, within: Span) -> list[Span]:
    spans: list[Span] = []
    start = within.start
    for line in text[within.start : within.end].splitlines(keepends=True):
        body = line.strip()
        if body:
            first = start + line.index(body[0])
            spans.append(Span(start=first, end=first + len(body)))
        start += len(line)
    return spans


def _picture_spans(text: str) -> list[Span]:
    spans: list[Span] = []
    labels: list[Span] = []
    for line in [*_lines(text, Span(start=0, end=len(text))), None]:
        if line is not None and (len(line) < _LABEL_CHARS or " | " in text[line.start : line.end]):
            labels.append(line)
            continue
        spans += _groups(labels)
        labels = []
        if line is not None:
            body = text[line.start : line.end]
            spans += [Span(start=line.start + s.start, end=line.start + s.end) for s in sentence_spans(body)]
    return spans


def _groups(labels: Sequence[Span]) -> list[Span]:
    if len(labels) <= _GROUP_LINES:
        return [Span(start=labels[0].start, end=labels[-1].end)] if labels else []
    starts = [*range(0, len(labels) - _GROUP_LINES, _GROUP_STEP), len(labels) - _GROUP_LINES]
    return [Span(start=labels[i].start, end=labels[i + _GROUP_LINES - 1].end) for i in starts]

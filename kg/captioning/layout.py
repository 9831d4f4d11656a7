"""Put the pieces of text that OCR found on a picture into reading order, as lines a reader would write down.

Layer: ``kg``; the standard library only. It knows rectangles with text, never pixels or models.

How, in the spirit of the recursive XY-cut (Nagy and Seth 1984), with rules of our own for charts:

1. *Columns.* A vertical gutter is cut only where it parts prose from prose (long lines on both sides), so two columns
   of a page are read one after the other, while a chart's labels stay with the values beside them. Lines that span
   the gutter, such as a title, part the page into bands.
2. *Segments.* Pieces on one line with hardly a gap between them are one segment.
3. *Blocks.* Segments tightly under one another, of one size and aligned left, right or centred, flow into one block: a
   paragraph, a wrapped label, a title of two lines. A segment that has a number of its own on its row never flows.
4. *Rows.* Blocks whose middles (or tops, or bottoms) are level form a row, read from left to right. A label followed by
   numbers is written ``label: 28, 52, 20``; other cells that stand apart are parted by a bar, ``a | b``.

Limit: over a vertical bar or a line, a number and the year under it share no row, and are not paired.

Units: any, as long as x and y use the same one (pixels); origin at the top left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["LaidOutLine", "TextPiece", "reading_order"]

_NUMBER = re.compile(r"[<>≤≥~≈±+−–-]?[$€£¥]?\d[\d.,:/ ]*(?:%|[KkMB]|bn|mn|pp|pts?)?\*?\Z")
_LABEL_AND_VALUE = re.compile(r"[^\W\d_].* \d[\d.,]*%?\Z")
_OPENS_PARAGRAPH = re.compile(r"[%•‣▪●■*]|[-–—] |\(?\d{1,2}[.)] |[^\W\d_][\w ]{1,20}: ?")
_PROSE_CHARACTERS = 20  # A line this long is prose, not a label, when columns are looked for.
_MIN_COLUMN_LINES = 3
_BLOCK_GAP = 0.3  # Of the line height. Wrapped lines touch or nearly do; rows of a table stand farther apart.
_SAME_SIZE = 1.3  # Heights of boxes with and without descenders differ by less; a title and its subtitle by more.
_GAP_NOISE = 0.2  # In line heights: lines of one paragraph are evenly spaced, but for the noise of the boxes.
_WIDE = 10.0  # In line heights: a line this wide is running text, where an indent opens a paragraph.


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPiece:
    """A piece of text and its rectangle; ``score`` is the reader's confidence in [0, 1], higher is better."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0

    @property
    def height(self) -> float:
        """Return the height of the rectangle."""
        return self.y1 - self.y0

    @property
    def middle(self) -> float:
        """Return the y in the middle of the rectangle."""
        return (self.y0 + self.y1) / 2

    @property
    def is_number(self) -> bool:
        """Tell whether the text is a bare number, date or share, as charts print their values."""
        return _NUMBER.match(self.text.strip()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOutLine:
    """A paragraph, a label, or a row of cells; the rectangle is the union, the score the mean over its pieces."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float


def reading_order(pieces: Sequence[TextPiece]) -> list[LaidOutLine]:
    """Order ``pieces`` as they are read, and join those that belong together.

    :param pieces: Pieces in any order; blank ones are ignored.
    :returns: Lines from first to last read. The result does not depend on the order of ``pieces``.
    """
    kept = sorted((p for p in pieces if p.text.strip()), key=lambda p: (p.y0, p.x0, p.y1, p.x1, p.text))
    return [line for column in _columns(kept) for line in _lines_of_column(column)]


def _columns(pieces: list[TextPiece]) -> list[list[TextPiece]]:
    """Part ``pieces`` (sorted from the top) into columns, in reading order."""
    gutter = _find_gutter(pieces)
    if gutter is None:
        return [pieces] if pieces else []
    columns: list[list[TextPiece]] = []
    band: list[TextPiece] = []
    spanning: list[TextPiece] = []
    for piece in [*pieces, None]:
        crosses = piece is not None and piece.x0 < gutter < piece.x1
        if (piece is None or crosses) and band:
            columns.extend([spanning] if spanning else [])
            columns.extend(_columns([p for p in band if p.x1 <= gutter]))
            columns.extend(_columns([p for p in band if p.x0 >= gutter]))
            band, spanning = [], []
        if piece is not None:
            (spanning if crosses else band).append(piece)
    return [*columns, spanning] if spanning else columns


def _find_gutter(pieces: list[TextPiece]) -> float | None:
    """Return the x of the best gutter: crossed by the fewest pieces, then the widest; ``None`` without one."""
    prose = [p for p in pieces if len(p.text) >= _PROSE_CHARACTERS]
    if len(prose) < 2 * _MIN_COLUMN_LINES:
        return None
    line_height = median(p.height for p in prose)
    edges = sorted({p.x0 for p in pieces} | {p.x1 for p in pieces})
    best: tuple[int, float, float] | None = None
    for low, high in zip(edges, edges[1:], strict=False):
        x = (low + high) / 2
        crossing = sum(p.x0 < x < p.x1 for p in pieces)
        if high - low < 0.5 * line_height or crossing > 0.3 * len(pieces):
            continue
        left, right = [p for p in pieces if p.x1 <= x], [p for p in pieces if p.x0 >= x]
        if _is_prose_column(left) and _is_prose_column(right) and _side_by_side(left, right):
            candidate = (crossing, low - high, x)
            best = candidate if best is None else min(best, candidate)
    return None if best is None else best[2]


def _is_prose_column(pieces: list[TextPiece]) -> bool:
    n_prose = sum(len(p.text) >= _PROSE_CHARACTERS for p in pieces)
    return n_prose >= _MIN_COLUMN_LINES and n_prose >= 0.6 * len(pieces)


def _side_by_side(left: list[TextPiece], right: list[TextPiece]) -> bool:
    top = max(min(p.y0 for p in left), min(p.y0 for p in right))
    bottom = min(max(p.y1 for p in left), max(p.y1 for p in right))
    shorter = min(max(p.y1 for p in side) - min(p.y0 for p in side) for side in (left, right))
    return bottom - top >= 0.5 * shorter


class _Block:
    """Segments that flow on from one line to the next."""

    def __init__(self, first: TextPiece) -> None:
        self.segments = [first]

    @property
    def last(self) -> TextPiece:
        return self.segments[-1]

    @property
    def pitch_gap(self) -> float:
        """Return the gap above the last line in line heights; infinite for a block of one line."""
        if len(self.segments) < 2:
            return float("inf")
        return max(0.0, self.last.y0 - self.segments[-2].y1) / self.last.height

    def union(self) -> TextPiece:
        return _union(self.segments)


def _union(pieces: Sequence[TextPiece]) -> TextPiece:
    return TextPiece(
        text=_join_words([p.text for p in pieces]),
        x0=min(p.x0 for p in pieces),
        y0=min(p.y0 for p in pieces),
        x1=max(p.x1 for p in pieces),
        y1=max(p.y1 for p in pieces),
        score=sum(p.score for p in pieces) / len(pieces),
    )


def _join_words(texts: Sequence[str]) -> str:
    """Join by spaces; a word divided by a hyphen at a line's end is made whole again."""
    joined = ""
    for text in texts:
        text = " ".join(text.split())
        divided = re.search(r"[a-z]{2}-\Z", joined) is not None and text[:1].islower()
        joined = joined[:-1] + text if divided else f"{joined} {text}" if joined else text
    return joined


def _lines_of_column(pieces: list[TextPiece]) -> list[LaidOutLine]:
    segments = _segments(pieces)
    line_height = median(segment.height for segment in segments)
    blocks = [block.union() for block in _blocks(segments)]
    return [_write_row(row, line_height) for row in _rows(blocks, line_height)]


def _level(a: TextPiece, b: TextPiece, tolerance: float) -> bool:
    return abs(a.middle - b.middle) <= tolerance * min(a.height, b.height)


def _segments(pieces: list[TextPiece]) -> list[TextPiece]:
    """Join neighbours on one line; numbers stay apart, so that they remain cells of their own."""
    groups: list[list[TextPiece]] = []
    for piece in sorted(pieces, key=lambda p: (p.x0, p.y0)):
        for group in reversed(groups):
            last = group[-1]
            gap = piece.x0 - last.x1
            near = -0.6 * piece.height <= gap <= 0.8 * min(last.height, piece.height)
            same = _level(last, piece, 0.35) and max(last.height, piece.height) <= 1.6 * min(last.height, piece.height)
            if near and same and not (last.is_number or piece.is_number):
                group.append(piece)
                break
        else:
            groups.append([piece])
    return sorted((_union(group) for group in groups), key=lambda p: (p.y0, p.x0))


def _blocks(segments: list[TextPiece]) -> list[_Block]:
    numbers = [s for s in segments if s.is_number]
    has_value = [any(n is not s and _level(s, n, 0.3) for n in numbers) for s in segments]
    blocks: list[_Block] = []
    for segment, tied in zip(segments, has_value, strict=True):
        home = None
        if not tied and not segment.is_number:
            home = next((b for b in reversed(blocks) if _flows(b, segment)), None)
        if home is None:
            blocks.append(_Block(segment))
        else:
            home.segments.append(segment)
    return blocks


def _flows(block: _Block, segment: TextPiece) -> bool:
    """Tell whether ``segment`` goes on with the text of ``block``."""
    last = block.last
    height = min(last.height, segment.height)
    if last.is_number or max(last.height, segment.height) > _SAME_SIZE * height:
        return False
    if not -0.6 * height <= segment.y0 - last.y1 <= min(_BLOCK_GAP, block.pitch_gap + _GAP_NOISE) * height:
        return False
    if _OPENS_PARAGRAPH.match(segment.text):
        return False
    left, right = segment.x0 - last.x0, segment.x1 - last.x1
    centred = abs(left + right) <= height
    if min(last.x1 - last.x0, segment.x1 - segment.x0) >= _WIDE * height and not centred:
        opens = left > 0.8 * height  # An indent; or, against it, the line after an indented first one.
        return not opens and (left >= -0.8 * height or (len(block.segments) == 1 and left >= -5 * height))
    overlaps = min(last.x1, segment.x1) > max(last.x0, segment.x0)
    return overlaps and (abs(left) <= 0.7 * height or abs(right) <= 0.7 * height or centred)


def _rows(blocks: list[TextPiece], line_height: float) -> list[list[TextPiece]]:
    rows: list[list[TextPiece]] = []
    for block in sorted(blocks, key=lambda b: (b.middle, b.x0)):
        for row in reversed(rows):
            if all(not _overlaps_across(block, cell) for cell in row) and any(
                _on_one_row(block, cell, line_height) for cell in row
            ):
                row.append(block)
                break
        else:
            rows.append([block])
    rows = [sorted(row, key=lambda b: b.x0) for row in rows]
    return sorted(rows, key=lambda row: (min(b.y0 for b in row), row[0].x0))


def _overlaps_across(a: TextPiece, b: TextPiece) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 * min(a.height, b.height)


def _on_one_row(a: TextPiece, b: TextPiece, line_height: float) -> bool:
    """Tell whether two blocks are level: by their middles; two labels of several lines, by top or bottom too."""
    tolerance = 0.5 * min(a.height, b.height, 1.5 * line_height)
    if abs(a.middle - b.middle) <= tolerance:
        return True
    if a.is_number or b.is_number:
        return False
    return min(abs(a.y0 - b.y0), abs(a.y1 - b.y1)) <= 0.5 * tolerance


def _write_row(cells: list[TextPiece], line_height: float) -> LaidOutLine:
    whole = _union(cells)
    text = cells[0].text
    for previous, cell in zip(cells, cells[1:], strict=False):
        text += _separator(previous, cell, cells, line_height) + cell.text
    return LaidOutLine(text=text, x0=whole.x0, y0=whole.y0, x1=whole.x1, y1=whole.y1, score=whole.score)


def _separator(previous: TextPiece, cell: TextPiece, cells: list[TextPiece], line_height: float) -> str:
    label_and_values = not cells[0].is_number and all(c.is_number for c in cells[1:])
    if label_and_values and previous is not cells[0]:
        return ", "
    if label_and_values:
        return " " if previous.text[-1] in ":=" else ", " if _LABEL_AND_VALUE.search(previous.text) else ": "
    touches = cell.x0 - previous.x1 <= 0.5 * line_height
    return " " if touches and not (previous.is_number and cell.is_number) else " | "

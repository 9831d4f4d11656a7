"""Tell the values of a chart from the ticks of its axes, the years of its categories, and its words.

Layer: ``kg``; the standard library only. It knows rectangles with text, never pixels or models.

Units: any, as long as x and y use the same one (pixels); origin at the top left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from kg.captioning.layout import TextPiece
from kg.loaders.text_tools import squash

__all__ = ["ChartPieces", "bare_number", "centre", "is_year", "level_groups", "split_pieces", "united"]

_YEAR = re.compile(r"['’]?(?:1[5-9]|20)\d\d(?:[-–/]\d\d(?:\d\d)?)?\*?\Z|['’]\d\d\Z")
_NUMBER = re.compile(r"[<>≤≥~≈±]?([+−–-]?)[$€£¥]?(\d[\d, ]*(?:\.\d+)?|\.\d+)(?:%|[KkMB]|bn|mn|pp|pts?)?\*?\Z")
_SHARE_AT_END = re.compile(r"(.*[^\W\d_][^\d%]*?)[ :,(]*(\d[\d.,]*%)\)?\Z")
_LEVEL = 0.5  # of the smaller height: pieces whose middles are nearer than this stand on one line
_STRAIGHT = 0.03  # of the axis's length: how far a tick may be from the straight line through the others
_MIN_TICKS = 4


def bare_number(text: str) -> float | None:
    """Return the value of a printed number (``"61%"``, ``"$1,184"``, ``"−3"``), ``None`` for anything else."""
    match = _NUMBER.match(text.strip())
    if match is None:
        return None
    value = float(match[2].replace(",", "").replace(" ", ""))
    return -value if match[1] else value


def is_year(text: str) -> bool:
    """Tell whether the text is a year, or a span of years, which names a category rather than a value."""
    return _YEAR.match(text.strip()) is not None


def centre(piece: TextPiece) -> float:
    """Return the x in the middle of a piece."""
    return (piece.x0 + piece.x1) / 2


def united(pieces: Sequence[TextPiece]) -> TextPiece:
    """Join pieces, already in reading order, into one with their words and the rectangle around them."""
    return TextPiece(
        text=squash(" ".join(p.text for p in pieces)),
        x0=min(p.x0 for p in pieces),
        y0=min(p.y0 for p in pieces),
        x1=max(p.x1 for p in pieces),
        y1=max(p.y1 for p in pieces),
        score=sum(p.score for p in pieces) / len(pieces),
    )


def level_groups(pieces: Iterable[TextPiece]) -> list[list[TextPiece]]:
    """Group pieces that stand on one line; lines from the top, pieces from the left."""
    groups: list[list[TextPiece]] = []
    for piece in sorted(pieces, key=lambda p: (p.middle, p.x0)):
        last = groups[-1] if groups else None
        if last is not None and all(
            abs(piece.middle - other.middle) <= _LEVEL * min(piece.height, other.height) for other in last
        ):
            last.append(piece)
        else:
            groups.append([piece])
    return [sorted(group, key=lambda p: p.x0) for group in groups]


def split_pieces(pieces: Iterable[TextPiece]) -> list[TextPiece]:
    """Part what the reader ran together: ``"1960 1970"`` into two, ``"Satisfied 29%"`` into label and value.

    A part's rectangle is that of the whole, divided by the number of characters.
    """
    found: list[TextPiece] = []
    for piece in pieces:
        words = piece.text.split()
        share = _SHARE_AT_END.match(piece.text.strip())
        if len(words) > 1 and all(bare_number(word) is not None or is_year(word) for word in words):
            found.extend(_divided(piece, words))
        elif share is not None and len(piece.text) < 40:
            found.extend(_divided(piece, [share[1].strip(" :,("), share[2]]))
        else:
            found.append(piece)
    return found


def _divided(piece: TextPiece, parts: Sequence[str]) -> list[TextPiece]:
    total = sum(map(len, parts)) + len(parts) - 1
    width = (piece.x1 - piece.x0) / total
    found, position = [], 0
    for part in parts:
        x0 = piece.x0 + position * width
        x1 = x0 + len(part) * width
        found.append(TextPiece(text=part, x0=x0, y0=piece.y0, x1=x1, y1=piece.y1, score=piece.score))
        position += len(part) + 1
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPieces:
    """The pieces of a picture by their part in a chart. Nothing is lost: each is a value, a tick, or a label."""

    values: tuple[TextPiece, ...]
    labels: tuple[TextPiece, ...]
    """Words, and years."""
    ticks: tuple[TextPiece, ...]

    @classmethod
    def of(cls, pieces: Sequence[TextPiece]) -> ChartPieces:
        """Sort ``pieces``; what the reader ran together is parted first."""
        parts = split_pieces(p for p in pieces if p.text.strip())
        numbers = [p for p in parts if bare_number(p.text) is not None]
        ticks = _ticks(numbers)
        chosen = {id(tick) for tick in ticks}
        values = [n for n in numbers if id(n) not in chosen and not is_year(n.text)]
        known = chosen | {id(value) for value in values}
        return cls(values=tuple(values), labels=tuple(p for p in parts if id(p) not in known), ticks=tuple(ticks))


def _ticks(numbers: Sequence[TextPiece]) -> list[TextPiece]:
    """Find the numbers of axes: in one line or column, evenly spaced, and growing evenly along it."""
    found: dict[int, TextPiece] = {}
    for along, across in ((lambda p: p.middle, _edges), (centre, lambda p: (p.middle,))):
        for group in _aligned(numbers, across):
            if len(group) >= _MIN_TICKS and _is_scale(group, along):
                found.update((id(p), p) for p in group)
    return list(found.values())


def _edges(piece: TextPiece) -> tuple[float, ...]:
    return (piece.x1, piece.x0, centre(piece))


def _aligned(
    numbers: Sequence[TextPiece], across: Callable[[TextPiece], tuple[float, ...]]
) -> Iterable[list[TextPiece]]:
    """Yield groups of numbers that share a line, for each of the ways in which they may be aligned."""
    if not numbers:
        return
    tolerance = 0.4 * median(p.height for p in numbers)
    for way in range(len(across(numbers[0]))):
        group: list[TextPiece] = []
        for piece in sorted(numbers, key=lambda p: across(p)[way]):
            if group and across(piece)[way] - across(group[-1])[way] > tolerance:
                yield group
                group = []
            group.append(piece)
        yield group


def _is_scale(group: Sequence[TextPiece], along: Callable[[TextPiece], float]) -> bool:
    """Tell whether the numbers are a linear function of their place, as the ticks of an axis are, and no others."""
    ordered = sorted(group, key=along)
    places = [along(p) for p in ordered]
    if sum(is_year(p.text) for p in ordered) > len(ordered) / 2:
        return False  # years in a line are categories; among other ticks, 2000 is a number like any
    values = [bare_number(p.text) or 0.0 for p in ordered]
    length, rise = places[-1] - places[0], values[-1] - values[0]
    if length <= 0 or rise == 0:
        return False
    steps = [b - a for a, b in zip(values, values[1:], strict=False)]
    even_steps = max(steps) - min(steps) <= 1e-6 * abs(rise) + 1e-9
    off = max(abs((p - places[0]) / length - (v - values[0]) / rise) for p, v in zip(places, values, strict=True))
    return even_steps and off <= _STRAIGHT

"""Where to write the labels of a picture so that they cover neither each other nor what they name.

Layer: ``kg``; the standard library only. Lengths are in the units of the caller (points or pixels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Label", "Placed", "Rectangle", "place_labels", "place_on_lines"]

_DIRECTIONS = ((0, -1), (0, 1), (1, 0), (-1, 0), (0.8, -0.8), (-0.8, -0.8), (0.8, 0.8), (-0.8, 0.8))
"""Where a label is tried: under its node first, then over it, beside it, and at the corners."""

_DISTANCES = (1.0, 2.2, 4.0)
"""How far away, in gaps, the nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label of a width and height that belongs to a disc at ``(x, y)``."""

    x: float
    y: float
    radius: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The centre of a label, and what share of it lies on something else (0 is free)."""

    x: float
    y: float
    overlap: float


_SHARES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73)
"""Where on its line a label is tried."""

_LINE_WEIGHT = 0.6
"""What a label that lies along a line all its length is worse by, beside 1 for one that covers another."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, right and top."""


def place_labels(
    labels: Sequence[Label], *, frame: Rectangle, lines: Sequence[Sequence[float]] = (), gap: float = 3.0
) -> list[Placed]:
    """Place labels one after the other, each where it covers least; give the important ones first.

    :param labels: The labels.
    :param frame: The picture, which labels do not leave if they can help it.
    :param lines: Lines ``(x0, y0, x1, y1)`` that labels had better not cross.
    :param gap: The space between a disc and its label.
    :returns: One place for each label, in their order.
    """
    taken: list[Rectangle] = [
        (one.x - one.radius, one.y - one.radius, one.x + one.radius, one.y + one.radius) for one in labels
    ]
    placed = []
    for label in labels:
        near = _near(label, lines, gap)
        scored = [(_cost(label, at, taken, frame, near), at) for at in _places(label, gap)]
        (_, overlap), at = min(scored, key=lambda one: one[0][0])
        taken.append(_rectangle(label, at))
        placed.append(Placed(x=at[0], y=at[1], overlap=overlap))
    return placed


def place_on_lines(
    lines: Sequence[Sequence[float]], sizes: Sequence[tuple[float, float]], *, taken: Sequence[Rectangle] = ()
) -> list[tuple[float, float]]:
    """Place a label on each line, where it covers least: in the middle if that is free, else nearer to an end.

    :param lines: Lines ``(x0, y0, x1, y1)``.
    :param sizes: The width and height of the label of each.
    :param taken: What labels had better not cover.
    :returns: The centre of each label.
    """
    covered = list(taken)
    placed = []
    for (x0, y0, x1, y1), (width, height) in zip(lines, sizes, strict=True):
        scored = []
        for share in _SHARES:
            x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
            mine = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            overlap = sum(_shared(mine, other) for other in covered) / (width * height or 1.0)
            scored.append((round(overlap + 0.05 * abs(share - 0.5), 6), (x, y), mine))
        _, at, mine = min(scored)
        covered.append(mine)
        placed.append(at)
    return placed


def _places(label: Label, gap: float) -> list[tuple[float, float]]:
    return [
        (
            label.x + dx * (label.radius + distance * gap + label.width / 2),
            label.y + dy * (label.radius + distance * gap + label.height / 2),
        )
        for distance in _DISTANCES
        for dx, dy in _DIRECTIONS
    ]


def _near(label: Label, lines: Sequence[Sequence[float]], gap: float) -> list[Sequence[float]]:
    """Keep the lines that any place of a label could touch."""
    reach_x = label.radius + _DISTANCES[-1] * gap + label.width
    reach_y = label.radius + _DISTANCES[-1] * gap + label.height
    return [
        line
        for line in lines
        if min(line[0], line[2]) <= label.x + reach_x
        and max(line[0], line[2]) >= label.x - reach_x
        and min(line[1], line[3]) <= label.y + reach_y
        and max(line[1], line[3]) >= label.y - reach_y
    ]


def _cost(
    label: Label,
    at: tuple[float, float],
    taken: Sequence[Rectangle],
    frame: Rectangle,
    lines: Sequence[Sequence[float]],
) -> tuple[float, float]:
    mine = _rectangle(label, at)
    area = label.width * label.height or 1.0
    outside = 1 - _shared(mine, frame) / area
    overlap = sum(_shared(mine, other) for other in taken) / area
    crossed = sum(_clipped(mine, line) for line in lines) / (label.width + label.height or 1.0)
    return round(overlap + 2 * outside + _LINE_WEIGHT * crossed, 6), overlap


def _rectangle(label: Label, at: tuple[float, float]) -> Rectangle:
    return (
        at[0] - label.width / 2,
        at[1] - label.height / 2,
        at[0] + label.width / 2,
        at[1] + label.height / 2,
    )


def _shared(left: Rectangle, right: Rectangle) -> float:
    across = min(left[2], right[2]) - max(left[0], right[0])
    down = min(left[3], right[3]) - max(left[1], right[1])
    return max(0.0, across) * max(0.0, down)


def _clipped(box: Rectangle, line: Sequence[float]) -> float:
    """Return the length of the part of a line that lies in a rectangle (Liang and Barsky 1984)."""
    dx, dy = line[2] - line[0], line[3] - line[1]
    enters, leaves = 0.0, 1.0
    for step, low, high in ((dx, box[0] - line[0], box[2] - line[0]), (dy, box[1] - line[1], box[3] - line[1])):
        if step == 0:
            if low > 0 or high < 0:
                return 0.0
            continue
        first, last = sorted((low / step, high / step))
        enters, leaves = max(enters, first), min(leaves, last)
    return max(0.0, leaves - enters) * math.hypot(dx, dy)

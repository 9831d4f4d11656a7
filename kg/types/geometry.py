"""Places: a range of characters, a rectangle on a page.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from dataclasses import dataclass

from kg.errors import InputError
from kg.types.checks import require

__all__ = ["Box", "Span"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range of characters ``[start, end)``.

    :raises InputError: If ``start`` is negative or ``end`` is before ``start``.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if (
            not 0 <= self.start <= self.end
        ):  # Spans are made by the hundred thousand: no message is built for sound ones.
            raise InputError(f"Span: need 0 <= start <= end, got [{self.start}, {self.end}).")

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in fractions of its page or picture, origin at the top left, ``0 <= x0 <= x1 <= 1``.

    :raises InputError: If a side lies outside ``[0, 1]`` or the sides are crossed.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        ordered = 0.0 <= self.x0 <= self.x1 <= 1.0 and 0.0 <= self.y0 <= self.y1 <= 1.0
        require(ordered, f"Box: need fractions with x0 <= x1 and y0 <= y1, got {self}.")

"""The words of an SVG in the order that a reader meets them: by line from the top, each line from the left.

Layer: ``kg``; works on parsed elements. Places follow the ``transform`` attributes and the ``x`` and ``y`` of ``text``
and ``tspan``; style sheets are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.loaders.text_tools import clean, squash

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["SVG_NAMESPACE", "XLINK", "local_name", "words_of"]

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

_Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: _Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_TRANSFORM = re.compile(r"(matrix|translate|scale|rotate)\s*\(([^)]{1,300})\)")
_NUMBER = re.compile(r"-?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(?:e-?\d{1,2})?", re.IGNORECASE)
_FONT_SIZE = re.compile(r"font-size\s*:\s*([\d.]{1,8})")
_FONT = 16.0  # pixels, where nothing states it
_SAME_LINE = 0.5  # of the font size: pieces whose baselines lie closer stand on one line
_NOT_SHOWN = frozenset({"defs", "symbol", "script", "style", "metadata", "clippath", "mask", "pattern"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    text: str
    x: float
    y: float
    font: float


def local_name(element: _Element) -> str:
    """Return the name of an element without its namespace; empty for comments and the like."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def words_of(root: _Element) -> tuple[str, str, tuple[str, ...]]:
    """Return the title, the description, and the lines of words of an ``<svg>`` element.

    :param root: The element.
    :returns: Clean text; titles and descriptions of parts stand behind the lines, each once.
    """
    titles: list[str] = []
    descriptions: list[str] = []
    others: dict[str, None] = {}
    pieces: list[_Piece] = []
    stack: list[tuple[_Element, _Matrix, float]] = [(root, _IDENTITY, _FONT)]
    while stack:
        element, outer, outer_font = stack.pop()
        name = local_name(element)
        if not name or name.lower() in _NOT_SHOWN or element.get("display") == "none":
            continue
        matrix, font = _times(_matrix(element.get("transform")), outer), _font(element, outer_font)
        if name == "text":
            pieces.extend(_pieces(element, matrix, font))
        elif name in ("title", "desc", "foreignObject"):
            text = squash(clean(" ".join(element.itertext())))
            is_own = element.getparent() is root and name != "foreignObject"
            target = (titles if name == "title" else descriptions) if is_own else None
            if target is not None and not target:
                target.append(text)
            else:
                others[text] = None
        else:
            stack.extend((child, matrix, font) for child in reversed(element))
    extra = tuple(text for text in others if text)
    return "".join(titles), "".join(descriptions), (*_lines(pieces), *extra)


def _font(element: _Element, inherited: float) -> float:
    stated = element.get("font-size") or ""
    found = _FONT_SIZE.search((element.get("style") or "")[:2000])
    number = _NUMBER.match(found[1] if found else stated.strip())
    return abs(float(number[0])) if number else inherited


def _times(inner: _Matrix, outer: _Matrix) -> _Matrix:
    """Return the transform that applies ``inner`` first (column vectors, as SVG writes them)."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    return (a * p + c * q, b * p + d * q, a * r + c * s, b * r + d * s, a * t + c * u + e, b * t + d * u + f)


def _matrix(transform: str | None) -> _Matrix:
    total = _IDENTITY
    for found in _TRANSFORM.finditer((transform or "")[:2000]):
        numbers = [float(number) for number in _NUMBER.findall(found[2])]
        if numbers:
            total = _times(_step(found[1], numbers), total)
    return total if all(math.isfinite(number) for number in total) else _IDENTITY


def _step(name: str, numbers: list[float]) -> _Matrix:
    if name == "matrix" and len(numbers) == 6:
        return (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])
    if name == "translate":
        return (1.0, 0.0, 0.0, 1.0, numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
    if name == "scale":
        return (numbers[0], 0.0, 0.0, numbers[1] if len(numbers) > 1 else numbers[0], 0.0, 0.0)
    if name == "rotate":
        turn = math.radians(numbers[0])
        x, y = (numbers[1], numbers[2]) if len(numbers) > 2 else (0.0, 0.0)
        cos, sin = math.cos(turn), math.sin(turn)
        return (cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y)
    return _IDENTITY


def _first(value: str | None) -> float | None:
    number = _NUMBER.match((value or "").strip())
    return float(number[0]) if number else None


def _pieces(text: _Element, matrix: _Matrix, font: float) -> Iterator[_Piece]:
    """Yield the runs of one ``<text>``; a ``<tspan>`` with a place of its own begins a new one."""
    x, y = _first(text.get("x")) or 0.0, _first(text.get("y")) or 0.0
    words: list[str] = []
    for element, is_start in _events(text):
        if is_start and element is not text:
            new_x, new_y = _first(element.get("x")), _first(element.get("y"))
            step = _first(element.get("dy")) or 0.0
            if new_x is not None or new_y is not None or step:
                yield from _piece(words, x, y, matrix, font)
                words = []
                x, y = (x if new_x is None else new_x), (y if new_y is None else new_y)
                y += step * (font if (element.get("dy") or "").strip().endswith("em") else 1.0)
        own = element.text if is_start else (element.tail if element is not text else None)
        if own and local_name(element) not in ("title", "desc", ""):
            words.append(own)
    yield from _piece(words, x, y, matrix, font)


def _events(root: _Element) -> Iterator[tuple[_Element, bool]]:
    stack: list[tuple[_Element, bool]] = [(root, True)]
    while stack:
        element, is_start = stack.pop()
        yield element, is_start
        if is_start:
            stack.append((element, False))
            stack.extend((child, True) for child in reversed(element))


def _piece(words: list[str], x: float, y: float, matrix: _Matrix, font: float) -> Iterator[_Piece]:
    text = squash(clean("".join(words)))
    if text:
        a, b, c, d, e, f = matrix
        scale = math.sqrt(abs(a * d - b * c)) or 1.0
        place = (a * x + c * y + e, b * x + d * y + f)
        if not all(math.isfinite(number) for number in place):
            place = (0.0, 0.0)
        yield _Piece(text=text, x=place[0], y=place[1], font=font * scale)


def _lines(pieces: list[_Piece]) -> list[str]:
    lines: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.y, piece.x)):
        if lines and piece.y - lines[-1][0].y <= _SAME_LINE * min(piece.font, lines[-1][0].font):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [" | ".join(piece.text for piece in sorted(line, key=lambda piece: piece.x)) for line in lines]

"""From the lines of a PDF page to paragraphs: what belongs together, what is a heading, which hyphens are real.

Layer: ``kg``; the standard library only. PDF has no paragraphs; they are read off the geometry. Lengths are in points
(1/72 inch) on the page as displayed, origin at the top left. Lines keep the order in which the file draws them, which
is the reading order in nearly all files that were typeset, columns included.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from kg.loaders.text_tools import clean, squash

__all__ = [
    "HYPHEN",
    "Block",
    "Line",
    "Rect",
    "Word",
    "blocks_of",
    "body_height",
    "is_over",
    "join_hyphens",
    "overlap",
    "union",
    "words_of",
]

HYPHEN = "\ufffe"
"""What PDFium writes for a hyphen at the end of a line, with the line break swallowed."""

Rect = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)``, points, origin at the top left."""

_SAME_SIZE = 1.2  # lines of one paragraph differ less in height than by this factor
_NORMAL_GAP = 0.6  # of the font size; typeset text has its baselines 1.1 to 1.5 font sizes apart
_FULL_LINE = 0.12  # a line that ends within this share of the block's width from its right edge was broken by wrapping
_ITEM = re.compile(r"(?:[•▪■●○‣◦∙·*–—-]|\(?(?:\d{1,2}|[a-z])[.)])\s")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN = re.compile(rf"([^\W_]+){HYPHEN}([^\W_]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of text as the file draws it. ``start`` is its first character in PDFium's list, -1 if it has none."""

    text: str
    rect: Rect
    start: int = -1

    @property
    def height(self) -> float:
        """Return the font size in points."""
        return self.rect[3] - self.rect[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a line: its box, its baseline, and its first character in PDFium's list."""

    text: str
    rect: Rect
    base: float
    start: int

    @property
    def middle(self) -> float:
        """Return the middle of its width."""
        return (self.rect[0] + self.rect[2]) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Lines that belong together, joined. ``first`` is the number of its first line."""

    text: str
    rect: Rect
    height: float
    n_lines: int
    first: int = 0


def union(rects: Iterable[Rect]) -> Rect:
    """Return the smallest rectangle around ``rects``, of which there is at least one."""
    x0, y0, x1, y1 = zip(*rects, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def overlap(first: Rect, second: Rect) -> float:
    """Return the area that two rectangles share, in square points."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def is_over(first: Rect, second: Rect) -> bool:
    """Return whether one rectangle is above or below the other: whether they share a vertical line."""
    return min(first[2], second[2]) > max(first[0], second[0])


def words_of(texts: Iterable[str]) -> Counter[str]:
    """Count the words of a document, case-folded, compounds with their hyphens; broken words are left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word.casefold() for word in _WORD.findall(_BROKEN.sub(" ", text)))
    return counts


def join_hyphens(text: str, words: Counter[str]) -> str:
    """Put together the words that were broken at line ends.

    The document decides: ``re-quires`` becomes ``requires`` if that word stands elsewhere in it, ``fact-checking``
    keeps its hyphen if it does elsewhere. Where it says nothing, the hyphen goes between two letters of one case.

    :param text: Text with :data:`HYPHEN` where a line ended in one.
    :param words: See :func:`words_of`.
    :returns: The text without :data:`HYPHEN`.
    """

    def joined(match: re.Match[str]) -> str:
        left, right = match.group(1), match.group(2)
        n_plain, n_hyphened = words[f"{left}{right}".casefold()], words[f"{left}-{right}".casefold()]
        if n_plain == n_hyphened:
            alike = left[-1].isalpha() and right[0].isalpha() and left[-1].isupper() == right[0].isupper()
            return left + right if alike else f"{left}-{right}"
        return left + right if n_plain > n_hyphened else f"{left}-{right}"

    return _BROKEN.sub(joined, text).replace(HYPHEN, "-")


def body_height(lines: Iterable[Line]) -> float:
    """Return the line height in which most characters are set, to a quarter of a point; 0 without lines."""
    counts: Counter[float] = Counter()
    for line in lines:
        counts[round(line.height * 4) / 4] += len(line.text)
    return counts.most_common(1)[0][0] if counts else 0.0


def _follows(line: Line, previous: Line, *, gap: float) -> bool:
    """Return whether ``line`` continues the block of ``previous``: below it, near, as tall, and over or under it."""
    heights = sorted((line.height, previous.height))
    is_below = line.rect[1] > previous.rect[1] + 0.3 * heights[0]
    is_near = line.rect[1] - previous.rect[3] <= gap * heights[1]
    is_alike = heights[1] <= _SAME_SIZE * max(heights[0], 0.1)
    return is_below and is_near and is_alike and is_over(line.rect, previous.rect)


def _usual_gap(lines: Sequence[Line]) -> float:
    """Return the largest gap, in line heights, that does not end a paragraph; double-spaced pages have larger ones."""
    gaps = [
        (line.rect[1] - previous.rect[3]) / max(line.height, 0.1)
        for previous, line in zip(lines, lines[1:], strict=False)
        if 0 < line.rect[1] - previous.rect[3] < 2 * line.height
    ]
    return max(_NORMAL_GAP, 1.3 * median(gaps)) if len(gaps) >= 8 else _NORMAL_GAP


def _joined(lines: Sequence[Line], words: Counter[str]) -> str:
    rect = union(line.rect for line in lines)
    right = rect[2] - _FULL_LINE * (rect[2] - rect[0])
    text = lines[0].text
    for previous, line in zip(lines, lines[1:], strict=False):
        wraps = previous.rect[2] >= right or line.text[:1].islower()
        is_item = _ITEM.match(line.text) is not None
        if text.endswith(HYPHEN):
            text += line.text
        else:
            text += (" " if wraps and not is_item else "\n") + line.text
    text = join_hyphens(text, words)
    return "\n".join(filter(None, (squash(part) for part in clean(text).split("\n"))))


def blocks_of(lines: Sequence[Line], words: Counter[str], *, breaks: Collection[int] = ()) -> list[Block]:
    """Group the lines of one page into blocks.

    :param lines: In drawing order.
    :param words: The words of the whole document.
    :param breaks: The numbers of lines before which something else stands, so that a block begins with them.
    :returns: Blocks of clean text in the same order; empty ones are dropped.
    """
    gap = _usual_gap(lines)
    groups: list[tuple[int, list[Line]]] = []
    for number, line in enumerate(lines):
        if groups and number not in breaks and _follows(line, groups[-1][1][-1], gap=gap):
            groups[-1][1].append(line)
        else:
            groups.append((number, [line]))
    blocks = []
    for first, group in groups:
        if text := _joined(group, words):
            height, rect = median(line.height for line in group), union(line.rect for line in group)
            blocks.append(Block(text=text, rect=rect, height=height, n_lines=len(group), first=first))
    return blocks

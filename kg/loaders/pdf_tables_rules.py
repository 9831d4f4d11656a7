"""The rules of a PDF page, and which of them frame a table.

Layer: ``kg``; the standard library only. Lengths are in points on the page as displayed, origin at the top left. A rule
is a thin rectangle or a stroke that is level or upright; pieces of one line are put together. Rules that touch, and
level rules that begin and end alike, belong to one frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kg.loaders.pdf_graphics import Drawn
from kg.loaders.pdf_layout import Rect

__all__ = ["Frame", "Rule", "clustered", "covers", "frames_of", "rules_of"]

_SAME_LINE = 1.5  # points across: pieces of one rule
_JOINT = 3.0  # points along: a gap between pieces of one rule; also how far off rules may end and still meet
_MIN_PIECE = 3.0  # points
_MIN_LEVEL = 12.0
_MIN_UPRIGHT = 6.0
_MAX_RULES = 1_500  # of a page; maps and plots have more, and no tables
_MIN_SHARED = 40.0  # points: shorter level rules of one extent are underlines


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A line: ``at`` is its y if it is level, its x if it is upright; it runs from ``start`` to ``end``."""

    at: float
    start: float
    end: float

    @property
    def length(self) -> float:
        """Return how long it is, in points."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Rules that belong together, each kind in the order of ``at``, and the rectangle around them."""

    rect: Rect
    levels: tuple[Rule, ...]
    uprights: tuple[Rule, ...]


def rules_of(drawn: Sequence[Drawn]) -> tuple[list[Rule], list[Rule]]:
    """Return the level and the upright rules among what is drawn on a page, pieces of one line put together.

    :param drawn: What is drawn on the page.
    :returns: Level rules and upright rules, each sorted by ``at``; none of a page that has too many to be a text.
    """
    levels: list[Rule] = []
    uprights: list[Rule] = []
    for item in drawn:
        if item.is_picture:
            continue
        for x0, y0, x1, y1 in (item.rect,) if item.is_thin else item.strokes:
            if x1 - x0 >= y1 - y0:
                levels.append(Rule(at=(y0 + y1) / 2, start=x0, end=x1))
            else:
                uprights.append(Rule(at=(x0 + x1) / 2, start=y0, end=y1))
    if len(levels) + len(uprights) > 4 * _MAX_RULES:
        return [], []
    found = _joined(levels, shortest=_MIN_LEVEL), _joined(uprights, shortest=_MIN_UPRIGHT)
    return found if len(found[0]) + len(found[1]) <= _MAX_RULES else ([], [])


def _joined(pieces: Iterable[Rule], *, shortest: float) -> list[Rule]:
    """Put the pieces of each line together; lines shorter than ``shortest`` are left out."""
    lines: list[list[Rule]] = []
    for piece in sorted(pieces, key=lambda rule: (rule.at, rule.start)):
        if piece.length < _MIN_PIECE:
            continue
        if lines and piece.at - lines[-1][0].at <= _SAME_LINE:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    joined: list[Rule] = []
    for line in lines:
        ordered = sorted(line, key=lambda rule: rule.start)
        current = ordered[0]
        for piece in ordered[1:]:
            if piece.start <= current.end + _JOINT:
                current = Rule(at=current.at, start=current.start, end=max(current.end, piece.end))
            else:
                joined.append(current)
                current = piece
        joined.append(current)
    return [rule for rule in joined if rule.length >= shortest]


def covers(rule: Rule, place: float) -> bool:
    """Return whether a rule runs through ``place``."""
    return rule.start - _JOINT <= place <= rule.end + _JOINT


def clustered(places: Iterable[float], *, within: float = _JOINT) -> list[float]:
    """Return one place for each run of places that lie within ``within`` of each other, in rising order."""
    runs: list[list[float]] = []
    for place in sorted(places):
        if runs and place - runs[-1][-1] <= within:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [sum(run) / len(run) for run in runs]


def frames_of(levels: Sequence[Rule], uprights: Sequence[Rule]) -> list[Frame]:
    """Group rules into frames.

    :param levels: Level rules.
    :param uprights: Upright rules.
    :returns: Frames with at least two level rules, the largest first.
    """
    n_levels = len(levels)
    parent = list(range(n_levels + len(uprights)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for i, j in (*_meeting(levels, uprights), *_alike(levels)):
        parent[root(i)] = root(j)
    groups: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for index in range(len(parent)):
        group = groups.setdefault(root(index), ([], []))
        if index < n_levels:
            group[0].append(levels[index])
        else:
            group[1].append(uprights[index - n_levels])
    frames = [part for group in groups.values() if len(group[0]) >= 2 for part in _cut(_frame(*group))]
    return sorted(frames, key=lambda frame: -(frame.rect[2] - frame.rect[0]) * (frame.rect[3] - frame.rect[1]))


def _cut(frame: Frame) -> list[Frame]:
    """Cut a frame of several closed tables, one under another: no upright rule runs between them."""
    ys = clustered(rule.at for rule in frame.levels)
    x0, x1 = frame.rect[0], frame.rect[2]
    is_closed = [
        any(covers(rule, (top + bottom) / 2) and abs(rule.at - x0) <= _JOINT for rule in frame.uprights)
        and any(covers(rule, (top + bottom) / 2) and abs(rule.at - x1) <= _JOINT for rule in frame.uprights)
        for top, bottom in zip(ys, ys[1:], strict=False)
    ]
    if sum(is_closed) < 2 or all(is_closed) or sum(is_closed) < 0.5 * len(is_closed):
        return [frame]
    parts: list[tuple[float, float]] = []
    for index, closed in enumerate(is_closed):
        if closed and index and is_closed[index - 1]:
            parts[-1] = (parts[-1][0], ys[index + 1])
        elif closed:
            parts.append((ys[index], ys[index + 1]))
    return [_between(frame, *part) for part in parts]


def _between(frame: Frame, top: float, bottom: float) -> Frame:
    levels = [rule for rule in frame.levels if top - _JOINT <= rule.at <= bottom + _JOINT]
    uprights = [
        Rule(at=rule.at, start=max(rule.start, top), end=min(rule.end, bottom))
        for rule in frame.uprights
        if rule.start < bottom - _JOINT and rule.end > top + _JOINT
    ]
    return _frame(levels, uprights)


def _meeting(levels: Sequence[Rule], uprights: Sequence[Rule]) -> Iterator[tuple[int, int]]:
    """Yield each level rule and each upright that meet, uprights numbered after the levels."""
    for i, level in enumerate(levels):
        for j, upright in enumerate(uprights, start=len(levels)):
            if covers(level, upright.at) and covers(upright, level.at):
                yield i, j


def _alike(levels: Sequence[Rule]) -> Iterator[tuple[int, int]]:
    """Yield pairs of level rules that begin and end alike."""
    ordered = sorted((level.start, i) for i, level in enumerate(levels) if level.length >= _MIN_SHARED)
    for place, (start, i) in enumerate(ordered):
        for other, j in ordered[place + 1 :]:
            if other - start > _JOINT:
                break
            if abs(levels[j].end - levels[i].end) <= _JOINT:
                yield i, j


def _frame(levels: list[Rule], uprights: list[Rule]) -> Frame:
    levels = sorted(levels, key=lambda rule: (rule.at, rule.start))
    uprights = sorted(uprights, key=lambda rule: (rule.at, rule.start))
    xs = [x for rule in levels for x in (rule.start, rule.end)] + [rule.at for rule in uprights]
    ys = [y for rule in uprights for y in (rule.start, rule.end)] + [rule.at for rule in levels]
    rect = (min(xs), min(ys), max(xs), max(ys))
    return Frame(rect=rect, levels=tuple(levels), uprights=tuple(uprights))

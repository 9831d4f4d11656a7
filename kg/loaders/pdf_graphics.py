"""Which parts of a PDF page are pictures or charts.

Layer: ``kg``; NumPy. A figure in a PDF is seldom one object: photographs come in strips, charts as hundreds of paths.
So what is drawn is laid on a coarse grid, touching cells are joined, and each island becomes a region, if it looks like
a figure. A region is later rendered as the reader sees it, labels included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kg.loaders.pdf_layout import Line, Rect, overlap, union
from kg.loaders.text_tools import is_caption
from kg.types import Modality

__all__ = ["Drawn", "Region", "covers_page", "find_regions"]

_CELL = 6.0  # points; with the margin below, drawings up to two cells apart belong together
_MAX_CELLS = 1_000_000  # of one page; a poster, or a page that claims to be a city, gets coarser ones
_BACKGROUND = 0.8  # of the page: what covers more is paper, not a figure
_PANEL = 0.15  # of the page: a path that large, with text on it, is a coloured box or a frame around text
_PANEL_TEXT_DENSITY = 0.003  # characters per square point; see _MAX_TEXT_DENSITY
_LONG_RULE = 0.5  # of the page's width: a thin line that long separates, it does not belong to a chart
_THIN = 2.5  # points
_MIN_PICTURE = 30.0  # points a side: smaller pictures are icons
_MIN_CHART = (72.0, 48.0)  # points: one inch by two thirds
_MIN_CHART_PATHS = 6
_MIN_SOLID_PATHS = 3  # bars, wedges, markers, curves; a table has rules only
_MAX_TEXT_DENSITY = 0.007  # characters per square point: 10-point prose has about 0.015, tables 0.008, labels 0.003
_PICTURE_SHARE = 0.3  # of a region: with more of it covered by raster pictures, it is a picture
_LABEL_REACH = 8.0  # points around a chart in which short lines are its labels
_MAX_LABEL = 80  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Something drawn on a page. ``pixels_per_point`` is 0 for a path, the resolution for a raster picture.

    ``is_outline`` is true of a path that is stroked and not filled, and no rule; ``strokes`` are its level and upright
    lines. ``is_shape`` is true of a filled path of many sides: a curve's area, a series of bars.
    """

    rect: Rect
    pixels_per_point: float = 0.0
    strokes: tuple[Rect, ...] = ()
    is_outline: bool = False
    is_shape: bool = False

    @property
    def is_picture(self) -> bool:
        """Return whether it is a raster picture."""
        return self.pixels_per_point > 0

    @property
    def is_thin(self) -> bool:
        """Return whether it is a rule: no more than a line across or down."""
        return min(self.rect[2] - self.rect[0], self.rect[3] - self.rect[1]) < _THIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a page that is a figure."""

    rect: Rect
    kind: Modality
    pixels_per_point: float


def _area(rect: Rect) -> float:
    return max(0.0, rect[2] - rect[0]) * max(0.0, rect[3] - rect[1])


def covers_page(rect: Rect, size: tuple[float, float]) -> bool:
    """Return whether ``rect`` covers so much of a page of ``size`` points that it is its background."""
    return overlap(rect, (0.0, 0.0, *size)) >= _BACKGROUND * size[0] * size[1]


def _cells(rect: Rect, shape: tuple[int, int], cell: float) -> tuple[slice, slice]:
    """Return the grid cells under ``rect`` with one more on each side."""
    rows = slice(max(0, int(rect[1] / cell) - 1), min(shape[0], int(rect[3] / cell) + 2))
    columns = slice(max(0, int(rect[0] / cell) - 1), min(shape[1], int(rect[2] / cell) + 2))
    return rows, columns


def _islands(drawn: Sequence[Drawn], size: tuple[float, float]) -> list[list[Drawn]]:
    """Join what lies within two cells of each other; time is linear in the objects and the cells of the page."""
    cell = max(_CELL, (size[0] * size[1] / _MAX_CELLS) ** 0.5, max(size) / _MAX_CELLS)
    shape = (int(size[1] / cell) + 1, int(size[0] / cell) + 1)
    filled = np.zeros(shape, dtype=bool)
    for item in drawn:
        filled[_cells(item.rect, shape, cell)] = True
    labels = np.zeros(shape, dtype=np.int32)
    n_labels = 0
    for row, column in zip(*(axis.tolist() for axis in np.nonzero(filled)), strict=True):
        if labels[row, column]:
            continue
        n_labels += 1
        labels[row, column] = n_labels
        stack = [(row, column)]
        while stack:
            y, x = stack.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= near[0] < shape[0] and 0 <= near[1] < shape[1]
                if inside and filled[near] and not labels[near]:
                    labels[near] = n_labels
                    stack.append(near)
    islands: list[list[Drawn]] = [[] for _ in range(n_labels)]
    for item in drawn:
        rows, columns = _cells(item.rect, shape, cell)
        islands[int(labels[rows.start, columns.start]) - 1].append(item)
    return islands


def _text_density(rect: Rect, lines: Sequence[Line]) -> float:
    n_characters = sum(len(line.text) for line in lines if overlap(line.rect, rect) > 0.5 * _area(line.rect))
    return n_characters / max(1.0, _area(rect))


def _region(island: Sequence[Drawn], lines: Sequence[Line]) -> Region | None:
    rect = union(item.rect for item in island)
    width, height = rect[2] - rect[0], rect[3] - rect[1]
    pictures = [item for item in island if item.is_picture]
    if sum(_area(item.rect) for item in pictures) >= _PICTURE_SHARE * _area(rect) > 0:
        finest = max(item.pixels_per_point for item in pictures)
        is_icon = min(width, height) < _MIN_PICTURE
        return None if is_icon else Region(rect=rect, kind=Modality.IMAGE, pixels_per_point=finest)
    n_solid = sum(not item.is_thin for item in island)
    is_small = width < _MIN_CHART[0] or height < _MIN_CHART[1]
    if is_small or len(island) < _MIN_CHART_PATHS or n_solid < _MIN_SOLID_PATHS:
        return None
    if _text_density(rect, lines) > _MAX_TEXT_DENSITY:
        return None
    return Region(rect=_with_labels(rect, lines), kind=Modality.CHART, pixels_per_point=0.0)


def _with_labels(rect: Rect, lines: Sequence[Line]) -> Rect:
    """Grow a chart by the short lines that touch it: axis labels, legends, values on bars."""
    reach = (rect[0] - _LABEL_REACH, rect[1] - _LABEL_REACH, rect[2] + _LABEL_REACH, rect[3] + _LABEL_REACH)
    labels = []
    for line in lines:
        x0, y0, x1, y1 = line.rect
        if len(line.text) <= _MAX_LABEL and overlap(line.rect, reach) > 0 and not is_caption(line.text):
            # A line wider than the chart holds the labels of its neighbours too: it adds height, not width.
            is_wide = x1 - x0 > rect[2] - rect[0]
            labels.append((max(x0, rect[0]), y0, min(x1, rect[2]), y1) if is_wide else line.rect)
    return union([rect, *labels])


def _merged(regions: list[Region]) -> list[Region]:
    """Join regions of which one lies for the most part in the other, until none does."""
    merged: list[Region] = []
    for region in sorted(regions, key=lambda region: -_area(region.rect)):
        for index, other in enumerate(merged):
            if overlap(region.rect, other.rect) > 0.4 * _area(region.rect):
                finest = max(region.pixels_per_point, other.pixels_per_point)
                merged[index] = Region(rect=union([region.rect, other.rect]), kind=other.kind, pixels_per_point=finest)
                break
        else:
            merged.append(region)
    return sorted(merged, key=lambda region: (region.rect[1], region.rect[0]))


def find_regions(drawn: Sequence[Drawn], lines: Sequence[Line], *, size: tuple[float, float]) -> list[Region]:
    """Find the figures of one page.

    :param drawn: What is drawn on it, in any order; parts outside the page are cut off.
    :param lines: Its lines of text.
    :param size: Width and height of the page in points.
    :returns: Regions from top to bottom.
    """
    kept = []
    for item in drawn:
        x0, y0, x1, y1 = item.rect
        rect = (max(0.0, x0), max(0.0, y0), min(size[0], x1), min(size[1], y1))
        is_rule = item.is_thin and not item.is_picture and max(x1 - x0, y1 - y0) > _LONG_RULE * size[0]
        is_outside = rect[0] > rect[2] or rect[1] > rect[3]
        is_panel = (
            not item.is_picture
            and _area(rect) > _PANEL * size[0] * size[1]
            and _text_density(rect, lines) > _PANEL_TEXT_DENSITY
        )
        if not (is_outside or is_rule or is_panel or covers_page(rect, size)):
            kept.append(Drawn(rect=rect, pixels_per_point=item.pixels_per_point))
    regions = [_region(island, lines) for island in _islands(kept, size)]
    return _merged([region for region in regions if region is not None])

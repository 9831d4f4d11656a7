"""The numbers behind a chart of a presentation, read within a limit.

Layer: ``kg``; python-pptx's plots and series. A chart keeps its points beside a claim of how many there are.
python-pptx believes the claim, makes a place for each point up to it, and looks for every value among all points. Here
the claims are held to the points that are there, and each point is read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kg.loaders.number_formats import shown
from kg.loaders.text_tools import clean

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["plot_rows"]

_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_MAX_DIGITS = 10
_MAX_GROUPED = 2_000  # categories in groups; python-pptx looks for the group of each among all groups


def plot_rows(plot: Any, *, max_rows: int) -> tuple[list[list[str]], bool]:
    """Return the table behind one plot: the names of the series, then a row for each category.

    :param plot: A plot of python-pptx; its claims are corrected on the way.
    :param max_rows: The most rows below the names, > 0.
    :returns: The rows, all of one length, and whether there were more.
    :raises ValueError: If a number of the chart cannot be read.
    """
    n_over = sum(_hold_to_points(count, max_rows) for count in plot._element.iter(f"{_C}ptCount"))
    all_names = _categories(plot)
    names = all_names[:max_rows]
    columns = [(clean(str(series.name or "")), _values(series)) for series in plot.series]
    rows = [["", *(name for name, _ in columns)]]
    for index in range(max([len(names), *(len(values) for _, values in columns)], default=0)):
        cells = [shown(values[index]) if index < len(values) else "" for _, values in columns]
        rows.append([names[index] if index < len(names) else "", *cells])
    return rows, n_over > 0 or len(all_names) > max_rows


def _hold_to_points(count: _Element, max_rows: int) -> bool:
    """Correct one claim: no more points than there are, nor than ``max_rows``; return whether the latter is less.

    Points whose place cannot be read are taken out.
    """
    cache = count.getparent()
    n_there = 0
    for point in [] if cache is None else list(cache.iter(f"{_C}pt")):
        place, around = _number(point.get("idx")), point.getparent()
        if place < 0 and around is not None:
            around.remove(point)
        n_there = max(n_there, place + 1)
    n_stated = _number(count.get("val"))
    n_points = n_there if n_stated < 0 else min(n_stated, n_there)
    count.set("val", str(min(n_points, max_rows)))
    return n_points > max_rows


def _number(text: str | None) -> int:
    """Return a number that a file states; -1 where it is none, or longer than any chart's."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else -1


def _categories(plot: Any) -> list[str]:
    source = plot._element.find(f"{_C}ser/{_C}cat")
    is_grouped = source is not None and source.find(f".//{_C}lvl") is not None
    if is_grouped and len(source.findall(f".//{_C}pt")) <= _MAX_GROUPED:
        return [" / ".join(map(str, path)) for path in plot.categories.flattened_labels]
    return [str(category.label) for category in plot.categories]


def _values(series: Any) -> list[Any]:
    """Return the values of a series, ``None`` where it has none."""
    source = series._element.find(f"{_C}yVal")
    source = series._element.find(f"{_C}val") if source is None else source
    count = None if source is None else source.find(f".//{_C}ptCount")
    if source is None or count is None:
        return []
    found: dict[int, Any] = {}
    for point in source.iter(f"{_C}pt"):
        found.setdefault(_number(point.get("idx")), point)
    return [found[index].value if index in found else None for index in range(_number(count.get("val")))]

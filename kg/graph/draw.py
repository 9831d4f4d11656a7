"""Draw a picture of the graph with Matplotlib.

Layer: ``kg``; Matplotlib, imported when something is drawn. The size of a disc grows with the relations of the entity
inside the picture, its colour is the entity's type, and labels are placed where they cover least.
"""

from __future__ import annotations

import textwrap
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.graph.labels import Label, Rectangle, place_labels, place_on_lines
from kg.graph.layout import Positions, arrange
from kg.graph.picture import GREY, Picture, degrees, type_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_INCHES_PER_UNIT = 1.15
_INCHES_MAX = 26.0
_BAND = 0.6
"""Inches for the length of a relation, for the longer side, and for the lines of text above and below."""

_BEND = 0.12
"""How far the arrows between two entities that relate both ways bow out, in shares of their length."""

_EDGE_LABELS_MAX = 45
"""Pictures with more relations than this have no words on their lines: they would cover each other."""


def draw(picture: Picture, path: Path, kind: str) -> None:
    """Draw a picture into a file.

    :param picture: What is drawn.
    :param path: Where to.
    :param kind: ``png``, ``svg`` or ``pdf``.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places, width, height = arrange(picture.entities, picture.relations)
    inches = min(_INCHES_PER_UNIT, _INCHES_MAX / max(width, height))
    size = (max(7.5, width * inches), max(3.0, height * inches))
    figure = Figure(figsize=(size[0], size[1] + 2 * _BAND), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    band = _BAND / (size[1] + 2 * _BAND)
    axes = figure.add_axes((0.0, band, 1.0, 1 - 2 * band))
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(width / 2 - size[0] / inches / 2, width / 2 + size[0] / inches / 2)
    axes.set_ylim(height / 2 - size[1] / inches / 2, height / 2 + size[1] / inches / 2)
    # Text stays text, so that it can be searched; the salt makes equal pictures equal files.
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmkgrag"}):
        # A script that the default font lacks is drawn as boxes; that is said once in the documentation, not a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        _fill(figure, axes, picture, places)
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(path, format=kind, metadata=undated.get(kind))


def _fill(figure: Figure, axes: Axes, picture: Picture, places: Positions) -> None:
    degree = degrees(picture.relations)
    radius = {one.entity_id: min(20.0, 5.0 + 2.2 * degree[one.entity_id] ** 0.5) for one in picture.entities}
    colours = type_colours(picture.entities)
    _lines(axes, picture, places, radius)
    for entity in picture.entities:
        x, y = places[entity.entity_id]
        in_focus = entity.entity_id in picture.focus
        axes.scatter(
            [x],
            [y],
            s=(2 * radius[entity.entity_id]) ** 2 * 0.78,
            color=colours[entity.type],
            edgecolors="#222222" if in_focus else "white",
            linewidths=2.0 if in_focus else 0.8,
            zorder=3,
        )
    taken = _names(figure, axes, picture, places, radius, degree)
    _words(axes, picture, places, taken=taken)
    _legend(figure, picture, colours)
    inches = figure.get_size_inches()
    edge, line = 0.15 / inches[0], 0.12 / inches[1]
    figure.text(edge, 1 - line, _plain(picture.title), fontsize=13, weight="bold", va="top", parse_math=False)
    figure.text(edge, 1 - 3.4 * line, picture.note, fontsize=9, color="#555555", va="top", parse_math=False)


def _lines(axes: Axes, picture: Picture, places: Positions, radius: Mapping[str, float]) -> None:
    """Draw an arrow for each pair of entities and way."""
    names = _said(picture)
    for head, tail in names:
        axes.annotate(
            "",
            xy=places[tail],
            xytext=places[head],
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#9aa0a6",
                "linewidth": 0.9,
                "shrinkA": radius[head],
                "shrinkB": radius[tail] + 1,
                "connectionstyle": f"arc3,rad={_BEND if (tail, head) in names else 0.0}",
            },
            zorder=1,
        )


def _words(axes: Axes, picture: Picture, places: Positions, *, taken: Sequence[Rectangle]) -> None:
    """Write the names of the relations on their lines, clear of each other and of the entities' names."""
    names = _said(picture)
    if len(names) > _EDGE_LABELS_MAX:
        return
    to_pixels, from_pixels = axes.transData.transform, axes.transData.inverted().transform
    lines, sizes, texts = [], [], []
    for (head, tail), said in names.items():
        (x0, y0), (x1, y1) = to_pixels(places[head]), to_pixels(places[tail])
        bend = _BEND / 2 if (tail, head) in names else 0.0
        aside = (bend * (y1 - y0), -bend * (x1 - x0))
        lines.append((x0 + aside[0], y0 + aside[1], x1 + aside[0], y1 + aside[1]))
        text = axes.text(
            0,
            0,
            _short(", ".join(dict.fromkeys(said)), 24),
            fontsize=6.5,
            color="#5f6368",
            ha="center",
            va="center",
            zorder=2,
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )
        box = text.get_window_extent(_renderer(axes.figure))
        sizes.append((box.width + 2, box.height + 1))
        texts.append(text)
    for text, at in zip(texts, place_on_lines(lines, sizes, taken=taken), strict=True):
        x, y = from_pixels(at)
        text.set_position((float(x), float(y)))


def _renderer(figure: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]


def _said(picture: Picture) -> dict[tuple[str, str], list[str]]:
    """Collect the names of the relations from one entity to another; loops are left out."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in picture.relations:
        if one.head_id != one.tail_id:
            names.setdefault((one.head_id, one.tail_id), []).append(one.name)
    return names


def _names(
    figure: Figure,
    axes: Axes,
    picture: Picture,
    places: Positions,
    radius: Mapping[str, float],
    degree: Mapping[str, int],
) -> list[Rectangle]:
    """Write the entities' names, the best related first, where they cover least; returns what is covered now."""
    renderer = _renderer(figure)
    pixels = figure.dpi / 72
    ordered = sorted(picture.entities, key=lambda one: (-degree.get(one.entity_id, 0), one.entity_id))
    texts = [
        axes.text(0, 0, _wrapped(one.name), fontsize=8.5, ha="center", va="center", zorder=4, parse_math=False)
        for one in ordered
    ]
    labels = []
    for one, text in zip(ordered, texts, strict=True):
        box = text.get_window_extent(renderer)
        x, y = axes.transData.transform(places[one.entity_id])
        labels.append(
            Label(x=x, y=y, radius=radius[one.entity_id] * pixels, width=box.width + 2, height=box.height + 1)
        )
    ends = {(one.head_id, one.tail_id) for one in picture.relations if one.head_id != one.tail_id}
    lines = [tuple(float(x) for end in pair for x in axes.transData.transform(places[end])) for pair in sorted(ends)]
    frame = axes.get_window_extent(renderer)
    found = place_labels(labels, frame=(frame.x0, frame.y0, frame.x1, frame.y1), lines=lines, gap=1.5 * pixels)
    for label, place, text in zip(labels, found, texts, strict=True):
        at = axes.transData.inverted().transform((place.x, place.y))
        text.set_position((float(at[0]), float(at[1])))
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.6})
        if (
            max(abs(place.x - label.x) - label.width / 2, abs(place.y - label.y) - label.height / 2)
            > label.radius + 6 * pixels
        ):
            start = axes.transData.inverted().transform((label.x, label.y))
            axes.plot([start[0], at[0]], [start[1], at[1]], color="#bbbbbb", linewidth=0.5, zorder=2)
    discs = [(one.x - one.radius, one.y - one.radius, one.x + one.radius, one.y + one.radius) for one in labels]
    words = [
        (at.x - one.width / 2, at.y - one.height / 2, at.x + one.width / 2, at.y + one.height / 2)
        for one, at in zip(labels, found, strict=True)
    ]
    return [*discs, *words]


def _legend(figure: Figure, picture: Picture, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    counts = Counter(entity.type for entity in picture.entities)
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=7, color=colour, label=f"{name} ({counts[name]})")
        for name, colour in colours.items()
        if colour != GREY
    ]
    n_other = sum(count for name, count in counts.items() if colours[name] == GREY)
    if n_other:
        handles.append(Line2D([], [], marker="o", linestyle="", markersize=7, color=GREY, label=f"other ({n_other})"))
    figure.legend(
        handles=handles,
        loc="lower left",
        fontsize=8,
        frameon=False,
        ncols=min(len(handles), 5 if figure.get_figwidth() < 10 else 9),
        bbox_to_anchor=(0.0, 0.0),
        handletextpad=0.1,
        columnspacing=0.9,
    )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _short(text: str, n: int) -> str:
    plain = _plain(text)
    return plain if len(plain) <= n else plain[: n - 1].rstrip() + "…"


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(_short(name, 44), width=22)) or "(no name)"

"""Pictures of routing: which expert of which layer works, for whom, and which are chosen together.

Layer: ``moe_backbone``; Matplotlib, imported when something is drawn. Colours are cividis, which the colour-blind read
as others do; every picture has a colour bar and says what it shows.

Shape suffixes: E experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_backbone.observe.stats import LayerRouting, RoutingStats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "plot_load", "plot_pairs"]

KINDS = ("png", "svg", "pdf")
_COLOURS = "cividis"
_COLUMNS_MAX = 4
_TICKS_MAX = 16
_PAIRED_LAYERS_MAX = 12


def plot_load(stats: RoutingStats, file: Path, *, title: str = "") -> None:
    """Draw the load of every expert in every layer, for all tokens and for each label.

    A cell is an expert's share of its layer's slots over the share it would have if all were equal: 1 is balanced, 0
    dead, which is marked by a cross. The scale is common to all parts and ends between 2 and 4.

    :param stats: What was recorded.
    :param file: Where to; its suffix chooses the format.
    :param title: The heading; empty for none.
    :raises ValueError: If nothing was recorded, or the format is not one of :data:`KINDS`.
    """
    layers = _drawn(stats, file)
    labels = list(dict.fromkeys(label for layer in layers for label, one in layer.labels.items() if one.n_tokens))
    parts: list[tuple[str, list[Sequence[float]]]] = [
        (f"all tokens (n = {layers[0].n_tokens:,})", [layer.load for layer in layers])
    ]
    for label in labels if len(labels) > 1 else []:
        first = layers[0].labels.get(label)
        shown = f"{label} (n = {first.n_tokens if first else 0:,})"
        parts.append((shown, [_label_load(layer, label) for layer in layers]))
    most = max(layer.n_experts for layer in layers)
    n_columns = min(len(parts), _COLUMNS_MAX)
    n_rows = math.ceil(len(parts) / n_columns)
    figure = _figure(min(3.2 + 0.09 * most, 8.0) * n_columns + 0.8, (1.4 + min(0.12 * len(layers), 6.0)) * n_rows + 0.5)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    highest = max(share * len(load) for _, loads in parts for load in loads for share in load)
    image: Any = None
    for axes, (name, loads) in zip(grid.flat, parts, strict=False):
        cells = [[share * len(load) for share in load] + [math.nan] * (most - len(load)) for load in loads]
        image = axes.imshow(
            cells, aspect="auto", cmap=_COLOURS, vmin=0.0, vmax=min(4.0, max(2.0, highest)),
            interpolation="nearest", origin="lower",
        )  # fmt: skip
        dead = [(expert, row) for row, load in enumerate(loads) for expert, share in enumerate(load) if not share]
        axes.scatter(*zip(*dead, strict=True) if dead else ([], []), marker="x", s=9, linewidths=0.8, color="white")
        axes.set_title(name, fontsize=9, parse_math=False)
        _whole_ticks(axes.xaxis, most)
        _whole_ticks(axes.yaxis, len(layers))
    for axes in grid.flat[len(parts) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("expert")
    for row in grid:
        row[0].set_ylabel("layer with experts")
    bar = figure.colorbar(image, ax=grid, extend="max" if highest > 4.0 else "neither", fraction=0.05, pad=0.02)
    bar.set_label("load over the balanced load")
    _save(figure, file, title)


def plot_pairs(stats: RoutingStats, file: Path, *, title: str = "") -> None:
    """Draw which experts are chosen together, one matrix a layer.

    A cell is the overlap of two experts' tokens over their union (Jaccard); the diagonal is left out. Of more than 12
    layers those with the strongest pair are drawn.

    :param stats: What was recorded.
    :param file: Where to; its suffix chooses the format.
    :param title: The heading; empty for none.
    :raises ValueError: If nothing was recorded, or the format is not one of :data:`KINDS`.
    """
    layers = _drawn(stats, file)
    shown = sorted(range(len(layers)), key=lambda at: -_strongest(layers[at]))[:_PAIRED_LAYERS_MAX]
    n_columns = min(len(shown), _COLUMNS_MAX)
    n_rows = math.ceil(len(shown) / n_columns)
    figure = _figure(2.5 * n_columns + 1.0, 2.6 * n_rows + 0.6)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    image: Any = None
    for axes, place in zip(grid.flat, sorted(shown), strict=False):
        layer = layers[place]
        experts = range(layer.n_experts)
        cells = [[math.nan if i == j else layer.together(i, j) for j in experts] for i in experts]
        image = axes.imshow(cells, cmap=_COLOURS, vmin=0.0, vmax=1.0, interpolation="nearest", origin="lower")
        axes.set_title(layer.name, fontsize=7, parse_math=False)
        _whole_ticks(axes.xaxis, layer.n_experts)
        _whole_ticks(axes.yaxis, layer.n_experts)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("expert")
    for row in grid:
        row[0].set_ylabel("expert")
    bar = figure.colorbar(image, ax=grid, fraction=0.05, pad=0.02)
    bar.set_label("tokens of both over tokens of either")
    _save(figure, file, title)


def _drawn(stats: RoutingStats, file: Path) -> list[LayerRouting]:
    if file.suffix.lstrip(".").lower() not in KINDS:
        raise ValueError(f"{file.name} names no format that is drawn: end it in .{', .'.join(KINDS)}.")
    layers = [layer for layer in stats.layers if layer.n_tokens and layer.n_experts]
    if not layers:
        raise ValueError("no layer routed a token: there is nothing to draw.")
    return layers


def _label_load(layer: LayerRouting, label: str) -> Sequence[float]:
    found = layer.labels.get(label)
    return found.load if found is not None else (0.0,) * layer.n_experts


def _strongest(layer: LayerRouting) -> float:
    experts = range(layer.n_experts)
    return max((layer.together(i, j) for i in experts for j in experts if i < j), default=0.0)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _whole_ticks(axis: Any, n: int) -> None:
    step = math.ceil(n / _TICKS_MAX)
    axis.set_ticks(range(0, n, step))
    axis.set_tick_params(labelsize=7)


def _save(figure: Figure, file: Path, title: str) -> None:
    import matplotlib

    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    kind = file.suffix.lstrip(".").lower()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    # Text stays text, so that it can be searched; the salt makes equal pictures equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmkgrag"}):
        figure.savefig(file, format=kind, metadata=undated.get(kind))

"""How well the table behind a chart is read off its picture: generated charts, whose tables are known.

Charts of ten kinds are drawn with matplotlib in varied sizes, fonts, colours and words, read by the real OCR, and the
cells of the table that comes out are compared with those that were drawn. A cell is right if its value is equal and its
row's and column's names are nearly those drawn (rapidfuzz ratio of at least 85, for OCR drops a letter now and then).
Beside it stands what reading order alone gives: lines of ``label: value``.

Two kinds (``bars without values``, ``line without values``) print no values: the right table there is none.

Run it: ``python -m tests.benchmarks.chart_tables [--per-kind 12] [--seed 7] [--save FOLDER] [--json]``
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from rapidfuzz import fuzz

from kg.captioning.charts import read_chart
from kg.captioning.layout import reading_order
from kg.captioning.ocr import OcrCaptioner
from tests.benchmarks.machine import describe_machine

Cells = dict[tuple[str, str], str]
"""``(row name, column name) -> value`` as printed; the column's name is empty for a single series."""

THINGS = (
    "Wheat", "Barley", "Oats", "Rye", "Maize", "Ferry traffic", "Road traffic", "Coal", "Wind power", "Solar", "Hydro",
    "North harbour", "South harbour", "Skerrin Point", "Upper valley", "Old town", "Retired people", "Students",
    "Households with children", "Small firms", "Large firms", "Public sector", "Puffins", "Razorbills", "Guillemots",
    "Very satisfied", "Paper and card", "Glass bottles", "Mixed plastics", "Night trains", "Regional buses",
)  # fmt: skip
SERIES = (
    ("Men", "Women"), ("Urban", "Rural"), ("Agree", "Disagree"), ("Before", "After"), ("Yes", "No", "Not sure"),
    ("Often", "Sometimes", "Never"), ("Low", "Medium", "High"), ("Spring", "Summer", "Autumn", "Winter"),
)  # fmt: skip
TITLES = ("Share of respondents by group", "Harvest by crop", "What people said", "Traffic through the two ports")
COLOURS = (("#1f4e79", "#c55a11", "#7f7f7f", "#548235"), ("#2e75b6", "#a9d18e", "#ffd966", "#c00000"))


class Chart:
    """One figure with its table.

    :param rng: Where all choices come from.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        mpl.rcParams["font.size"] = rng.choice((8, 9, 10, 11))
        self.figure = Figure(figsize=(rng.uniform(4.5, 7.5), rng.uniform(3.2, 5.5)), dpi=rng.choice((100, 120, 150)))
        self.axes = self.figure.add_subplot()
        self.colours = rng.choice(COLOURS)
        self.cells: Cells = {}

    def labels(self, n: int) -> list[str]:
        return self.rng.sample(THINGS, n)

    def numbers(self, n: int) -> list[int]:
        return [self.rng.randint(3, 96) for _ in range(n)]

    def text(self, value: int) -> str:
        return f"{value}%" if self.percent else str(value)

    @property
    def percent(self) -> bool:
        if not hasattr(self, "_percent"):
            self._percent = self.rng.random() < 0.4
        return self._percent

    def legend(self, n: int) -> None:
        self.axes.legend(ncols=n, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)

    def finish(self, *, ticks: bool = False) -> bytes:
        if self.rng.random() < 0.8:
            pad = 6 if self.axes.get_legend() is None else 32
            self.axes.set_title(self.rng.choice(TITLES), loc=self.rng.choice(("left", "center")), pad=pad)
        for side in ("top", "right"):
            self.axes.spines[side].set_visible(False)
        if not ticks:
            self.axes.tick_params(length=0)
        self.figure.tight_layout()
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


def horizontal_bars(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    labels, values = chart.labels(rng.randint(3, 9)), []
    values = chart.numbers(len(labels))
    bars = chart.axes.barh(labels, values, color=chart.colours[0])
    chart.axes.bar_label(bars, [chart.text(v) for v in values], padding=3)
    chart.axes.invert_yaxis()
    chart.axes.set_xticks([])
    return chart.finish(), {(label, ""): chart.text(v) for label, v in zip(labels, values, strict=True)}


def vertical_bars(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    first = rng.randint(1990, 2015)
    labels = [str(first + i) for i in range(rng.randint(4, 8))]
    values = [rng.randint(120, 9800) for _ in labels]
    texts = [f"{v:,}" for v in values]
    bars = chart.axes.bar(labels, values, color=chart.colours[0])
    chart.axes.bar_label(bars, texts, padding=2)
    if rng.random() < 0.5:
        chart.axes.set_yticks([])
    return chart.finish(), {(label, ""): text for label, text in zip(labels, texts, strict=True)}


def grouped_bars(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    series, labels = rng.choice(SERIES[:6]), chart.labels(rng.randint(2, 4))
    width = 0.8 / len(series)
    cells: Cells = {}
    for s, name in enumerate(series):
        values = chart.numbers(len(labels))
        places = [i + s * width for i in range(len(labels))]
        bars = chart.axes.bar(places, values, width * 0.95, label=name, color=chart.colours[s])
        chart.axes.bar_label(bars, [chart.text(v) for v in values], padding=2)
        cells.update({(label, name): chart.text(v) for label, v in zip(labels, values, strict=True)})
    chart.axes.set_xticks([i + width * (len(series) - 1) / 2 for i in range(len(labels))], labels)
    chart.axes.set_yticks([])
    chart.legend(len(series))
    return chart.finish(), cells


def stacked_rows(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    series, labels = rng.choice(SERIES), chart.labels(rng.randint(3, 6))
    left = [0] * len(labels)
    cells: Cells = {}
    for s, name in enumerate(series):
        values = [rng.randint(12, 45) for _ in labels]
        bars = chart.axes.barh(labels, values, left=left, label=name, color=chart.colours[s])
        chart.axes.bar_label(bars, [chart.text(v) for v in values], label_type="center", color="white")
        left = [a + b for a, b in zip(left, values, strict=True)]
        cells.update({(label, name): chart.text(v) for label, v in zip(labels, values, strict=True)})
    chart.axes.invert_yaxis()
    chart.axes.set_xticks([])
    chart.legend(len(series))
    return chart.finish(), cells


def grouped_rows(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    series, labels = rng.choice(SERIES[:4]), chart.labels(rng.randint(2, 4))
    height = 0.8 / len(series)
    cells: Cells = {}
    for s, name in enumerate(series):
        values = chart.numbers(len(labels))
        bars = chart.axes.barh(
            [i + s * height for i in range(len(labels))], values, height * 0.95, label=name, color=chart.colours[s]
        )
        chart.axes.bar_label(bars, [chart.text(v) for v in values], padding=2)
        cells.update({(label, name): chart.text(v) for label, v in zip(labels, values, strict=True)})
    chart.axes.set_yticks([i + height * (len(series) - 1) / 2 for i in range(len(labels))], labels)
    chart.axes.invert_yaxis()
    chart.axes.set_xticks([])
    chart.legend(len(series))
    return chart.finish(), cells


def labelled_line(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    first = rng.randint(1990, 2012)
    labels = [str(first + i * rng.choice((1, 1, 2))) for i in range(rng.randint(4, 7))]
    labels = sorted(set(labels))
    values = [rng.randint(10, 90) for _ in labels]
    chart.axes.plot(labels, values, marker="o", color=chart.colours[0])
    for label, value in zip(labels, values, strict=True):
        chart.axes.annotate(chart.text(value), (label, value), xytext=(0, 6), textcoords="offset points", ha="center")
    chart.axes.set_ylim(0, 105)
    chart.axes.set_yticks([])
    return chart.finish(), {(label, ""): chart.text(v) for label, v in zip(labels, values, strict=True)}


def pie(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    labels = chart.labels(rng.randint(2, 4))
    shares = [rng.randint(12, 28) for _ in labels]
    shares[-1] = 100 - sum(shares[:-1])
    texts = [f"{label}\n{share}%" for label, share in zip(labels, shares, strict=True)]
    chart.axes.pie(shares, labels=texts, labeldistance=0.5, colors=chart.colours, textprops={"ha": "center"})
    return chart.finish(), {(label, ""): f"{s}%" for label, s in zip(labels, shares, strict=True)}


def table_picture(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    columns, labels = rng.choice(SERIES[4:]), chart.labels(rng.randint(3, 6))
    rows = [chart.numbers(len(columns)) for _ in labels]
    chart.axes.axis("off")
    table = chart.axes.table([[str(v) for v in row] for row in rows], rowLabels=labels, colLabels=columns, loc="center")
    table.scale(1.0, rng.uniform(1.2, 1.9))
    cells = {
        (label, name): str(v)
        for label, row in zip(labels, rows, strict=True)
        for name, v in zip(columns, row, strict=True)
    }
    return chart.finish(), cells


def bars_without_values(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    labels = chart.labels(rng.randint(3, 5))
    chart.axes.barh(labels, chart.numbers(len(labels)), color=chart.colours[0])
    chart.axes.set_xlim(0, 100)
    return chart.finish(ticks=True), {}


def line_without_values(rng: random.Random) -> tuple[bytes, Cells]:
    chart = Chart(rng)
    first = rng.randint(1990, 2012)
    chart.axes.plot([str(first + i) for i in range(6)], chart.numbers(6), color=chart.colours[0])
    chart.axes.set_ylim(0, 100)
    return chart.finish(ticks=True), {}


KINDS: dict[str, Callable[[random.Random], tuple[bytes, Cells]]] = {
    "horizontal bars": horizontal_bars,
    "vertical bars": vertical_bars,
    "grouped bars": grouped_bars,
    "stacked rows": stacked_rows,
    "grouped rows": grouped_rows,
    "labelled line": labelled_line,
    "pie": pie,
    "picture of a table": table_picture,
    "bars without values": bars_without_values,
    "line without values": line_without_values,
}


def cells_of_grid(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Cells:
    names = header[1:] if header else ("",) * (len(rows[0]) - 1)
    return {(row[0], name): cell for row in rows for name, cell in zip(names, row[1:], strict=True) if cell}


def cells_of_lines(lines: list[str]) -> Cells:
    """Read what reading order gives: ``label: value`` and ``label | value``; more values have no names."""
    found: Cells = {}
    for line in lines:
        match = re.fullmatch(r"(.*\w.*?)(?:: | \| )([^:|]+)", line)
        if match:
            for value in match[2].split(", "):
                found[(match[1], "")] = value
    return found


def right(found: Cells, truth: Cells) -> int:
    return sum(
        any(
            value == drawn and fuzz.ratio(row, r) >= 85 and (name == n or fuzz.ratio(name, n) >= 85)
            for (r, n), drawn in truth.items()
        )
        for (row, name), value in found.items()
    )


def measure(per_kind: int, seed: int, save: Path | None) -> list[dict[str, Any]]:
    reader = OcrCaptioner()
    rows = []
    for kind, draw in KINDS.items():
        counts = {"charts": 0, "cells": 0, "found": 0, "right": 0, "lines_found": 0, "lines_right": 0}
        for number in range(per_kind):
            data, truth = draw(random.Random(f"{seed}/{kind}/{number}"))
            if save is not None:
                (save / f"{kind.replace(' ', '-')}-{number}.png").write_bytes(data)
            pieces = reader.pieces(data)
            grid = read_chart(pieces)
            found = cells_of_grid(grid.header, grid.rows) if grid is not None else {}
            lines = cells_of_lines([line.text for line in reading_order(pieces)])
            counts["charts"] += 1
            counts["cells"] += len(truth)
            counts["found"] += len(found)
            counts["right"] += right(found, truth)
            counts["lines_found"] += len(lines)
            counts["lines_right"] += right(lines, truth)
        rows.append({"kind": kind, **counts})
    return rows


def share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-kind", type=int, default=12, help="charts of each kind")
    parser.add_argument("--seed", type=int, default=7, help="which charts are drawn")
    parser.add_argument("--save", type=Path, help="write the pictures into this folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.save is not None:
        given.save.mkdir(parents=True, exist_ok=True)
    rows = measure(given.per_kind, given.seed, given.save)
    if given.json:
        print(json.dumps(rows))
        return
    print(describe_machine("rapidocr", "onnxruntime", "matplotlib"))
    print(f"{'kind':22} {'charts':>6} {'cells':>6} | table: P    R     | reading order: P    R")
    total: dict[str, int] = {}
    for row in rows:
        for key, value in row.items():
            if key != "kind":
                total[key] = total.get(key, 0) + value
    for row in [*rows, {"kind": "all", **total}]:
        print(
            f"{row['kind']:22} {row['charts']:6} {row['cells']:6} |     {share(row['right'], row['found']):>5} "
            f"{share(row['right'], row['cells']):>5} |            {share(row['lines_right'], row['lines_found']):>5} "
            f"{share(row['lines_right'], row['cells']):>5}"
        )


if __name__ == "__main__":
    main()

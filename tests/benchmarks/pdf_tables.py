"""How well tables are read off PDF pages: generated pages, whose tables are known, and pages that have none.

Pages are drawn with reportlab in varied sizes, fonts and words, some of them in two columns of prose with the table in
one; each kind is a way that tables are set. A cell is right if the same text stands in the same row and column; a table
that is cut in two or joined with another counts its cells as wrong. ``none`` are pages without a table: prose in two
columns between rules, contents, references, lists, equations, forms, plots with grid lines; every cell read there is
false. The baseline finds no tables: it has no cells, and its recall is 0. The loader was tuned on seeds 7 and 23.

Run it: ``python -m tests.benchmarks.pdf_tables [--per-kind 40] [--seed 7] [--show KIND] [--json]``
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle

from kg.ids import sha256_hex
from kg.limits import LoadLimits
from kg.loaders.pdf import PdfLoader
from kg.loaders.sniff import PDF
from kg.types import Document, RawFile
from tests.benchmarks.machine import describe_machine

Rows = list[list[str]]
SIZE = (595.0, 842.0)
WORDS = [
    "river",
    "spring",
    "town",
    "market",
    "hill",
    "year",
    "council",
    "harbour",
    "ship",
    "ice",
    "winter",
    "north",
    "bridge",
    "mill",
    "grain",
    "tower",
    "stone",
    "road",
    "the",
    "of",
    "and",
    "to",
    "in",
    "on",
    "with",
    "from",
    "at",
    "for",
    "after",
    "before",
    "under",
    "over",
    "small",
    "old",
    "new",
    "long",
    "great",
    "quiet",
    "early",
    "late",
]
LABELS = (
    "Norvik", "Skerrin Point", "Old Quay", "Upper valley", "Households with children", "Wheat", "Barley", "Small firms",
    "Large firms", "Night trains", "Regional buses", "Puffins", "Razorbills", "Coal", "Wind power", "Public sector",
    "Retired people", "Paper and card", "Mixed plastics", "South harbour", "Solar", "Hydro", "Ferry traffic", "Rye",
)  # fmt: skip
HEADS = ("Ships", "Cargo", "Share", "Total", "Pairs", "Score", "Rank", "Men", "Women", "Price", "Change", "Crew")
FONTS = ("Helvetica", "Times-Roman", "Courier")


@dataclass(slots=True)
class Sheet:
    """A page in the making, and the tables that stand on it."""

    rng: random.Random
    canvas: Canvas
    font: str
    size: float
    x: float
    width: float
    y: float = 770.0
    tables: list[Rows] = field(default_factory=list)

    def prose(self, n_lines: int) -> None:
        self.canvas.setFont(self.font, self.size)
        for _ in range(n_lines):
            line = self.rng.choice(WORDS)
            while stringWidth(line, self.font, self.size) < self.width * 0.93:
                line += " " + self.rng.choice(WORDS)
            self.canvas.drawString(self.x, self.y, line.rsplit(" ", 1)[0])
            self.y -= 1.25 * self.size
        self.y -= self.size

    def number(self) -> str:
        kind = self.rng.randrange(5)
        if kind == 0:
            return f"{self.rng.randint(1, 99999):,}"
        if kind == 1:
            return f"{self.rng.uniform(0, 100):.1f}%"
        return f"{self.rng.uniform(0, 100):.{self.rng.choice((1, 2))}f}" if kind < 4 else str(self.rng.randint(1, 999))

    def values(self, n_rows: int, n_columns: int) -> Rows:
        labels = self.rng.sample(LABELS, n_rows)
        head = ["Place", *self.rng.sample(HEADS, n_columns - 1)]
        return [head, *([label, *(self.number() for _ in head[1:])] for label in labels)]

    def text(self, n_words: int) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(n_words)).capitalize()

    def edges(self, rows: Rows, *, gap: float) -> list[float]:
        """Return the left edge of each column, columns as wide as their cells and ``gap`` apart."""
        widths = [max(stringWidth(cell, self.font, self.size) for cell in column) for column in zip(*rows, strict=True)]
        edges = [self.x]
        for width in widths:
            edges.append(edges[-1] + width + gap)
        return edges

    def cells(self, rows: Rows, edges: list[float], *, right: bool, gap: float) -> None:
        self.canvas.setFont(self.font, self.size)
        for row in rows:
            for column, cell in enumerate(row):
                if right and column:
                    self.canvas.drawRightString(edges[column + 1] - gap, self.y, cell)
                else:
                    self.canvas.drawString(edges[column], self.y, cell)
            self.y -= 1.35 * self.size

    def rule(self, start: float, end: float, *, up: float) -> None:
        self.canvas.line(start, self.y + up * self.size, end, self.y + up * self.size)

    def platypus(self, rows: Rows, styles: list[tuple[object, ...]]) -> None:
        base = [("FONT", (0, 0), (-1, -1), self.font, self.size)]
        table = Table(rows, style=TableStyle([*base, *styles]))
        _, height = table.wrapOn(self.canvas, self.width, 700)
        table.drawOn(self.canvas, self.x, self.y - height)
        self.y -= height + 2 * self.size


def ruled(sheet: Sheet) -> None:
    rows = sheet.values(sheet.rng.randint(3, 8), sheet.rng.randint(2, 5))
    sheet.platypus(rows, [("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    sheet.tables.append(rows)


def ruled_shaded(sheet: Sheet) -> None:
    rows = sheet.values(sheet.rng.randint(3, 8), sheet.rng.randint(2, 5))
    shades = [("BACKGROUND", (0, n), (-1, n), colors.lightgrey) for n in range(0, len(rows), 2)]
    sheet.platypus(rows, [("GRID", (0, 0), (-1, -1), 0.5, colors.black), *shades])
    sheet.tables.append(rows)


def ruled_merged(sheet: Sheet) -> None:
    rows = sheet.values(sheet.rng.randint(3, 6), 5)
    shown = [["Place", "Before", "", "After", ""], ["", *rows[0][1:]], *rows[1:]]
    spans = [("SPAN", (0, 0), (0, 1)), ("SPAN", (1, 0), (2, 0)), ("SPAN", (3, 0), (4, 0))]
    sheet.platypus(shown, [("GRID", (0, 0), (-1, -1), 0.5, colors.black), *spans])
    sheet.tables.append([["Place", "Before", "Before", "After", "After"], ["Place", *rows[0][1:]], *rows[1:]])


def ruled_wrapped(sheet: Sheet) -> None:
    head = ["Place", "What is known of it", "Ships"]
    body = [[label, sheet.text(sheet.rng.randint(8, 16)), sheet.number()] for label in sheet.rng.sample(LABELS, 4)]
    style = ParagraphStyle("cell", fontName=sheet.font, fontSize=sheet.size, leading=1.2 * sheet.size)
    shown = [head, *([label, Paragraph(note, style), value] for label, note, value in body)]
    base = [("FONT", (0, 0), (-1, -1), sheet.font, sheet.size), ("GRID", (0, 0), (-1, -1), 0.5, colors.black)]
    table = Table(
        shown, colWidths=[None, 0.4 * sheet.width, None], style=TableStyle([*base, ("VALIGN", (0, 0), (-1, -1), "TOP")])
    )
    _, height = table.wrapOn(sheet.canvas, sheet.width, 700)
    table.drawOn(sheet.canvas, sheet.x, sheet.y - height)
    sheet.y -= height + 2 * sheet.size
    sheet.tables.append([head, *body])


def booktabs(sheet: Sheet, *, gap: float = 0.0) -> None:
    rows = sheet.values(sheet.rng.randint(3, 9), sheet.rng.randint(3, 6))
    gap = gap or sheet.rng.uniform(1.0, 2.5) * sheet.size
    edges = sheet.edges(rows, gap=gap)
    sheet.rule(edges[0], edges[-1] - gap, up=1.1)
    sheet.cells(rows[:1], edges, right=True, gap=gap)
    sheet.rule(edges[0], edges[-1] - gap, up=0.95)
    sheet.cells(rows[1:], edges, right=True, gap=gap)
    sheet.rule(edges[0], edges[-1] - gap, up=0.95)
    sheet.y -= 2 * sheet.size
    sheet.tables.append(rows)


def booktabs_tight(sheet: Sheet) -> None:
    booktabs(sheet, gap=0.6 * sheet.size)


def booktabs_merged(sheet: Sheet) -> None:
    rows = sheet.values(sheet.rng.randint(3, 7), 5)
    gap = 1.2 * sheet.size
    edges = sheet.edges([*rows, ["", "Before", "the war", "After", "the war"]], gap=gap)
    right = edges[-1] - gap
    sheet.rule(edges[0], right, up=1.1)
    sheet.canvas.setFont(sheet.font, sheet.size)
    for name, first, last in (("Before the war", 1, 3), ("After the war", 3, 5)):
        sheet.canvas.drawCentredString((edges[first] + edges[last] - gap) / 2, sheet.y, name)
        sheet.canvas.line(edges[first], sheet.y - 0.35 * sheet.size, edges[last] - gap, sheet.y - 0.35 * sheet.size)
    sheet.y -= 1.45 * sheet.size
    sheet.cells(rows[:1], edges, right=True, gap=gap)
    sheet.rule(edges[0], right, up=0.95)
    sheet.cells(rows[1:], edges, right=True, gap=gap)
    sheet.rule(edges[0], right, up=0.95)
    sheet.y -= 2 * sheet.size
    sheet.tables.append([["", *["Before the war"] * 2, *["After the war"] * 2], *rows])


def two_on_a_page(sheet: Sheet) -> None:
    booktabs(sheet)
    sheet.prose(2)
    booktabs(sheet)


def unruled(sheet: Sheet) -> None:
    rows = sheet.values(sheet.rng.randint(4, 9), sheet.rng.randint(3, 5))
    gap = sheet.rng.uniform(2.0, 3.5) * sheet.size
    sheet.cells(rows, sheet.edges(rows, gap=gap), right=True, gap=gap)
    sheet.y -= 2 * sheet.size
    sheet.tables.append(rows)


def none(sheet: Sheet) -> None:
    sheet.rng.choice((_columns, _contents, _references, _items, _equations, _form, _plot))(sheet)


def _columns(sheet: Sheet) -> None:
    sheet.canvas.line(40, 790, 555, 790)
    top, (x, width) = sheet.y, (sheet.x, sheet.width)
    for sheet.x in (40, 310):
        sheet.y, sheet.width = top, 245
        sheet.prose(40)
    sheet.x, sheet.width = x, width
    sheet.canvas.line(40, sheet.y, 555, sheet.y)


def _contents(sheet: Sheet) -> None:
    page = 1
    dots = sheet.rng.random() < 0.5
    for _ in range(12):
        page += sheet.rng.randint(1, 9)
        name = sheet.text(sheet.rng.randint(1, 4))
        sheet.canvas.drawString(sheet.x, sheet.y, f"{name} {'.' * 60}" if dots else name)
        sheet.canvas.drawRightString(sheet.x + sheet.width, sheet.y, str(page))
        sheet.y -= 1.5 * sheet.size


def _references(sheet: Sheet) -> None:
    for number in range(1, 13):
        sheet.canvas.drawString(sheet.x, sheet.y, f"[{number}]")
        for _ in range(2):
            sheet.canvas.drawString(sheet.x + 25, sheet.y, sheet.text(8)[: int(sheet.width / sheet.size * 1.6)])
            sheet.y -= 1.25 * sheet.size


def _items(sheet: Sheet) -> None:
    for number in range(1, 9):
        sheet.canvas.drawString(sheet.x, sheet.y, sheet.rng.choice(("-", "•", f"{number}.")))
        sheet.canvas.drawString(sheet.x + 22, sheet.y, sheet.text(sheet.rng.randint(1, 6)))
        sheet.y -= 1.4 * sheet.size


def _equations(sheet: Sheet) -> None:
    for number in range(1, 6):
        sheet.canvas.drawString(sheet.x + 40, sheet.y, f"x{number} = {sheet.number()} y + {sheet.number()} z")
        sheet.canvas.drawRightString(sheet.x + sheet.width, sheet.y, f"({number})")
        sheet.y -= 2 * sheet.size


def _form(sheet: Sheet) -> None:
    for name in ("Name:", "Street:", "Town:", "Country:", "Date:"):
        sheet.canvas.drawString(sheet.x, sheet.y, name)
        sheet.canvas.line(sheet.x + 80, sheet.y - 2, sheet.x + 240, sheet.y - 2)
        sheet.y -= 2 * sheet.size


def _plot(sheet: Sheet) -> None:
    left, bottom, width = sheet.x + 30, sheet.y - 160, min(sheet.width - 40, 260)
    for tick in range(6):
        sheet.canvas.line(left, bottom + 30 * tick, left + width, bottom + 30 * tick)
        sheet.canvas.drawRightString(left - 5, bottom + 30 * tick - 3, str(20 * tick))
    for index in range(5):
        sheet.canvas.setFillColorRGB(0.2, 0.4, 0.7)
        height = sheet.rng.uniform(20, 140)
        sheet.canvas.rect(left + width / 5 * index + 8, bottom, width / 8, height, stroke=0, fill=1)
        sheet.canvas.setFillColorRGB(0, 0, 0)
        sheet.canvas.drawString(left + width / 5 * index + 8, bottom + height + 3, sheet.number())
        sheet.canvas.drawString(left + width / 5 * index + 8, bottom - 12, HEADS[index])
    sheet.y = bottom - 40


KINDS: dict[str, Callable[[Sheet], None]] = {
    kind.__name__: kind
    for kind in (
        ruled, ruled_shaded, ruled_merged, ruled_wrapped, booktabs, booktabs_tight, booktabs_merged, two_on_a_page,
        unruled, none,
    )
}  # fmt: skip


def make_page(kind: str, rng: random.Random) -> tuple[bytes, list[Rows]]:
    """Draw one page; where it has two columns, the other one is prose."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=SIZE, pageCompression=1)
    font, size = rng.choice(FONTS[:2] if kind != "ruled" else FONTS), rng.choice((7.0, 8.0, 9.0, 10.0, 11.0))
    is_narrow = size <= 8 and kind in ("booktabs", "booktabs_tight", "unruled") and rng.random() < 0.5
    x, width = (310.0, 245.0) if is_narrow else (rng.uniform(40, 70), 460.0)
    if is_narrow:
        Sheet(rng, canvas, font, size, 40.0, 245.0).prose(45)
    sheet = Sheet(rng, canvas, font, size, x, width)
    sheet.prose(rng.randint(3, 8))
    canvas.setFont(font, size)
    KINDS[kind](sheet)
    sheet.prose(rng.randint(3, 8))
    canvas.showPage()
    canvas.save()
    return buffer.getvalue(), sheet.tables


def read(data: bytes) -> Document:
    raw = RawFile(source="page.pdf", name="page.pdf", media_type=PDF, data=data, sha256=sha256_hex(data))
    return PdfLoader(LoadLimits()).load(raw)


def n_equal(drawn: Rows, found: Rows) -> int:
    """Count the cells that stand at one place with one text."""
    return sum(
        cell == (found[y][x] if y < len(found) and x < len(found[y]) else None)
        for y, row in enumerate(drawn)
        for x, cell in enumerate(row)
        if cell
    )


def score(drawn: list[Rows], found: list[Rows]) -> tuple[int, int, int]:
    """Return the filled cells drawn, those found, and those right; each table is matched with the one most like it."""
    n_right, rest = 0, list(found)
    for rows in drawn:
        best = max(rest, key=lambda other: n_equal(rows, other), default=None)
        if best is not None:
            rest.remove(best)
            n_right += n_equal(rows, best)
    n_filled = [sum(bool(cell) for rows in tables for row in rows for cell in row) for tables in (drawn, found)]
    return n_filled[0], n_filled[1], n_right


def measure(kind: str, *, n: int, seed: int, show: bool) -> dict[str, float | int | str]:
    rng = random.Random(f"{seed}-{kind}")
    totals, n_heads, n_tables, seconds, n_exact = [0, 0, 0], 0, 0, 0.0, 0
    for _ in range(n):
        data, drawn = make_page(kind, rng)
        start = time.perf_counter()
        tables = read(data).tables
        seconds += time.perf_counter() - start
        found = [[list(row) for row in table.rows] for table in tables]
        counts = score(drawn, found)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        n_heads += sum(table.n_header_rows == (2 if kind.endswith("merged") else 1) for table in tables)
        n_tables += len(found)
        n_exact += found == drawn
        if show and found != drawn:
            sys.stdout.write(json.dumps({"drawn": drawn, "found": found}, ensure_ascii=False) + "\n")
    n_drawn, n_found, n_right = totals
    return {
        "kind": kind,
        "pages": n,
        "tables": n_tables,
        "cells": n_drawn,
        "precision": n_right / n_found if n_found else 1.0,
        "recall": n_right / n_drawn if n_drawn else 1.0,
        "false_cells": n_found - n_right,
        "pages_exact": n_exact / n,
        "heads": n_heads / n_tables if n_tables else 1.0,
        "ms_per_page": 1000 * seconds / n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-kind", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--show", default="", help="print the pages of this kind that are not read exactly")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    kinds = [arguments.show] if arguments.show else list(KINDS)
    rows = [measure(kind, n=arguments.per_kind, seed=arguments.seed, show=bool(arguments.show)) for kind in kinds]
    if arguments.json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    lines = [
        f"{'kind':<16} {'pages':>5} {'cells':>6} {'precision':>9} {'recall':>7} {'baseline recall':>15} {'exact':>6} "
        f"{'heads':>6} {'ms/page':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row['kind']:<16} {row['pages']:>5} {row['cells']:>6} {row['precision']:>9.1%} {row['recall']:>7.1%} "
            f"{0 if row['cells'] else 1:>15.1%} {row['pages_exact']:>6.1%} {row['heads']:>6.1%} "
            f"{row['ms_per_page']:>7.1f}"
        )
    sys.stdout.write("\n".join([*lines, describe_machine("pypdfium2", "reportlab")]) + "\n")


if __name__ == "__main__":
    main()

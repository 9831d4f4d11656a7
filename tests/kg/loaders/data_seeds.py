"""Makers of one good file of each data format: small, and with everything in it that a loader looks at."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import openpyxl
import pptx
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from tests.kg.loaders.packing import dateless

__all__ = ["DATA_SEEDS"]

RECORDS = [{"name": "Kestrel", "seats": 180, "home": {"port": "Aldis", "berths": [1, 2]}}, {"name": "Petrel"}]


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["Ship", "Seats", "Share"], ["Kestrel", 180, 0.5], ["Petrel", "=B2/2", None]):
        sheet.append(row)
    sheet["C2"].number_format = "0.0%"
    sheet.merge_cells("A4:B5")
    book.create_sheet("Empty").sheet_state = "hidden"
    buffer = io.BytesIO()
    book.save(buffer)
    return dateless(buffer.getvalue())


def slides() -> bytes:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "The fleet"
    table = slide.shapes.add_table(2, 2, 0, 0, 1000, 1000).table
    for index, word in enumerate(["Ship", "Seats", "Kestrel", "180"]):
        table.cell(index // 2, index % 2).text = word
    data = CategoryChartData()
    data.categories = ["2021", "2022"]
    data.add_series("Puffins", (1278, 1209))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 1000, 1000, data)
    slide.notes_slide.notes_text_frame.text = "Say hello."
    buffer = io.BytesIO()
    show.save(buffer)
    return dateless(buffer.getvalue())


DATA_SEEDS: dict[str, Callable[[], bytes]] = {
    "xlsx": workbook,
    "pptx": slides,
    "csv": lambda: b'Ship;Seats;Note\nKestrel;180;"a, b"\nPetrel;64;"c ""d"""\n',
    "tsv": lambda: b"Ship\tSeats\nKestrel\t180\nPetrel\t64\n",
    "json": lambda: json.dumps(RECORDS, indent=1).encode(),
    "jsonl": lambda: "\n".join(json.dumps(record) for record in RECORDS).encode(),
}
"""Makers, by the suffix of the file's name."""

"""Damaged data files are read or refused with a reason: no crash, no hang, whatever bytes are changed."""

from __future__ import annotations

import io
import json
import random
import zipfile

import openpyxl
import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from kg.errors import LoadError
from kg.limits import LoadLimits

LIMITS = LoadLimits(max_cells=20_000, max_table_rows=2_000, timeout_s=20, max_archive_bytes=64 * 1024 * 1024)
N_MUTATIONS = 20


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
    return buffer.getvalue()


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
    return buffer.getvalue()


RECORDS = [{"name": "Kestrel", "seats": 180, "home": {"port": "Aldis", "berths": [1, 2]}}, {"name": "Petrel"}]
GOOD = {
    "a.xlsx": workbook(),
    "a.pptx": slides(),
    "a.csv": b'Ship;Seats;Note\nKestrel;180;"a, b"\nPetrel;64;"c ""d"""\n',
    "a.tsv": b"Ship\tSeats\nKestrel\t180\nPetrel\t64\n",
    "a.json": json.dumps(RECORDS, indent=1).encode(),
    "a.jsonl": "\n".join(json.dumps(record) for record in RECORDS).encode(),
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with one kind of damage: cut off, bytes changed, a stretch lost, repeated or zeroed."""
    first, last = sorted(rng.randrange(len(data)) for _ in range(2))
    match rng.randrange(5):
        case 0:
            return data[:last]
        case 1:
            changed = bytearray(data)
            for _ in range(1 + len(data) // 200):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(changed)
        case 2:
            return data[:first] + data[last:]
        case 3:
            return data[:last] + data[first:last] * 3 + data[last:]
        case _:
            return data[:first] + bytes(last - first) + data[last:]


def repacked(data: bytes, rng: random.Random) -> bytes:
    """Return a package in which one part is damaged and the archive around it is sound."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice([name for name in old.namelist() if name.endswith((".xml", ".rels"))])
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, mutated(part, rng) if name == chosen else part)
    return buffer.getvalue()


def read_or_refused(load, name: str, data: bytes) -> None:
    try:
        document = load(name, data, limits=LIMITS)
    except LoadError as error:
        assert str(error)  # noqa: PT017 - reading it is as good
        return
    for table in document.tables:
        assert [len(row) for row in table.rows] == [len(table.rows[0])] * len(table.rows)
        assert document.text[table.span.start : table.span.end].strip()


@pytest.mark.parametrize("seed", range(N_MUTATIONS))
@pytest.mark.parametrize("name", sorted(GOOD))
def test_damaged_file_is_read_or_refused(load, name, seed):
    read_or_refused(load, name, mutated(GOOD[name], random.Random(f"{name}{seed}")))


@pytest.mark.parametrize("seed", range(3 * N_MUTATIONS))
@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx"])
def test_package_with_one_damaged_part_is_read_or_refused(load, name, seed):
    read_or_refused(load, name, repacked(GOOD[name], random.Random(f"{name}{seed}")))


def test_undamaged_files_are_read(load):
    for name, data in GOOD.items():
        assert load(name, data, limits=LIMITS).text.strip(), name

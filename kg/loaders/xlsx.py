"""Excel workbooks: each sheet is a page with its name as heading, and its tables are kept as tables.

Layer: ``kg``; openpyxl reads the sheets as a stream, row by row, with the values that formulas had when the file was
saved. What its streaming reader does not tell (merged cells, formulas without a saved value, pictures) is read off the
parts of the package. A sheet is read until ``max_table_rows`` or ``max_cells`` is reached, and the metadata say so.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kg.errors import CorruptFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.number_formats import shown
from kg.loaders.sheet_regions import add_regions
from kg.loaders.sniff import XLSX
from kg.loaders.tables import cell_text
from kg.loaders.text_tools import clean, squash
from kg.loaders.xlsx_parts import SheetPart, add_sheet_pictures, sheet_parts
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from openpyxl import Workbook

__all__ = ["XlsxLoader"]

_MAX_ROW = 1_048_576  # of the format
_MAX_EMPTY_SHARE = 20  # cells looked at for each that may be kept: a sheet of gaps ends too
_MAX_MERGED_COLUMNS = 1_000


@dataclass(slots=True)
class _Budget:
    """What may still be kept of one workbook."""

    n_rows: int
    n_cells: int
    n_looked_at: int
    notes: list[str] = field(default_factory=list)

    def is_spent_after(self, row: list[str], where: str) -> bool:
        self.n_cells -= len(row)
        if self.n_cells < 0 or self.n_looked_at < 0:
            self.notes.append(f"{where}: only the rows up to the limit max_cells were kept.")
            return True
        return False


class XlsxLoader:
    """Reads Excel workbooks (``.xlsx``, ``.xlsm``; macros are not looked at).

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({XLSX})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Check the package against bombs, then read sheet after sheet.

        :param raw: A workbook.
        :returns: A document whose pages are its sheets. ``metadata`` tells of hidden sheets, of formulas without a
            saved value, of charts, and of rows that were left out.
        :raises LoadError: If the file is damaged, encrypted, empty or takes too long.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        scans = sheet_parts(raw, limits=self._limits)
        builder.deadline.check("parsing")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about extensions that openpyxl would drop on saving
                workbook = _open(raw)
                try:
                    return self._read(workbook, builder, scans)
                finally:
                    workbook.close()
        except _PARSER_ERRORS as error:
            raise CorruptFileError(
                f"{raw.name}: is packed like an Excel workbook but cannot be read as one ({error}). Save it again in "
                "Excel."
            ) from error

    def _read(self, workbook: Workbook, builder: DocumentBuilder, scans: dict[str, SheetPart]) -> Document:
        limits = self._limits
        budget = _Budget(limits.max_table_rows, limits.max_cells, _MAX_EMPTY_SHARE * limits.max_cells)
        hidden: list[str] = []
        for number, sheet in enumerate(workbook.worksheets, 1):
            name = squash(clean(str(sheet.title)))
            part = scans.get(str(sheet.title), SheetPart())
            builder.start_page()
            builder.add_heading(name or f"Sheet {number}", level=1)
            if sheet.sheet_state != "visible":
                hidden.append(name)
            if budget.n_cells > 0 and budget.n_looked_at > 0:
                rows = list(_rows(sheet, part, builder=builder, budget=budget, where=name))
                add_regions(builder, rows, page=number)
            else:
                budget.notes.append(f"{name}: left out, because the limit max_cells was reached before it.")
            add_sheet_pictures(builder, part, page=number)
            builder.end_page(number)
        properties = workbook.properties
        notes = _metadata(scans, hidden=hidden, budget=budget)
        if author := squash(clean(properties.creator or "")):
            notes["author"] = author
        return builder.build(title=clean(properties.title or ""), is_paged=True, metadata=notes)


def _open(raw: RawFile) -> Workbook:
    import openpyxl

    return openpyxl.load_workbook(io.BytesIO(raw.data), read_only=True, data_only=True, keep_links=False)


def _rows(sheet: Any, part: SheetPart, *, builder: DocumentBuilder, budget: _Budget, where: str) -> Iterator[list[str]]:
    """Yield the rows of a sheet as they are shown, until the sheet or the budget ends."""
    sheet.reset_dimensions()  # they are a claim
    merges = _Merges(part.merged)
    n_kept = 0
    is_gap = False
    for number, cells in enumerate(sheet.iter_rows(max_row=_MAX_ROW), 1):
        if number % 256 == 0:
            builder.deadline.check(f"row {number} of sheet {where}")
        if not cells and is_gap:
            continue
        row = [cell_text(shown(cell.value, _format_of(cell))) for cell in cells]
        budget.n_looked_at -= len(row)
        while row and not row[-1]:
            row.pop()
        merges.apply(number, row)
        n_kept += bool(row)
        if n_kept > budget.n_rows:
            budget.notes.append(f"{where}: only the first {budget.n_rows} rows were kept (the limit max_table_rows).")
            return
        if budget.is_spent_after(row, where):
            return
        is_gap = not row
        yield row


def _format_of(cell: Any) -> str:
    return str(cell.number_format) if isinstance(cell.value, int | float) else ""


class _Merges:
    """Repeats the value of merged cells in each place they cover, as long as the rows hold anything of their own."""

    def __init__(self, merged: tuple[tuple[int, int, int, int], ...]) -> None:
        self._ranges = sorted(merged)
        self._next = 0
        self._active: list[tuple[int, int, int, str]] = []

    def apply(self, number: int, row: list[str]) -> None:
        """Fill the merged places of row ``number``."""
        while self._next < len(self._ranges) and self._ranges[self._next][0] <= number:
            first, left, last, right = self._ranges[self._next]
            self._next += 1
            value = row[left - 1] if first == number and left <= len(row) else ""
            if value:
                self._active.append((last, left, min(right, left + _MAX_MERGED_COLUMNS), value))
        self._active = [merge for merge in self._active if merge[0] >= number]
        if not row:
            return
        for _, left, right, value in self._active:
            row.extend([""] * (right - len(row)))
            for column in range(left - 1, right):
                row[column] = row[column] or value


def _metadata(scans: dict[str, SheetPart], *, hidden: list[str], budget: _Budget) -> dict[str, str]:
    notes = {
        "hidden_sheets": ", ".join(hidden),
        "formulas_without_value": str(sum(part.n_formulas_without_value for part in scans.values()) or ""),
        "charts": str(sum(part.n_charts for part in scans.values()) or ""),
        "left_out": " ".join(budget.notes),
    }
    return {key: value for key, value in notes.items() if value}


_PARSER_ERRORS = (
    zipfile.BadZipFile,
    LookupError,
    ValueError,
    AttributeError,
    TypeError,
    SyntaxError,  # of XML: lxml's derives from it
    OverflowError,
    NotImplementedError,
    re.error,
)

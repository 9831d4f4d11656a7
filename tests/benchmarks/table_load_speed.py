"""Measure how long a spreadsheet and a CSV of many rows take to read, and how much memory.

    python -m tests.benchmarks.table_load_speed [--rows 1000000] [--kept 50000]

Rows have four cells: a station, a number, a formula with its saved value, a remark. Beside it stands the trivial way:
all rows as a list of lists, through the same parser, without limits (``--baseline``; it takes minutes and gigabytes for
a workbook of a million rows). Memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import openpyxl

from kg.limits import LoadLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from tests.benchmarks.machine import describe_machine


def write_files(folder: Path, n_rows: int) -> None:
    """Write ``rows.xlsx`` and ``rows.csv``."""
    import xlsxwriter

    book = xlsxwriter.Workbook(str(folder / "rows.xlsx"), {"constant_memory": True})
    sheet = book.add_worksheet("Log")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        header = ["station", "day", "double", "remark"]
        sheet.write_row(0, 0, header)
        lines.writerow(header)
        for number in range(1, n_rows + 1):
            sheet.write_row(number, 0, [f"s{number % 97}", number])
            sheet.write_formula(number, 2, f"=B{number + 1}*2", None, 2 * number)
            sheet.write_string(number, 3, f"remark, {number}")
            lines.writerow([f"s{number % 97}", number, 2 * number, f"remark, {number}"])
    book.close()


def load(path: Path, n_kept: int) -> int:
    """Read a file as ingest does; return the rows kept."""
    limits = LoadLimits(max_table_rows=n_kept, max_cells=n_kept * 10)
    document = LoaderRegistry(default_loaders(limits), limits).load(raw_from_bytes(path.name, path.read_bytes()))
    return len(document.tables[0].rows)


def load_all(path: Path, _: int) -> int:
    """Read every row into lists: the trivial way."""
    if path.suffix == ".csv":
        return len(list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")))))
    sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).active
    return len([list(row) for row in sheet.iter_rows(values_only=True)])


def measure(action: Callable[[Path, int], int], path: Path, n_kept: int) -> None:
    """Print one line, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        n_rows, seconds, peak_mib = pool.apply(_timed, (action, path, n_kept))
    print(f"{path.name:10} {action.__name__:9} {n_rows:9d} {seconds:9.1f} {peak_mib:9.0f}")


def _timed(action: Callable[[Path, int], int], path: Path, n_kept: int) -> tuple[int, float, float]:
    start = time.perf_counter()
    n_rows = action(path, n_kept)
    return n_rows, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kept", type=int, default=LoadLimits().max_table_rows)
    parser.add_argument("--baseline", action="store_true")
    options = parser.parse_args()
    print(describe_machine("openpyxl"))
    print(f"{'file':10} {'how':9} {'rows kept':>9} {'seconds':>9} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.rows)
        for name in ("rows.csv", "rows.xlsx"):
            for action in (load, load_all) if options.baseline else (load,):
                measure(action, Path(folder) / name, options.kept)


if __name__ == "__main__":
    main()

"""Damaged data files are read or refused with a reason: no crash, no hang, whatever bytes are changed."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from kg.errors import LoadError
from kg.limits import LoadLimits
from tests.kg.loaders.data_seeds import DATA_SEEDS

LIMITS = LoadLimits(max_cells=20_000, max_table_rows=2_000, timeout_s=20, max_archive_bytes=64 * 1024 * 1024)
N_MUTATIONS = 20


GOOD = {f"a.{suffix}": make() for suffix, make in DATA_SEEDS.items()}


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

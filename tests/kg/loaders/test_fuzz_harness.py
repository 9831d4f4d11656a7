"""The harness of the fuzz tests sees the faults that it is there to see: each is planted here."""

from __future__ import annotations

import io
import os
import random
import signal
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kg.errors import CorruptFileError, LoadError
from kg.stores.record import open_record
from kg.testing import PlainTextLoader, make_delta, make_raw
from kg.types import Document, RawFile
from tests.kg.loaders.fuzz import MAX_PEAK_MIB, Worker, judged
from tests.kg.loaders.fuzz_record import RecordCheck, Verdict
from tests.kg.loaders.mutate_bytes import flip
from tests.kg.loaders.mutate_containers import change_chunk, change_member, change_pdf
from tests.kg.loaders.seeds import SEEDS

GOOD = make_raw("Kestrel sails to Sark.", name="good.txt")
CASE = make_raw("Petrel sails to Sark.", name="case.txt")
N_DRAWS = 30


class ScriptedLoader(PlainTextLoader):
    """Does something of a test's choosing before it loads the case."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self._before = before

    def load(self, raw: RawFile) -> Document:
        if raw.name == CASE.name:
            self._before()
        return super().load(raw)


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Callable[..., RecordCheck]]:
    made: list[RecordCheck] = []

    def make(before: Callable[[], None] = lambda: None) -> RecordCheck:
        made.append(RecordCheck(tmp_path, ScriptedLoader(before), [GOOD]))
        return made[-1]

    yield make
    for one in made:
        one.close()


def refuse() -> None:
    raise CorruptFileError("case.txt is damaged.")


def test_file_that_comes_in_and_goes_again_is_fine_beside_the_good_one_and_in_its_place(check):
    record = check()

    assert record.take([CASE]).result == "ok"
    assert record.take([make_raw("Petrel rests.", name="case.txt", source=GOOD.source)]).result == "ok"
    assert record.take([GOOD]).result == "ok"  # known already


def test_file_that_is_refused_is_told_by_its_code(check):
    assert check(refuse).take([CASE]).result == "corrupt"


def test_fault_of_the_program_is_a_crash_with_its_traceback(check):
    verdict = check(lambda: 1 // 0).take([CASE])

    assert verdict.result == "crash"
    assert "ZeroDivisionError" in verdict.detail
    assert __file__ in verdict.detail


def test_code_that_explains_no_damaged_file_is_a_crash(check):
    def fail() -> None:
        raise LoadError("Something is wrong.")

    assert check(fail).take([CASE]).result == "crash"


def test_row_that_a_refused_file_leaves_behind_is_a_partial_write(check, tmp_path):
    def leak() -> None:
        store = open_record(tmp_path / "record.db")
        store.apply(make_delta("Left behind", name="other.txt"))
        store.close()
        refuse()

    assert check(leak).take([CASE]).result == "partial"


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        ("UPDATE documents SET title = 'another'", "does not come back as it was loaded"),
        ("UPDATE documents SET title = 'another' WHERE source = 'neighbour'", "differs from what was before"),
    ],
)
def test_change_that_a_file_makes_beside_its_own_is_a_partial_write(check, tmp_path, statement, seen):
    record = check()
    with sqlite3.connect(tmp_path / "record.db") as database:
        database.execute(f"CREATE TRIGGER planted AFTER INSERT ON documents BEGIN {statement}; END")

    verdict = record.take([CASE])
    assert verdict.result == "partial"
    assert seen in verdict.detail


def test_case_without_an_answer_hangs():
    with Worker(limit_s=0.01) as worker:
        assert [outcome.result for outcome in worker.run("txt", [0])] == ["hang"]


def test_process_that_dies_is_a_crash_and_the_next_case_has_a_new_one():
    with Worker() as worker:
        (first,) = worker.run("txt", [0])
        pid = worker.pid
        os.kill(pid, signal.SIGKILL)
        (second,) = worker.run("txt", [0])
        (third,) = worker.run("txt", [0])

        assert [first.result, second.result, third.result] == ["ok", "crash", "ok"]
        assert "ended with status -9" in second.detail
        assert worker.pid != pid


def test_case_that_needs_too_much_memory_or_leaves_a_file_behind_is_a_fault():
    fine = Verdict(result="corrupt")

    assert judged(fine, peak_mib=MAX_PEAK_MIB, left_behind=[]) == fine
    assert judged(fine, peak_mib=MAX_PEAK_MIB + 1, left_behind=[]).result == "memory"
    assert judged(fine, peak_mib=1.0, left_behind=["x.png"]).result == "partial"


@pytest.mark.parametrize("seed", range(N_DRAWS))
def test_archives_are_sound_around_damaged_members(seed):
    rng = random.Random(seed)

    with zipfile.ZipFile(io.BytesIO(change_member(SEEDS["zip"](), rng, inner=flip))) as archive:
        assert archive.testzip() is None
    with tarfile.open(fileobj=io.BytesIO(change_member(SEEDS["tar"](), rng, inner=flip))) as archive:
        assert all(archive.extractfile(member).read() is not None for member in archive)


@pytest.mark.parametrize("seed", range(N_DRAWS))
def test_checksums_of_a_png_are_right_around_damaged_chunks(seed):
    data = change_chunk(SEEDS["png"](), random.Random(seed))
    place = 8
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        assert zlib.crc32(data[place + 4 : place + 8 + size]) == int.from_bytes(data[place + 8 + size :][:4], "big")
        place += 12 + size
    assert place == len(data)


@pytest.mark.parametrize("seed", range(N_DRAWS))
def test_table_of_a_pdf_points_at_its_damaged_objects(seed):
    data = change_pdf(SEEDS["ruled.pdf"](), random.Random(seed))
    table = int(data.rpartition(b"startxref\n")[2].split()[0])
    lines = data[table:].split(b"\n")

    assert lines[0] == b"xref"
    for number, line in enumerate(lines[3 : 2 + int(lines[1].split()[1])], 1):
        assert line.endswith(b" f ") or data[int(line[:10]) :].startswith(b"%d 0 obj" % number)

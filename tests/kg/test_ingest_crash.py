"""A killed process, and two processes at once, end in the same record as one that was never disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kg.stores.record import open_record
from kg.testing import canonical_dump

WORKER = Path(__file__).with_name("crash_worker.py")
ROOT = Path(__file__).parents[2]
N_FILES = 6


def _start(record: Path, folder: Path, point: str = "never", count: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(record), str(folder), point, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode, output


def _dump(record: Path) -> tuple[str, int]:
    store = open_record(record)
    dump, version = canonical_dump(store), store.version()
    store.close()
    return dump, version


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts")
    for number in range(N_FILES):
        alias = "Ann Ray" if number % 2 else "Al Ray"  # links are made and senses parted while the process is killed
        text = f"Doc {number} by Ada\n\nAda knows Bob{number} and {alias}.\n\n[picture: Ada beside Bob{number}]"
        (path / f"{number}.txt").write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    record = tmp_path_factory.mktemp("undisturbed") / "record.db"
    assert _finish(_start(record, folder))[0] == 0
    dump, version = _dump(record)
    assert version == N_FILES
    return dump


@pytest.mark.parametrize(
    ("point", "count", "n_inside"),
    [
        ("parse", 3, 2),  # before the third file's transaction
        ("statement", 1, 0),  # in the first transaction, after its first insert
        *(("statement", random.Random(seed).randrange(2, 120), None) for seed in range(5)),  # anywhere
        ("commit", 4, 3),  # the fourth file is all written and not committed
        ("done", 3, 3),  # right after the third commit
    ],
)
def test_killed_ingest_leaves_whole_documents_and_ends_the_same_when_run_again(
    folder: Path, undisturbed: str, tmp_path: Path, point: str, count: int, n_inside: int | None
):
    record = tmp_path / "record.db"
    assert _finish(_start(record, folder, point, count))[0] == -signal.SIGKILL
    store = open_record(record)
    inside = [info.name for info in store.documents()]
    assert inside == [f"{number}.txt" for number in range(len(inside))]
    assert n_inside is None or len(inside) == n_inside
    assert len(inside) < N_FILES
    assert store.version() == len(inside)
    store.close()

    code, output = _finish(_start(record, folder))
    assert code == 0
    assert [line.split()[1] for line in output.splitlines()] == [
        *["unchanged"] * len(inside),
        *["added"] * (N_FILES - len(inside)),
    ]
    assert _dump(record) == (undisturbed, N_FILES)


def test_two_ingests_at_once_make_the_union_without_errors_or_duplicates(
    folder: Path, undisturbed: str, tmp_path: Path
):
    record = tmp_path / "new" / "record.db"
    results = [_finish(process) for process in [_start(record, folder), _start(record, folder)]]

    assert [code for code, _ in results] == [0, 0]
    statuses = sorted(line.split()[1] for _, output in results for line in output.splitlines())
    assert statuses == ["added"] * N_FILES + ["unchanged"] * N_FILES
    assert _dump(record) == (undisturbed, N_FILES)

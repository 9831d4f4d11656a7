"""Ingest mutated files in a process of its own, which a hang or a crash cannot take along.

``python -m tests.kg.loaders.fuzz FOLDER [--ocr]`` is the process: it reads lines ``NAME NUMBER SEED`` and answers each
with a line of JSON. :class:`Worker` starts it, waits for each answer within a hard limit, and starts another where one
hangs or dies. A case is fetched or expanded, loaded, cut into chunks, stored and removed again
(:mod:`tests.kg.loaders.fuzz_record`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from kg.captioning.ocr import OcrCaptioner
from kg.errors import LoadError
from kg.limits import LoadLimits
from kg.loaders.expand import expand
from kg.loaders.raw import FileFailure, raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.ports import Captioner
from kg.testing import AltTextCaptioner
from tests.kg.loaders.fuzz_fetch import AnsweringServer, loaders_that_fetch
from tests.kg.loaders.fuzz_record import Item, RecordCheck, Verdict
from tests.kg.loaders.mutate import mutated
from tests.kg.loaders.seeds import SEEDS

__all__ = ["BAD", "FUZZ_LIMITS", "HARD_LIMIT_S", "MAX_PEAK_MIB", "Outcome", "Worker", "case_bytes", "judged"]

_MIB = 1024 * 1024
FUZZ_LIMITS = LoadLimits(
    timeout_s=10.0,
    max_bytes=32 * _MIB,
    max_text_bytes=8 * _MIB,
    max_pixels=16_000_000,
    max_pages=200,
    max_archive_bytes=64 * _MIB,
)
"""Low enough that a file at its limit is done in seconds."""
HARD_LIMIT_S = 60.0
"""A case that has not answered by then hangs: six times what the limits allow its loading, for it is stored too."""
MAX_PEAK_MIB = 1024.0
"""A case that needs more is a fault: the limits above allow some 64 MiB of pixels, text or expanded bytes at once."""
BAD = frozenset({"crash", "hang", "partial", "memory"})
"""Results that are faults."""
_MEMORY_BYTES = 4 * 1024 * _MIB
_SHARED_MEMORY = Path("/dev/shm")
_ROOT = Path(__file__).parents[3]
_DIED = "the process ended with status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case: ``ok``, the code of a load error, or one of :data:`BAD`."""

    suffix: str
    number: int
    result: str
    detail: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0


@functools.cache
def _good_bytes(suffix: str) -> bytes:
    return SEEDS[suffix]()


def case_bytes(suffix: str, number: int, *, seed: int = 0) -> bytes:
    """Return the mutated file of a case; the first, number 0, is the good file itself."""
    data = _good_bytes(suffix)
    return mutated(data, name=suffix, number=number, seed=seed) if number else data


class _Cases:
    """The record of one kind of file, and what is fetched or unpacked for it."""

    def __init__(self, suffix: str, folder: Path, captioner: Captioner) -> None:
        self._suffix = suffix
        self._server = AnsweringServer() if suffix == "http" else None
        loaders = default_loaders(FUZZ_LIMITS)
        if self._server is not None:
            loaders = loaders_that_fetch(loaders, self._server, limits=FUZZ_LIMITS)
        folder.mkdir()
        good = self._items("good", case_bytes(suffix, 0))
        self._record = RecordCheck(folder, LoaderRegistry(loaders, FUZZ_LIMITS), good, captioner=captioner)

    def run(self, number: int, data: bytes) -> Verdict:
        """Take the file in; every other one comes in the place of the good one."""
        return self._record.take(self._items("good" if number % 2 else "case", data))

    def close(self) -> None:
        self._record.close()
        if self._server is not None:
            self._server.close()

    def _items(self, name: str, data: bytes) -> list[Item]:
        name = f"{name}.{self._suffix}"
        try:
            raw = self._server.fetched(name, data) if self._server else raw_from_bytes(name, data)
        except LoadError as error:
            return [FileFailure(source=f"upload:{name}", name=name, error=error)]
        return list(expand(raw, limits=FUZZ_LIMITS))


class _Server:
    """Answers cases; a kind of file whose record was damaged gets a new one."""

    def __init__(self, folder: Path, captioner: Captioner) -> None:
        self._folder = folder
        self._captioner = captioner
        self._suffix = ""
        self._cases: _Cases | None = None
        self._n_records = 0

    def answer(self, suffix: str, number: int, seed: int) -> dict[str, object]:
        data = case_bytes(suffix, number, seed=seed)
        cases = self._of(suffix)
        before = _files()
        faulthandler.dump_traceback_later(HARD_LIMIT_S - 5.0)
        _forget_peak()
        started = time.perf_counter()
        try:
            verdict = cases.run(number, data)
        except Exception:  # noqa: BLE001 - whatever gets out is what is looked for
            verdict = Verdict(result="crash", detail=traceback.format_exc(limit=-6))
        seconds, peak = time.perf_counter() - started, _peak_mib()
        faulthandler.cancel_dump_traceback_later()
        verdict = judged(verdict, peak_mib=peak, left_behind=sorted(_files() - before))
        if verdict.result in BAD:
            self.close()
        return {"result": verdict.result, "detail": verdict.detail, "seconds": seconds, "peak_mib": peak}

    def close(self) -> None:
        if self._cases is not None:
            self._cases.close()
        self._cases = None

    def _of(self, suffix: str) -> _Cases:
        if self._cases is None or suffix != self._suffix:
            self.close()
            self._n_records += 1
            self._suffix = suffix
            self._cases = _Cases(suffix, self._folder / f"record-{self._n_records}", self._captioner)
        return self._cases


def _files() -> set[str]:
    """Return the files in the working folder and in that of temporary files."""
    return {str(path) for folder in (Path(), Path(tempfile.gettempdir())) for path in folder.iterdir()}


def judged(verdict: Verdict, *, peak_mib: float, left_behind: Sequence[str]) -> Verdict:
    """Return what became of a case whose record is fine, when its memory and the files it left are looked at too."""
    if left_behind:
        return Verdict(result="partial", detail=f"left {left_behind} behind\n{verdict.detail}")
    if verdict.result not in BAD and peak_mib > MAX_PEAK_MIB:
        return Verdict(result="memory", detail=f"{peak_mib:.0f} MiB")
    return verdict


def _forget_peak() -> None:
    """Begin to measure the peak of memory anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(folder: Path, captioner: Captioner) -> None:
    """Answer cases from standard input until it ends.

    :param folder: An empty folder for all that is written.
    :param captioner: Describes pictures.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    faulthandler.enable()
    work, temporary, records = (folder / name for name in ("work", "tmp", "records"))
    for path in (work, temporary, records):
        path.mkdir()
    os.chdir(work)
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    server = _Server(records, captioner)
    for line in sys.stdin:
        suffix, number, seed = line.split()
        sys.stdout.write(json.dumps(server.answer(suffix, int(number), int(seed))) + "\n")
        sys.stdout.flush()
    server.close()


class Worker:
    """Runs cases in another process; a context manager, which ends it.

    :param limit_s: Seconds until a case that has not answered counts as a hang.
    :param ocr: Whether words are read off pictures; otherwise their alternative texts are all that is said of them.
    """

    def __init__(self, *, limit_s: float = HARD_LIMIT_S, ocr: bool = False) -> None:
        self._limit_s = limit_s
        self._options = ["--ocr"] if ocr else []
        in_memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None  # every case commits several times
        self._folder = tempfile.TemporaryDirectory(dir=in_memory, ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._errors.close()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The id of the process; 0 before the first case."""
        return self._process.pid if self._process is not None else 0

    def run(self, suffix: str, numbers: Iterable[int], *, seed: int = 0) -> Iterator[Outcome]:
        """Yield the outcome of each case, in order.

        A case that hangs is tried once more in a fresh process: on a machine that is short of memory or processors
        anything can look like a hang.

        :param suffix: One of :data:`tests.kg.loaders.seeds.SEEDS`.
        :param numbers: Which cases; 0 is the good file.
        :param seed: Another seed gives other cases.
        :yields: What became of each.
        """
        for number in numbers:
            outcome = self._ask(suffix, number, seed)
            yield self._ask(suffix, number, seed) if outcome.result == "hang" else outcome

    def _ask(self, suffix: str, number: int, seed: int) -> Outcome:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        outcome = Outcome(suffix=suffix, number=number, result="crash")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{suffix} {number} {seed}\n".encode())
            process.stdin.flush()
        line = self._line(process)
        if line:
            return replace(outcome, **json.loads(line))
        is_hang = line is None
        self._stop()
        self._errors.seek(0)
        errors = self._errors.read().decode("utf-8", "replace")[-4000:]
        if is_hang:
            return replace(outcome, result="hang", seconds=self._limit_s, detail=errors)
        return replace(outcome, detail=f"{_DIED} {process.returncode}\n{errors}")

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors.truncate(0)
        self._errors.seek(0)
        self._buffer = b""
        folder = tempfile.mkdtemp(dir=self._folder.name)
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.kg.loaders.fuzz", folder, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=_ROOT,
            env=os.environ | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # so that what it started ends with it
        )

    def _line(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """Return the next line; empty where the process died, ``None`` where it hangs."""
        assert process.stdout is not None
        end = time.monotonic() + self._limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    return b""
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), OcrCaptioner() if "--ocr" in sys.argv else AltTextCaptioner())

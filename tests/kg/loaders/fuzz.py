"""Load mutated files in a process of its own, which a hang or a crash cannot take along.

``python -m tests.kg.loaders.fuzz`` is the worker: it reads lines ``SUFFIX NUMBER`` and answers each with a line of
JSON. :func:`run_cases` starts it, waits for each answer within a hard limit, and starts another where one hangs or
dies. A case is expanded, loaded and cut into chunks; any exception but a :class:`kg.errors.LoadError` is a crash.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kg.chunking import chunk_document
from kg.errors import LoadError
from kg.limits import LoadLimits
from kg.loaders.expand import expand
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.testing import WordTokenizer
from kg.types import RawFile
from tests.kg.loaders.mutate import mutated
from tests.kg.loaders.seeds import SEEDS

__all__ = ["FUZZ_LIMITS", "Outcome", "case_bytes", "run_cases"]

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
HARD_LIMIT_S = 40.0
"""A case that has not answered by then hangs: four times what the limits allow it."""
_MEMORY_BYTES = 4 * 1024 * _MIB
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case: ``ok``, the code of a load error, ``crash`` or ``hang``."""

    suffix: str
    number: int
    result: str
    detail: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0


def case_bytes(suffix: str, number: int) -> bytes:
    """Return the mutated file of a case; the first, number 0, is the good file itself."""
    data = SEEDS[suffix]()
    return mutated(data, name=suffix, number=number) if number else data


def _load(suffix: str, number: int) -> str:
    """Return ``ok`` if anything came in, else the code of the first refusal."""
    registry = LoaderRegistry(default_loaders(FUZZ_LIMITS), FUZZ_LIMITS)
    codes: list[str] = []
    n_loaded = 0
    try:
        for item in expand(raw_from_bytes(f"case.{suffix}", case_bytes(suffix, number)), limits=FUZZ_LIMITS):
            if not isinstance(item, RawFile):
                codes.append(item.error_code)
                continue
            try:
                chunk_document(registry.load(item), (), tokenizer=WordTokenizer())
                n_loaded += 1
            except LoadError as error:
                codes.append(error.code)
    except LoadError as error:
        codes.append(error.code)
    return "ok" if n_loaded else (codes or ["nothing"])[0]


def _answer(suffix: str, number: int) -> dict[str, object]:
    started = time.perf_counter()
    detail = ""
    try:
        result = _load(suffix, number)
    except Exception:  # noqa: BLE001 - whatever gets out is what is looked for
        result, detail = "crash", traceback.format_exc(limit=-6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if written := sorted(path.name for path in Path().iterdir()):
        result, detail = "crash", f"wrote {written} into the working folder"
    return {"result": result, "detail": detail, "seconds": time.perf_counter() - started, "peak_mib": peak}


def serve() -> None:
    """Answer cases from standard input until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for line in sys.stdin:
            suffix, number = line.split()
            sys.stdout.write(json.dumps(_answer(suffix, int(number))) + "\n")
            sys.stdout.flush()
        os.chdir("/")


class _Worker:
    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.kg.loaders.fuzz"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env=environment,
        )
        self._buffer = b""

    def ask(self, suffix: str, number: int) -> Outcome:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{suffix} {number}\n".encode())
        self._process.stdin.flush()
        line = self._line()
        if line is None:
            return Outcome(suffix=suffix, number=number, result="hang", seconds=HARD_LIMIT_S)
        if not line:
            detail = f"the process ended with status {self._process.wait()}"
            return Outcome(suffix=suffix, number=number, result="crash", detail=detail)
        return Outcome(suffix=suffix, number=number, **json.loads(line))

    def _line(self) -> bytes | None:
        """Return the next line; empty where the process died, ``None`` where it hangs."""
        assert self._process.stdout is not None
        end = time.monotonic() + HARD_LIMIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    return b""
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def run_cases(suffix: str, numbers: Iterable[int]) -> Iterator[Outcome]:
    """Yield the outcome of each case of one format, in order."""
    worker = _Worker()
    try:
        for number in numbers:
            outcome = worker.ask(suffix, number)
            if outcome.result == "hang" or outcome.detail.startswith("the process ended"):
                worker.stop()
                worker = _Worker()
            yield outcome
    finally:
        worker.stop()


if __name__ == "__main__":
    serve()

"""Ingest mutated files of every format and count what becomes of them; exit status 1 on any fault.

    python -m tests.benchmarks.fuzz_loaders [--per-format 500] [--formats pdf svg] [--seed 0] [--first 0]
                                            [--keep DIR] [--ocr]

A fault is a crash, a hang, too much memory, or a record that is not what it was once the file was refused or removed.
The files that cause one are kept in ``--keep``, each beside what was seen. The mutations are deterministic: case 137 of
``svg`` with seed 0 is the same file on every machine. Number 0 is the good file itself, and must come in. A format with
several good files shares its cases among them.

What is excluded: reading words off pictures (without ``--ocr``), the parser of sentences, and encoders; a name is a
run of capitalised words. Peak memory is that of the worst case in the worker process, whose libraries alone take some
100 MiB, or 400 with OCR; drawing an SVG happens in a further process with limits of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.benchmarks.machine import describe_machine
from tests.kg.loaders.fuzz import BAD, FUZZ_LIMITS, HARD_LIMIT_S, MAX_PEAK_MIB, Outcome, Worker, case_bytes
from tests.kg.loaders.seeds import FORMATS

_STEP = 50


def _told(outcomes: Iterable[Outcome], name: str, n_cases: int) -> Iterator[Outcome]:
    """Pass outcomes on, and show how far it is where a person is looking."""
    for n_done, outcome in enumerate(outcomes, 1):
        if sys.stderr.isatty() and (n_done % _STEP == 0 or n_done == n_cases):
            end = "\r" if n_done < n_cases else "\r\x1b[K"
            sys.stderr.write(f"{name} {n_done}/{n_cases}{end}")
            sys.stderr.flush()
        yield outcome


def _keep(outcome: Outcome, folder: Path, *, seed: int) -> Path:
    """Write the file of a fault and what was seen; return where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed{seed}-case{outcome.number}.{outcome.suffix}"
    path.write_bytes(case_bytes(outcome.suffix, outcome.number, seed=seed))
    path.with_name(f"{path.name}.log").write_text(f"{outcome.result}\n{outcome.detail}\n", encoding="utf-8")
    return path


def _run(worker: Worker, name: str, *, first: int, n_cases: int, seed: int) -> Iterator[Outcome]:
    """Yield at least ``n_cases`` outcomes of one format, as many from each of its good files."""
    kinds = FORMATS[name]
    for kind in kinds:
        yield from worker.run(kind, range(first, first - (-n_cases // len(kinds))), seed=seed)


def measure(worker: Worker, name: str, *, first: int, n_cases: int, seed: int, keep: Path) -> list[Outcome]:
    """Print the line of one format and its faults; return the outcomes."""
    started = time.perf_counter()
    outcomes = list(_told(_run(worker, name, first=first, n_cases=n_cases, seed=seed), name, n_cases))
    counts = Counter(outcome.result for outcome in outcomes)
    refused = ", ".join(f"{code} {n}" for code, n in sorted(counts.items()) if code not in {"ok", *BAD})
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    peak = max(outcome.peak_mib for outcome in outcomes)
    print(
        f"{name:6} {len(outcomes):4} cases of {len(FORMATS[name])} files {counts['ok']:4} ok "
        f"{counts['crash']:2} crashes {counts['hang']:2} hangs {counts['partial']:2} partial "
        f"{counts['memory']:2} memory  slowest {slowest.seconds:5.2f} s ({slowest.number}.{slowest.suffix})  "
        f"peak {peak:4.0f} MiB  in {time.perf_counter() - started:4.0f} s  refused: {refused or 'none'}",
        flush=True,
    )
    for outcome in outcomes:
        if outcome.result in BAD:
            last = outcome.detail.strip().rpartition("\n")[2]
            print(f"  {outcome.result}: {_keep(outcome, keep, seed=seed)}: {last}", flush=True)
        elif outcome.number == 0 and outcome.result != "ok":
            print(f"  the good file {outcome.suffix} was refused: {outcome.result}", flush=True)
    return outcomes


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-format", type=int, default=500)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS), metavar="FORMAT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="The number of the first case.")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="Where files that cause a fault go.")
    parser.add_argument("--ocr", action="store_true", help="Read words off pictures too, which takes a second each.")
    options = parser.parse_args()
    print(describe_machine("lxml", "pillow", "pypdfium2", "resvg-py", "pylatexenc"))
    print(
        f"seed {options.seed}; limits: {FUZZ_LIMITS.timeout_s:g} s to load a file; a case without an answer after "
        f"{HARD_LIMIT_S:g} s, twice, hangs; one that needs more than {MAX_PEAK_MIB:g} MiB is a fault"
    )
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    with Worker(ocr=options.ocr) as worker:
        for name in options.formats:
            outcomes += measure(
                worker, name, first=options.first, n_cases=options.per_format, seed=options.seed, keep=options.keep
            )
    n_bad = sum(outcome.result in BAD for outcome in outcomes)
    n_refused_good = sum(outcome.number == 0 and outcome.result not in {"ok", *BAD} for outcome in outcomes)
    n_ok = sum(outcome.result == "ok" for outcome in outcomes)
    print(
        f"{n_bad} faults in {len(outcomes)} cases of {len(options.formats)} formats ({n_ok} came in, "
        f"{len(outcomes) - n_ok - n_bad} were refused) in {time.perf_counter() - started:.0f} s"
    )
    sys.exit(1 if n_bad or n_refused_good else 0)


if __name__ == "__main__":
    main()

"""Load mutated files of every format and count what becomes of them; exit status 1 on a crash or a hang.

    python -m tests.benchmarks.fuzz_loaders [--per-format 500] [--formats pdf svg] [--first 0] [--show]

The mutations are deterministic: case 137 of ``svg`` is the same file on every machine. Peak memory is that of the
format's worker process, whose libraries alone take some 60 MiB; drawing an SVG happens in a further process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.benchmarks.machine import describe_machine
from tests.kg.loaders.fuzz import FUZZ_LIMITS, HARD_LIMIT_S, Outcome, run_cases
from tests.kg.loaders.seeds import SEEDS

_BAD = frozenset({"crash", "hang"})


def measure(suffix: str, *, first: int, n_cases: int, show: bool) -> int:
    """Print the line of one format; return how many cases crashed or hung."""
    started = time.perf_counter()
    outcomes: list[Outcome] = list(run_cases(suffix, range(first, first + n_cases)))
    counts = Counter(outcome.result for outcome in outcomes)
    refused = ", ".join(f"{code} {n}" for code, n in sorted(counts.items()) if code not in {"ok", *_BAD})
    slowest = max(outcome.seconds for outcome in outcomes)
    peak = max(outcome.peak_mib for outcome in outcomes)
    spent = time.perf_counter() - started
    print(
        f"{suffix:8} {counts['ok']:5} ok  {counts['crash']:3} crashes  {counts['hang']:3} hangs  "
        f"slowest {slowest:5.2f} s  peak {peak:5.0f} MiB  in {spent:4.0f} s  refused: {refused or 'none'}",
        flush=True,
    )
    for outcome in outcomes:
        if outcome.result in _BAD and show:
            print(f"  {suffix} {outcome.number}: {outcome.result} {outcome.detail}")
    return counts["crash"] + counts["hang"]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-format", type=int, default=500)
    parser.add_argument("--formats", nargs="*", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="Print the traceback of each crash.")
    options = parser.parse_args()
    print(describe_machine("lxml", "pillow", "pypdfium2", "resvg-py", "pylatexenc"))
    print(f"limits: {FUZZ_LIMITS.timeout_s:g} s a file; a case without an answer after {HARD_LIMIT_S:g} s hangs")
    n_bad = sum(
        measure(suffix, first=options.first, n_cases=options.per_format, show=options.show)
        for suffix in options.formats
    )
    print(f"{n_bad} crashes and hangs in {options.per_format * len(options.formats)} cases")
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()

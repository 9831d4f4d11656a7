"""Time and memory of reading and checking a large graph: ``python -m tests.benchmarks.kgc_check [--lines 10000000]``.

The graph is random: heads by Zipf's law (1.3), relations and tails uniform, a million possible entities, 20,000 triples
in test. Beside it stands what a reader would take that keeps the file as lines of text: ``read().splitlines()`` alone.
Each step runs in a process of its own, so that its peak of memory is its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from generation.completion.leakage import find_leakage
from generation.completion.tsv_folder import read_folder
from tests.benchmarks.machine import describe_machine

N_ENTITIES, N_RELATIONS, N_TEST = 1_000_000, 500, 20_000
STEPS = ("lines of text", "read", "read and check")


def write_graph(folder: Path, n_lines: int) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("train", n_lines), ("test", N_TEST)):
        with (folder / f"{name}.tsv").open("w", encoding="utf-8") as stream:
            for first in range(0, n, 500_000):
                size = min(500_000, n - first)
                heads = (rng.zipf(1.3, size) % N_ENTITIES).tolist()
                relations = rng.integers(0, N_RELATIONS, size).tolist()
                tails = rng.integers(0, N_ENTITIES, size).tolist()
                rows = zip(heads, relations, tails, strict=True)
                stream.write("".join(f"e{head}\tr{relation}\te{tail}\n" for head, relation, tail in rows))


def run_step(step: str, folder: Path) -> None:
    started = time.perf_counter(), time.process_time()
    if step == "lines of text":
        kept = (folder / "train.tsv").read_text(encoding="utf-8").splitlines()
        said = f"{len(kept):,} lines"
    else:
        graph = read_folder(folder, valid_fraction=0, allow_overlap=True)
        said = f"{len(graph.train):,} distinct triples, {graph.n_entities:,} entities"
        if step == "read and check":
            said += f", {len(find_leakage(graph).duplicates)} duplicate relations"
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    print(f"{step:16} {wall_s:7.1f} s wall {cpu_s:7.1f} s CPU {peak_mib:7.0f} MiB peak   {said}")


def measure_reading(folder: Path, n_lines: int, *, steps: Sequence[str] = STEPS) -> None:
    """Print a line for each step, beside the size of the file that is read."""
    write_graph(folder, n_lines)
    print(f"{n_lines:,} lines, {(folder / 'train.tsv').stat().st_size / 2**20:.0f} MiB", flush=True)
    for step in steps:
        module = [sys.executable, "-m", "tests.benchmarks.kgc_check", "--step", step, "--folder", str(folder)]
        subprocess.run(module, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.step, arguments.folder)
        return
    print(describe_machine("numpy"))
    with tempfile.TemporaryDirectory() as folder:
        measure_reading(Path(folder), arguments.lines)


if __name__ == "__main__":
    main()

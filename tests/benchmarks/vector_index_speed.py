"""Measure the vector indexes: build, queries per second, recall, filters, files; exact NumPy stands beside FAISS.

    python -m tests.benchmarks.vector_index_speed [--sizes 10000 100000] [--queries 100] [--omp]

Vectors are unit, 384 wide, drawn around 500 random centres with as much spread as an encoder's; queries are drawn the
same way and asked one by one, as a service asks them. Recall@10 is against exact search. ``--omp`` runs torch and FAISS
in turns in one process, in both import orders, because each wheel brings its own OpenMP.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from retrieval.indexes.exact import ExactIndex
from retrieval.indexes.faiss_cpu import FaissIndex
from tests.benchmarks.machine import describe_machine

_WIDTH = 384
_OMP = """
import sys, time
if sys.argv[1] == "faiss first": import faiss, torch
else: import torch, faiss
import numpy as np
x = np.random.default_rng(0).standard_normal((20000, 384)).astype("f4")
index = faiss.IndexFlatIP(384); index.add(x); a = torch.randn(800, 800)
def search(): index.search(x[:8], 10)
def multiply(): torch.softmax(a @ a, -1)
def timed(*calls):
    start = time.perf_counter()
    for _ in range(10):
        for call in calls: call()
    return time.perf_counter() - start
search(); multiply()
print(f"{sys.argv[1]:12s} {timed(search):8.2f} {timed(multiply):8.2f} {timed(search, multiply):10.2f}")
"""


def vectors(n: int, *, seed: int) -> np.ndarray:
    """Return clustered unit vectors. *Shape:* ``(n, 384)``."""
    centres = np.random.default_rng(0).standard_normal((500, _WIDTH)).astype(np.float32)
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(500, size=n)] + rng.standard_normal((n, _WIDTH), dtype=np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def measure(n: int, n_queries: int, exact: list[list[str]] | None, index: ExactIndex | FaissIndex) -> list[list[str]]:
    """Print one line for one index and return what it found."""
    rows, queries = vectors(n, seed=1), vectors(n_queries, seed=2)
    ids = [f"c_{i:020d}" for i in range(n)]
    start = time.perf_counter()
    index.add(ids, rows)
    build_s = time.perf_counter() - start

    def ask(allowed: frozenset[str] | None) -> tuple[list[list[str]], float]:
        begin = time.perf_counter()
        found = [[i for i, _ in index.search(query[None, :], k=10, allowed=allowed)[0]] for query in queries]
        return found, n_queries / (time.perf_counter() - begin)

    found, rate = ask(None)
    _, rate_1 = ask(frozenset(ids[::100]))
    _, rate_50 = ask(frozenset(ids[::2]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.idx"
        index.save(path, encoder="e", record_version=1)
        size = path.stat().st_size / n
        start = time.perf_counter()
        if isinstance(index, FaissIndex):
            FaissIndex.load(path, kind=index.kind, encoder="e")
        else:
            ExactIndex.load(path, encoder="e")
        load_s = time.perf_counter() - start
    start = time.perf_counter()
    index.remove(ids[:50])
    remove_ms = (time.perf_counter() - start) * 1e3
    truth = found if exact is None else exact
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
    print(
        f"{n:7d} {index.name:11s} {build_s:8.2f} {rate:9.0f} {rate_1:9.0f} {rate_50:9.0f} {recall:7.4f} {size:8.0f} "
        f"{load_s:7.2f} {remove_ms:9.1f}"
    )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--omp", action="store_true")
    options = parser.parse_args()
    print(describe_machine("faiss-cpu", "numpy", "torch"))
    if options.omp:
        print(f"\nSeconds for ten rounds\n{'import':12s} {'faiss':>8s} {'torch':>8s} {'in turns':>10s}")
        for order in ("faiss first", "torch first"):
            done = subprocess.run([sys.executable, "-c", _OMP, order], check=True, capture_output=True, text=True)
            print(done.stdout.rstrip())
    print(
        f"\n{'n':>7s} {'index':11s} {'build s':>8s} {'query/s':>9s} {'1% filt.':>9s} {'50% filt.':>9s} {'recall':>7s} "
        f"{'B/vector':>8s} {'load s':>7s} {'rm 50 ms':>9s}"
    )
    for n in options.sizes:
        exact = measure(n, options.queries, None, ExactIndex(_WIDTH))
        measure(n, options.queries, exact, FaissIndex(_WIDTH, kind="flat"))
        measure(n, options.queries, exact, FaissIndex(_WIDTH, kind="hnsw"))


if __name__ == "__main__":
    main()

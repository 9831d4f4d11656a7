"""Compare the kinds of vector index with exact search and with FAISS by hand: build, memory, speed, recall, additions.

    python -m tests.benchmarks.index_speed [--size 100000] [--queries 200] [--kinds flat sq8 hnsw ivfpq] [--torch]

Vectors are unit and 384 wide, with a centre for each 100 of them (``retrieval.testing.clustered_vectors``): the centre
and noise of the same strength, the i-th direction of both scaled by i ** -0.4. ``--like FILE.npy`` prints the spectrum
and neighbours of an encoder's vectors beside those of 2,000 of these. Random directions would be the worst case, and
unlike embeddings. ``--mix FILE.npy`` makes them of an encoder's vectors instead: two of those, drawn at random, in sum,
with noise of .3 of their length and of their own covariance. Queries are drawn the same way, are not in the index, and
are asked one by one, as a service does.

Columns: seconds to add all; bytes a vector in memory in FAISS's own structures, and "mapped" beside them (the vectors
themselves: in memory until they are saved, read from the file by the page once they are loaded); queries a second by
the clock, and CPU milliseconds a query; how often that goes into exact search's CPU time, in this run; Recall@10
against exact search; the same with one vector in twenty allowed; milliseconds by the clock to add 1,000 more, and the
share of 200 of them that their own vector then finds first. Exact search is FAISS's flat index, asked directly. Rows
"raw" are FAISS alone with the same constants: no ids, no filters, no exact scoring; "raw refined" is IVF-PQ under
FAISS's own exact scoring of as many candidates.

Run it with ``OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1`` in the environment, as ``mmkg`` sets them for itself:
threads that spin while they wait double the CPU time of a query.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_kinds import FaissParameters, made, n_training_vectors, search_parameters, trained
from retrieval.indexes.torch_exact import TorchExactIndex
from retrieval.testing import clustered_vectors
from tests.benchmarks.machine import describe_machine

_WIDTH = 384
_K = 10
_HEAD = (
    f"{'index':12s} {'build s':>8s} {'B/vector':>9s} {'mapped':>7s} {'query/s':>8s} {'CPU ms':>8s} {'x exact':>8s} "
    f"{'Recall':>7s} {'5% filt.':>8s} {'add ms':>8s} {'found':>6s}"
)


def spectrum(rows: np.ndarray) -> str:
    """Describe how alike vectors are: effective dimensions, and the mean cosine to the first and tenth neighbour."""
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    cosines = np.sort(rows @ rows.T - 2 * np.eye(len(rows), dtype=np.float32), axis=1)
    return (
        f"participation ratio {values.sum() ** 2 / (values**2).sum():.0f}, cosine to the nearest "
        f"{cosines[:, -1].mean():.2f}, to the tenth {cosines[:, -10].mean():.2f}"
    )


def mixed(real: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Return unit vectors made of an encoder's: two of them in sum, and noise as they vary. *Shape:* ``(n, 384)``."""
    rng = np.random.default_rng(seed)
    _, scales, axes = np.linalg.svd(real - real.mean(0), full_matrices=False)
    axes = (axes * scales[:, None] / np.sqrt((scales**2).sum())).astype(np.float32)
    rows = np.empty((n, real.shape[1]), dtype=np.float32)
    for start in range(0, n, 20_000):
        part = rows[start : start + 20_000]
        one, other = real[rng.integers(len(real), size=(2, len(part)))]
        part[:] = one + other + 0.3 * rng.standard_normal((len(part), len(axes)), dtype=np.float32) @ axes
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def asked(ask: Callable[[np.ndarray], list[str]], queries: np.ndarray) -> tuple[list[list[str]], float, float]:
    """Return what each query finds, queries a second by the clock, and CPU milliseconds a query."""
    ask(queries[:1])
    clock, cpu = time.perf_counter(), time.process_time()
    found = [ask(query[None, :]) for query in queries]
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return found, len(queries) / clock, cpu / len(queries) * 1e3


def recall(found: list[list[str]], truth: list[list[str]]) -> float:
    """Return the mean share of what exact search finds."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))


class Bench:
    """The vectors, the queries, and what exact search finds for them."""

    def __init__(self, n: int, n_queries: int, mixed_of: np.ndarray | None = None) -> None:
        def make(count: int, seed: int) -> np.ndarray:
            if mixed_of is not None:
                return mixed(mixed_of, count, seed=seed)
            return clustered_vectors(count, _WIDTH, seed=seed, n_centres=max(40, n // 100))

        self.rows, self.queries, self.more = make(n, 1), make(n_queries, 2), make(1000, 3)
        self.ids = [f"c_{i:020d}" for i in range(n)]
        exact = faiss.IndexFlatIP(_WIDTH)
        exact.add(self.rows)
        self.exact_cpu_ms = 0.0
        self.truth = self.raw("raw flat", exact, None, 0.0)
        allowed = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.arange(0, n, 20)))
        _, places = exact.search(self.queries, _K, params=allowed)
        self.filtered_truth = [[self.ids[i] for i in row] for row in places.tolist()]

    def raw(self, name: str, index: object, parameters: object, build_s: float) -> list[list[str]]:
        """Print one line for FAISS alone, and return what it found."""

        def ask(query: np.ndarray) -> list[str]:
            _, places = index.search(query, _K, params=parameters)  # type: ignore[attr-defined]
            return [self.ids[i] for i in places[0].tolist() if i >= 0]

        found, rate, cpu_ms = asked(ask, self.queries)
        self.exact_cpu_ms = self.exact_cpu_ms or cpu_ms
        truth = getattr(self, "truth", found)
        n_bytes = len(faiss.serialize_index(index)) / len(self.rows)
        start = time.perf_counter()
        index.add(self.more)  # type: ignore[attr-defined]
        add_ms = (time.perf_counter() - start) * 1e3
        index.remove_ids(np.arange(len(self.rows), len(self.rows) + 1000)) if name == "raw flat" else None  # type: ignore[attr-defined]
        line = f"{name:12s} {build_s:8.1f} {n_bytes:9.0f} {'':7s} {rate:8.0f} {cpu_ms:8.3f} "
        print(f"{line}{self.exact_cpu_ms / cpu_ms:8.1f} {recall(found, truth):7.4f} {'':8s} {add_ms:8.0f}", flush=True)
        return found

    def raw_kind(self, kind: str) -> None:
        """Build one kind by hand, as FAISS's own documents show, and print its line."""
        parameters, n = FaissParameters(), len(self.rows)
        start = time.perf_counter()
        index = made(kind, _WIDTH, n_vectors=n, parameters=parameters)  # type: ignore[arg-type]
        if kind in ("sq8", "ivfpq"):
            step = n // n_training_vectors(n)
            trained(index, self.rows[:: max(1, step)])
        index.add(self.rows)
        build_s = time.perf_counter() - start
        n_lists = index.nlist if kind == "ivfpq" else 1
        asking = search_parameters(
            kind,  # type: ignore[arg-type]
            selector=None,
            n_asked=_K,
            widening=1.0,
            n_lists=n_lists,
            parameters=parameters,
        )
        if kind == "ivfpq":
            refined = faiss.IndexRefineFlat(index, faiss.swig_ptr(self.rows))
            factor = parameters.candidates / _K
            refining = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=asking)
            self.raw("raw refined", refined, refining, build_s)
            return
        self.raw(f"raw {kind}", index, asking, build_s)

    def ours(self, index: FaissIndex | TorchExactIndex) -> None:
        """Print one line for an index of ours."""
        start = time.perf_counter()
        index.add(self.ids, self.rows)
        build_s = time.perf_counter() - start

        def ask(query: np.ndarray, allowed: frozenset[str] | None = None) -> list[str]:
            return [item for item, _ in index.search(query, k=_K, allowed=allowed)[0]]

        found, rate, cpu_ms = asked(ask, self.queries)
        allowed = frozenset(self.ids[::20])
        filtered = [ask(query[None, :], allowed) for query in self.queries]
        n_bytes, mapped = 4.0 * _WIDTH, 0.0
        if isinstance(index, FaissIndex):
            n_bytes = len(faiss.serialize_index(index._index)) / len(index)
            mapped = 4.0 * _WIDTH if index.kind in ("sq8", "ivfpq") else 0.0
        start = time.perf_counter()
        index.add([f"new{i}" for i in range(1000)], self.more)
        add_ms = (time.perf_counter() - start) * 1e3
        first = np.mean([ask(row[None, :])[0] == f"new{i}" for i, row in enumerate(self.more[:200])])
        line = f"{index.name:12s} {build_s:8.1f} {n_bytes:9.0f} {mapped:7.0f} {rate:8.0f} {cpu_ms:8.3f} "
        line += f"{self.exact_cpu_ms / cpu_ms:8.1f} {recall(found, self.truth):7.4f} "
        print(f"{line}{recall(filtered, self.filtered_truth):8.4f} {add_ms:8.0f} {first:6.3f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", default=["flat", "sq8", "ivfpq", "hnsw"])
    parser.add_argument("--no-raw", action="store_true", help="leave out FAISS by hand, but for exact search")
    parser.add_argument("--torch", action="store_true", help="the exact torch index as well")
    parser.add_argument("--like", type=Path, help="vectors of an encoder (.npy), to compare the made ones with")
    parser.add_argument("--mix", type=Path, help="vectors of an encoder (.npy), of which to make the vectors")
    options = parser.parse_args()
    real = np.load(options.mix).astype(np.float32) if options.mix else None
    print(describe_machine("faiss-cpu", "numpy", "torch"))
    print(f"made: {spectrum(clustered_vectors(2000, _WIDTH, seed=1, n_centres=1000))}")
    if options.like:
        print(f"{options.like.name}: {spectrum(np.load(options.like)[:2000])}")
    print(f"\n{options.size} vectors, {options.queries} queries\n{_HEAD}")
    if real is not None:
        print(f"mixed: {spectrum(mixed(real, 2000, seed=1))}; of: {spectrum(real[:2000])}")
    bench = Bench(options.size, options.queries, real)
    for kind in options.kinds:
        if kind != "flat" and not options.no_raw:
            bench.raw_kind(kind)
        bench.ours(FaissIndex(_WIDTH, kind=kind))
    if options.torch:
        bench.ours(TorchExactIndex(_WIDTH))


if __name__ == "__main__":
    main()

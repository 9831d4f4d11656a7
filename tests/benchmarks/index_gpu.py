"""Exact and approximate search on a GPU: equality with the host's exact search, and queries a second.

    python -m tests.benchmarks.index_gpu [--sizes 1000000x384 10000000x128] [--queries 256]

Vectors are unit, in clusters of about 100, made on the device. Every row is checked against NumPy in float32 over all
vectors, for ``--checked`` of the queries: the share of queries whose ten ids are the same, ties at the tenth counted as
right where the score is. Rates are of whole calls, ids and exact scores included: all queries in one call, and one by
one. ``torch`` is :class:`retrieval.indexes.torch_exact.TorchExactIndex`; ``faiss`` rows are FAISS's own GPU indexes,
bare, and :class:`retrieval.indexes.faiss_cpu.FaissIndex` with a card, where a GPU build of FAISS can be loaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch

from retrieval.indexes.torch_exact import TorchExactIndex
from tests.benchmarks.machine import describe_machine

_K = 10
_HEAD = (
    f"{'index':22s} {'vectors':>16s} {'add s':>6s} {'GPU GB':>7s} {'batch q/s':>10s} {'one by one q/s':>15s} "
    f"{'equal':>6s}"
)


def made(n: int, width: int, *, seed: int, device: str) -> torch.Tensor:
    """Return unit vectors in clusters. *Shape:* ``(n, width)``, float32, on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    scale = torch.arange(1, width + 1, device=device, dtype=torch.float32) ** -0.4
    centres = torch.randn(max(40, n // 100), width, generator=torch.Generator(device).manual_seed(0), device=device)
    rows = torch.randn(n, width, generator=generator, device=device)
    rows += centres[torch.randint(len(centres), (n,), generator=generator, device=device)]
    rows *= scale
    return rows / rows.norm(dim=1, keepdim=True)


def truth(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the ``_K`` best scores of each query, by NumPy on the host. *Shape:* ``(Q, K)``, falling."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(rows), 1_000_000):
        scores = queries @ rows[start : start + 1_000_000].T
        top = np.partition(scores, -_K, axis=1)[:, -_K:]
        best = np.sort(np.concatenate([best, top], axis=1), axis=1)[:, -_K:]
    return best[:, ::-1]


def agreement(found: np.ndarray, best: np.ndarray) -> float:
    """Return the mean share of found scores that are among the best ten (within float32's rounding)."""
    return float((found[: len(best)] >= best[:, -1:] - 2e-6).mean())


def timed(ask: Callable[[np.ndarray], object], queries: np.ndarray, *, seconds: float = 1.5) -> tuple[float, float]:
    """Return queries a second in one call, and one by one."""
    rates = []
    for parts in ([queries], [queries[i : i + 1] for i in range(len(queries))]):
        ask(parts[0])
        n, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for part in parts:
                ask(part)
                n += len(part)
                if time.perf_counter() - start > 2 * seconds:
                    break
        rates.append(n / (time.perf_counter() - start))
    return rates[0], rates[1]


def held_gb(before: int) -> float:
    """Return how much memory of the device is taken beyond ``before`` bytes."""
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return (total - free - before) / 1e9


def show(name: str, shape: str, add_s: float, gigabytes: float, rates: tuple[float, float], equal: float) -> None:
    """Print one row."""
    print(
        f"{name:22s} {shape:>16s} {add_s:6.1f} {gigabytes:7.2f} {rates[0]:10.0f} {rates[1]:15.0f} {equal:6.3f}",
        flush=True,
    )


def torch_rows(rows: np.ndarray, ids: list[str], queries: np.ndarray, best: np.ndarray, shape: str) -> None:
    """Measure our torch index, float32 and float16."""
    for half in (False, True):
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        start = time.perf_counter()
        index = TorchExactIndex(rows.shape[1], device="cuda", half=half)
        index.add(ids, rows)
        add_s = time.perf_counter() - start
        gigabytes = held_gb(total - free)
        found = index.search(queries[: len(best)], k=_K)
        scores = np.array([[score for _, score in hits] for hits in found], dtype=np.float32)
        rates = timed(lambda part, index=index: index.search(part, k=_K), queries)
        show("torch half" if half else "torch", shape, add_s, gigabytes, rates, agreement(scores, best))
        del index


def faiss_rows(rows: np.ndarray, ids: list[str], queries: np.ndarray, best: np.ndarray, shape: str) -> None:
    """Measure FAISS's GPU indexes, bare and behind ours."""
    if importlib.util.find_spec("faiss") is None:
        print(f"{'faiss':22s} not installed")
        return
    try:
        import faiss

        n_gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    except (ImportError, OSError) as error:
        print(f"{'faiss':22s} cannot be loaded: {error}")
        return
    if not n_gpus:
        print(f"{'faiss':22s} {faiss.__version__}: no GPU build, or no GPU seen")
        return
    from retrieval.indexes.faiss_cpu import FaissIndex
    from retrieval.indexes.faiss_gpu import Card

    resources = faiss.StandardGpuResources()
    for half in (False, True):
        free, total = torch.cuda.mem_get_info()
        options = faiss.GpuIndexFlatConfig()
        options.useFloat16 = half
        start = time.perf_counter()
        flat = faiss.GpuIndexFlatIP(resources, rows.shape[1], options)
        flat.add(rows)
        add_s = time.perf_counter() - start
        scores, _ = flat.search(queries[: len(best)], _K)
        gigabytes, rates = held_gb(total - free), timed(lambda part, flat=flat: flat.search(part, _K), queries)
        show(f"faiss flat{' half' if half else ''}", shape, add_s, gigabytes, rates, agreement(scores, best))
        del flat
    for kind in ("flat", "ivfpq"):
        if kind == "ivfpq" and len(rows) > 2_000_000:
            continue  # training and adding on the host takes minutes
        free, total = torch.cuda.mem_get_info()
        start = time.perf_counter()
        ours = FaissIndex(rows.shape[1], kind=kind, card=Card())
        ours.add(ids, rows)
        ours.search(queries[:1], k=_K)
        add_s = time.perf_counter() - start
        found = ours.search(queries[: len(best)], k=_K)
        scores = np.array([[score for _, score in hits] for hits in found], dtype=np.float32)
        gigabytes, rates = held_gb(total - free), timed(lambda part, ours=ours: ours.search(part, k=_K), queries)
        show(f"ours faiss {kind} card", shape, add_s, gigabytes, rates, agreement(scores, best))
        del ours


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=["1000000x384", "10000000x128"])
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--checked", type=int, default=64)
    parser.add_argument("--no-torch", action="store_true")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}; {describe_machine('torch', 'numpy')}")
    print(_HEAD)
    for size in options.sizes:
        n, width = (int(part) for part in size.split("x"))
        rows = made(n, width, seed=1, device="cuda").cpu().numpy()
        queries = made(options.queries, width, seed=2, device="cuda").cpu().numpy()
        torch.cuda.empty_cache()
        best = truth(rows, queries[: options.checked])
        ids = [f"c{i}" for i in range(n)]
        if not options.no_torch:
            torch_rows(rows, ids, queries, best, f"{n:.0e} x {width}")
        faiss_rows(rows, ids, queries, best, f"{n:.0e} x {width}")


if __name__ == "__main__":
    main()

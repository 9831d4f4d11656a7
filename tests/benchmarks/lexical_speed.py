"""Measure BM25: analysing, building the scores, changes and a search after them, a query, and reading it from its file.

    python -m tests.benchmarks.lexical_speed [--sizes 10000 100000] [--terms 100]

"+1" and "+1 %" are additions of one chunk and of a hundredth of the corpus, each with the search after it, joined to
the last build; "rebuild" is building all anew then and writing the file, which is what each change cost before. Chunks
are words drawn from 50,000 with Zipf's frequencies; questions have six such words.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retrieval.lexical import Bm25Index
from tests.benchmarks.machine import describe_machine

_VOCABULARY = 50_000


def seconds(action: Callable[[], object]) -> float:
    """Return how long ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(n: int, n_terms: int) -> None:
    """Print one line for ``n`` chunks of ``n_terms`` words."""
    frequencies = 1.0 / np.arange(1, _VOCABULARY + 1)
    drawn = np.random.default_rng(0).choice(
        _VOCABULARY, size=(n + n // 100 + 100, n_terms), p=frequencies / frequencies.sum()
    )
    texts = [" ".join(f"w{word}" for word in row) for row in drawn]
    index = Bm25Index()
    analyse_s = seconds(lambda: index.add([f"c{i:07d}" for i in range(n)], texts[:n]))
    build_s = seconds(lambda: index.ids)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.idx"
        index.save(path, record_version=1)
        size_mb = path.stat().st_size / 1e6
        load_s = seconds(lambda: Bm25Index.load(path))
    questions = [" ".join(text.split()[:6]) for text in texts[n : n + 100]]
    query_ms = seconds(lambda: [index.search(question, 10) for question in questions]) / len(questions) * 1e3
    one_more_s = seconds(lambda: (index.add(["new"], [texts[n]]), index.search(texts[n], 10)))
    more = {f"n{i}": text for i, text in enumerate(texts[n + 100 :])}
    more_s = seconds(lambda: (index.add(list(more), list(more.values())), index.search(texts[n], 10)))
    joined_ms = seconds(lambda: [index.search(question, 10) for question in questions]) / len(questions) * 1e3
    with tempfile.TemporaryDirectory() as folder:
        rebuild_s = seconds(lambda: index.save(Path(folder) / "b.idx", record_version=2))
    line = f"{n:7d} {analyse_s:9.2f} {build_s:8.2f} {one_more_s:8.3f} {more_s:8.3f} {rebuild_s:9.2f} {query_ms:8.2f} "
    print(f"{line}{joined_ms:9.2f} {load_s:7.2f} {size_mb:8.1f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--terms", type=int, default=100)
    options = parser.parse_args()
    print(describe_machine("bm25s", "PyStemmer", "numpy"))
    heads = (
        f"{'n':>7s} {'analyse s':>9s} {'build s':>8s} {'+1 s':>8s} {'+1 % s':>8s} {'rebuild s':>9s} {'query ms':>8s}"
    )
    print(f"\n{heads} {'joined ms':>9s} {'load s':>7s} {'file MB':>8s}")
    for n in options.sizes:
        measure(n, options.terms)


if __name__ == "__main__":
    main()

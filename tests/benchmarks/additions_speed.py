"""Measure what 1,000 more chunks cost in records of different sizes, until a search by vector finds them.

    python -m tests.benchmarks.additions_speed [--sizes 100000 1000000] [--rounds 5] [--index sq8] [--folder FOLDER]

A record of each size is made, 50 chunks to a document, with vectors of ``retrieval.testing.clustered_vectors`` (384
numbers). Its first rows are written into the tables at once, without mentions, because storing 20,000 documents one by
one is not what is measured; what is added is stored as documents are. The vector index is SQ8, which is built in
seconds; ``tests.benchmarks.index_speed`` has the same for IVF-PQ (column "add ms"). Measured is, in each round, after
20 documents of 50 chunks and their vectors are in the record: the catalogue, the vector index, and what reading all
and comparing all ids would have cost (the way before). ``found`` is the share of 50 of the new chunks that their own
vector then finds first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from kg import ids
from kg.stores.record import SqlRecordStore, open_record
from kg.stores.schema import changes, chunks, documents, vectors
from kg.testing import make_delta
from retrieval.catalog import difference, read_catalog
from retrieval.config import IndexKind, RetrievalConfig
from retrieval.derived import DerivedState
from retrieval.fakes import HashingTextEncoder
from retrieval.testing import clustered_vectors
from tests.benchmarks.machine import describe_machine

_PER_DOCUMENT, _ADDED, _WIDTH = 50, 20, 384


def fill(store: SqlRecordStore, space: str, n_chunks: int) -> None:
    """Write documents, chunks and vectors into the tables."""
    n_documents = n_chunks // _PER_DOCUMENT
    store.apply(make_delta("The first document notes what the record is made with.", name="first.txt"))  # version 1
    for first in range(0, n_documents, 400):
        numbers = range(first, min(first + 400, n_documents))
        of = {
            number: ids.document_id(f"/docs/{number}.txt", ids.sha256_hex(str(number).encode())) for number in numbers
        }
        places = [(of[number], ordinal) for number in numbers for ordinal in range(_PER_DOCUMENT)]
        made = [ids.chunk_id(one, None, ordinal * 10, ordinal * 10 + 9) for one, ordinal in places]
        rows_ND = clustered_vectors(len(made), _WIDTH, seed=first, n_centres=max(40, n_chunks // 100))
        common = {
            "media_type": "text/plain",
            "sha256": "0" * 64,
            "n_bytes": 1,
            "is_paged": False,
            "n_pages": 1,
            "n_chunks": _PER_DOCUMENT,
            "n_assets": 0,
            "added_at": "2026-01-01T00:00:00+00:00",
            "metadata": {},
            "pages": [],
            "headings": [],
            "equations": [],
            "text": "",
            "title": "",
        }
        place = {"end": 9, "page_first": 1, "page_last": 1, "modality": "text", "n_tokens": 2, "heading": ""}
        with store.engine.begin() as connection:
            connection.execute(
                insert(documents),
                [common | {"document_id": of[n], "source": f"/docs/{n}.txt", "name": f"{n}.txt"} for n in numbers],
            )
            connection.execute(
                insert(chunks),
                [
                    place | {"chunk_id": c, "document_id": d, "ordinal": o, "start": 0, "text": f"words {o}"}
                    for c, (d, o) in zip(made, places, strict=True)
                ],
            )
            connection.execute(
                insert(vectors),
                [{"chunk_id": c, "encoder": space, "vector": v.tobytes()} for c, v in zip(made, rows_ND, strict=True)],
            )
            connection.execute(insert(changes), [{"kind": "document", "item_id": of[n], "version": 1} for n in numbers])


def timed(action: Callable[[], object]) -> tuple[float, float, object]:
    """Return milliseconds by the clock, of CPU, and what the action returns."""
    clock, cpu = time.perf_counter(), time.process_time()
    value = action()
    return (time.perf_counter() - clock) * 1e3, (time.process_time() - cpu) * 1e3, value


def measure(folder: Path, n_chunks: int, n_rounds: int, index: IndexKind) -> None:
    """Print the line of one size."""
    store = open_record(folder / f"{n_chunks}.db")
    encoder = HashingTextEncoder(dimension=_WIDTH)
    state = DerivedState(store, encoder, RetrievalConfig(index=index), folder / f"index-{n_chunks}")
    if not store.documents():
        fill(store, state.vector_space, n_chunks)
    first_ms, _, _ = timed(state.catalog)
    build_ms, _, _ = timed(lambda: state.dense(state.catalog()))
    catalog, dense, whole, found = [], [], [], []
    for n in range(n_rounds):
        rows_ND = clustered_vectors(_PER_DOCUMENT * _ADDED, _WIDTH, seed=10**6 + n, n_centres=max(40, n_chunks // 100))
        new: list[str] = []
        for d in range(_ADDED):
            text = "\n\n".join(f"Words {o} of {n} {d} {time.time_ns()}." for o in range(_PER_DOCUMENT))
            delta = make_delta(text, name=f"new{n}-{d}-{time.time_ns()}.txt")
            store.apply(delta)
            own = [chunk.chunk_id for chunk in delta.chunks][:_PER_DOCUMENT]
            store.put_vectors(
                encoder=state.vector_space, rows=list(zip(own, rows_ND[len(new) : len(new) + len(own)], strict=True))
            )
            new += own
        catalog.append(timed(state.catalog)[:2])
        now = state.catalog()
        clock, cpu, made = timed(lambda now=now: state.dense(now))
        dense.append((clock, cpu))
        whole.append(timed(lambda now=now, made=made: difference(made.ids, now))[:2])
        hits = made.search(rows_ND[:50], k=1)  # type: ignore[attr-defined]
        found.append(np.mean([hit[0][0] == one for hit, one in zip(hits, new, strict=False)]))
    read_ms, _, _ = timed(lambda: read_catalog(store, store.version(), before=None))
    cells = [statistics.median(cpu for _, cpu in values) for values in (catalog, dense, whole)]
    line = f"{n_chunks:9d} {first_ms / 1e3:10.1f} {build_ms / 1e3:8.1f} {cells[0]:10.1f} {cells[1]:8.1f} "
    print(f"{line}{np.mean(found):7.3f} {read_ms:13.0f} {cells[2]:13.0f}", flush=True)
    store.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", default="sq8")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(describe_machine("faiss-cpu", "numpy", "sqlalchemy"))
    print(
        f"\n{'':9s} {'at first, s':>19s} {'after 1,000 more, CPU ms':>27s} {'the way before, ms':>27s}\n"
        f"{'chunks':>9s} {'catalogue':>10s} {'index':>8s} {'catalogue':>10s} {'index':>8s} {'found':>7s} "
        f"{'catalogue':>13s} {'compare ids':>13s}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in options.sizes:
            measure(folder, size, options.rounds, options.index)


if __name__ == "__main__":
    main()

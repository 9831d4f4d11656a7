"""How fast the graph is copied to a graph database, exported, and walked.

Run: ``python -m tests.benchmarks.graph_speed [--documents 200] [--folder DIR]``. Documents are those of
``tests.benchmarks.store_speed`` (12 chunks, 60 mentions of 20,000 names by Zipf's law, 24 statements each). The graph
database is ArcadeDB in a process of its own on this machine, or what MMKG_TEST_NEO4J_URI names. The baseline beside an
incremental sync is making the copy anew; beside an export, writing the same bytes to a file with one fsync.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kg.graph.communities import find_communities
from kg.graph.exchange.registry import FORMATS, export_graph
from kg.graph.mirror import sync
from kg.graph.neo4j_driver import BoltServer
from kg.graph.neo4j_graph import Neo4jGraph
from kg.graph.record_graph import RecordGraph
from kg.graph.views import figures
from kg.stores.record import open_record
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.store_speed import synthetic_delta
from tests.kg.graph.bolt_server import BoltProcess


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = what()
    return time.perf_counter() - started, value


def write_and_sync(folder: Path, size_bytes: int) -> float:
    def write() -> None:
        with (folder / "baseline").open("wb") as file:
            file.write(b"x" * size_bytes)
            file.flush()
            os.fsync(file.fileno())

    return timed(write)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    print(describe_machine("neo4j", "networkx", "graspologic-native"))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        store = open_record(folder / "record.db")
        for number in range(arguments.documents):
            store.apply(synthetic_delta(number))
        graph = RecordGraph(store)
        print(graph.statistics())
        measure_copy(store, folder, arguments.documents)
        for one in FORMATS.values():
            seconds, report = timed(
                lambda one=one: export_graph(store, folder / one.name, workspace="bench", format_name=one.name)
            )
            baseline = write_and_sync(folder, report.size_bytes)
            size_mb = report.size_bytes / 1e6
            print(f"export {one.name:10} {seconds:8.2f} s  {size_mb:7.1f} MB  (bytes alone {baseline:.3f} s)")
        relations = graph.relations()
        print(f"figures            {timed(lambda: figures(graph))[0]:8.2f} s")
        seconds, found = timed(lambda: find_communities(relations))
        print(f"communities        {seconds:8.2f} s  {len(found)} found")
        ends = relations[0].head_id, relations[-1].tail_id
        first, again = (timed(lambda: graph.shortest_paths(*ends, max_hops=4)) for _ in range(2))
        print(f"shortest paths     {first[0]:8.2f} s  the first time, {again[0]:.4f} s again")
        store.close()


def measure_copy(store: Any, folder: Path, n_documents: int) -> None:
    uri = os.environ.get("MMKG_TEST_NEO4J_URI", "")
    process = None if uri else BoltProcess(folder / "bolt")
    server = (
        process.server()
        if process
        else BoltServer(
            uri=uri,
            user=os.environ.get("MMKG_TEST_NEO4J_USER", "neo4j"),
            password=os.environ.get("MMKG_TEST_NEO4J_PASSWORD", ""),
        )
    )
    copy = Neo4jGraph(server, workspace="bench")
    fresh = sync(store, copy, fresh=True)
    print(f"sync anew          {fresh.seconds:8.2f} s  {fresh.n_rows} rows, {fresh.n_rows / fresh.seconds:.0f} rows/s")
    for number in range(3):
        store.apply(synthetic_delta(n_documents + number))
        one = sync(store, copy)
        share = one.seconds / fresh.seconds
        print(f"sync one document  {one.seconds:8.2f} s  {one.n_rows} rows; {share:.1%} of the time of anew")
    copy.clear()
    copy.close()
    if process:
        process.kill()


if __name__ == "__main__":
    main()

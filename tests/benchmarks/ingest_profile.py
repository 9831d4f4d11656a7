"""Where the time of an ingest goes: documents and pages a minute, and the share of each stage.

Usage: ``python -m tests.benchmarks.ingest_profile [FOLDER] [--threads N] [--limit N] [--no-warm]``

The FOLDER (default: the packaged samples) is ingested once into a fresh home, in this process, by the service's own
road, one file after the other (what overlapping gains, ``ingest_throughput`` measures); each port that the pipeline is
handed is wrapped in a proxy with a stopwatch. Models are loaded before the clock starts and are a line of their own
(with ``--no-warm`` they fall into the stages that first need them, as for a user who ingests once). ``CPU s`` is of all
threads of this process, so that a busy machine shows. The trivial baseline is to read and hash the same bytes.
``other`` is what no port is asked for: finding, reading and hashing files, bookkeeping.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from api.evaluation.retrieval import peak_memory_mib
from api.service import Service
from api.settings import Settings, load_settings
from api.wiring import Wiring
from kg.ingest import IngestPipeline
from kg.ports import RecordStore
from kg.types import FileOutcome, IngestReport, IngestStatus, RawFile
from retrieval.types import TextEncoder
from tests.benchmarks.machine import describe_machine

SAMPLES = Path(__file__).parents[2] / "api" / "samples" / "corpus"
STAGES = {
    "load": "parse the file",
    "caption": "read the pictures (OCR)",
    "chunk": "cut into chunks, counting tokens",
    "extract": "find entities and statements",
    "resolve": "decide which names are one thing",
    "apply": "write to the record",
    "encode": "vectors of the chunks",
    "index": "build BM25, FAISS and the graph",
}


@dataclass(slots=True)
class Stopwatch:
    """Wall and CPU seconds by stage; a stage inside another one is taken out of the outer one."""

    wall: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    running: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        outer = self.running[-1] if self.running else None
        self.running.append(name)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            self.running.pop()
            self.wall[name] += wall
            self.cpu[name] += cpu
            if outer is not None:
                self.wall[outer] -= wall
                self.cpu[outer] -= cpu


class Timed:
    """A port with a stopwatch on some of its methods; all else is passed through."""

    def __init__(self, port: Any, watch: Stopwatch, stages: dict[str, str]) -> None:
        self._port, self._watch, self._stages = port, watch, stages

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._timed(found, self._stages[name]) if name in self._stages else found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed(self._port, self._stages["__call__"])(*args, **kwargs)

    def _timed(self, function: Any, stage: str) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._watch.stage(stage):
                return function(*args, **kwargs)

        return run


class TimedWiring(Wiring):
    """The product's own wiring, but for the stopwatches."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.watch = Stopwatch()

    def encoder(self) -> TextEncoder:
        encoder: TextEncoder = Timed(super().encoder(), self.watch, {"encode": "encode", "encode_queries": "encode"})  # type: ignore[assignment]
        return encoder

    def pipeline(self, store: RecordStore, folder: Path | None = None) -> IngestPipeline:
        made = super().pipeline(store, folder)
        ports: dict[str, Any] = {
            "loaders": Timed(made.loaders, self.watch, {"load": "load"}),
            "captioner": Timed(made.captioner, self.watch, {"caption": "caption"}),
            "chunker": Timed(made.chunker, self.watch, {"__call__": "chunk"}),
            "extractor": Timed(made.extractor, self.watch, {"extract": "extract"}),
            "resolver": Timed(made.resolver, self.watch, {"resolve": "resolve"}),
            "store": Timed(made.store, self.watch, {"apply": "apply"}),
        }
        return replace(made, config=replace(made.config, workers=0), **ports)


def warm(service: Service) -> None:
    """Load every model by ingesting one sentence and one sample picture into a workspace that is not measured."""
    picture = (SAMPLES / "water-diagram.png").read_bytes()
    service.ingest_bytes("warm", [("warm.txt", b"Anna Berg owns the red boat."), ("warm.png", picture)])
    service.engine("warm").warm()


def timed_ingest(service: Service, wiring: TimedWiring, files: Iterable[RawFile | FileOutcome]) -> IngestReport:
    """Ingest as :meth:`api.service.Service.ingest_files` does, with the catching up of the indexes timed."""
    opened = service.workspaces.get("measured", create=True)
    report = wiring.pipeline(opened.store).ingest(files)
    with wiring.watch.stage("index"):
        opened.engine.refresh()
    return report


def hash_again(files: Sequence[Path]) -> float:
    """Return the seconds that reading and hashing the same files takes."""
    started = time.perf_counter()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    return time.perf_counter() - started


def read_all(wiring: TimedWiring, folder: Path, limit: int | None) -> Iterator[RawFile | FileOutcome]:
    """Yield the files of the folder as the service would, one at a time."""
    for candidate in list(wiring.discover([folder]))[:limit]:
        yield from candidate.read()


def print_report(watch: Stopwatch, report: IngestReport, *, wall: float, cpu: float) -> None:
    """Print the table of stages and the rates."""
    done = [outcome for outcome in report.outcomes if outcome.status is not IngestStatus.FAILED]
    n_pages, n_pictures = sum(o.n_pages for o in done), sum(o.n_assets for o in done)
    per_document = 1000 / max(1, len(report.outcomes))
    rows = [(name, watch.wall[name], watch.cpu[name], what) for name, what in STAGES.items()]
    rows.append(("other", wall - sum(row[1] for row in rows), cpu - sum(row[2] for row in rows), "files, bookkeeping"))
    print(f"\n{'stage':10s} {'wall s':>9s} {'CPU s':>9s} {'share':>7s} {'ms/file':>9s}")
    for name, seconds, cpu_seconds, what in rows:
        share = seconds / wall
        print(f"{name:10s} {seconds:9.2f} {cpu_seconds:9.2f} {share:7.1%} {seconds * per_document:9.1f}  {what}")
    print(f"{'total':10s} {wall:9.2f} {cpu:9.2f} {1:7.1%} {wall * per_document:9.1f}")
    largest = sorted(rows, key=lambda row: -row[1])[:3]
    print("\nlargest costs: " + ", ".join(f"{row[0]} ({row[3]}) {row[1] / wall:.0%}" for row in largest))
    slowest = sorted(done, key=lambda outcome: -outcome.seconds)[:3]
    print("slowest files: " + ", ".join(f"{o.name} {o.seconds:.1f} s ({o.n_pages} pages)" for o in slowest))
    minutes = wall / 60
    print(f"{len(done) / minutes:.1f} documents/minute, {n_pages / minutes:.1f} pages/minute", end="")
    print(f", {n_pictures / minutes:.1f} pictures/minute; in CPU minutes {len(done) / (cpu / 60):.1f} documents/minute")
    print(f"n = {len(report.outcomes)} files: {len(done)} in, {report.n_failed} failed; {n_pages} pages", end="")
    print(f", {n_pictures} pictures, {sum(o.n_chunks for o in done)} chunks", end="")
    print(f", {sum(o.n_mentions for o in done)} mentions, {sum(o.n_triples for o in done)} statements")
    for outcome in report.outcomes:
        if outcome.status is IngestStatus.FAILED:
            print(f"failed: {outcome.name} ({outcome.error_code})")


def main() -> None:
    """Ingest and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SAMPLES)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    parser.add_argument("--limit", type=int, help="the first N files only")
    parser.add_argument("--no-warm", action="store_true", help="load models inside the stages that need them")
    options = parser.parse_args()
    print(describe_machine("mmkgrag", "torch", "onnxruntime", "rapidocr", "spacy", "pypdfium2", "faiss-cpu"))
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(overrides={"home": Path(home), "threads": options.threads})
        wiring = TimedWiring(settings)
        service = Service(wiring)
        started = time.perf_counter()
        if not options.no_warm:
            warm(service)
            print(f"models loaded in {time.perf_counter() - started:.2f} s; {peak_memory_mib():.0f} MiB with them")
        wiring.watch.wall.clear()
        wiring.watch.cpu.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        report = timed_ingest(service, wiring, read_all(wiring, options.folder, options.limit))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print_report(wiring.watch, report, wall=wall, cpu=cpu)
        size_mib = sum(file.stat().st_size for file in Path(home, "measured").rglob("*") if file.is_file()) / 2**20
        service.close()
    sources = {Path(o.source.split("!/")[0]) for o in report.outcomes}
    paths = [path for path in sources if path.is_file()]
    read_mib = sum(path.stat().st_size for path in paths) / 2**20
    print(f"reading and hashing the same {read_mib:.1f} MiB: {hash_again(paths):.3f} s")
    print(f"peak memory {peak_memory_mib():.0f} MiB; workspace on disk {size_mib:.1f} MiB; threads {wiring.n_threads}")


if __name__ == "__main__":
    main()

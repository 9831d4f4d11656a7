"""How fast the record takes documents, and that adding one costs the same whatever is in it already.

Run: ``python -m tests.benchmarks.store_speed [--sizes 100 10000] [--folder DIR]``. Documents are synthetic: 12 chunks
of 900 characters, 60 mentions of names drawn by Zipf's law from 20,000 (so that a growing record has ever more popular
entities; one in ten by an alias that ends in the same word), 24 statements and one picture of 20 kB. None of the
statements is of a relation that has one answer (:mod:`kg.stores.contradictions`). Entities are resolved by the matcher
that ships (``graph``), by ``kg.testing.CompanyMatcher`` (``company``: homonyms by their company, aliases by their last
word), or by none. Excluded: parsing, captioning, extraction and encoding; the deltas are built before the clock starts.

``python -m tests.benchmarks.store_speed --sizes 100 10000 --synchronous FULL --matchers graph --names 0`` prints the
bound that is aimed at: adding one document to 10,000 costs at most 1.5 times as much as adding it to 100.

One record is filled for each matcher, without flushes, which change nothing of what is in the file, and copied when it
has each of the sizes. Then, for each setting of ``synchronous``, one document after the other is added to the record of
each size and removed again, the sizes in turn, so that a busy machine is busy for all and the sizes stay. Figures are
medians of one run: ms of time and of this process's CPU time, and MiB that adding reads from files and writes to them
(``/proc``, Linux alone). Removing moves the log into the file, adding does not.
The baseline beside them is writing the same bytes to a new file with one fsync.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import event

from kg import ids
from kg.ports import EntityMatcher
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import make_delta, make_document
from kg.types import Asset, Chunk, Extraction, GraphDelta, Mention, Modality, Span, Triple
from tests.benchmarks.machine import describe_machine

N_CHUNKS, CHUNK_CHARS, MENTIONS_PER_CHUNK, PICTURE_BYTES, N_NAMES, N_WARM = 12, 900, 5, 20_000, 20_000, 2
MATCHERS = {
    "graph": "kg.resolution.matcher:GraphEntityMatcher",
    "none": "kg.stores.matching:NamesOnlyMatcher",
    "company": "kg.testing:CompanyMatcher",
}


def synthetic_delta(number: int) -> GraphDelta:
    """Make document ``number``; the same number makes the same document."""
    rng = random.Random(number)
    text = "".join(rng.choices("abcdefghij klmnop\n", k=N_CHUNKS * CHUNK_CHARS - 8)) + f"{number:08d}"
    document = make_document("x" + text, name=f"{number}.txt")
    chunks, mentions, triples = [], [], []
    for ordinal in range(N_CHUNKS):
        start = ordinal * CHUNK_CHARS
        chunk = Chunk(
            chunk_id=ids.chunk_id(document.document_id, None, start, start + CHUNK_CHARS),
            document_id=document.document_id,
            ordinal=ordinal,
            text=document.text[start : start + CHUNK_CHARS],
            span=Span(start=start, end=start + CHUNK_CHARS),
            page_first=1,
            page_last=1,
            modality=Modality.TEXT,
            n_tokens=200,
        )
        found = [_mention(chunk, place, rng) for place in range(MENTIONS_PER_CHUNK)]
        chunks.append(chunk)
        mentions.extend(found)
        triples.extend(_triple(chunk, head, tail, rng) for head, tail in zip(found[::2], found[1::2], strict=False))
    data = rng.randbytes(PICTURE_BYTES)
    sha256 = ids.sha256_hex(data)
    asset = Asset(
        asset_id=ids.asset_id(document.document_id, 0, sha256),
        document_id=document.document_id,
        ordinal=0,
        kind=Modality.IMAGE,
        media_type="image/png",
        data=data,
        sha256=sha256,
        width_px=100,
        height_px=100,
        page=1,
    )
    return GraphDelta(
        document=replace(document, assets=(asset,)),
        captions=(),
        chunks=tuple(chunks),
        extraction=Extraction(mentions=tuple(mentions), triples=tuple(triples)),
    )


def _mention(chunk: Chunk, place: int, rng: random.Random) -> Mention:
    number = min(int(rng.paretovariate(0.7)), N_NAMES)
    name = rng.choices((f"Name {number}", f"NAME {number}", f"N {number}"), weights=(8, 1, 1))[0]
    start = chunk.span.start + place * 20
    return Mention(
        mention_id=ids.mention_id(chunk.chunk_id, start, start + 10, "NAME"),
        chunk_id=chunk.chunk_id,
        text=name,
        span=Span(start=start, end=start + 10),
        label=rng.choice(("NAME", "PLACE")),
        source="ner",
        entity_id=ids.entity_id(name.casefold()),
    )


def _triple(chunk: Chunk, head: Mention, tail: Mention, rng: random.Random) -> Triple:
    return Triple(
        triple_id=ids.triple_id(
            chunk.chunk_id, head.mention_id, "knows", tail.mention_id, head.span.start, tail.span.end
        ),
        chunk_id=chunk.chunk_id,
        head_mention_id=head.mention_id,
        name=rng.choice(("knows", "likes", "meets")),
        tail_mention_id=tail.mention_id,
        span=Span(start=head.span.start, end=tail.span.end),
        extractor="synthetic",
    )


def _matcher(name: str) -> EntityMatcher:
    module, _, attribute = MATCHERS.get(name, name).partition(":")
    matcher: EntityMatcher = getattr(importlib.import_module(module), attribute)()
    return matcher


def _seconds(action: object, *arguments: object) -> tuple[float, float]:
    """Return the seconds that it takes, and those of this process's CPU time."""
    started, cpu = time.perf_counter(), time.process_time()
    action(*arguments)  # type: ignore[operator]
    return time.perf_counter() - started, time.process_time() - cpu


def _write_plain(path: Path, delta: GraphDelta) -> None:
    with path.open("wb") as file:
        file.write(delta.document.text.encode() + delta.document.assets[0].data)
        file.flush()
        os.fsync(file.fileno())


@dataclass(slots=True)
class Probes:
    """Times of one record, in seconds, one for each probe; ``cpu`` are those of this process."""

    add: list[float] = field(default_factory=list)
    add_cpu: list[float] = field(default_factory=list)
    add_io: list[tuple[int, int]] = field(default_factory=list)
    """Bytes read from files and written to them."""
    remove: list[float] = field(default_factory=list)
    remove_cpu: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)


def _opened(path: Path, *, pragmas: Sequence[str], matcher: EntityMatcher) -> SqlRecordStore:
    store = open_record(path, matcher=matcher)
    store.engine.dispose()
    event.listen(
        store.engine.pool, "connect", lambda driver, _: [driver.execute(f"PRAGMA {pragma}") for pragma in pragmas]
    )
    return store


def _bytes_of_files() -> tuple[int, int]:
    """Return the bytes that this process has read from files and written to them; nothing where ``/proc`` is not."""
    path = Path("/proc/self/io")
    if not path.is_file():
        return 0, 0
    lines = dict(line.split(": ") for line in path.read_text("ascii").splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def fill(folder: Path, sizes: Sequence[int], *, matcher: EntityMatcher) -> Iterator[tuple[int, Path, float]]:
    """Fill one record, and yield each size with a copy of the record then, and the documents/s since the last one."""
    path = folder / f"filled-{matcher.version}.db"
    n = 0
    for size in sorted(sizes):
        store = _opened(path, pragmas=["synchronous=OFF"], matcher=matcher)
        seconds = sum(_seconds(store.apply, synthetic_delta(number))[0] for number in range(n, size))
        store.close()
        copy = folder / f"{matcher.version}-{size}.db"
        shutil.copy(path, copy)
        yield size, copy, (size - n) / seconds if seconds else 0.0
        n = size


def probe(
    records: Mapping[int, Path], *, pragmas: Sequence[str], matcher: EntityMatcher, n_probes: int
) -> dict[int, Probes]:
    """Add one document after the other to the record of each size and remove it again, the sizes in turn."""
    stores = {size: _opened(path, pragmas=pragmas, matcher=matcher) for size, path in records.items()}
    found = {size: Probes() for size in stores}
    for number in range(-N_WARM, n_probes):
        delta = synthetic_delta(10**7 + number)
        for size, store in stores.items():
            times = Probes() if number < 0 else found[size]
            before = _bytes_of_files()
            added = _seconds(store.apply, delta)
            after = _bytes_of_files()
            times.add_io.append((after[0] - before[0], after[1] - before[1]))
            for seconds, into, cpu in (
                (added, times.add, times.add_cpu),
                (_seconds(store.remove, delta.document.document_id), times.remove, times.remove_cpu),
                (_seconds(_write_plain, records[size].with_name(f"plain-{size}-{number}"), delta), times.plain, []),
            ):
                into.append(seconds[0])
                cpu.append(seconds[1])
    for store in stores.values():
        store.close()
    return found


def measure_names(folder: Path, n_names: int) -> tuple[float, float, float]:
    """Return ms for the first fuzzy look-up, a later one, and an exact one, in a record of ``n_names`` entities."""
    rng = random.Random(0)
    store = open_record(folder / "names.db")
    per_document, texts = 2000, []
    for first in range(0, n_names, per_document):
        names = (
            " ".join("".join(rng.choices("abcdefghijklmnop", k=6)).title() for _ in "ab") for _ in range(per_document)
        )
        texts.append((first, "\n\n".join(names)))
    for first, text in texts:
        store.apply(make_delta(text, name=f"{first}.txt"))
    known = store.entities()[0].name
    near = known[:-1] + "zz"
    times = [_seconds(store.find_entities, near)[0] for _ in range(4)]
    exact = [_seconds(lambda: store.find_entities(known, limit=1))[0] for _ in range(4)]
    store.close()
    return 1000 * times[0], 1000 * statistics.median(times[1:]), 1000 * statistics.median(exact)


def print_table(found: Mapping[int, Probes], *, synchronous: str, matcher: str) -> None:
    """Print medians in ms, and what they are of those of the smallest record."""
    print(
        "synchronous   matcher  documents   add ms   CPU  vs smallest  MiB read  written"
        "  remove ms   CPU  vs smallest  plain file ms"
    )
    first = found[min(found)]
    for size, times in found.items():
        add, add_cpu, remove, remove_cpu, plain = (
            1000 * statistics.median(one)
            for one in (times.add, times.add_cpu, times.remove, times.remove_cpu, times.plain)
        )
        read, written = (statistics.median(one) / 2**20 for one in zip(*times.add_io, strict=True))
        adding = statistics.median(times.add) / statistics.median(first.add)
        removing = statistics.median(times.remove) / statistics.median(first.remove)
        print(
            f"{synchronous:>11}  {matcher:>8}  {size:9d}  {add:7.1f} {add_cpu:5.1f}  {adding:11.2f}"
            f"  {read:8.2f} {written:8.2f}"
            f"  {remove:9.1f} {remove_cpu:5.1f}  {removing:11.2f}  {plain:13.1f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 5000])
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--synchronous", nargs="+", default=["FULL", "NORMAL"], choices=["FULL", "NORMAL", "OFF"])
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS), help="names, or MODULE:CLASS")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    parser.add_argument("--pragmas", nargs="*", default=[], help="set on each connection: cache_size=-2000")
    parser.add_argument("--probes", type=int, default=25, help="documents to add and remove")
    arguments = parser.parse_args()
    print(f"{describe_machine('sqlalchemy', 'rapidfuzz')}, SQLite {sqlite3.sqlite_version}; {arguments.probes} probes")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.matchers:
            records: dict[int, Path] = {}
            for size, path, rate in fill(Path(folder), arguments.sizes, matcher=_matcher(name)):
                print(f"{name}: filled to {size} documents, {path.stat().st_size / 2**20:.0f} MiB, {rate:.1f} docs/s")
                records[size] = path
            for synchronous in arguments.synchronous:
                pragmas = [f"synchronous={synchronous}", *arguments.pragmas]
                found = probe(records, pragmas=pragmas, matcher=_matcher(name), n_probes=arguments.probes)
                print_table(found, synchronous=synchronous, matcher=name)
        if arguments.names:
            cold, warm, exact = measure_names(Path(folder), arguments.names)
            print(f"find_entities of {arguments.names}: first {cold:.0f} ms, next {warm:.0f} ms, exact {exact:.1f} ms")


if __name__ == "__main__":
    main()

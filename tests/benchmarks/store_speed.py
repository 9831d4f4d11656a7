"""How fast the record takes documents, and that adding one costs the same whatever is in it already.

Run: ``python -m tests.benchmarks.store_speed [--sizes 100 10000] [--folder DIR]``. Documents are synthetic: 12 chunks
of 900 characters, 60 mentions of names drawn by Zipf's law from 20,000 (so that a growing record has ever more popular
entities; one in ten by an alias that ends in the same word), 24 statements and one picture of 20 kB. Entities are
resolved by ``kg.testing.CompanyMatcher`` (homonyms by their company, aliases by their last word), or by none. Excluded:
parsing, captioning, extraction and encoding; the deltas are built before the clock starts. The baseline beside each
figure is writing the same bytes to a new file with one fsync. One series is run for each setting of ``synchronous`` and
for each matcher; the records of all sizes are probed in turn, and the last column relates medians of one run.
``--sizes 100 10000`` is the bound that is aimed at: at most 1.5 times as much.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy
from sqlalchemy import event

from kg import ids
from kg.ports import EntityMatcher
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import make_delta, make_document
from kg.types import Asset, Chunk, Extraction, GraphDelta, Mention, Modality, Span, Triple

N_CHUNKS, CHUNK_CHARS, MENTIONS_PER_CHUNK, PICTURE_BYTES, N_NAMES, N_PROBES = 12, 900, 5, 20_000, 20_000, 25
MATCHERS = {"none": "kg.stores.matching:NamesOnlyMatcher", "company": "kg.testing:CompanyMatcher"}


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


def _seconds(action: object, *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)  # type: ignore[operator]
    return time.perf_counter() - started


def _write_plain(path: Path, delta: GraphDelta) -> None:
    with path.open("wb") as file:
        file.write(delta.document.text.encode() + delta.document.assets[0].data)
        file.flush()
        os.fsync(file.fileno())


def _filled(path: Path, size: int, *, synchronous: str, matcher: EntityMatcher) -> tuple[SqlRecordStore, float]:
    """Open a record, fill it with ``size`` documents, and return it with the documents/s that it took."""
    store = open_record(path, matcher=matcher)
    store.engine.dispose()
    event.listen(store.engine.pool, "connect", lambda driver, _: driver.execute(f"PRAGMA synchronous={synchronous}"))
    seconds = 0.0
    for number in range(size):
        delta = synthetic_delta(number)
        seconds += _seconds(store.apply, delta)
    return store, size / seconds


def measure(
    folder: Path, sizes: list[int], *, synchronous: str, matcher: EntityMatcher
) -> Iterator[tuple[int, float, float, float, float]]:
    """Yield, for each size: filling rate in documents/s, and medians in ms of adding, removing and the plain file.

    The records of all sizes are filled first and probed in turn, so that a busy machine slows all of them alike. Each
    probe is taken out again, so the sizes stay.
    """
    stores = {
        size: _filled(
            folder / f"{synchronous}-{matcher.version}-{size}.db", size, synchronous=synchronous, matcher=matcher
        )
        for size in sizes
    }
    times: dict[int, tuple[list[float], list[float], list[float]]] = {size: ([], [], []) for size in sizes}
    for number in range(N_PROBES):
        probe = synthetic_delta(10**7 + number)
        for size, (store, _) in stores.items():
            added, removed, plain = times[size]
            added.append(_seconds(store.apply, probe))
            removed.append(_seconds(store.remove, probe.document.document_id))
            plain.append(_seconds(_write_plain, folder / f"plain-{size}-{number}", probe))
    for size, (store, rate) in stores.items():
        add, remove, write = (1000 * statistics.median(one) for one in times[size])
        yield size, rate, add, remove, write
        store.close()


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
    times = [_seconds(store.find_entities, near) for _ in range(4)]
    exact = [_seconds(lambda: store.find_entities(known, limit=1)) for _ in range(4)]
    store.close()
    return 1000 * times[0], 1000 * statistics.median(times[1:]), 1000 * statistics.median(exact)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 5000])
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--synchronous", nargs="+", default=["FULL", "NORMAL"], choices=["FULL", "NORMAL", "OFF"])
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS), help="names, or MODULE:CLASS")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    arguments = parser.parse_args()
    versions = (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, SQLAlchemy {sqlalchemy.__version__}"
    )
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {versions}; {N_PROBES} probes")
    print("synchronous        matcher  documents  fill docs/s  add 1 ms  remove 1 ms  plain file ms  vs smallest")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for synchronous in arguments.synchronous:
            for name in arguments.matchers:
                first = 0.0
                found = measure(Path(folder), arguments.sizes, synchronous=synchronous, matcher=_matcher(name))
                for size, rate, add, remove, plain in found:
                    first = first or add
                    print(
                        f"{synchronous:>11}  {name:>13}  {size:9d}  {rate:11.1f}  {add:8.1f}  {remove:11.1f}"
                        f"  {plain:13.1f}  {add / first:11.2f}"
                    )
        if arguments.names:
            cold, warm, exact = measure_names(Path(folder), arguments.names)
            print(f"find_entities of {arguments.names}: first {cold:.0f} ms, next {warm:.0f} ms, exact {exact:.1f} ms")


if __name__ == "__main__":
    main()

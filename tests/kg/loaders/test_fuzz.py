"""Twenty mutated files of every format; ``python -m tests.benchmarks.fuzz_loaders`` tries 500 of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from kg.chunking import chunk_document
from kg.errors import LoadError
from kg.ingest import IngestPipeline
from kg.loaders.expand import CONTAINER_TYPES, expand
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.loaders.sniff import sniff
from kg.stores.record import open_record
from kg.testing import CapitalisedWordExtractor, NameResolver, WordTokenizer, canonical_dump
from kg.types import IngestStatus, RawFile
from tests.kg.loaders.fuzz import BAD, FUZZ_LIMITS, Worker, case_bytes
from tests.kg.loaders.seeds import FORMATS, SEEDS

N_CASES = 20


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as one:
        yield one


@pytest.mark.parametrize("suffix", FORMATS)
def test_mutated_files_neither_crash_nor_hang_and_leave_the_record_as_it_was(worker, suffix):
    kinds = FORMATS[suffix]
    n_mutated = -(-N_CASES // len(kinds))
    outcomes = [outcome for kind in kinds for outcome in worker.run(kind, range(n_mutated + 1))]

    assert len(outcomes) >= N_CASES + len(kinds)
    assert {outcome.result for outcome in outcomes if outcome.number == 0} == {"ok"}
    assert [outcome for outcome in outcomes if outcome.result in BAD] == []


def test_every_type_of_file_that_is_read_is_mutated():
    seeds = {name: make() for name, make in SEEDS.items()}
    types = {sniff(data, name=f"case.{name}") for name, data in seeds.items() if name != "http"}

    assert types >= {*LoaderRegistry(default_loaders(FUZZ_LIMITS), FUZZ_LIMITS).media_types, *CONTAINER_TYPES}
    assert seeds["http"].startswith(b"HTTP/1.1 200 OK")  # what is fetched comes by another road


def test_mutations_are_the_same_every_time_and_differ_from_each_other():
    assert case_bytes("svg", 7) == case_bytes("svg", 7)
    assert case_bytes("svg", 7) != case_bytes("svg", 7, seed=1)
    assert len({case_bytes("html", number) for number in range(N_CASES)}) > N_CASES / 2


def test_files_that_fail_leave_nothing_in_the_record(tmp_path):
    files = [
        item
        for suffix in ("md", "svg", "epub", "ipynb", "tex", "tiff")
        for number in range(6)
        for item in _members(f"{number}.{suffix}", case_bytes(suffix, number))
    ]

    store = open_record(tmp_path / "all.db")
    report = _pipeline(store).ingest(files)
    clean = open_record(tmp_path / "good.db")
    came_in = {outcome.source for outcome in report.outcomes if outcome.status is IngestStatus.ADDED}
    _pipeline(clean).ingest([raw for raw in files if raw.source in came_in])

    assert {outcome.error_code for outcome in report.outcomes} >= {"", "corrupt"}
    assert "internal" not in {outcome.error_code for outcome in report.outcomes}
    assert canonical_dump(store) == canonical_dump(clean)
    store.close()
    clean.close()


def _members(name: str, data: bytes) -> list[RawFile]:
    try:
        return [item for item in expand(raw_from_bytes(name, data), limits=FUZZ_LIMITS) if isinstance(item, RawFile)]
    except LoadError:
        return []


def _pipeline(store) -> IngestPipeline:
    return IngestPipeline(
        store=store,
        loaders=LoaderRegistry(default_loaders(FUZZ_LIMITS), FUZZ_LIMITS),
        chunker=partial(chunk_document, tokenizer=WordTokenizer()),
        extractor=CapitalisedWordExtractor(),
        resolver=NameResolver(),
    )

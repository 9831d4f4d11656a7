"""Overlapping stages give what one file after the other gives, hold no more than they may, and always end."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kg.errors import ConfigError, ExtractionError, StoreFullError
from kg.ingest import Cancellation, IngestConfig, IngestPipeline, IngestProgress
from kg.ingest.flow import Budget, Channel, InOrder, Stop
from kg.ingest.progress import Rate
from kg.ingest.steps import STAGES, Task
from kg.ports import EncodedChunk
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import (
    CapitalisedWordExtractor,
    PlainTextLoader,
    canonical_dump,
    make_pipeline,
    make_raw,
)
from kg.types import Chunk, Document, Extraction, FileOutcome, GraphDelta, IngestStatus, RawFile

SMALL = IngestConfig(workers=2, caption_workers=2, max_in_flight=3, extract_chunks=4, encode_chunks=4)
UNOPENED = FileOutcome(
    source="/docs/x", name="x", status=IngestStatus.FAILED, seconds=0.0, error_code="unreadable", message="No."
)


class WordCountEncoder:
    """Gives each chunk the vector of its length, and refuses what speaks of poison."""

    space = "words"

    def encode(self, deltas: Sequence[GraphDelta]) -> list[list[EncodedChunk]]:
        if any("poison" in delta.document.text for delta in deltas):
            raise ValueError("poison")
        return [
            [EncodedChunk(chunk_id=c.chunk_id, vector=np.array([len(c.text), 1.0], np.float32)) for c in d.chunks]
            for d in deltas
        ]


class PickyExtractor(CapitalisedWordExtractor):
    """Reads many documents at once, and fails on each that speaks of trouble."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        if "trouble" in document.text:
            raise ExtractionError(f"{document.name} is trouble.")
        if "fault" in document.text:
            raise ZeroDivisionError("a fault")
        return super().extract(chunks, document=document)

    def extract_many(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> list[Extraction]:
        self.batches.append(len(items))
        return [self.extract(chunks, document=document) for chunks, document in items]


def pipeline_of(store: SqlRecordStore, config: IngestConfig) -> IngestPipeline:
    return replace(make_pipeline(store), extractor=PickyExtractor(), encoder=WordCountEncoder(), config=config)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlRecordStore]:
    record = open_record(tmp_path / "record.db")
    yield record
    record.close()


def told(outcomes: Sequence[FileOutcome]) -> list[FileOutcome]:
    return [replace(outcome, seconds=0.0, stages={}) for outcome in outcomes]


PARTS = st.sampled_from(
    ["Ada knows Bob.", "[picture: Ada in Rome]", "[picture: ]", "\f", "plain", "trouble", "fault", "poison", "Cy Dee"]
)
TEXTS = st.lists(PARTS, max_size=5).map("\n\n".join)
FILES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 5), st.one_of(TEXTS, st.just(b"\xff\xfe"))).map(
            lambda pair: make_raw(pair[1], name=f"{pair[0]}.txt")
        ),
        st.just(UNOPENED),
    ),
    max_size=14,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=FILES, files=FILES)
def test_overlapping_stages_report_and_store_what_one_file_after_the_other_does(
    tmp_path_factory: pytest.TempPathFactory, before: list[RawFile | FileOutcome], files: list[RawFile | FileOutcome]
):
    folder = tmp_path_factory.mktemp("two")
    results = []
    for name, config in (("plain", IngestConfig(workers=0)), ("overlapping", SMALL)):
        record = open_record(folder / f"{name}.db")
        pipeline = pipeline_of(record, config)
        reports = [pipeline.ingest(before), pipeline.ingest(files)]
        results.append(([told(report.outcomes) for report in reports], canonical_dump(record)))
        assert not any(report.is_cancelled for report in reports)
        record.close()
    assert results[0] == results[1]


def test_vectors_are_in_the_record_when_the_ingest_is_over_and_poison_costs_vectors_only(store: SqlRecordStore):
    files = [make_raw(f"Ada {number}", name=f"{number}.txt") for number in range(5)]
    report = pipeline_of(store, SMALL).ingest([*files, make_raw("poison", name="p.txt")])

    vectors = store.vectors(encoder="words", chunk_ids=store.chunk_ids())
    assert report.n_failed == 0
    assert all(vector.tolist() == [5.0, 1.0] for vector in vectors.values())
    assert 0 < len(vectors) <= 5


def test_stage_takes_all_that_waits_up_to_its_batch():
    channel = Channel[int](Stop())
    for number in (3, 4, 5, 1):
        channel.put(number)
    channel.close()
    assert channel.take(most=lambda taken, further: sum(taken) + further <= 7) == [3, 4]
    assert channel.take(most=lambda taken, further: sum(taken) + further <= 7) == [5, 1]
    assert channel.take() == []


def test_documents_that_are_ready_together_are_extracted_in_one_batch(store: SqlRecordStore):
    extractor = PickyExtractor()
    steps = replace(pipeline_of(store, SMALL), extractor=extractor)._steps()
    tasks = [Task(ordinal=number, raw=make_raw(f"Ada {number}")) for number in range(3)]
    for task in tasks:
        steps.parse(task)
    steps.extract(tasks)
    assert extractor.batches == [3]
    assert [len(task.delta.extraction.mentions) for task in tasks if task.delta] == [1, 1, 1]


def test_each_document_of_a_failing_batch_is_read_alone_and_only_the_bad_ones_fail(store: SqlRecordStore):
    words = ["Ada", "trouble", "Bob", "fault", "Cy"]
    files = [make_raw(text, name=f"{number}.txt") for number, text in enumerate(words)]
    report = pipeline_of(store, replace(SMALL, max_in_flight=10)).ingest(files)
    assert [outcome.error_code for outcome in report.outcomes] == ["", "extraction", "", "internal", ""]


def test_files_in_flight_hold_no_more_bytes_and_no_more_files_than_allowed(store: SqlRecordStore):
    alive, most = 0, 0
    lock = threading.Lock()

    def items() -> Iterator[RawFile]:
        nonlocal alive, most
        for number in range(60):
            with lock:
                alive += 1
                most = max(most, alive)
            yield make_raw("Ada knows Bob. " * 40, name=f"{number}.txt")

    def heard(_: FileOutcome) -> None:
        nonlocal alive
        with lock:
            alive -= 1

    # 600 bytes as a file, and 3 × 600 more when it is a document: three fit into 7,200 bytes
    config = IngestConfig(workers=2, max_in_flight=50, max_in_flight_bytes=7_200)
    report = pipeline_of(store, config).ingest(items(), on_outcome=heard)

    assert report.n_failed == 0
    assert most <= 7_200 // 600 + 1  # by bytes as files; the one that waits to come in is read already


def test_budget_lets_the_oldest_go_on_when_the_others_weigh_too_much():
    stop = Stop()
    budget = Budget(stop, max_count=5, max_bytes=100)
    assert budget.enter(0, 40)
    assert budget.enter(1, 40)
    budget.weigh(1, 500)
    assert budget.wait_to_grow(0)  # the oldest is never kept waiting

    entered = threading.Event()

    def come_in() -> None:
        budget.enter(2, 10)
        entered.set()

    thread = threading.Thread(target=come_in)
    thread.start()
    assert not entered.wait(0.05)
    budget.leave(1)
    assert entered.wait(10)
    thread.join()
    assert (budget.most_bytes, budget.most_count) == (540, 2)


def test_file_larger_than_the_budget_is_let_in_alone():
    budget = Budget(Stop(), max_count=5, max_bytes=100)
    assert budget.enter(0, 1_000)
    budget.leave(0)
    assert budget.enter(1, 10)


def test_stopping_wakes_everyone_who_waits():
    stop = Stop()
    budget, channel, order = Budget(stop, max_count=1, max_bytes=1), Channel[int](stop), InOrder[int](stop)
    budget.enter(0, 1)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(budget.enter(1, 1))),
        threading.Thread(target=lambda: answers.append(channel.take())),
        threading.Thread(target=lambda: answers.append(order.take(poll_s=60))),
    ]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, answers)) == ["False", "None", "[]"]


def test_cancelled_ingest_keeps_what_is_in_and_ends_its_threads(store: SqlRecordStore):
    wish = Cancellation()
    heard: list[str] = []

    def hear(outcome: FileOutcome) -> None:
        heard.append(outcome.name)
        if len(heard) == 3:
            wish.cancel()

    for config in (SMALL, IngestConfig(workers=0)):
        wish, heard = Cancellation(), []
        files = [make_raw(f"Ada {number}", name=f"{number}.txt") for number in range(20)]
        report = pipeline_of(store, config).ingest(files, on_outcome=hear, cancellation=wish)
        assert report.is_cancelled
        assert [outcome.name for outcome in report.outcomes] == heard == ["0.txt", "1.txt", "2.txt"]
    assert store.statistics()["documents"] == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest")]


def test_cancellation_asked_elsewhere_is_heard_and_stays():
    asked = [False, True, False]
    wish = Cancellation(lambda: asked.pop(0))
    assert [wish.is_cancelled() for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("config", [SMALL, IngestConfig(workers=0)])
def test_listener_that_raises_ends_the_ingest_and_all_threads(store: SqlRecordStore, config: IngestConfig):
    def hear(_: FileOutcome) -> None:
        raise KeyboardInterrupt

    files = [make_raw(f"Ada {number}", name=f"{number}.txt") for number in range(9)]
    with pytest.raises(KeyboardInterrupt):
        pipeline_of(store, config).ingest(files, on_outcome=hear)
    assert store.statistics()["documents"] == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest")]


def test_thread_that_dies_ends_the_run_with_its_error(store: SqlRecordStore):
    class Dying(PlainTextLoader):
        def load(self, raw: RawFile) -> Document:
            if raw.name == "4.txt":
                raise SystemExit("a fault that no boundary may swallow")
            return super().load(raw)

    files = [make_raw(f"Ada {number}", name=f"{number}.txt") for number in range(9)]
    with pytest.raises(SystemExit, match="a fault"):
        replace(pipeline_of(store, SMALL), loaders=Dying()).ingest(files)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest")]


def test_items_that_cannot_be_listed_further_raise_after_those_before_are_in(store: SqlRecordStore):
    def items() -> Iterator[RawFile]:
        yield make_raw("Ada", name="1.txt")
        raise OSError(errno.EIO, "the folder went away")

    with pytest.raises(OSError, match="went away"):
        pipeline_of(store, SMALL).ingest(items())
    assert [info.name for info in store.documents()] == ["1.txt"]


@pytest.mark.parametrize("config", [SMALL, IngestConfig(workers=0)])
def test_full_disk_ends_the_work_and_the_rest_is_not_tried(
    store: SqlRecordStore, config: IngestConfig, monkeypatch: pytest.MonkeyPatch
):
    whole = SqlRecordStore.apply

    def apply(self: SqlRecordStore, delta: GraphDelta) -> IngestStatus:
        if delta.document.name == "2.txt":
            raise StoreFullError("There is no room left.")
        return whole(self, delta)

    monkeypatch.setattr(SqlRecordStore, "apply", apply)
    files = [make_raw("Ada", name=f"{number}.txt") for number in range(6)]
    report = pipeline_of(store, config).ingest(files)

    assert [outcome.error_code for outcome in report.outcomes] == ["", "", *["store_full"] * 4]
    assert report.outcomes[2].message == "There is no room left."
    assert all(o.message.startswith("Not tried, because the record failed at 2.txt") for o in report.outcomes[3:])
    assert store.statistics()["documents"] == 2


def test_every_stage_tells_its_progress_and_the_last_one_the_time_left(store: SqlRecordStore):
    heard: list[IngestProgress] = []
    files = [make_raw("Ada\f[picture: Bob]", name="1.txt"), make_raw(b"\xff", name="2.txt"), UNOPENED]
    for config in (SMALL, IngestConfig(workers=0)):
        heard.clear()
        pipeline_of(store, config).ingest(files, on_progress=heard.append, total=3)
        last = {step.stage: step for step in heard}
        assert {stage: last[stage].done for stage in STAGES} == dict.fromkeys(STAGES, 3)
        assert {step.total for step in heard} == {3}
        assert last["store"].eta_s == 0.0
    assert store.statistics()["documents"] == 1


def test_pages_seen_are_counted_beside_pages_of_the_file(store: SqlRecordStore):
    outcome = make_pipeline(store).ingest_file(make_raw("Ada\f\f[picture: Bob]\fCy"))
    assert (outcome.n_pages, outcome.n_pages_with_content) == (4, 3)  # the second page is blank


def test_seconds_of_a_file_are_the_sum_of_its_stages(store: SqlRecordStore):
    ticks = iter(float(number) for number in range(100))
    pipeline = replace(make_pipeline(store), clock=lambda: next(ticks))
    outcome = pipeline.ingest_file(make_raw("Ada"))
    assert set(outcome.stages) == {"store", "parse", "extract"}
    assert outcome.seconds == sum(outcome.stages.values()) > 0


def test_rate_follows_the_newer_intervals():
    times = iter([0.0, *(float(n) for n in range(1, 101)), *(100.0 + 3 * n for n in range(1, 101))])
    rate = Rate(lambda: next(times))
    assert rate.seconds_for(5) is None
    for _ in range(100):
        rate.tick()
    assert rate.seconds_for(10) == pytest.approx(10.0)
    for _ in range(100):
        rate.tick()
    assert rate.seconds_for(10) == pytest.approx(30.0, rel=0.02)  # 100 files later 1/76 of the old rate is left


@pytest.mark.parametrize(
    "wrong", [{"workers": -1}, {"caption_workers": 0}, {"max_in_flight_bytes": 0}, {"server_paths": 1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, int]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        IngestConfig(**wrong)  # type: ignore[arg-type]

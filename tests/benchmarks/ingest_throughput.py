"""Documents a minute: overlapping stages, one file after the other, and the loop that anyone would write first.

Usage: ``python -m tests.benchmarks.ingest_throughput [--texts N] [--pdfs N] [--pictures N] [--words LOW HIGH]
[--repeat N] [--memory N N …] [--config key=value …]``

Run it with ``OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1`` in the environment, as ``mmkg`` sets them for itself.

The corpus is generated, the same for the same flags and seed: notes of LOW to HIGH words from templates, PDFs of the
same text set by reportlab, and bar charts drawn by Pillow. Every way reads every kind in one run, with the same models,
loaded before the clock starts, into a fresh record each, the ways taking turns so that a busy machine is busy for all:

- ``naive``: a file at a time; each chunk goes to spaCy and to the encoder alone, and a document's vectors to the record
- ``sequential``: the product's pipeline with ``workers=0``: a document's chunks in a batch, its stages one by one
- ``overlapped``: the product's pipeline as it is configured

The ratio is of the best times. ``extract + encode`` leaves parsing, captions and the record out. It has two baselines:

- ``libraries``: ``spacy.load(...)(text)`` of a whole document, then its chunks in one padded batch through the
  network and tokenizer of transformers, with the pooling that sentence-transformers does: no rules at all are run
- ``chunk by chunk``: our own rules and network, in float32, on one chunk at a time

against batches of both stages in two threads. ``--memory`` ingests so many notes in a process each and
prints its peak memory: it must not grow with the corpus.
"""

from __future__ import annotations

import argparse
import io
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from api.evaluation.retrieval import peak_memory_mib
from api.settings import load_settings
from api.wiring import Wiring
from kg.ingest import IngestConfig, IngestPipeline
from kg.loaders.raw import raw_from_bytes
from kg.ports import BatchExtractor, CaptionRequest, ChunkEncoder, EncodedChunk
from kg.stores.record import open_record
from kg.types import Caption, Chunk, Document, Extraction, GraphDelta, RawFile
from tests.benchmarks.machine import describe_machine

PEOPLE = ["Anna Berg", "Tom Hale", "Mona Arden", "Petra Voss", "Ines Torvald", "Jon Elder", "Ruth Calder", "Sam Okoro"]
THINGS = ["Velmara Ferry Company", "Kestrel Works", "Lune Bank", "Orvik Museum", "Harbour School", "Northern Mill"]
PLACES = ["Orvik", "Velmara", "Lune", "Tarn", "Skerry", "Aldmoor"]
VERBS = ["founded", "bought", "visited", "designed", "sold", "joined", "repaired", "described", "led", "painted"]


def sentence(chance: random.Random) -> str:
    who, what, where = chance.choice(PEOPLE), chance.choice(THINGS), chance.choice(PLACES)
    year, verb = chance.randint(1880, 2020), chance.choice(VERBS)
    return chance.choice(
        (
            f"{who} {verb} the {what} in {where} in {year}.",
            f"In {year} the {what} of {where} was {verb} by {who}, who worked there for {chance.randint(2, 30)} years.",
            f"The {what} stands near {where}, and {who} wrote about it in {year}.",
            f"{who} met {chance.choice(PEOPLE)} at the {what} before the old bridge in {where} was closed.",
        )
    )


def words(chance: random.Random, low: int, high: int) -> str:
    wanted, text = chance.randint(low, high), ""
    while len(text.split()) < wanted:
        text += sentence(chance) + (" " if chance.random() < 0.8 else "\n\n")
    return text.strip()


def notes(n: int, seed: int, low: int, high: int) -> Iterator[RawFile]:
    chance = random.Random(seed)
    for number in range(n):
        yield raw_from_bytes(f"note-{number}.txt", f"Note {number}\n\n{words(chance, low, high)}".encode())


def pdfs(n: int, seed: int, low: int, high: int) -> Iterator[RawFile]:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    chance, style = random.Random(seed + 1), getSampleStyleSheet()
    for number in range(n):
        out = io.BytesIO()
        parts: list[object] = [Paragraph(f"Report {number}", style["Title"])]
        for paragraph in words(chance, low, high).split("\n\n"):
            parts += [Paragraph(paragraph, style["BodyText"]), Spacer(1, 6)]
        SimpleDocTemplate(out, invariant=1).build(parts)
        yield raw_from_bytes(f"report-{number}.pdf", out.getvalue())


def pictures(n: int, seed: int) -> Iterator[RawFile]:
    chance = random.Random(seed + 2)
    title, label = ImageFont.load_default(size=28), ImageFont.load_default(size=20)
    for number in range(n):
        image = Image.new("RGB", (640, 420), "white")
        pen = ImageDraw.Draw(image)
        pen.text((30, 12), f"Sales of the {chance.choice(THINGS)}", fill="black", font=title)
        for place in range(5):
            height = chance.randint(40, 280)
            left = 50 + place * 115
            pen.rectangle((left, 370 - height, left + 70, 370), fill=(60, 110, 170))
            pen.text((left + 10, 345 - height), str(height), fill="black", font=label)
            pen.text((left + 8, 380), str(2015 + place), fill="black", font=label)
        out = io.BytesIO()
        image.save(out, "PNG")
        yield raw_from_bytes(f"chart-{number}.png", out.getvalue())


Road = Callable[[IngestPipeline, Sequence[RawFile]], None]
Read = tuple[Document, tuple[Caption, ...], Sequence[Chunk]]


def naive(pipeline: IngestPipeline, files: Sequence[RawFile]) -> None:
    """Ingest as a first script would: a file at a time, and each chunk alone to spaCy and to the encoder."""
    for raw in files:
        document, captions = load(pipeline, raw)
        delta, rows = read_alone(pipeline, document, captions, list(pipeline.chunker(document, captions)))
        pipeline.store.apply(delta)
        pipeline.store.put_vectors(encoder=space(pipeline), rows=rows)


def load(pipeline: IngestPipeline, raw: RawFile) -> tuple[Document, tuple[Caption, ...]]:
    document = pipeline.loaders.load(raw)
    found: list[Caption] = []
    for asset in document.assets if pipeline.captioner is not None else ():
        said = pipeline.captioner.caption([CaptionRequest(asset=asset, document_title=document.title)])
        found += [caption for caption in said if caption is not None]
    return document, tuple(found)


def read_alone(
    pipeline: IngestPipeline, document: Document, captions: tuple[Caption, ...], chunks: Sequence[Chunk]
) -> tuple[GraphDelta, list[EncodedChunk]]:
    """Extract and encode the chunks of a document one at a time."""
    found = [pipeline.extractor.extract([chunk], document=document) for chunk in chunks]
    extraction = pipeline.resolver.resolve(
        Extraction(
            mentions=tuple(mention for one in found for mention in one.mentions),
            triples=tuple(triple for one in found for triple in one.triples),
        )
    )
    delta = GraphDelta(document=document, captions=captions, chunks=tuple(chunks), extraction=extraction)
    encoder, rows = pipeline.encoder, []
    for chunk in chunks if encoder is not None else ():
        alone = GraphDelta(document=document, captions=captions, chunks=(chunk,), extraction=Extraction())
        rows += encoder.encode([alone])[0]  # type: ignore[union-attr]
    return delta, rows


def space(pipeline: IngestPipeline) -> str:
    return "" if pipeline.encoder is None else pipeline.encoder.space


def piped(config: IngestConfig) -> Road:
    def run(pipeline: IngestPipeline, files: Sequence[RawFile]) -> None:
        report = replace(pipeline, config=config).ingest(files)
        assert report.n_failed == 0, [outcome.message for outcome in report.outcomes if outcome.message][:3]

    return run


def seconds(wiring: Wiring, road: Road, files: Sequence[RawFile]) -> float:
    """Ingest into a fresh record and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        pipeline = wiring.pipeline(store)
        started = time.perf_counter()
        road(pipeline, files)
        taken = time.perf_counter() - started
        store.close()
    return taken


def compare(wiring: Wiring, kinds: dict[str, list[RawFile]], *, repeat: int) -> None:
    """Print documents a minute by kind and way."""
    roads = {
        "naive": naive,
        "sequential": piped(replace(wiring.settings.ingest, workers=0)),
        "overlapped": piped(wiring.settings.ingest),
    }
    print(f"\n{'kind':10s} {'n':>5s} " + " ".join(f"{name + '/min':>15s}" for name in roads), end="")
    print(f" {'over naive':>11s} {'over sequential':>16s}")
    for kind, files in kinds.items():
        taken: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(repeat):
            for name, road in roads.items():
                taken[name].append(seconds(wiring, road, files))
        best = {name: min(times) for name, times in taken.items()}
        rates = " ".join(f"{60 * len(files) / best[name]:15.1f}" for name in roads)
        print(f"{kind:10s} {len(files):5d} {rates} {best['naive'] / best['overlapped']:11.2f} ", end="")
        print(f"{best['sequential'] / best['overlapped']:16.2f}")


def compare_two_stages(wiring: Wiring, files: Sequence[RawFile], *, repeat: int) -> None:
    """Print what batches and two threads give extraction and encoding alone."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        pipeline = wiring.pipeline(store)
        read: list[Read] = []
        for raw in files:
            document, captions = load(pipeline, raw)
            read.append((document, captions, list(pipeline.chunker(document, captions))))
        exact = replace(pipeline, encoder=float32_encoder(wiring))
        roads: dict[str, Callable[[], object]] = {
            "libraries": libraries(wiring, read),
            "chunk by chunk": lambda: [read_alone(exact, *one) for one in read],
            "batched": lambda: read_together(pipeline, read),
        }
        times: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(repeat):
            for name, road in roads.items():
                started = time.perf_counter()
                road()
                times[name].append(time.perf_counter() - started)
        store.close()
    best = {name: min(taken) for name, taken in times.items()}
    n_chunks = sum(len(chunks) for _, _, chunks in read)
    print(f"\nextract + encode alone, {len(files)} notes, {n_chunks} chunks; best of {repeat}")
    for name, taken in best.items():
        print(f"{name:16s} {taken:7.2f} s {60 * len(files) / taken:8.0f}/min {taken / best['batched']:6.2f} of batched")


def float32_encoder(wiring: Wiring) -> ChunkEncoder:
    """Return what encodes chunks in the pipeline, without bfloat16."""
    exact = Wiring(load_settings(overrides={"encoder": {"precision": "float32"}}))
    exact.warm()
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        encoder = exact.pipeline(store).encoder
        store.close()
    assert encoder is not None
    return encoder


def libraries(wiring: Wiring, read: Sequence[Read]) -> Callable[[], None]:
    """Make the loop of someone who has just installed spaCy and transformers."""
    import spacy
    import torch

    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from transformers import AutoModel, AutoTokenizer

    nlp = spacy.load(wiring.models.path("spacy-en"))
    tokenizer = AutoTokenizer.from_pretrained(wiring.models.path("minilm"))
    network = AutoModel.from_pretrained(wiring.models.path("minilm")).eval()

    def run() -> None:
        for document, _, chunks in read:
            nlp(document.text)
            batch = tokenizer(
                [chunk.text for chunk in chunks], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = network(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None]
                pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
                torch.nn.functional.normalize(pooled, dim=-1).numpy()

    return run


def read_together(pipeline: IngestPipeline, read: Sequence[Read]) -> None:
    """Extract in batches in this thread, and encode the batches in another."""
    extractor, encoder = pipeline.extractor, pipeline.encoder
    assert isinstance(extractor, BatchExtractor)
    assert encoder is not None
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = []
        for part in parts(read, limit=pipeline.config.extract_chunks):
            found = extractor.extract_many([(chunks, document) for document, _, chunks in part])
            deltas = [
                GraphDelta(
                    document=document,
                    captions=captions,
                    chunks=tuple(chunks),
                    extraction=pipeline.resolver.resolve(extraction),
                )
                for (document, captions, chunks), extraction in zip(part, found, strict=True)
            ]
            waiting.append(pool.submit(encoder.encode, deltas))
        for future in waiting:
            future.result()


def parts(read: Sequence[Read], *, limit: int) -> Iterator[list[Read]]:
    """Cut the documents where ``limit`` chunks are full, as the pipeline does."""
    part: list[Read] = []
    for one in read:
        if part and sum(len(chunks) for _, _, chunks in [*part, one]) > limit:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def memory_of(options: argparse.Namespace, n: int) -> str:
    """Ingest ``n`` notes in a process of its own; return what it prints."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest_throughput", "--memory-child", str(n)]
    command += ["--words", *map(str, options.words), "--seed", str(options.seed), "--config", *options.config]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def memory_child(wiring: Wiring, options: argparse.Namespace) -> None:
    """Ingest notes that are made as they are asked for, and print the peak memory before and after."""
    n: int = options.memory_child
    seconds(wiring, piped(wiring.settings.ingest), list(notes(64, options.seed + 9, *options.words)))
    before = peak_memory_mib()
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        started = time.perf_counter()
        wiring.pipeline(store).ingest(notes(n, options.seed, *options.words))
        taken = time.perf_counter() - started
        store.close()
    print(f"{n:6d} notes: peak {peak_memory_mib():.0f} MiB ({before:.0f} after 64 others), {60 * n / taken:.0f}/min")


def main() -> None:
    """Make the corpora, ingest them in each way, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--pdfs", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--words", type=int, nargs=2, default=(40, 300), metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="N")
    parser.add_argument("--config", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the section ingest")
    parser.add_argument("--memory-child", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    section = dict(item.split("=", 1) for item in options.config)
    wiring = Wiring(load_settings(overrides={"ingest": section} if section else None))
    wiring.warm()
    if options.memory_child:
        memory_child(wiring, options)
        return
    print(describe_machine("mmkgrag", "torch", "transformers", "onnxruntime", "spacy", "pypdfium2"))
    low, high = options.words
    kinds = {
        "text": list(notes(options.texts, options.seed, low, high)),
        "pdf": list(pdfs(options.pdfs, options.seed, low, high)),
        "picture": list(pictures(options.pictures, options.seed)),
    }
    kinds = {kind: files for kind, files in kinds.items() if files}
    print(f"notes and PDFs of {low} to {high} words; best of {options.repeat}; {wiring.settings.ingest}")
    for files in kinds.values():
        seconds(wiring, naive, files[:2])  # every model is loaded
    compare(wiring, kinds, repeat=options.repeat)
    if "text" in kinds:
        compare_two_stages(wiring, kinds["text"], repeat=options.repeat)
    for n in options.memory:
        print(memory_of(options, n))


if __name__ == "__main__":
    main()

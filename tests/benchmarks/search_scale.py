"""Measure a whole search in a large record: each stage, p50 and p99, beside encoding the question and raw FAISS.

    python -m tests.benchmarks.search_scale [--chunks 100000] [--questions 200] [--add 1000] [--folder FOLDER]

What is made. Documents have 50 chunks of some 110 words each: words drawn from 30,000 by Zipf's law (so that a
question's words stand in as many chunks as they do in prose), six mentions of names from 40,000 and four of common
nouns from 5,000, also by Zipf's law, each where its words stand. Three names in four are of the document's own circle
of 12, so that chunks of a document and of its neighbours are joined, as in real corpora. Vectors are not encoded, which
would take an hour: they are those of ``retrieval.testing.clustered_vectors``, written into the record as the packaged
encoder's. What a search costs does not depend on what they say. Questions are real sentences for the encoder and BM25:
two names and six words of one chunk. No document is called after a name, so a question of several parts leads on to no
other passage here; what that costs is in ``question_understanding.py``.

What is measured, warm, one question after the other, as a service is asked: a request with everything that is on by
default (``Retriever.search``), ``engine.search`` in mode auto within it, and its stages; in the same run, question by
question, ``encode_queries`` alone and ``faiss.IndexFlatIP`` alone over the same vectors. The bound of the project is
3 x (encode + FAISS flat) for the median, and p99 under 5 x p50. ``--add`` then adds that many chunks (as whole
documents, with their vectors) and prints what the first search after it costs, part by part.

The record is kept in FOLDER and used again (by default a temporary one, made anew).
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import faiss
import numpy as np

from api.settings import load_settings
from kg import ids
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import make_document
from kg.types import Chunk, Extraction, GraphDelta, Mention, Modality, Span
from retrieval.config import RetrievalConfig
from retrieval.derived import vector_space
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.engine import RetrievalEngine
from retrieval.retriever import Retriever
from retrieval.testing import clustered_vectors
from retrieval.types import Query
from tests.benchmarks.machine import describe_machine

N_CHUNKS, N_WORDS, N_NAMES, N_NOUNS, VOCABULARY = 50, 110, 40_000, 5_000, 30_000
_SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]


def _zipf(n: int, *, flat_to: int) -> list[float]:
    """Return cumulated frequencies ``1 / (rank + flat_to)``: the first ``flat_to`` are about equally common."""
    shares: list[float] = np.cumsum(1.0 / (np.arange(1, n + 1) + flat_to)).tolist()
    return shares


_WORDS, _NAMES, _NOUNS = _zipf(VOCABULARY, flat_to=2), _zipf(N_NAMES, flat_to=50), _zipf(N_NOUNS, flat_to=20)


def word(number: int) -> str:
    """Return the word of this number: two syllables at least, no two alike."""
    n = len(_SYLLABLES)
    made = ""
    while number >= n:
        number, rest = divmod(number, n)
        made += _SYLLABLES[rest]
    return made + _SYLLABLES[number] + "s" * (not made)


def name(number: int) -> str:
    """Return the name of this number: a given name and a family name."""
    return f"{word(number % 997 + 200).title()} {word(number + 1000).title()}"


def circle_or(rng: random.Random, circle: list[int]) -> list[int]:
    """Draw a name: three times in four of the document's own circle."""
    return rng.choices(circle) if rng.random() < 0.75 else rng.choices(range(N_NAMES), cum_weights=_NAMES)


def synthetic_delta(number: int) -> GraphDelta:
    """Make document ``number``; the same number makes the same document."""
    rng = random.Random(number)
    circle = rng.choices(range(N_NAMES), cum_weights=_NAMES, k=12)
    parts, places = [], []
    length = 0
    for _ in range(N_CHUNKS):
        words = [word(w) for w in rng.choices(range(VOCABULARY), cum_weights=_WORDS, k=N_WORDS)]
        named: dict[int, str] = {}
        for place in rng.sample(range(0, N_WORDS, 5), 10):
            is_name = len(named) < 6
            (n,) = circle_or(rng, circle) if is_name else rng.choices(range(N_NOUNS), cum_weights=_NOUNS)
            words[place] = name(n) if is_name else f"the {word(n + 2000)}"
            named[place] = "PERSON" if is_name else "CONCEPT"
        found, start = [], 0
        for place, one in enumerate(words):
            if place in named:
                found.append((start, one.removeprefix("the "), named[place]))
            start += len(one) + 1
        text = " ".join(words) + ".\n"
        parts.append(text)
        places.append((length, len(text) - 1, found))
        length += len(text)
    document = make_document("x" + "".join(parts), name=f"{number}.txt")
    shift = document.text.index(parts[0][:40])
    chunks, mentions = [], []
    for ordinal, (start, size, found) in enumerate(places):
        start += shift
        chunk = Chunk(
            chunk_id=ids.chunk_id(document.document_id, None, start, start + size),
            document_id=document.document_id,
            ordinal=ordinal,
            text=document.text[start : start + size],
            span=Span(start=start, end=start + size),
            page_first=1,
            page_last=1,
            modality=Modality.TEXT,
            n_tokens=200,
        )
        chunks.append(chunk)
        for at, words_, label in found:
            span = Span(start=start + at, end=start + at + len(words_))
            mentions.append(
                Mention(
                    mention_id=ids.mention_id(chunk.chunk_id, span.start, span.end, label),
                    chunk_id=chunk.chunk_id,
                    text=words_,
                    span=span,
                    label=label,
                    source="ner",
                    entity_id=ids.entity_id(words_.casefold()),
                )
            )
    extraction = Extraction(mentions=tuple(mentions), triples=())
    return GraphDelta(document=document, captions=(), chunks=tuple(chunks), extraction=extraction)


def fill(store: SqlRecordStore, space: str, *, first: int, n_documents: int, n_all: int) -> None:
    """Add documents ``first`` and up with their vectors."""
    for number in range(first, first + n_documents):
        delta = synthetic_delta(number)
        store.apply(delta)
        rows_ND = clustered_vectors(len(delta.chunks), 384, seed=number, n_centres=max(40, n_all // 100))
        store.put_vectors(
            encoder=space, rows=[(chunk.chunk_id, row) for chunk, row in zip(delta.chunks, rows_ND, strict=True)]
        )


def question(store: SqlRecordStore, chunk_id: str, rng: random.Random) -> str:
    """Ask for a chunk: two of its names and six of its words."""
    (chunk,) = store.chunks([chunk_id])
    named = [m.text for m in store.mentions(chunk_id) if m.label == "PERSON"]
    return f"What did {named[0]} and {named[-1]} say about {' '.join(rng.sample(chunk.text.split(), 6))}?"


def seconds(action: object, *arguments: object) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    action(*arguments)  # type: ignore[operator]
    return time.perf_counter() - start


def line(label: str, values_s: list[float], unit_s: float) -> str:
    """Return one line of the table."""
    p50, p99 = np.percentile(values_s, 50), np.percentile(values_s, 99)
    return f"{label:22s} {p50 * 1e3:9.2f} {p99 * 1e3:9.2f} {p99 / max(p50, 1e-9):9.1f} {p50 / unit_s:9.2f}"


def measure(engine: RetrievalEngine, encoder: TransformerTextEncoder, flat: object, questions: list[str]) -> None:
    """Print the table of one record."""
    whole: list[float] = []
    requests: list[float] = []
    retriever = Retriever(engine)
    encode: list[float] = []
    raw: list[float] = []
    stages: dict[str, list[float]] = defaultdict(list)
    for n, text in enumerate([*questions[:10], *questions]):
        encode_s = seconds(encoder.encode_queries, [text])
        vector_1D = encoder.encode_queries([text])
        raw_s = seconds(flat.search, vector_1D, 10)  # type: ignore[attr-defined]
        start = time.perf_counter()
        _, trace = engine.search(Query(text=text), k=10)
        whole_s = time.perf_counter() - start
        start = time.perf_counter()
        retriever.search(Query(text=text), k=10)
        request_s = time.perf_counter() - start
        if n < 10:
            continue  # warm
        encode.append(encode_s)
        raw.append(raw_s)
        whole.append(whole_s)
        requests.append(request_s)
        for stage, stage_s in trace.stages:
            stages[stage].append(stage_s)
    unit = float(np.median(np.add(encode, raw)))
    print(f"{'':22s} {'p50 ms':>9s} {'p99 ms':>9s} {'p99/p50':>9s} {'/(enc+F)':>9s}")
    print(line("encode alone", encode, unit))
    print(line("FAISS flat alone", raw, unit))
    print(line("encode + FAISS flat", np.add(encode, raw).tolist(), unit))
    print(line("a whole request", requests, unit))
    print(line("search, mode auto", whole, unit))
    for stage, values in stages.items():
        print(line(f"  {stage}", values, unit))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--add", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(describe_machine("faiss-cpu", "bm25s", "numpy", "scipy"))
    encoder = TransformerTextEncoder(load_settings().cache / "models" / "minilm")
    config = RetrievalConfig()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        store = open_record(folder / "record.db")
        space = vector_space(encoder, config)
        have, wanted = len(store.documents()), -(-options.chunks // N_CHUNKS)
        start = time.perf_counter()
        fill(store, space, first=have, n_documents=max(0, wanted - have), n_all=options.chunks)
        print(f"record: {wanted} documents, {wanted * N_CHUNKS} chunks; filled in {time.perf_counter() - start:.0f} s")
        engine = RetrievalEngine(store, encoder, config, folder / "index")
        print(f"first refresh {seconds(engine.refresh):.1f} s, second {seconds(engine.refresh) * 1e3:.1f} ms")
        chunk_ids = store.chunk_ids()
        flat = faiss.IndexFlatIP(384)
        for at in range(0, len(chunk_ids), 1000):
            part = store.vectors(encoder=space, chunk_ids=chunk_ids[at : at + 1000])
            flat.add(np.stack(list(part.values())))
        rng = random.Random(5)
        questions = [question(store, chunk_id, rng) for chunk_id in rng.sample(chunk_ids, options.questions)]
        print(f"\n{len(chunk_ids)} chunks, {options.questions} questions, k = 10")
        measure(engine, encoder, flat, questions)
        if options.add:
            n_new = -(-options.add // N_CHUNKS)
            fill(store, space, first=len(store.documents()), n_documents=n_new, n_all=options.chunks)
            start = time.perf_counter()
            _, trace = engine.search(Query(text=questions[0]), k=10)
            print(f"\nthe first search after {n_new * N_CHUNKS} more chunks: {time.perf_counter() - start:.2f} s")
            for stage, stage_s in trace.stages:
                print(f"  {stage:20s} {stage_s * 1e3:9.1f} ms")
        store.close()


if __name__ == "__main__":
    main()

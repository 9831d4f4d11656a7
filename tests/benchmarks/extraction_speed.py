"""CPU seconds of extraction by rules: spaCy a text at a time, spaCy in batches (our reference), and the fast parse.

Usage: ``python -m tests.benchmarks.extraction_speed [--notes N] [--words LOW HIGH] [--seed N] [--repeat N]
[--texts FILE …]``

Run it with ``OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1`` in the environment, as ``mmkg`` sets them for itself.

The notes are generated, as ``ingest_throughput`` does; ``--texts`` adds files of plain text, each a document. Models
are loaded before the clock starts. All ways read the same chunks in one run and take turns; the figure is the least of
the repeats, of all threads of this process. What a way found is compared, and a difference ends the run. The ways:

- ``plain``: ``spacy.load(...)(text)``, a chunk at a time, and our rules on what it gives
- ``reference``: the same pipeline in batches, with sentence starts of our own, and NumPy's BLAS (``fast=False``)
- ``fast``: :mod:`kg.extraction.parsing` (``fast=True``)

``plain`` has spaCy's own sentences, so what it finds differs from the others and is not compared.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spacy

from api.settings import load_settings
from api.wiring import Wiring
from kg.extraction.parsing.assembly import assemble
from kg.extraction.parsing.pipeline import BatchPipeline
from kg.extraction.reading import DocumentReader, is_table_chunk
from kg.extraction.spacy_rules import SpacyExtractor, _prepare
from kg.extraction.words import Parsed, parsed_of
from kg.loaders.raw import raw_from_bytes
from kg.stores.record import open_record
from kg.types import Chunk, Document, Extraction
from tests.benchmarks.ingest_throughput import notes
from tests.benchmarks.machine import describe_machine

Items = list[tuple[list[Chunk], Document]]
_BATCH = 64


class Watch:
    """Sums the CPU seconds of each stage, and keeps the least sum of the rounds."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self._now: dict[str, float] = defaultdict(float)

    def time(self, stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        started = time.process_time()
        result = work(*arguments)
        self._now[stage] += time.process_time() - started
        return result

    def end_round(self) -> None:
        for stage, seconds in self._now.items():
            self.best[stage] = min(seconds, self.best.get(stage, seconds))
        self._now.clear()


def rules(items: Items, parsed: Sequence[Parsed]) -> list[Extraction]:
    """Read the documents whose parsed chunks follow one another."""
    waiting = iter(parsed)
    found = []
    for chunks, document in items:
        reader = DocumentReader(document, extractor="spacy-rules", max_table_rows=2000)
        found.append(reader.read(chunks, [None if is_table_chunk(chunk) else next(waiting) for chunk in chunks]))
    return found


def plain(nlp: Any, items: Items) -> list[Extraction]:
    texts = [chunk.text for chunks, _ in items for chunk in chunks if not is_table_chunk(chunk)]
    return rules(items, [parsed_of(nlp(text)) for text in texts])


def stages_of_spacy(nlp: Any, chunks: Sequence[Chunk], watch: Watch) -> list[Parsed]:
    docs = [watch.time("tokens, sentences", _prepare, nlp, chunk) for chunk in chunks]
    for name, pipe in nlp.pipeline:
        docs = watch.time(name, lambda pipe=pipe, docs=docs: list(_pipe(pipe, docs)))
    return [watch.time("plain words", parsed_of, doc) for doc in docs]


def stages_of_fast(nlp: Any, pipeline: BatchPipeline, chunks: Sequence[Chunk], watch: Watch) -> list[Parsed]:
    found: list[Parsed] = []
    for start in range(0, len(chunks), _BATCH):
        docs = [watch.time("tokens, sentences", _prepare, nlp, chunk) for chunk in chunks[start : start + _BATCH]]
        for name, pipe in nlp.pipeline:
            if name not in pipeline.sped_up:
                docs = watch.time(name, lambda pipe=pipe, docs=docs: list(_pipe(pipe, docs)))
            elif name in ("tok2vec", "parser"):
                watch.time(name, pipeline._steps[name], docs)
        entities = watch.time("ner", pipeline._entities.find, docs)
        forms = [watch.time("attribute_ruler", pipeline._forms.of, doc) for doc in docs]
        found += watch.time("plain words", lambda *parts: list(map(assemble, *parts)), docs, forms, entities)
    return found


def _pipe(pipe: Any, docs: Sequence[Any]) -> Any:
    return pipe.pipe(docs, batch_size=_BATCH) if hasattr(pipe, "pipe") else map(pipe, docs)


def compare_stages(reference: SpacyExtractor, fast: SpacyExtractor, pipeline: Any, items: Items, repeat: int) -> None:
    """Print the CPU seconds of each stage, before and behind the parse too."""
    chunks = [chunk for part, _ in items for chunk in part if not is_table_chunk(chunk)]
    slow, quick = Watch(), Watch()
    for _ in range(repeat):
        gc.collect()
        gc.disable()  # all parses are held at once here, which no ingest does
        for watch in (slow, quick):
            for _, document in items:
                watch.time("chunking", pipeline.chunker, document, ())
        parses = (
            (stages_of_spacy(reference._nlp, chunks, slow), slow),
            (stages_of_fast(fast._nlp, fast._pipeline, chunks, quick), quick),
        )
        for parsed, watch in parses:
            found = watch.time("rules", rules, items, parsed)
            watch.time("names resolved", lambda found=found: [pipeline.resolver.resolve(one) for one in found])
            watch.end_round()
        gc.enable()
    print(f"\n{'stage':20s} {'reference':>10s} {'fast':>10s}")
    for stage, seconds in slow.best.items():
        print(f"{stage:20s} {seconds:10.3f} {quick.best.get(stage, 0.0):10.3f}")
    whole = sum(slow.best.values()), sum(quick.best.values())
    print(f"{'sum':20s} {whole[0]:10.3f} {whole[1]:10.3f}   {whole[0] / whole[1]:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=60)
    parser.add_argument("--words", type=int, nargs=2, default=(40, 300), metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--texts", type=Path, nargs="*", default=[], metavar="FILE")
    options = parser.parse_args()
    wiring = Wiring(load_settings())
    model = wiring.models.path("spacy-en")
    with tempfile.TemporaryDirectory() as folder:
        store = open_record(Path(folder) / "record.db")
        pipeline = wiring.pipeline(store)
        raws = list(notes(options.notes, options.seed, *options.words))
        raws += [raw_from_bytes(path.name, path.read_bytes()) for path in options.texts]
        documents = [pipeline.loaders.load(raw) for raw in raws]
        items = [(list(pipeline.chunker(document, ())), document) for document in documents]
        nlp, reference, fast = spacy.load(model), SpacyExtractor(model, fast=False), SpacyExtractor(model)
        print(describe_machine("mmkgrag", "spacy", "thinc", "numpy"))
        n_chunks, n_tokens = sum(len(part) for part, _ in items), sum(len(nlp.make_doc(d.text)) for d in documents)
        print(f"{len(items)} documents, {n_chunks} chunks, {n_tokens} tokens; least of {options.repeat}, CPU seconds")
        first = []
        for is_fast in (False, True):
            fresh = SpacyExtractor(model, fast=is_fast)
            started = time.process_time()
            fresh.extract_many(items)
            first.append(time.process_time() - started)
        watch = Watch()
        for _ in range(options.repeat):
            watch.time("plain", plain, nlp, items)
            expected = watch.time("reference", reference.extract_many, items)
            if watch.time("fast", fast.extract_many, items) != expected:
                raise SystemExit("the fast parse finds something else than the reference")
            watch.end_round()
        for name, seconds in watch.best.items():
            print(f"{name:10s} {seconds:7.3f}   {watch.best['plain'] / seconds:5.2f} times plain", end="")
            print(f"   {watch.best['reference'] / seconds:5.2f} times the reference")
        print(f"the first reading, with nothing remembered: reference {first[0]:.3f}, fast {first[1]:.3f}")
        compare_stages(reference, fast, pipeline, items, options.repeat)
        store.close()


if __name__ == "__main__":
    main()

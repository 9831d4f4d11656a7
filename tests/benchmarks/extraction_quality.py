"""Print precision and recall of the spaCy extractor on the hand-labelled passages of ``tests/kg/extraction/golden.py``.

Run: ``python -m tests.benchmarks.extraction_quality --model PATH/spacy-en [--speed PASSAGES.jsonl --n 200]``.
Heads, tails and entities are compared by ``kg.resolution.entity_key``, predicates by their letters. The passages were
written with the patterns in view, so these are figures of regression, not of the open world.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path

from kg.extraction.spacy_rules import SpacyExtractor
from kg.ids import chunk_id, sha256_hex
from kg.resolution import entity_key
from kg.types import Chunk, Document, Extraction, Modality, Page, Span
from tests.kg.extraction.golden import PASSAGES


def one_chunk(title: str, text: str) -> tuple[Document, Chunk]:
    span = Span(start=0, end=len(text))
    document = Document(
        document_id=f"d_{title}", source=title or "x", name=title or "x", media_type="text/plain",
        sha256=sha256_hex(text.encode()), n_bytes=len(text), title=title, text=text, is_paged=False,
        pages=(Page(number=1, span=span),),
    )  # fmt: skip
    chunk = Chunk(
        chunk_id=chunk_id(document.document_id, None, 0, len(text)), document_id=document.document_id, ordinal=0,
        text=text, span=span, page_first=1, page_last=1, modality=Modality.TEXT, n_tokens=1,
    )  # fmt: skip
    return document, chunk


def keyed(triples: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    return {(entity_key(h, "CONCEPT"), name.lower(), entity_key(t, "CONCEPT")) for h, name, t in triples}


def facts(found: Extraction) -> set[tuple[str, str, str]]:
    text = {mention.mention_id: mention.text for mention in found.mentions}
    return keyed((text[t.head_mention_id], t.name, text[t.tail_mention_id]) for t in found.triples)


def quality(extractor: SpacyExtractor) -> None:
    right = n_found = n_gold = entities_right = n_entities_found = n_entities = 0
    for passage in PASSAGES:
        document, chunk = one_chunk(passage.title, passage.text)
        found = extractor.extract([chunk], document=document)
        gold, got = keyed(passage.triples), facts(found)
        right, n_found, n_gold = right + len(gold & got), n_found + len(got), n_gold + len(gold)
        wanted = {entity_key(e, "CONCEPT") for e in passage.entities}
        named = {entity_key(m.text, "CONCEPT") for m in found.mentions}
        entities_right += len(wanted & named)
        n_entities, n_entities_found = n_entities + len(wanted), n_entities_found + len(named)
        for kind, rest in (("missed", gold - got), ("extra", got - gold)):
            for triple in sorted(rest):
                print(f"{passage.title:24} {kind:6} {' | '.join(triple)}")
    print(f"\n{len(PASSAGES)} passages       precision  recall")
    print(f"triples  (n={n_gold:3})     {right / n_found:8.3f} {right / n_gold:8.3f}")
    print(
        f"entities (n={n_entities:3})     {entities_right / n_entities_found:8.3f} {entities_right / n_entities:8.3f}"
    )


def speed(extractor: SpacyExtractor, path: Path, n: int) -> None:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(n), lines, strict=False)]
    pairs = [one_chunk(row["title"], row["text"]) for row in rows]
    extractor.extract([pairs[0][1]], document=pairs[0][0])
    wall, cpu = time.perf_counter(), time.process_time()
    found = extractor.extract([chunk for _, chunk in pairs], document=pairs[0][0])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"\n{len(pairs)} passages: {len(pairs) / cpu:.1f} passages per CPU second, {len(pairs) / wall:.1f} per second "
        f"of wall clock; {len(found.mentions)} mentions, {len(found.triples)} triples"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--speed", type=Path, help="a JSON-lines file with title and text")
    parser.add_argument("--n", type=int, default=200)
    arguments = parser.parse_args()
    extractor = SpacyExtractor(arguments.model)
    quality(extractor)
    if arguments.speed:
        speed(extractor, arguments.speed, arguments.n)


if __name__ == "__main__":
    main()

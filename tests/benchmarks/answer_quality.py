"""Measure the extractive answer on a folder of questions: short answers given gold text, and when it rightly says
nothing.

Usage: ``python tests/benchmarks/answer_quality.py FOLDER [--encoder DIR] [--spacy DIR] [--limit N] [--json] [--show]``

FOLDER holds ``questions.jsonl`` and either ``passages.jsonl`` (``gold`` are passage ids) or ``documents/*.pdf``
(``pages``).
- ``gold``: the gold passages (or pages) are the evidence. EM and F1 of the short answer over *all* questions, an empty
  one counting 0; ``given`` is the share with a short answer, ``f1_given`` the F1 among those; ``best_sentence`` the
  share of questions whose first reference stands in the answer's text.
- ``none``: the five passages nearest to the question that are *not* gold, i.e. hard negatives; ``answered`` should be
  low.
- for documents, evidence is retrieved by the encoder within the document, and the questions marked "Not answerable" are
  compared with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from generation.answerer import Answerer
from generation.metrics import exact_match, f1_score, normalise_answer
from generation.testing import make_evidence
from generation.types import Answer, AnswerStatus
from kg.types import Mention, Span
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.types import Evidence

CHUNK_WORDS = 120


def main() -> None:
    """Run the measurement that the command line asks for."""
    cache = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path, default=cache / "minilm")
    parser.add_argument("--spacy", type=Path, default=None, help="a spaCy model folder: adds named entities")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", action="store_true", help="print each question with its answer")
    args = parser.parse_args()
    encoder = TransformerTextEncoder(args.encoder)
    mentions = _mention_lookup(args.spacy) if args.spacy else None
    questions = _lines(args.folder / "questions.jsonl")[: args.limit]
    if (args.folder / "passages.jsonl").exists():
        report = _passages(args.folder, questions, encoder=encoder, mentions=mentions, show=args.show)
    else:
        report = _documents(args.folder, questions, encoder=encoder, mentions=mentions, show=args.show)
    if args.json:
        print(json.dumps(report))
    else:
        for name, row in report.items():
            print(name, {key: round(value, 3) for key, value in row.items()})


def _passages(folder: Path, questions: Any, *, encoder: Any, mentions: Any, show: bool) -> dict[str, dict[str, float]]:
    passages = {row["id"]: row for row in _lines(folder / "passages.jsonl")}
    vectors = encoder.encode([f"{row['title']}: {row['text']}" for row in passages.values()])
    ids = list(passages)
    gold_rows, none_rows = [], []
    for question in questions:
        order = np.argsort(-(vectors @ encoder.encode([question["question"]])[0]), kind="stable")
        gold = [ids[i] for i in order if ids[i] in question["gold"]]
        none = [ids[i] for i in order[:40] if ids[i] not in question["gold"]][:5]
        for wanted, rows in ((gold, gold_rows), (none, none_rows)):
            evidence = [_evidence(passages[one], rank, mentions) for rank, one in enumerate(wanted, start=1)]
            rows.append(_ask(question["question"], question["answers"], evidence, encoder, mentions, show))
    return {"gold": _summary(gold_rows), "none": _summary(none_rows)}


def _documents(folder: Path, questions: Any, *, encoder: Any, mentions: Any, show: bool) -> dict[str, dict[str, float]]:
    rows: dict[str, list[dict[str, float]]] = {"answerable": [], "unanswerable": []}
    chunks: dict[str, list[tuple[int, str]]] = {}
    vectors: dict[str, Any] = {}
    for question in questions:
        name = question["document"]
        if name not in chunks:
            chunks[name] = _pdf_chunks(folder / "documents" / name)
            vectors[name] = encoder.encode([text for _, text in chunks[name]])
        order = np.argsort(-(vectors[name] @ encoder.encode([question["question"]])[0]), kind="stable")[:8]
        evidence = [
            make_evidence(chunks[name][i][1], rank=rank, name=name, page=chunks[name][i][0], start=int(i) * 10_000)
            for rank, i in enumerate(order, start=1)
        ]
        kind = "answerable" if question["pages"] else "unanswerable"
        rows[kind].append(_ask(question["question"], [question["answer"]], evidence, encoder, None, show))
    return {kind: _summary(found) for kind, found in rows.items() if found}


def _ask(
    text: str, references: Sequence[str], evidence: Sequence[Evidence], encoder: Any, mentions: Any, show: bool
) -> dict[str, float]:
    lookup = (lambda chunk_id: mentions.stored.get(chunk_id, ())) if mentions else None
    start = time.perf_counter()
    answer: Answer = Answerer(encoder=encoder, models={}).answer(text, evidence, mentions=lookup)
    seconds = time.perf_counter() - start
    given = bool(answer.short_answer)
    row = {
        "answered": float(answer.status is AnswerStatus.ANSWERED),
        "given": float(given),
        "em": exact_match(answer.short_answer, references),
        "f1": f1_score(answer.short_answer, references),
        "best_sentence": float(normalise_answer(references[0]) in normalise_answer(answer.text)),
        "seconds": seconds,
    }
    if show:
        print(
            f"{row['f1']:.2f} {answer.status.value[:4]} | {text} | {list(references)} | {answer.short_answer!r} | "
            f"{answer.text[:150]!r}"
        )
    return row


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    summary = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    given = [row for row in rows if row["given"]]
    summary["f1_given"] = float(np.mean([row["f1"] for row in given])) if given else 0.0
    summary["n"] = float(len(rows))
    return summary


def _evidence(row: dict[str, str], rank: int, mentions: Any) -> Evidence:
    item = make_evidence(row["text"], rank=rank, name=row["id"], title=row["title"])
    if mentions:
        mentions(item)
    return item


def _mention_lookup(folder: Path) -> Callable[[Evidence], None]:
    import spacy  # noqa: PLC0415

    network = spacy.load(folder, exclude=["parser", "lemmatizer", "tagger", "attribute_ruler"])
    stored: dict[str, list[Mention]] = {}

    def read(item: Evidence) -> None:
        if item.chunk.chunk_id not in stored:
            stored[item.chunk.chunk_id] = [
                Mention(
                    mention_id=f"m{i}",
                    chunk_id=item.chunk.chunk_id,
                    text=entity.text,
                    span=Span(
                        start=item.chunk.span.start + entity.start_char, end=item.chunk.span.start + entity.end_char
                    ),
                    label=entity.label_,
                    source="ner",
                )
                for i, entity in enumerate(network(item.chunk.text).ents)
            ]

    read.stored = stored  # type: ignore[attr-defined]
    return read


def _pdf_chunks(path: Path) -> list[tuple[int, str]]:
    import pypdfium2  # noqa: PLC0415

    chunks: list[tuple[int, str]] = []
    with pypdfium2.PdfDocument(path) as pdf:
        for number in range(len(pdf)):
            lines = pdf[number].get_textpage().get_text_range().replace("\r\n", "\n").splitlines(keepends=True)
            held = ""
            for line in lines:
                held += line
                if len(held.split()) >= CHUNK_WORDS:
                    chunks.append((number + 1, held))
                    held = ""
            if held.strip():
                chunks.append((number + 1, held))
    return chunks


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()

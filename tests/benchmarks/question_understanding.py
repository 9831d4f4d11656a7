"""What understanding a question brings: parts and times on evaluation folders, conversations, filters on many chunks.

Usage: ``python tests/benchmarks/question_understanding.py [FOLDER…] [--chunks 100000] [--json]``

For each FOLDER (laid out as for ``mmkg eval retrieval``): Recall@1, @2, @5, @10 and the median milliseconds of the mode
``auto`` with everything off, with times alone, with parts alone, with both (the default), and the kinds of questions.
Then the share of the turns of ``tests/retrieval/understanding/conversations.json`` that the rules complete as they
should, with the types that a graph knows and without; and the median milliseconds of filters over a catalogue of many
chunks (documents of ten), beside the search for one vector among as many with the exact index: the yardstick.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import read_folder
from api.evaluation.retrieval import pool_units
from api.settings import load_settings
from kg.types import DocumentInfo, Modality
from retrieval.catalog import Catalog
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.metrics import evaluate, mean_metrics
from retrieval.options import Refinement
from retrieval.types import Query
from retrieval.understanding.conditions import parse_condition
from retrieval.understanding.decompose import plan_question
from retrieval.understanding.filters import Filter, select
from retrieval.understanding.history import complete_question

DEPTH = 30
TURNS = Path(__file__).parents[1] / "retrieval" / "understanding" / "conversations.json"
ROWS = {
    "off": Refinement(decompose="off", times="off"),
    "times": Refinement(decompose="off"),
    "parts": Refinement(times="off"),
    "both": Refinement(),
}


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result: dict[str, Any] = {path.name: _folder(path) for path in args.folders}
    result["conversations"] = _conversations()
    result["filters"] = _filters(args.chunks)
    if args.json:
        print(json.dumps(result))


def _folder(path: Path) -> dict[str, Any]:
    folder = read_folder(path)
    service, name = evaluation_service(load_settings(), path, retrieval={})
    ingest_corpus(service, name, folder)
    retriever = service.retriever(name)
    questions = [question for question in folder.questions if question.gold]
    kinds = Counter(str(plan.kind) if (plan := plan_question(question.text)) else "one" for question in questions)
    print(f"\n{path.name}: {len(questions)} questions, {dict(kinds)}\n{'':8}  R@1   R@2   R@5  R@10     ms")
    table: dict[str, Any] = {"kinds": dict(kinds)}
    for row, refinement in ROWS.items():
        retriever.search(Query(text=questions[0].text), k=DEPTH, refinement=refinement)
        scores, seconds = [], []
        for question in questions:
            started = time.perf_counter()
            evidence, _ = retriever.search(Query(text=question.text), k=DEPTH, refinement=refinement)
            seconds.append(time.perf_counter() - started)
            scores.append(evaluate(pool_units(folder, evidence), question.gold))
        mean = {**mean_metrics(scores), "p50_ms": 1000 * statistics.median(seconds)}
        shown = "  ".join(f"{mean[f'recall@{k}']:.3f}" for k in (1, 2, 5, 10))
        print(f"{row:8} {shown}  {mean['p50_ms']:5.1f}", flush=True)
        table[row] = mean
    service.close()
    return table


def _conversations() -> dict[str, float]:
    turns = json.loads(TURNS.read_text(encoding="utf-8"))
    found = {}
    for split in ("development", "held-out"):
        for known in (True, False):
            right = [_is_right(turn, known=known) for turn in turns if turn["split"] == split]
            label = f"{split}, {'types known' if known else 'no types'}"
            found[label] = sum(right) / len(right)
            print(f"{label:28} {sum(right)} of {len(right)} turns completed as they should")
    return found


def _is_right(turn: dict[str, Any], *, known: bool) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text.lower()).strip()

    types = turn["types"] if known else {}
    done = complete_question(turn["question"], turn["history"], type_of=lambda name: types.get(name, ""))
    return plain(done.text) in {plain(one) for one in turn["expected"]}


def _filters(n_chunks: int) -> dict[str, float]:
    catalog = _catalog(n_chunks)
    index = FaissIndex(384, kind="flat")
    draw = np.random.default_rng(1)
    vectors_ND = draw.standard_normal((n_chunks, 384), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    index.add(list(catalog.chunk_ids), vectors_ND)
    period = select(Filter(conditions=(parse_condition("date>=2020"),)), catalog)
    rows: dict[str, Callable[[], object]] = {
        "one document": lambda: select(Filter(documents=frozenset({"d_7"})), catalog),
        "author=…": lambda: select(Filter(conditions=(parse_condition("author=ann*"),)), catalog),
        "date>=2020": lambda: select(Filter(conditions=(parse_condition("date>=2020"),)), catalog),
        "page=2": lambda: select(Filter(conditions=(parse_condition("page=2"),)), catalog),
        "exact search, no filter": lambda: index.search(vectors_ND[:1], k=300),
        "exact search, date>=2020": lambda: index.search(vectors_ND[:1], k=300, allowed=period.chunk_ids),
    }
    found = {}
    print(f"\nfilters over {n_chunks} chunks of {len(catalog.documents)} documents")
    for label, run in rows.items():
        seconds = []
        for _ in range(7):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        found[label] = 1000 * statistics.median(seconds)
        print(f"{label:28} {found[label]:8.2f} ms")
    return found


def _catalog(n_chunks: int) -> Catalog:
    n_documents = max(1, n_chunks // 10)
    day = datetime.date(2000, 1, 1)
    documents = {
        f"d_{n}": DocumentInfo(
            document_id=f"d_{n}",
            source=f"/docs/{n % 50}/report-{n}.pdf",
            name=f"report-{n}.pdf",
            media_type="application/pdf",
            sha256="0" * 64,
            n_bytes=1,
            title=f"Report {n}",
            n_pages=5,
            is_paged=True,
            n_chunks=10,
            n_assets=0,
            added_at="2026-01-01T00:00:00+00:00",
            metadata={
                "author": ("Ann Lee", "Karl Berg")[n % 2],
                "created": (day + datetime.timedelta(days=n % 9000)).isoformat(),
            },
        )
        for n in range(n_documents)
    }
    document_of = {f"c_{n:07d}": f"d_{n // 10}" for n in range(n_documents * 10)}
    return Catalog(
        version=1,
        documents=documents,
        document_of=document_of,
        modality_of=dict.fromkeys(document_of, Modality.TEXT),
        heading_of={},
        chunks_of={
            f"d_{n}": tuple(f"c_{chunk:07d}" for chunk in range(10 * n, 10 * n + 10)) for n in range(n_documents)
        },
        pages_of={chunk_id: (n % 5 + 1, n % 5 + 1) for n, chunk_id in enumerate(document_of)},
    )


if __name__ == "__main__":
    main()

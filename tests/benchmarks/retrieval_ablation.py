"""Take retrieval apart: each ingredient on and off, each constant to both sides, on any evaluation folders.

Usage: ``python tests/benchmarks/retrieval_ablation.py FOLDER… [--limit N] [--rows REGEX] [--json]``

A FOLDER is laid out as for ``mmkg eval retrieval`` and is ingested into the same evaluation workspace, unless it is
there already. Every row is measured on the same chunks, pooled to gold units by their best chunk: Recall@2, @5, @10,
MRR, and the median milliseconds of one search *without* encoding the question (each is encoded once for all rows).
``bm25`` and ``dense`` are the plain baselines, ``rrf`` is plain reciprocal-rank fusion of both, ``mix`` the default.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.evaluation.retrieval import pool_units
from api.settings import load_settings
from kg.types import Span
from retrieval.config import RetrievalConfig
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.engine import RetrievalEngine
from retrieval.fusion import fuse_reciprocal_rank
from retrieval.metrics import evaluate, mean_metrics
from retrieval.types import Evidence, Query, TextEncoder

DEPTH = 100
DEFAULT = RetrievalConfig()
VARIANTS: dict[str, tuple[str, RetrievalConfig]] = {
    "bm25": ("bm25", DEFAULT),
    **{
        f"bm25 {name}={weight}": ("bm25", replace(DEFAULT, lexical_field_weights={name: weight}))
        for name in ("title", "ocr", "table", "caption", "alt", "context")
        for weight in (0.5, 2.0)
    },
    **{f"bm25 identifiers={kind}": ("bm25", replace(DEFAULT, lexical_identifiers=kind)) for kind in ("none", "all")},
    "dense": ("naive", DEFAULT),
    "local": ("local", DEFAULT),
    "hybrid": ("hybrid", DEFAULT),
    "mix": ("mix", DEFAULT),
    "mix entity_share=0": ("mix", replace(DEFAULT, entity_share=0.0)),
    "mix mention_exponent=0": ("mix", replace(DEFAULT, mention_exponent=0.0)),
    "mix mention_exponent=1": ("mix", replace(DEFAULT, mention_exponent=1.0)),
    **{f"mix concept_mention={c}": ("mix", replace(DEFAULT, concept_mention=c)) for c in (0.0, 0.03, 0.25, 0.5, 1.0)},
    **{f"mix damping={d}": ("mix", replace(DEFAULT, damping=d)) for d in (0.4, 0.5, 0.55, 0.65, 0.7, 0.8)},
    **{f"mix entity_share={e}": ("mix", replace(DEFAULT, entity_share=e)) for e in (0.1, 0.15, 0.25, 0.35)},
    **{f"mix coverage={c}": ("mix", replace(DEFAULT, coverage=c)) for c in (0.0, 1.0, 1.25, 2.0)},
    **{f"mix n_covering={n}": ("mix", replace(DEFAULT, n_covering=n)) for n in (20, 50)},
    **{f"mix n_covered={n}": ("mix", replace(DEFAULT, n_covered=n)) for n in (3, 10)},
    **{f"mix picture_dense_share={w}": ("mix", replace(DEFAULT, picture_dense_share=w)) for w in (0.5, 0.6, 0.8)},
    "mix no page levels": ("mix", replace(DEFAULT, page_support=0.0, document_support=0.0, reference_support=0.0)),
    **{f"mix pool_size={n}": ("mix", replace(DEFAULT, pool_size=n)) for n in (100, 150, 200, 400)},
    **{f"mix seed_sharpness={t}": ("mix", replace(DEFAULT, seed_sharpness=t)) for t in (1.0, 1.25, 1.75, 2.0)},
    **{
        f"mix dense_weight={w}": ("mix", replace(DEFAULT, dense_weight=w, lexical_weight=round(1.0 - w, 2)))
        for w in (0.4, 0.45, 0.55, 0.6)
    },
}


class _Remembering:
    """An encoder that encodes each question once, so that rows differ by what they measure."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.dimension, self.max_tokens = encoder.dimension, encoder.max_tokens
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encoder.encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(texts) != 1:
            return self.encoder.encode_queries(texts)
        if texts[0] not in self._known:
            self._known[texts[0]] = self.encoder.encode_queries(texts)
        return self._known[texts[0]]

    def token_spans(self, text: str) -> list[Span]:
        return self.encoder.token_spans(text)


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=None, help="only the first N answerable questions")
    parser.add_argument("--rows", default="", help="only rows whose name matches this regular expression")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for path in args.folders:
        table = dict(_measure(read_folder(path), limit=args.limit, rows=re.compile(args.rows)))
        if args.json:
            print(json.dumps({"folder": path.name, "rows": table}))


def _measure(
    folder: EvaluationFolder, *, limit: int | None, rows: re.Pattern[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    settings = load_settings()
    service, name = evaluation_service(settings, folder.folder, retrieval={})
    ingest_corpus(service, name, folder)
    service.close()
    service, name = evaluation_service(settings, folder.folder, retrieval={})
    workspace = service.workspaces.get(name, create=False)
    encoder = _Remembering(TransformerTextEncoder(settings.cache / "models" / "minilm"))

    def engine(config: RetrievalConfig) -> RetrievalEngine:
        return RetrievalEngine(workspace.store, encoder, config, workspace.folder / "index")

    questions = [question for question in folder.questions if question.gold][:limit]
    print(f"\n{folder.folder.name}: {len(questions)} questions\n{'':26}  R@2   R@5  R@10   MRR    ms")
    searches = {row: _search(engine(config), mode) for row, (mode, config) in VARIANTS.items()}
    searches["rrf"] = _reciprocal(searches["bm25"], searches["dense"])
    for row, search in searches.items():
        if not rows.search(row):
            continue
        search(questions[0].text)
        scores, seconds = [], []
        for question in questions:
            search(question.text)  # encodes the question
            started = time.perf_counter()
            evidence = search(question.text)
            seconds.append(time.perf_counter() - started)
            scores.append(evaluate(pool_units(folder, evidence), question.gold))
        mean = {**mean_metrics(scores), "p50_ms": 1000 * statistics.median(seconds)}
        shown = "  ".join(f"{mean[key]:.3f}"[1:] for key in ("recall@2", "recall@5", "recall@10", "mrr"))
        print(f"{row:26}  {shown}  {mean['p50_ms']:.1f}", flush=True)
        yield row, mean
    service.close()


def _search(engine: RetrievalEngine, mode: str) -> Callable[[str], list[Evidence]]:
    return lambda text: engine.search(Query(text=text), k=DEPTH, mode=mode)[0]


def _reciprocal(*searches: Callable[[str], list[Evidence]]) -> Callable[[str], list[Evidence]]:
    def search(text: str) -> list[Evidence]:
        found = [one(text) for one in searches]
        by_id = {item.chunk.chunk_id: item for evidence in found for item in evidence}
        fused = fuse_reciprocal_rank([[item.chunk.chunk_id for item in evidence] for evidence in found])
        return [by_id[hit.item_id] for hit in fused]

    return search


if __name__ == "__main__":
    main()

"""Measure what each step after a search gains and costs, beside none, on any evaluation folders.

Usage: ``python -m tests.benchmarks.rerank FOLDER… [--limit N] [--mode MODE] [--rows REGEX] [--json]``

A FOLDER is laid out as for ``mmkg eval retrieval`` and is ingested into the same evaluation workspace, unless it is
there already. Each question is searched once, and every row refines the same hits: Recall@1, @2, @5,
@10, MRR, and the milliseconds of the step alone: the median where its passages were candidates before (``warm``), and
the mean of the first time round (``cold``), in which ``maxsim`` reads the passages. ``--cross-encoder FOLDER`` and
``--judge NAME`` add the rows that need a model.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.evaluation.retrieval import pool_units
from api.rerankers import Rerankers, WorkspaceParts
from api.settings import load_settings
from api.wiring import Wiring
from retrieval.options import Refinement
from retrieval.rerank.maxsim import MaxSimReranker
from retrieval.rerank.refiner import Refiner
from retrieval.rerank.types import Arranger, Reranker
from retrieval.types import Query

DEPTH = 100


class _Parts(WorkspaceParts):
    """Rerankers by name, and variants of them by ``NAME=VALUE``."""

    variants: dict[str, Reranker | Arranger]

    def reranker(self, name: str) -> Reranker | Arranger:
        return self.variants[name] if name in self.variants else super().reranker(name)


def main() -> None:
    """Run the measurement that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=None, help="only the first N answerable questions")
    parser.add_argument("--rows", default="", help="only rows whose name matches this regular expression")
    parser.add_argument("--mode", default="auto", help="how to search")
    parser.add_argument("--candidates", default="50", help="how many candidates, parted by commas")
    parser.add_argument("--cross-encoder", default="", help="a cross-encoder's folder or name")
    parser.add_argument("--judge", default="", help="who judges for vlm and listwise")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rerank = {key: value for key, value in (("cross_encoder", args.cross_encoder), ("judge", args.judge)) if value}
    counts = [int(count) for count in args.candidates.split(",")]
    for path in args.folders:
        table = dict(
            _measure(read_folder(path), rerank, counts, mode=args.mode, limit=args.limit, rows=re.compile(args.rows))
        )
        if args.json:
            print(json.dumps({"folder": path.name, "rows": table}))


def _rows(rerank: dict[str, str], counts: list[int]) -> Iterator[tuple[str, Refinement]]:
    yield "none", Refinement()
    for n in counts:
        names = ["coverage", "maxsim", "maxsim+coverage", *(f"maxsim={t}" for t in (0.1, 0.4, 1.0))]
        names += ["cross-encoder"] if "cross_encoder" in rerank else []
        names += ["vlm", "listwise"] if "judge" in rerank else []
        for name in names:
            yield f"{name} @{n}", Refinement(rerank=tuple(name.split("+")), n_candidates=n)
        for diversity in (0.1, 0.3, 0.5):
            yield f"diversity={diversity} @{n}", Refinement(diversity=diversity, n_candidates=n)


def _variants(shared: Rerankers) -> dict[str, Reranker | Arranger]:
    maxsim = shared.reranker("maxsim")
    if not isinstance(maxsim, MaxSimReranker):
        raise TypeError("the benchmark needs the packaged encoder")
    return {f"maxsim={trust}": maxsim.with_trust(trust) for trust in (0.1, 0.4, 1.0)}


def _measure(
    folder: EvaluationFolder,
    rerank: dict[str, str],
    counts: list[int],
    *,
    mode: str,
    limit: int | None,
    rows: re.Pattern[str],
) -> Iterator[tuple[str, dict[str, float]]]:
    from retrieval.metrics import evaluate, mean_metrics

    settings = load_settings(overrides={"rerank": rerank} if rerank else None)
    service, name = evaluation_service(settings, folder.folder, retrieval={})
    ingest_corpus(service, name, folder)
    opened = service.workspaces.get(name, create=False)
    shared = Rerankers(Wiring(settings))
    parts = _Parts(shared, opened.store, opened.engine)
    parts.variants = _variants(shared)
    refiner = Refiner(parts)
    questions = [question for question in folder.questions if question.gold][:limit]
    found = [opened.retriever.search(Query(text=question.text), k=DEPTH, mode=mode) for question in questions]
    print(f"\n{folder.folder.name}, {mode}: {len(questions)} questions")
    print(f"{'':22}  R@1   R@2   R@5  R@10   MRR  ms warm    cold")
    for row, refinement in _rows(rerank, counts):
        if not rows.search(row):
            continue
        scores, times = [], ([], [])
        for question, (evidence, trace) in zip(questions, found, strict=True):
            for turn in times:
                started = time.perf_counter()
                best, _ = refiner.refine(Query(text=question.text), evidence, trace, k=DEPTH, refinement=refinement)
                turn.append(1000 * (time.perf_counter() - started))
            scores.append(evaluate(pool_units(folder, best), question.gold))
        cold, warm = statistics.fmean(times[0]), statistics.median(times[1])
        mean = {**mean_metrics(scores), "warm_ms": warm, "cold_ms": cold}
        shown = "  ".join(f"{mean[key]:.3f}" for key in ("recall@1", "recall@2", "recall@5", "recall@10", "mrr"))
        print(f"{row:22} {shown} {warm:8.1f} {cold:8.1f}", flush=True)
        yield row, mean
    service.close()


if __name__ == "__main__":
    main()

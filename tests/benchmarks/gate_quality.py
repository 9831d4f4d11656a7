"""Fit the gate's relevance on the golden questions, and measure whom it refuses.

Usage: ``python -m tests.benchmarks.gate_quality [--fit] [FOLDER…] [--k 8] [--show]``

``--fit`` fits the logistic regression of ``retrieval.gate.relevance`` on the ``fit`` passages of the package's golden
set, and prints the numbers to be put into ``COEFFICIENTS`` and ``BIAS``. Relevant is what is found for a question where
its passage is there (``answerable``), irrelevant what is found where it was taken out (``absent``). A question that its
passage does not answer (``near``) is no part of the fit: its passage *is* about what is asked. Evidence of a golden
question is the five passages nearest to it. The fit is that of ``fit_answerability.py``: coefficients >= 0, a ridge of
0.2, projected gradient descent.

A FOLDER is laid out as for ``mmkg eval``; a question without gold is ``near``, and the golden questions, which ask of
other things than its corpus, are ``absent``. Beside the gate stands the trivial baseline, the best cosine alone with
the threshold that is best for that folder in hindsight, which no gate may know.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.settings import load_settings
from generation.testing import make_evidence
from retrieval.analysis import Analyzer
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.gate.relevance import BIAS, COEFFICIENTS, ENOUGH_COSINE, LEAST_RELEVANCE, features_of
from retrieval.types import Contribution, Evidence, Query

GOLDEN = Path(__file__).parents[1] / "generation" / "golden" / "answerable.json"
ANSWERABLE, NEAR, ABSENT = "answerable", "near", "absent"
Row = tuple[str, str, str, dict[str, float]]


def golden_rows(encoder: Any) -> Iterator[Row]:
    """Yield part, question, kind and features, for all golden questions with their passage and without it."""
    passages = json.loads(GOLDEN.read_text(encoding="utf-8"))
    vectors = encoder.encode([f"{row['title']}: {row['text']}" for row in passages])
    analyzer = Analyzer()
    for own, passage in enumerate(passages):
        for text, kind in _asked(passage):
            cosines = vectors @ encoder.encode_queries([text])[0]
            nearest = [int(i) for i in np.argsort(-cosines, kind="stable")]
            for label, chosen in ((kind, nearest[:5]), (ABSENT, [i for i in nearest if i != own][:5])):
                evidence = [
                    _with_cosine(
                        make_evidence(
                            passages[i]["text"], rank=rank, name=passages[i]["id"], title=passages[i]["title"]
                        ),
                        float(cosines[i]),
                    )
                    for rank, i in enumerate(chosen, start=1)
                ]
                yield passage["part"], text, label, features_of(text, evidence, analyzer=analyzer)


def folder_rows(folder: EvaluationFolder, *, k: int) -> Iterator[Row]:
    """Yield the rows of an evaluation folder's questions and of the golden ones, searched as any question is."""
    service, name = evaluation_service(load_settings(), folder.folder, retrieval={})
    ingest_corpus(service, name, folder)
    analyzer = Analyzer()
    asked = [(question.text, ANSWERABLE if question.gold else NEAR) for question in folder.questions]
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    asked += [(text, ABSENT) for passage in golden for text, _ in _asked(passage)]
    for text, kind in asked:
        found = service.search(name, Query(text=text), k=k)
        yield folder.folder.name, text, kind, features_of(text, found.evidence, analyzer=analyzer)
    service.close()


def _asked(passage: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["question"], ANSWERABLE) for item in passage["answerable"]] + [
        (question, NEAR) for question in passage["unanswerable"]
    ]


def _with_cosine(item: Evidence, cosine: float) -> Evidence:
    return replace(item, contributions=(Contribution(retriever="dense", rank=item.rank, score=cosine),))


def main() -> None:
    """Fit and report."""
    cache = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--encoder", type=Path, default=cache / "minilm")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    golden = list(golden_rows(TransformerTextEncoder(args.encoder)))
    names, weights, bias = list(COEFFICIENTS), np.array(list(COEFFICIENTS.values())), BIAS
    if args.fit:
        weights, bias = _fit([row for row in golden if row[0] == "fit"], names)
        rounded = {name: round(float(value), 2) for name, value in zip(names, weights, strict=True)}
        print(rounded, "bias", round(bias, 2))
    for part in ("fit", "check"):
        _report(f"golden {part}", [row for row in golden if row[0] == part], names, weights, bias, show=args.show)
    for path in args.folders:
        _report(path.name, list(folder_rows(read_folder(path), k=args.k)), names, weights, bias, show=args.show)


def _fit(rows: list[Row], names: list[str]) -> tuple[np.ndarray, float]:
    used = [row for row in rows if row[2] != NEAR]
    x = np.array([[row[3][name] for name in names] for row in used])
    y = np.array([float(row[2] == ANSWERABLE) for row in used])
    weights, bias = np.zeros(len(names)), 0.0
    for _ in range(40_000):
        error = 1 / (1 + np.exp(-(x @ weights + bias))) - y
        weights = np.maximum(weights - 0.3 * (x.T @ error / len(y) + 0.2 / len(y) * weights), 0.0)
        bias -= 0.3 * float(error.mean())
    return weights, bias


def _report(label: str, rows: list[Row], names: list[str], weights: np.ndarray, bias: float, *, show: bool) -> None:
    x = np.array([[row[3][name] for name in names] for row in rows])
    kinds = np.array([row[2] for row in rows])
    scores = 1 / (1 + np.exp(-(x @ weights + bias)))
    cosine = x[:, names.index("dense")]
    yes, no = kinds == ANSWERABLE, kinds == ABSENT
    best = max(sorted(set(cosine)), key=lambda least: (cosine[yes] >= least).mean() + (cosine[no] < least).mean())
    refusals = {
        "gate": ((scores < LEAST_RELEVANCE) & (cosine < ENOUGH_COSINE), scores),
        "regression alone at 0.50": (scores < 0.5, scores),
        f"cosine alone at {best:.2f}, in hindsight": (cosine < best, cosine),
    }
    for who, (is_refused, values) in refusals.items():
        shares = [
            f"{kind} {is_refused[kinds == kind].mean():.2f} ({(kinds == kind).sum()})"
            for kind in (ANSWERABLE, NEAR, ABSENT)
            if (kinds == kind).any()
        ]
        print(f"{label}: {who}: refused {', '.join(shares)}; area {_area(values[yes], values[no]):.2f}")
    if show:
        for row, score in sorted(zip(rows, scores, strict=True), key=lambda pair: pair[1]):
            print(f"  {score:.2f} {row[2]:10} {row[1][:70]} { {k: round(v, 2) for k, v in row[3].items()} }")


def _area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return how often an answerable question scores above an absent one; a tie counts one half."""
    above = (positive[:, None] > negative[None, :]).mean() + 0.5 * (positive[:, None] == negative[None, :]).mean()
    return float(above)


if __name__ == "__main__":
    main()

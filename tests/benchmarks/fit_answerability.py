"""Fit the answerability of ``generation.scoring`` on the ``fit`` passages; report it on the ``check`` passages.

Usage: ``python tests/benchmarks/fit_answerability.py [--encoder DIR]``. Evidence of a question: the five passages of
the golden set that lie nearest to it. The fit is a logistic regression with coefficients >= 0 (more evidence never
counts against an answer) and a ridge of 0.2 on them, by projected gradient descent; it prints the numbers to be put
into ``COEFFICIENTS`` and ``BIAS``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from generation.extractive import ANSWERABLE
from generation.question import read_question
from generation.scoring import COEFFICIENTS, answerability_features, score_units
from generation.testing import make_evidence
from retrieval.encoders.transformer import TransformerTextEncoder

GOLDEN = Path(__file__).parents[1] / "generation" / "golden" / "answerable.json"


def rows(encoder: Any) -> list[tuple[str, str, bool, dict[str, float], float]]:
    """Return part, question, whether it is answerable, its features and its answerability, for all golden questions."""
    passages = json.loads(GOLDEN.read_text(encoding="utf-8"))
    vectors = encoder.encode([f"{row['title']}: {row['text']}" for row in passages])
    found = []
    for passage in passages:
        asked = [(item["question"], True) for item in passage["answerable"]]
        asked += [(question, False) for question in passage["unanswerable"]]
        for text, is_answerable in asked:
            nearest = np.argsort(-(vectors @ encoder.encode([text])[0]), kind="stable")[:5]
            evidence = [
                make_evidence(passages[i]["text"], rank=rank, name=passages[i]["id"], title=passages[i]["title"])
                for rank, i in enumerate(nearest, start=1)
            ]
            question = read_question(text)
            scores = score_units(question, evidence, encoder=encoder)
            features = answerability_features(question, scores.ranked, evidence, scores.idf)
            found.append((passage["part"], text, is_answerable, features, scores.answerable))
    return found


def main() -> None:
    """Fit and report."""
    cache = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, default=cache / "minilm")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    data = rows(TransformerTextEncoder(args.encoder))
    names = list(COEFFICIENTS)
    x = np.array([[row[3][name] for name in names] for row in data])
    y = np.array([float(row[2]) for row in data])
    fit = np.array([row[0] == "fit" for row in data])
    weights, bias = np.zeros(len(names)), 0.0
    for _ in range(40_000):
        error = 1 / (1 + np.exp(-(x[fit] @ weights + bias))) - y[fit]
        weights = np.maximum(weights - 0.3 * (x[fit].T @ error / fit.sum() + 0.2 / fit.sum() * weights), 0.0)
        bias -= 0.3 * float(error.mean())
    print({name: round(float(value), 2) for name, value in zip(names, weights, strict=True)}, "bias", round(bias, 2))
    new = 1 / (1 + np.exp(-(x @ weights + bias)))
    now = np.array([row[4] for row in data])
    for label, scores in (("fitted now", new), ("in the code", now)):
        for part, mask in (("fit", fit), ("check", ~fit)):
            right = (scores >= ANSWERABLE) == (y == 1)
            yes, no = mask & (y == 1), mask & (y == 0)
            print(
                label,
                part,
                f"answerable kept {right[yes].mean():.2f} ({yes.sum()}), unanswerable refused {right[no].mean():.2f} "
                f"({no.sum()})",
            )
    if args.show:
        for row, score in zip(data, new, strict=True):
            if (score >= ANSWERABLE) != row[2]:
                print(row[2], round(float(score), 2), row[1], {k: round(v, 2) for k, v in row[3].items()})


if __name__ == "__main__":
    main()

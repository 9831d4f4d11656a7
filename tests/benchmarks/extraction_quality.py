"""Print how well an extractor reads the hand-labelled passages of ``tests/kg/extraction/passages``.

Run: ``python -m tests.benchmarks.extraction_quality --model PATH/spacy-en [--json] [--errors] [--speed LINES.jsonl]``.
Development passages were looked at while the rules were written, so their figures are figures of regression; held-out
ones were labelled by the same hand but their errors never looked at. Beside each stands what the rules did before this
set existed (a part of their strict recall is lost to other names of relations, ``have`` for ``has``), and, for pairs of
arguments, the trivial baseline that relates every two entities of a sentence.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from kg.extraction.spacy_rules import SpacyExtractor
from tests.benchmarks.machine import describe_machine
from tests.kg.extraction.evaluation import evaluate, one_chunk
from tests.kg.extraction.golden import PASSAGES

BEFORE = {
    "development": {
        "strict": (0.639, 0.417), "relaxed": (0.669, 0.455), "co_mention": (0.302, 0.519), "entities": (0.825, 0.833),
        "types": (0.879, 0.879), "coarse_types": (0.884, 0.884),
    },
    "held-out": {
        "strict": (0.616, 0.351), "relaxed": (0.674, 0.392), "co_mention": (0.333, 0.513), "entities": (0.853, 0.826),
        "types": (0.815, 0.815), "coarse_types": (0.828, 0.828),
    },
}  # fmt: skip
"""Precision and recall of the rules at commit 126f056 on the same passages."""


def quality(extractor: SpacyExtractor, *, show_errors: bool) -> dict[str, dict[str, dict[str, float | int]]]:
    result = {}
    for name, is_held_out in (("development", False), ("held-out", True)):
        tally = evaluate(extractor, [p for p in PASSAGES if p.is_held_out is is_held_out])
        result[name] = tally.as_dict()
        if show_errors and not is_held_out:
            sys.stdout.write("\n".join(tally.errors) + "\n\n")
    return result


def table(result: dict[str, dict[str, dict[str, float | int]]]) -> str:
    lines = [f"{'set':12} {'measure':13} {'precision':>9} {'recall':>7} {'F1':>6} {'found':>6} {'gold':>5}   before"]
    for name, scores in result.items():
        for measure, score in scores.items():
            precision, recall = BEFORE.get(name, {}).get(measure, (0.0, 0.0))
            before = f"{precision:.3f} / {recall:.3f}" if precision else "-"
            lines.append(
                f"{name:12} {measure:13} {score['precision']:9.3f} {score['recall']:7.3f} {score['f1']:6.3f} "
                f"{score['n_found']:6} {score['n_wanted']:5}   {before}"
            )
    return "\n".join(lines)


def speed(extractor: SpacyExtractor, path: Path, n: int) -> str:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(n), lines, strict=False)]
    items = [([chunk], document) for document, chunk in (one_chunk(row["title"], row["text"]) for row in rows)]
    extractor.extract_many(items[:1])
    wall, cpu = time.perf_counter(), time.process_time()
    found = extractor.extract_many(items)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n_mentions, n_triples = sum(len(one.mentions) for one in found), sum(len(one.triples) for one in found)
    return (
        f"{len(items)} passages: {len(items) / cpu:.1f} passages per CPU second, {len(items) / wall:.1f} per second "
        f"of wall clock; {n_mentions} mentions, {n_triples} triples"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--errors", action="store_true", help="list the errors on development passages")
    parser.add_argument("--speed", type=Path, help="a JSON-lines file with title and text")
    parser.add_argument("--n", type=int, default=200)
    arguments = parser.parse_args()
    extractor = SpacyExtractor(arguments.model)
    result = quality(extractor, show_errors=arguments.errors and not arguments.json)
    sys.stdout.write((json.dumps(result, indent=2) if arguments.json else table(result)) + "\n")
    if not arguments.json:
        sys.stdout.write(describe_machine("spacy") + "\n")
    if arguments.speed:
        sys.stdout.write(speed(extractor, arguments.speed, arguments.n) + "\n")


if __name__ == "__main__":
    main()

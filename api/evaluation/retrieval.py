"""``mmkg eval retrieval``: rank a corpus for its questions with every pipeline of a recipe, and score the rankings.

Layer: ``api.evaluation``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion
from api.evaluation.modality import gold_modalities
from api.evaluation.recipe import Pipeline, Recipe
from kg.errors import ConfigError
from kg.types import Modality
from retrieval.metrics import evaluate, mean_metrics, wrong_modality_at
from retrieval.retriever import Retriever
from retrieval.types import Evidence, Query, Trace

__all__ = ["RetrievalReport", "Searcher", "evaluate_retrieval", "pool_units"]

POOLED = 10
N_HITS = 5
"""How many hits the share of wrong kinds is taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalReport:
    """Scores of each pipeline, as fractions; latencies in milliseconds; peak memory of the process in MiB."""

    n: int
    n_unanswerable: int
    n_units_gold: int
    pipelines: dict[str, dict[str, float]]
    peak_memory_mib: float

    def as_json(self) -> dict[str, object]:
        """Return ``{"n", "pipelines": {name: {"recall@5", …}}, …}``."""
        return {
            "n": self.n,
            "n_unanswerable": self.n_unanswerable,
            "n_gold": self.n_units_gold,
            "peak_memory_mib": round(self.peak_memory_mib, 1),
            "pipelines": {
                name: {key: round(value, 4) for key, value in row.items()} for name, row in self.pipelines.items()
            },
        }


def pool_units(folder: EvaluationFolder, evidence: Sequence[Evidence], *, limit: int = POOLED) -> list[str]:
    """Turn ranked chunks into ranked units: a unit stands where its best chunk stands.

    :param folder: Knows which unit a chunk belongs to.
    :param evidence: Chunks, best first.
    :param limit: The most units to return.
    :returns: Unit ids, best first, each once.
    """
    units = dict.fromkeys(unit for item in evidence for unit in folder.units_of(item))
    return list(units)[:limit]


class Searcher(Protocol):
    """What is measured: the whole road of a request, or the engine alone."""

    def search(self, query: Query, *, k: int, mode: str = ...) -> tuple[list[Evidence], Trace]:
        """Find evidence, best first."""
        ...


def evaluate_retrieval(
    folder: EvaluationFolder,
    engine: Searcher,
    recipe: Recipe,
    *,
    kinds_of: Mapping[str, frozenset[Modality]] | None = None,
    on_question: Callable[[str], None] = lambda _: None,
) -> RetrievalReport:
    """Score every pipeline on every question that has gold units.

    Each pipeline is warmed with one question before its latencies are taken.

    :param folder: The corpus' questions; the corpus itself is in the engine.
    :param engine: Retrieval over the ingested corpus.
    :param recipe: Which pipelines, and how deep.
    :param kinds_of: The kinds of each unit (:func:`api.evaluation.modality.unit_modalities`): then each pipeline also
        has ``wrong_modality@5``, over the chunks themselves.
    :param on_question: Called with the pipeline's name after each question.
    :returns: Mean scores and latency percentiles of each pipeline.
    :raises ConfigError: If no question has gold units.
    """
    answerable = [question for question in folder.questions if question.gold]
    if not answerable:
        raise ConfigError(
            f"No question of {folder.folder} names what answers it, so no ranking can be scored. `mmkg eval answers` "
            "scores refusals."
        )
    pipelines: dict[str, dict[str, float]] = {}
    for name, pipeline in recipe.with_baselines().items():
        search = _search_of(engine, pipeline, depth=recipe.depth)
        search(Query(text=answerable[0].text))
        rows, seconds = [], []
        for question in answerable:
            started = time.perf_counter()
            evidence, _ = search(Query(text=question.text))
            seconds.append(time.perf_counter() - started)
            rows.append(
                {**evaluate(pool_units(folder, evidence), question.gold), **_wrong(question, evidence, kinds_of)}
            )
            on_question(name)
        p50, p95, p99 = (float(value) for value in 1000 * np.percentile(seconds, [50, 95, 99]))
        pipelines[name] = {**mean_metrics(rows), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    return RetrievalReport(
        n=len(answerable),
        n_unanswerable=len(folder.questions) - len(answerable),
        n_units_gold=sum(len(question.gold) for question in answerable),
        pipelines=pipelines,
        peak_memory_mib=peak_memory_mib(),
    )


def _search_of(engine: Searcher, pipeline: Pipeline, *, depth: int) -> Callable[[Query], tuple[list[Evidence], Trace]]:
    if not pipeline.follows_search:
        return partial(engine.search, k=depth, mode=pipeline.mode)
    if not isinstance(engine, Retriever):
        raise ConfigError("A pipeline with steps after its search needs the whole road of a request to run on.")
    return partial(engine.search, k=depth, mode=pipeline.mode, refinement=pipeline.refinement())


def _wrong(
    question: EvaluationQuestion, evidence: Sequence[Evidence], kinds_of: Mapping[str, frozenset[Modality]] | None
) -> dict[str, float]:
    if kinds_of is None:
        return {}
    gold = gold_modalities(question, kinds_of)
    kinds = [item.chunk.modality for item in evidence]
    return {f"wrong_modality@{N_HITS}": wrong_modality_at(kinds, gold, k=N_HITS) if gold else 0.0}


def peak_memory_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def plot_report(report: RetrievalReport, file: Path, *, title: str) -> None:
    """Draw recall and nDCG of each pipeline as grouped bars.

    :param report: The scores.
    :param file: Where the picture goes; its suffix chooses the format.
    :param title: The picture's heading.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = ("recall@1", "recall@2", "recall@5", "recall@10", "mrr", "ndcg@10", "all_gold@8")
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(report.pipelines)
    for number, (name, scores) in enumerate(report.pipelines.items()):
        places = np.arange(len(shown)) + number * width
        bars = axes.bar(places, [scores[key] for key in shown], width=width * 0.94, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(np.arange(len(shown)) + 0.4 - width / 2, shown)
    axes.set_ylim(0, 1.08)
    axes.set_title(f"{title} (n = {report.n})")
    axes.legend(loc="upper left", ncols=len(report.pipelines))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)

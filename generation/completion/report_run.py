"""What ``mmkg kgc report`` does: evaluate a model in parts, log it, and write a page.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from generation.completion.breakdown import Breakdown, Group, break_down
from generation.completion.evaluation_log import EvaluationLog, log_evaluation, log_settings, read_evaluations
from generation.completion.evaluation_run import (
    PROTOCOL,
    SplitRanking,
    open_for,
    permutation_results,
    rank_before_refit,
)
from generation.completion.modalities import modality_masks
from generation.completion.permutation import require_readable
from generation.completion.report_page import write_report
from generation.completion.rules import FrequencyScorer, RuleScorer

__all__ = ["report_folder"]

_EXTREMES = 5
_FEWEST_QUESTIONS = 10


def report_folder(
    model_dir: Path,
    folder: Path,
    split: str = "test",
    *,
    out: Path | None = None,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
    permute: Sequence[str] = (),
    permutation_seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, object]:
    """Rank a split with a model and its baselines, break the ranks down, and log the look.

    :param model_dir: The model folder; the evaluation is added to its log.
    :param folder: The graph it was trained on.
    :param split: ``test``, ``valid`` or ``train``.
    :param out: Where the page, its data and figures go; ``None`` writes none.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :param permute: Kinds of vectors to deal out anew among the entities, see :func:`evaluation_run.evaluate_folder`.
    :param permutation_seed: Seed of that.
    :param on_progress: Called with triples ranked, triples to rank in all, and by what.
    :returns: All figures as plain values, ``permuted`` by kind among them; ``best_relations`` and ``worst_relations``
        among those with ten questions or more, ``looks`` at each split so far, ``files`` written, ``notes``.
    """
    how: dict[str, Any] = {"filter_only": filter_only, "allow_overlap": allow_overlap}
    predictor = open_for(split, model_dir, folder, **how)
    graph, saved = predictor.graph, predictor.saved
    triples = graph.split(split)
    if permute:
        require_readable(predictor.scorer, permute)
    baselines = {"rules-1": RuleScorer(graph), "frequency": FrequencyScorer(graph)}
    ranking = SplitRanking(graph, triples, on_progress)
    ranking.expect(1 + len(baselines) + 3 * len(permute))
    found = break_down(
        predictor.scorer,
        graph,
        triples=triples,
        baselines=baselines,
        modalities=modality_masks(graph, folder),
        on_progress=ranking.advance,
    )
    plain = found.to_mapping()
    chosen, full = predictor, plain
    if permute and saved.learnt_validation:
        chosen, full = rank_before_refit(ranking, model_dir, folder, **how)
    permuted = permutation_results(chosen, permute, seed=permutation_seed, full=full, rank=ranking)
    plain["permuted"] = permuted
    log_evaluation(model_dir, plain, split=split, settings=log_settings(saved), command="report")
    log = read_evaluations(model_dir)
    notes = _notes(split, found, log)
    about: dict[str, object] = {"graph": graph.name, "split": split, "triples": len(triples), "protocol": PROTOCOL}
    files = [] if out is None else write_report(out, found, about=about, notes=notes, log=log, permuted=permuted)
    best = sorted(_large(found.relations), key=lambda group: (-group.metrics.mrr, group.name))
    return {
        **about,
        **plain,
        "best_relations": [group.name for group in best[:_EXTREMES]],
        "worst_relations": [group.name for group in best[::-1][:_EXTREMES]],
        "looks": log.looks,
        "notes": notes,
        "files": [str(file) for file in files],
    }


def _large(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.metrics.n >= _FEWEST_QUESTIONS]


def _notes(split: str, found: Breakdown, log: EvaluationLog) -> list[str]:
    looks = log.looks.get("test", 0)
    notes = [f"test was evaluated {looks} time{'s' * (looks != 1)} with this model folder, this time included"]
    if split != "test":
        notes = [f"test was evaluated {looks} time{'s' * (looks != 1)} with this model folder"]
    if log.n_damaged:
        notes.append(f"{log.n_damaged} lines of the log of evaluations are damaged and are not counted")
    rules = found.baselines["rules-1"].both.mrr
    if rules >= found.evaluation.both.mrr:
        notes.append(
            f"rules of length 1 reach {100 * rules:.1f}, the model {100 * found.evaluation.both.mrr:.1f}: it adds "
            "nothing over looking at the same pair"
        )
    return notes

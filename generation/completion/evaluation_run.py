"""What ``mmkg kgc eval`` does: rank a split with a model, with its parts, with baselines, and log the look.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.completion.ablation import ablation_arms, ladder_arms
from generation.completion.complex_n3 import ComplExModel
from generation.completion.evaluation_log import log_evaluation, log_settings
from generation.completion.evaluator import Scorer, evaluate
from generation.completion.mixture import ExpertMixture
from generation.completion.permutation import permutation_arms, require_readable, what_is_lost
from generation.completion.predict import LinkPredictor
from generation.completion.rules import FrequencyScorer, RuleScorer
from generation.completion.runs import open_folder
from generation.completion.triples import TripleSet

__all__ = [
    "BEFORE_REFIT",
    "LEARNT_VALIDATION",
    "PROTOCOL",
    "SplitRanking",
    "evaluate_folder",
    "open_for",
    "permutation_results",
    "rank_before_refit",
]

PROTOCOL = "all entities, filtered by all known triples, both directions, realistic ties, unseen included"
"""What every figure was measured by, in words."""
BEFORE_REFIT = "before it learnt validation"
"""The arm of the experts as validation chose them; arms whose gates are fitted on validation are made of these."""
LEARNT_VALIDATION = "+ validation learnt"
"""The last rung of a ladder: the model as it is, which went on to learn validation when that had done its work."""
_Rank = Callable[[str, Scorer], dict[str, object]]


class SplitRanking:
    """Ranks the same triples with one scorer after another, and tells how far it is.

    :param graph: The graph.
    :param triples: The triples to rank. *Shape:* ``(M, 3)``.
    :param on_progress: Called with triples ranked, triples to rank in all as far as is known, and by what.
    """

    def __init__(
        self,
        graph: TripleSet,
        triples: NDArray[np.int64],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        self.graph, self.triples, self.on_progress = graph, triples, on_progress
        self.done = self.total = 0

    def expect(self, n_scorers: int) -> None:
        """Note that so many more scorers will rank."""
        self.total += n_scorers * len(self.triples)

    def advance(self, n_ranked: int, name: str = "") -> None:
        """Note that so many more triples were ranked."""
        self.done += n_ranked
        if self.on_progress is not None:
            self.on_progress(self.done, self.total, name)

    def __call__(self, name: str, scorer: Scorer) -> dict[str, object]:
        """Rank with a scorer that is called so, and return its figures."""
        found = evaluate(
            scorer,
            self.graph,
            triples=self.triples,
            on_progress=lambda n_ranked: self.advance(n_ranked, name),
        )
        return found.to_mapping()


def evaluate_folder(
    model_dir: Path,
    folder: Path,
    split: str = "test",
    *,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
    baselines: bool = True,
    ablation: bool = True,
    ladder: bool = False,
    permute: Sequence[str] = (),
    permutation_seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, object]:
    """Rank a split with a trained model, and beside it with what needs no training; the look goes into the log.

    :param model_dir: The model folder.
    :param folder: The graph it was trained on.
    :param split: ``test``, ``valid`` or ``train``.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :param baselines: Whether to rank with rules of length 1 and with relation frequencies too.
    :param ablation: Whether to rank with parts of the mixture too; their gates are fitted on validation anew.
    :param ladder: Whether to rank with the parts added one after the other too, see :func:`ablation.ladder_arms`.
    :param permute: Kinds of vectors (``text``, ``name``, ``image``, ``number``) to leave out, and to deal out anew
        among the entities: see :mod:`generation.completion.permutation`.
    :param permutation_seed: Seed of that.
    :param on_progress: Called with triples ranked, triples to rank in all as far as is known, and by what.
    :returns: Fractions: ``mrr``, ``hits@1``, ``hits@3``, ``hits@10``; the same in ``head``, ``tail`` and ``unseen``;
        ``n`` triples, ``params`` (``constant``, ``per_entity`` and ``total``), ``seconds``, ``split``, ``graph``,
        ``protocol``, ``baselines`` by name, ``gate`` (its kind), ``reranker`` (whether there is one); ``ablation``:
        each expert alone, all but each, all but the reranker, and :data:`BEFORE_REFIT` where the experts went on to
        learn validation (the arms then are of experts that had not); ``ladder`` by what was added, each with its
        ``gain``; and ``permuted`` by kind: the figures of each arm, ``gain``, ``kept`` and ``lost_share``.
    :raises CompletionError: If the model is damaged or of another graph, the split is empty, or no expert reads vectors
        of a kind that is to be dealt out anew.
    """
    how: dict[str, Any] = {"filter_only": filter_only, "allow_overlap": allow_overlap}
    predictor = open_for(split, model_dir, folder, **how)
    graph, scorer = predictor.graph, predictor.scorer
    triples = graph.split(split)
    if permute:
        require_readable(scorer, permute)
    ranking = SplitRanking(graph, triples, on_progress)
    ranking.expect(1 + 2 * baselines + 3 * len(permute))
    figures = ranking("model", scorer)
    result = figures | {"graph": graph.name, "split": split, "params": _parameters(scorer), "protocol": PROTOCOL}
    chosen, full = predictor, figures
    ranked: dict[str, dict[str, object]] = {}
    if predictor.saved.learnt_validation and (ablation or ladder or permute):
        chosen, full = rank_before_refit(ranking, model_dir, folder, **how)
        ranked[BEFORE_REFIT] = full
    if ablation and isinstance(chosen.scorer, ExpertMixture):
        seed, config = _seed(chosen), chosen.saved.config
        arms = ablation_arms(chosen.scorer, chosen.graph, config=config, seed=seed)
        ranked |= _ranked_arms(arms, ranking)
        result |= {"gate": chosen.scorer.gate.kind, "reranker": chosen.scorer.reranking is not None}
    if ladder and isinstance(chosen.scorer, ExpertMixture):
        rungs = _climbed(chosen, chosen.scorer, ranking, full=full)
        if chosen is not predictor:
            rungs[LEARNT_VALIDATION] = figures | {"params": result["params"]}
        result["ladder"] = _with_gains(rungs)
    if ranked:
        result["ablation"] = ranked
    if permute:
        result["permuted"] = permutation_results(chosen, permute, seed=permutation_seed, full=full, rank=ranking)
    if baselines:
        scorers = {"rules-1": RuleScorer(graph), "frequency": FrequencyScorer(graph)}
        result["baselines"] = {name: ranking(name, scorer) for name, scorer in scorers.items()}
    log_evaluation(model_dir, result, split=split, settings=log_settings(predictor.saved), command="eval")
    return result


def _ranked_arms(arms: Mapping[str, ExpertMixture], ranking: SplitRanking) -> dict[str, dict[str, object]]:
    """Rank with each of some mixtures."""
    ranking.expect(len(arms))
    return {name: ranking(name, arm) | {"params": _parameters(arm)} for name, arm in arms.items()}


def _climbed(
    chosen: LinkPredictor, mixture: ExpertMixture, ranking: SplitRanking, *, full: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """Rank with the parts added one after the other; ``full`` are the figures of the mixture as it is."""
    arms = ladder_arms(mixture, chosen.graph, config=chosen.saved.config, seed=_seed(chosen))
    ranked = _ranked_arms({name: arm for name, arm in arms.items() if arm is not mixture}, ranking)
    return {name: ranked.get(name) or {**full, "params": _parameters(arm)} for name, arm in arms.items()}


def _with_gains(rungs: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """Add to each rung what it gains over the one before it, ``None`` to the first."""
    reached = [float(str(one["mrr"])) for one in rungs.values()]
    gains = [None, *(after - before for before, after in pairwise(reached))]
    return {name: one | {"gain": gain} for (name, one), gain in zip(rungs.items(), gains, strict=True)}


def open_for(
    split: str,
    model_dir: Path,
    folder: Path,
    *,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
) -> LinkPredictor:
    """Load a model to rank a split: validation is asked of experts that have not learnt it.

    :param split: ``test``, ``valid`` or ``train``.
    :param model_dir: The model folder.
    :param folder: The graph it was trained on.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :returns: A predictor.
    """
    return open_folder(
        model_dir, folder, filter_only=filter_only, allow_overlap=allow_overlap, validated=split == "valid"
    )


def rank_before_refit(
    ranking: SplitRanking,
    model_dir: Path,
    folder: Path,
    *,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
) -> tuple[LinkPredictor, dict[str, object]]:
    """Rank with the experts as validation chose them: what gates that are fitted to validation anew are made of.

    :param ranking: Ranks.
    :param model_dir: The folder of a model that has learnt validation since.
    :param folder: The graph it was trained on.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :returns: Those experts over the graph, and their figures.
    """
    chosen = open_folder(model_dir, folder, filter_only=filter_only, allow_overlap=allow_overlap, validated=True)
    ranking.expect(1)
    return chosen, ranking(BEFORE_REFIT, chosen.scorer)


def permutation_results(
    predictor: LinkPredictor,
    kinds: Sequence[str],
    *,
    seed: int,
    full: Mapping[str, Any],
    rank: _Rank,
) -> dict[str, object]:
    """Rank with each kind of vectors left out and dealt out anew.

    :param predictor: The model over its graph.
    :param kinds: Kinds of vectors.
    :param seed: Seed of the permutations.
    :param full: The figures of the model as it is.
    :param rank: Ranks with a scorer that is called so.
    :returns: By kind ``arms`` with their figures, ``gain``, ``kept``, ``lost_share`` and ``seed``.
    :raises CompletionError: If no expert reads such vectors.
    """
    if not kinds:
        return {}
    mixture = require_readable(predictor.scorer, kinds)
    found: dict[str, object] = {}
    for kind in dict.fromkeys(kinds):
        arms = permutation_arms(
            mixture,
            predictor.graph,
            kind,
            config=predictor.saved.config,
            seed=seed,
            gate_seed=_seed(predictor),
        )
        figures = {name: rank(f"{kind} {name}", arm) for name, arm in arms.items()}
        lost = what_is_lost(full["mrr"], {name: float(str(one["mrr"])) for name, one in figures.items()})
        found[kind] = {"arms": figures, **lost, "seed": seed}
    return found


def _seed(predictor: LinkPredictor) -> int:
    seed = predictor.saved.metadata.get("seed")
    return seed if isinstance(seed, int) else 0


def _parameters(scorer: ExpertMixture | ComplExModel) -> dict[str, int]:
    return {
        "constant": scorer.n_constant_parameters,
        "per_entity": scorer.n_entity_parameters,
        "total": scorer.n_parameters,
    }

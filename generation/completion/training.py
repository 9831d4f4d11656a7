"""Train the experts in turn, then the gate over them.

Layer: ``generation``; imports torch. Where validation was carved from train, each expert goes on to learn all of train
when validation has chosen its epoch (:mod:`generation.completion.epochs`): the gate is fitted to the experts as they
were chosen, and then weighs those that went on. Each expert keeps its own checkpoints in a folder of its name, so an
interrupted training goes on with the epoch at which it stopped; rules and gate are fast enough to be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import EXPERTS, CompletionConfig
from generation.completion.cross_fitting import CrossFit, cross_fit
from generation.completion.devices import threads_set_to
from generation.completion.epochs import validation_part
from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert, FeatureMap
from generation.completion.experts.feature_training import train_feature_expert
from generation.completion.experts.features import FeatureMatrix
from generation.completion.experts.rule_fitting import fit_rule_strengths
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate, entity_traits
from generation.completion.gate_fitting import fit_gate
from generation.completion.mixture import ExpertMixture
from generation.completion.parts import ExpertParts, ValidatedExperts
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.trainer import Fit, train_complex
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Trained", "train_experts"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """All experts over one graph.

    ``fit`` is the structural one's training, ``None`` where it was not asked for. ``graph`` holds as train what the
    experts have learnt; ``validated`` are the experts before they learnt what had been carved for validation, ``None``
    where nothing was.
    """

    config: CompletionConfig
    model: ComplExModel | None
    parts: ExpertParts
    mixture: ExpertMixture
    fit: Fit | None
    history: tuple[EpochProgress, ...]
    graph: TripleSet
    validated: ValidatedExperts | None


def train_experts(
    graph: TripleSet,
    *,
    config: CompletionConfig,
    seed: int,
    features: Mapping[str, FeatureMatrix] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: ProgressCallback | None = None,
    initial: ComplExModel | None = None,
    asked_R: NDArray[np.bool_] | None = None,  # noqa: N803 (shape suffix)
) -> Trained:
    """Train what the settings name and the graph has, fit the gate on validation, and calibrate.

    Where there is no validation part and the settings name folds, the gate is fitted to experts that are trained
    without each fold in turn (:mod:`generation.completion.cross_fitting`). Where nothing can judge the experts, the
    feature experts are left out, structure ranks and rules explain.

    :param graph: The graph. Test triples are only left out of rankings.
    :param config: Settings.
    :param seed: Seed of everything random.
    :param features: Vectors by expert: ``text``, ``image``, ``numbers``.
    :param checkpoint: Folder for checkpoints; ``None`` writes none.
    :param resume: Whether to go on from checkpoints.
    :param on_progress: Called after each epoch of each expert.
    :param initial: Tables that the structural expert begins with.
    :param asked_R: Whether a relation is asked for, see :func:`held_out`; folds hold out only such. *Shape:*
        ``(n_relations,)``.
    :returns: The experts and the gate.
    :raises CompletionError: If train is empty, or none of the wanted experts can be trained on this graph.
    """
    if not len(graph.train):
        raise CompletionError(f"{graph.name}: there are no train triples, so nothing can be learnt.")
    config = config.resolve(n_entities=graph.n_entities, n_train=len(graph.train))
    run = _Run(
        graph=graph,
        config=config,
        seed=seed,
        features=features or {},
        checkpoint=checkpoint,
        resume=resume,
        on_progress=on_progress,
        initial=initial,
        is_judged=len(graph.valid) > 0,
        reranks=asked_R is None or bool(asked_R.all()),
    )
    crossed = None
    if not run.is_judged and config.folds > 1:
        train = run.trained_without
        crossed = cross_fit(graph, train, n_folds=config.folds, asked_R=asked_R, seed=seed)
        run.is_judged = crossed is not None
    chosen, refitted = run.train_all()
    if not chosen:
        raise CompletionError(
            f"{graph.name}: none of the experts {list(config.experts)} can be trained: the graph has no texts, "
            "vectors or numbers for them, or no validation part. Add structure or rules to the setting experts."
        )
    return _gated(run, chosen, refitted, crossed)


@dataclass(kw_only=True)
class _Run:
    """One training of all experts in turn.

    ``is_judged`` says whether anything tells how far to trust them. ``reranks`` is false where links that were held out
    lost the mentions of their ends together: that they alone among their neighbours are not linked gives them away to
    a reranker, which reads such links (on 994 passages MRR rose from .26 to .48 by it), and tells nothing of others.
    """

    graph: TripleSet
    config: CompletionConfig
    seed: int
    features: Mapping[str, FeatureMatrix]
    checkpoint: Path | None
    resume: bool
    on_progress: ProgressCallback | None
    initial: ComplExModel | None
    is_judged: bool
    reranks: bool
    fit: Fit | None = None
    history: list[EpochProgress] = field(default_factory=list)

    def trained_without(self, rest: TripleSet) -> dict[str, Expert]:
        """Train the experts anew on a graph from which a fold was taken."""
        _LOG.info("%s: training without a fold, on %d of %d triples", rest.name, len(rest.train), len(self.graph.train))
        anew = replace(self, graph=rest, checkpoint=None, initial=None, is_judged=True, history=[])
        return anew.train_all()[0]

    def train_all(self) -> tuple[dict[str, Expert], dict[str, Expert]]:
        """Train what the settings name, and return the experts as :meth:`train` does, without what there is not."""
        pairs = {name: self.train(name) for name in EXPERTS if name in self.config.experts}
        chosen = {name: one for name, (one, _) in pairs.items() if one is not None}
        return chosen, {name: one for name, (_, one) in pairs.items() if one is not None}

    def train(self, name: str) -> tuple[Expert | None, Expert | None]:
        """Return an expert as validation chose it, and as it went on from there; ``None`` for what there is not."""
        if name == "structure":
            self.fit = self._structural(name, self.config, self.initial)
            return self.fit.model, self.fit.refitted
        if name == "twin" and self.config.twin_rank and self.is_judged:
            twin = self._structural(name, self.config.twin_of(), None)
            return twin.model, twin.refitted
        if name == "rules":
            rules = RuleExpert(self.graph)
            if self.is_judged:  # otherwise structure alone ranks, and the rules explain
                rules.use(fit_rule_strengths(rules, seed=self.seed))
            return rules, None
        if name in self.features and self.is_judged:
            found = train_feature_expert(
                name,
                self.graph,
                self.features[name],
                config=self.config,
                seed=self.seed,
                checkpoint=self._folder(name),
                resume=self.resume,
                on_progress=self.on_progress,
            )
            self.history += found.history
            return found.expert, found.refitted
        return None, None

    def _structural(self, name: str, config: CompletionConfig, initial: ComplExModel | None) -> Fit:
        fit = train_complex(
            self.graph,
            config=config,
            seed=self.seed,
            checkpoint=self._folder(name),
            resume=self.resume,
            on_progress=self.on_progress,
            initial=initial,
            name=name,
        )
        self.history += fit.history
        return fit

    def _folder(self, name: str) -> Path | None:
        return None if self.checkpoint is None else self.checkpoint / name


def _gated(
    run: _Run, chosen: Mapping[str, Expert], refitted: Mapping[str, Expert], crossed: CrossFit | None
) -> Trained:
    """Fit the gate to the experts as they were chosen, and put it over those that went on."""
    graph, config, seed = run.graph, run.config, run.seed
    features = {name: expert.features for name, expert in chosen.items() if isinstance(expert, FeatureExpert)}
    fit = run.fit
    traits, traits_NF = entity_traits(graph, features)
    start = Gate.fresh(tuple(chosen), traits, n_relations=graph.n_relations)
    mixture = ExpertMixture(chosen, start, traits_NF, n_relations=graph.n_relations)
    triples = validation_part(graph, seed, limit=config.gate_limit)
    with threads_set_to(config.threads):
        fitted = fit_gate(
            mixture,
            graph,
            triples=triples,
            seed=seed,
            on_progress=run.on_progress,
            crossed=crossed,
            reranks=run.reranks,
        )
    experts, learnt = dict(chosen), graph
    rules = chosen.get("rules")
    if refitted:
        learnt = graph.with_validation_in_train()
        experts |= refitted
        if isinstance(rules, RuleExpert):
            experts["rules"] = RuleExpert(learnt, rules=rules.rules, strengths=rules.strengths)
        traits, traits_NF = entity_traits(learnt, features)
    parts = ExpertParts(
        gate=fitted.gate,
        reranker=fitted.reranker,
        twin=_twin(experts),
        rules=rules.rules if isinstance(rules, RuleExpert) else None,
        strengths=rules.strengths if isinstance(rules, RuleExpert) else None,
        maps=_maps(experts),
        features=features,
        calibration=fitted.calibration,
        validation=fitted.validation,
    )
    validated = ValidatedExperts(
        model=None if fit is None else fit.model,
        twin=_twin(chosen),
        maps=_maps(chosen),
        train_fingerprint=graph.train_fingerprint,
    )
    return Trained(
        config=config,
        model=None if fit is None else fit.refitted or fit.model,
        parts=parts,
        mixture=fitted.over(ExpertMixture(experts, fitted.gate, traits_NF, n_relations=graph.n_relations), learnt),
        fit=fit,
        history=tuple(run.history),
        graph=learnt,
        validated=validated if refitted else None,
    )


def _twin(experts: Mapping[str, Expert]) -> ComplExModel | None:
    twin = experts.get("twin")
    return twin if isinstance(twin, ComplExModel) else None


def _maps(experts: Mapping[str, Expert]) -> dict[str, FeatureMap]:
    return {name: expert.model for name, expert in experts.items() if isinstance(expert, FeatureExpert)}

"""Train the experts in turn, then the gate over them.

Layer: ``generation``; imports torch. Where validation was carved from train, each expert goes on to learn all of train
when validation has chosen its epoch (:mod:`generation.completion.epochs`): the gate is fitted to the experts as they
were chosen, and then weighs those that went on. Each expert keeps its own checkpoints in a folder of its name, so an
interrupted training goes on with the epoch at which it stopped; rules and gate are fast enough to be made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import EXPERTS, CompletionConfig
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
from generation.completion.mixture import RERANKER, ExpertMixture
from generation.completion.parts import ExpertParts, ValidatedExperts
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.trainer import Fit, train_complex
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Trained", "ablation_arms", "train_experts"]


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
) -> Trained:
    """Train what the settings name and the graph has, fit the gate on validation, and calibrate.

    Feature experts are left out where there is no validation part: nothing could say how far to trust them.

    :param graph: The graph. Test triples are only left out of rankings.
    :param config: Settings.
    :param seed: Seed of everything random.
    :param features: Vectors by expert: ``text``, ``image``, ``numbers``.
    :param checkpoint: Folder for checkpoints; ``None`` writes none.
    :param resume: Whether to go on from checkpoints.
    :param on_progress: Called after each epoch of each expert.
    :param initial: Tables that the structural expert begins with.
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
        features={} if features is None or not len(graph.valid) else features,
        checkpoint=checkpoint,
        resume=resume,
        on_progress=on_progress,
        initial=initial,
    )
    pairs = {name: run.train(name) for name in EXPERTS if name in config.experts}
    chosen = {name: one for name, (one, _) in pairs.items() if one is not None}
    refitted = {name: one for name, (_, one) in pairs.items() if one is not None}
    if not chosen:
        raise CompletionError(
            f"{graph.name}: none of the experts {list(config.experts)} can be trained: the graph has no texts, "
            "vectors or numbers for them, or no validation part. Add structure or rules to the setting experts."
        )
    return _gated(run, chosen, refitted)


@dataclass(kw_only=True)
class _Run:
    """One training of all experts in turn."""

    graph: TripleSet
    config: CompletionConfig
    seed: int
    features: Mapping[str, FeatureMatrix]
    checkpoint: Path | None
    resume: bool
    on_progress: ProgressCallback | None
    initial: ComplExModel | None
    fit: Fit | None = None
    history: list[EpochProgress] = field(default_factory=list)

    def train(self, name: str) -> tuple[Expert | None, Expert | None]:
        """Return an expert as validation chose it, and as it went on from there; ``None`` for what there is not."""
        has_validation = len(self.graph.valid) > 0
        if name == "structure":
            self.fit = self._structural(name, self.config, self.initial)
            return self.fit.model, self.fit.refitted
        if name == "twin" and self.config.twin_rank and has_validation:
            twin = self._structural(name, self.config.twin_of(), None)
            return twin.model, twin.refitted
        if name == "rules":
            rules = RuleExpert(self.graph)
            if has_validation:  # without it structure alone ranks, and the rules explain
                rules.use(fit_rule_strengths(rules, seed=self.seed))
            return rules, None
        if name in self.features:
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


def _gated(run: _Run, chosen: Mapping[str, Expert], refitted: Mapping[str, Expert]) -> Trained:
    """Fit the gate to the experts as they were chosen, and put it over those that went on."""
    graph, config, seed = run.graph, run.config, run.seed
    features = {name: expert.features for name, expert in chosen.items() if isinstance(expert, FeatureExpert)}
    fit = run.fit
    traits, traits_NF = entity_traits(graph, features)
    start = Gate.fresh(tuple(chosen), traits, n_relations=graph.n_relations)
    mixture = ExpertMixture(chosen, start, traits_NF, n_relations=graph.n_relations)
    triples = validation_part(graph, seed, limit=config.gate_limit)
    with threads_set_to(config.threads):
        fitted = fit_gate(mixture, graph, triples=triples, seed=seed, on_progress=run.on_progress)
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


def ablation_arms(
    mixture: ExpertMixture, graph: TripleSet, *, config: CompletionConfig, seed: int
) -> dict[str, ExpertMixture]:
    """Make the arms that say what each part gives: each expert alone, and all but each with a gate fitted anew.

    :param mixture: The trained mixture, of experts that have not learnt the validation part.
    :param graph: Its graph; gates are fitted on its validation part.
    :param config: The settings of the training.
    :param seed: The seed of the training.
    :returns: Mixtures by the name of the arm.
    """
    arms = {name: mixture.alone(name) for name in mixture.experts}
    if len(arms) < 3 or mixture.gate.kind == "single":
        return arms
    triples = validation_part(graph, seed, limit=config.gate_limit)
    for name in mixture.experts:
        rest = mixture.without(name)
        fitted = fit_gate(rest, graph, triples=triples, seed=seed)
        arms[f"all but {name}"] = fitted.over(rest, graph)
    if mixture.reranking is not None:
        arms[f"all but {RERANKER}"] = mixture.with_gate(mixture.gate)
    return arms

"""Train the experts in turn, then the gate over them.

Layer: ``generation``; imports torch. Each expert keeps its own checkpoints in a folder of its name, so an interrupted
training goes on with the epoch at which it stopped; rules and gate are fast enough to be made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import EXPERTS, CompletionConfig
from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert
from generation.completion.experts.feature_training import train_feature_expert
from generation.completion.experts.features import FeatureMatrix
from generation.completion.experts.rule_fitting import fit_rule_strengths
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate, entity_traits
from generation.completion.gate_fitting import fit_gate
from generation.completion.known import KnownEnds
from generation.completion.mixture import ExpertMixture
from generation.completion.parts import ExpertParts
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.trainer import Fit, threads_set_to, train_complex, validation_part
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Trained", "ablation_arms", "train_experts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """All experts over one graph. ``fit`` is the structural one's training, ``None`` where it was not asked for."""

    config: CompletionConfig
    model: ComplExModel | None
    parts: ExpertParts
    mixture: ExpertMixture
    fit: Fit | None
    history: tuple[EpochProgress, ...]


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
    given = {} if features is None or not len(graph.valid) else features
    experts: dict[str, Expert] = {}
    fit: Fit | None = None
    history: list[EpochProgress] = []

    def note(progress: EpochProgress) -> None:
        history.append(progress)
        if on_progress is not None:
            on_progress(progress)

    for name in (name for name in EXPERTS if name in config.experts):
        folder = None if checkpoint is None else checkpoint / name
        if name == "structure":
            fit = train_complex(
                graph,
                config=config,
                seed=seed,
                checkpoint=folder,
                resume=resume,
                on_progress=on_progress,
                initial=initial,
            )
            history += fit.history
            experts[name] = fit.model
        elif name == "rules":
            rules_expert = RuleExpert(graph)
            if len(graph.valid):  # without it structure alone ranks, and the rules explain
                rules_expert.use(fit_rule_strengths(rules_expert, seed=seed))
            experts[name] = rules_expert
        elif name in given:
            experts[name] = train_feature_expert(
                name, graph, given[name], config=config, seed=seed, checkpoint=folder, resume=resume, on_progress=note
            )
    if not experts:
        raise CompletionError(
            f"{graph.name}: none of the experts {list(config.experts)} can be trained: the graph has no texts, "
            "vectors or numbers for them, or no validation part. Add structure or rules to the setting experts."
        )
    return _gated(graph, config, seed, experts, fit, tuple(history))


def _gated(
    graph: TripleSet,
    config: CompletionConfig,
    seed: int,
    experts: Mapping[str, Expert],
    fit: Fit | None,
    history: tuple[EpochProgress, ...],
) -> Trained:
    trained = {name: expert for name, expert in experts.items() if isinstance(expert, FeatureExpert)}
    features = {name: expert.features for name, expert in trained.items()}
    traits, traits_NF = entity_traits(graph, features)
    start = Gate.fresh(tuple(experts), traits, n_relations=graph.n_relations)
    mixture = ExpertMixture(experts, start, traits_NF, n_relations=graph.n_relations)
    known = KnownEnds.build(graph.known(), n_relations=graph.n_relations)
    with threads_set_to(config.threads):
        fitted = fit_gate(mixture, graph, triples=validation_part(graph, config, seed), known=known, seed=seed)
    rules = experts.get("rules")
    parts = ExpertParts(
        gate=fitted.gate,
        rules=rules.rules if isinstance(rules, RuleExpert) else None,
        strengths=rules.strengths if isinstance(rules, RuleExpert) else None,
        maps={name: expert.model for name, expert in trained.items()},
        features=features,
        calibration=fitted.calibration,
        validation=fitted.validation,
    )
    return Trained(
        config=config,
        model=None if fit is None else fit.model,
        parts=parts,
        mixture=ExpertMixture(experts, fitted.gate, traits_NF, n_relations=graph.n_relations),
        fit=fit,
        history=history,
    )


def ablation_arms(
    mixture: ExpertMixture, graph: TripleSet, *, config: CompletionConfig, seed: int, known: KnownEnds
) -> dict[str, ExpertMixture]:
    """Make the arms that say what each expert gives: each alone, and all but each with a gate fitted anew.

    :param mixture: The trained mixture.
    :param graph: Its graph; gates are fitted on its validation part.
    :param config: The settings of the training.
    :param seed: The seed of the training.
    :param known: All known answers.
    :returns: Mixtures by the name of the arm.
    """
    arms = {name: mixture.alone(name) for name in mixture.experts}
    if len(arms) < 3 or mixture.gate.kind == "single":
        return arms
    triples = validation_part(graph, config, seed)
    for name in mixture.experts:
        rest = mixture.without(name)
        fitted = fit_gate(rest, graph, triples=triples, known=known, seed=seed)
        arms[f"all but {name}"] = rest.with_gate(fitted.gate)
    return arms

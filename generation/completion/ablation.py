"""What each part of a mixture gives: alone, left out, and added to those before it.

Layer: ``generation``. Whatever is less than the whole gets a gate that is fitted on validation anew, since what a gate
has learnt holds for its own experts together. So the mixtures asked for here are those that have not learnt validation.
"""

from __future__ import annotations

from generation.completion.config import CompletionConfig
from generation.completion.epochs import validation_part
from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert
from generation.completion.gate_fitting import KINDS, fit_gate
from generation.completion.mixture import RERANKER, ExpertMixture
from generation.completion.permutation import kinds_of, without_kind
from generation.completion.triples import TripleSet

__all__ = ["ablation_arms", "ladder_arms"]


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


def ladder_arms(
    mixture: ExpertMixture, graph: TripleSet, *, config: CompletionConfig, seed: int
) -> dict[str, ExpertMixture]:
    """Make a ladder: the first expert, then each part added to those before it, up to the whole mixture.

    Experts come in the order of their training, each kind of vectors of an expert (names, then texts) as a rung of its
    own: the others are left out of it as modality dropout does in training. Up to there an expert has one weight for
    all questions, or none where that is no better on validation; then comes the gate that tells questions apart, where
    one was chosen, and last the reranker.

    :param mixture: The trained mixture, of experts that have not learnt the validation part.
    :param graph: Its graph; gates are fitted on its validation part.
    :param config: The settings of the training.
    :param seed: The seed of the training.
    :returns: Mixtures by what was added, in that order; the first is an expert alone, the last the mixture as it is.
    """
    triples = validation_part(graph, seed, limit=config.gate_limit)
    arms: dict[str, ExpertMixture] = {}
    there: dict[str, Expert] = {}
    for name, expert in mixture.experts.items():
        for label, reduced in _rungs(name, expert, config):
            there[name] = reduced
            rest = mixture.with_experts(there)
            if len(there) == 1:
                arm = rest.alone(name)
            else:
                arm = fit_gate(rest, graph, triples=triples, seed=seed, reranks=False, kinds=KINDS[:1]).over(
                    rest, graph
                )
            arms[f"+ {label}" if arms else label] = arm
    if mixture.gate.kind in KINDS[1:]:
        arms["+ gate"] = mixture if mixture.reranking is None else mixture.with_gate(mixture.gate)
    if mixture.reranking is not None:
        arms[f"+ {RERANKER}"] = mixture
    return arms


def _rungs(name: str, expert: Expert, config: CompletionConfig) -> list[tuple[str, Expert]]:
    """Return what an expert is made of, poorest first, and what that is called."""
    if name == "twin":
        taught = "with" if config.twin_of().relation_weight else "without"
        return [(f"twin, {taught} relation prediction", expert)]
    if not isinstance(expert, FeatureExpert):
        return [(name, expert)]
    kinds = kinds_of(expert.features)
    rungs: list[tuple[str, Expert]] = []
    for number, kind in enumerate(kinds):
        features = expert.features
        for later in kinds[number + 1 :]:
            features = without_kind(features, later)
        rungs.append((f"{name}: {kind}" if len(kinds) > 1 else name, expert.with_features(features)))
    return rungs

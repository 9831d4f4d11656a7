"""Deal the vectors of one kind out anew among the entities: what a model makes of them must lose its gain by that.

Layer: ``generation``. A model may gain from a modality's expert without reading a word: by its further parameters, or
by who has a text at all. So the vectors of a block (``text``, ``name``, ``image``, ``number``) are dealt out anew among
the entities that have one. Who has one stays as it is, and so does everything that was learnt. The gate is fitted anew
on validation, so that it may stop listening. Beside it stands the model with that block left out (all zeros, as
modality dropout showed it in training). *Gain* is what the block adds over that, *kept* what its vectors still add when
they are dealt out anew. The lexical blocks go with what they are made of: ``letters`` with ``name``, ``words`` with
``text``. A kind such as ``name+text`` is several kinds, dealt out alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from generation.completion.config import CompletionConfig
from generation.completion.epochs import validation_part
from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert
from generation.completion.experts.features import FeatureMatrix
from generation.completion.gate_fitting import fit_gate
from generation.completion.mixture import ExpertMixture
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = [
    "LEFT_OUT",
    "PERMUTED",
    "PERMUTED_SAME_GATE",
    "kinds_of",
    "permutation_arms",
    "permuted_features",
    "require_readable",
    "what_is_lost",
    "without_kind",
]

_KINDS = {"letters": "name", "words": "text"}
LEFT_OUT, PERMUTED, PERMUTED_SAME_GATE = "left out", "permuted", "permuted, gate as trained"
"""The names of the arms."""


def permuted_features(features: FeatureMatrix, kind: str, *, seed: int) -> FeatureMatrix:
    """Deal the vectors of a kind out anew among the entities that have one.

    :param features: The vectors.
    :param kind: The kind.
    :param seed: Seed of the permutation; blocks of the kind that the same entities have are dealt out alike.
    :returns: The vectors, of the same entities and blocks; no other number is changed.
    :raises CompletionError: If there is no such kind.
    """
    values = features.values_ND.copy()
    for columns, number in _columns(features, kind):
        having = np.flatnonzero(features.has_NK[:, number])
        values[having, columns] = values[np.random.default_rng([seed, 0x9E]).permutation(having), columns]
    return replace(features, values_ND=values)


def without_kind(features: FeatureMatrix, kind: str) -> FeatureMatrix:
    """Leave the vectors of a kind out: all zeros, as modality dropout shows them in training.

    :param features: The vectors.
    :param kind: The kind.
    :returns: The vectors, of the same entities and blocks; who has one stays as it is.
    :raises CompletionError: If there is no such kind.
    """
    values = features.values_ND.copy()
    for columns, _ in _columns(features, kind):
        values[:, columns] = 0.0
    return replace(features, values_ND=values)


def _columns(features: FeatureMatrix, kind: str) -> list[tuple[slice, int]]:
    """Return the columns and the number of each block of a kind."""
    found, start = [], 0
    for number, (name, width) in enumerate(features.blocks):
        if _KINDS.get(name, name) == kind:
            found.append((slice(start, start + width), number))
        start += width
    if not found:
        raise CompletionError(f"There are no vectors of the kind {kind!r}; there are {kinds_of(features)}.")
    return found


def require_readable(scorer: object, kinds: Sequence[str]) -> ExpertMixture:
    """Refuse kinds of vectors that no expert reads.

    :param scorer: What scores.
    :param kinds: Blocks of vectors, or several joined by ``+``.
    :returns: The scorer, a mixture.
    :raises CompletionError: If it reads none of a kind; the message names those that it reads.
    """
    there = sorted({kind for one in _readers(scorer).values() for kind in kinds_of(one.features)})
    for block in (block for kind in kinds for block in kind.split("+")):
        if block not in there:
            offered = f"It reads {', '.join(there)}." if there else "It has no expert that reads vectors."
            raise CompletionError(f"The model reads no vectors of the kind {block!r}. {offered}")
    if not isinstance(scorer, ExpertMixture):
        raise CompletionError("The model is no mixture of experts, so it reads no vectors that could be dealt out.")
    return scorer


def _readers(scorer: object) -> dict[str, FeatureExpert]:
    experts = scorer.experts if isinstance(scorer, ExpertMixture) else {}
    return {name: expert for name, expert in experts.items() if isinstance(expert, FeatureExpert)}


def kinds_of(features: FeatureMatrix) -> list[str]:
    """Return the kinds of vectors there are, in their order."""
    return list(dict.fromkeys(_KINDS.get(name, name) for name, _ in features.blocks))


def permutation_arms(
    mixture: ExpertMixture,
    graph: TripleSet,
    kind: str,
    *,
    config: CompletionConfig,
    seed: int,
    gate_seed: int,
) -> dict[str, ExpertMixture]:
    """Make the arms that say whether a block is read.

    :param mixture: The trained mixture.
    :param graph: Its graph; gates are fitted on its validation part.
    :param kind: The block of vectors, or several joined by ``+``.
    :param config: The settings of the training.
    :param seed: Seed of the permutation.
    :param gate_seed: The seed of the training, with which gates are fitted.
    :returns: Mixtures by :data:`LEFT_OUT`, :data:`PERMUTED` and :data:`PERMUTED_SAME_GATE`.
    :raises CompletionError: If no expert of the mixture reads such vectors.
    """
    require_readable(mixture, [kind])
    blocks = kind.split("+")
    holding = {name: one for name, one in _readers(mixture).items() if set(blocks) & set(kinds_of(one.features))}

    def with_features(change: Mapping[str, FeatureMatrix]) -> ExpertMixture:
        experts: dict[str, Expert] = dict(mixture.experts)
        experts |= {name: holding[name].with_features(features) for name, features in change.items()}
        return ExpertMixture(
            experts,
            mixture.gate,
            mixture.traits_NF.numpy(),
            n_relations=mixture.n_relations,
            reranking=mixture.reranking,
        )

    triples = validation_part(graph, gate_seed, limit=config.gate_limit)

    def fitted(changed: ExpertMixture) -> ExpertMixture:
        return fit_gate(changed, graph, triples=triples, seed=gate_seed).over(changed, graph)

    dealt, zeroed = {}, {}
    for name, expert in holding.items():
        dealt[name] = zeroed[name] = expert.features
        for block in (one for one in blocks if one in kinds_of(expert.features)):
            dealt[name] = permuted_features(dealt[name], block, seed=seed)
            zeroed[name] = without_kind(zeroed[name], block)
    permuted, left_out = with_features(dealt), with_features(zeroed)
    return {LEFT_OUT: fitted(left_out), PERMUTED: fitted(permuted), PERMUTED_SAME_GATE: permuted}


def what_is_lost(full: float, arms: Mapping[str, float]) -> dict[str, float | None]:
    """Say how much of a block's gain goes when its vectors are dealt out anew.

    :param full: MRR of the model, a fraction.
    :param arms: MRR of the arms.
    :returns: ``gain`` of the block, what is ``kept`` of it, and the ``lost_share`` of the gain, ``None`` where there is
        no gain to lose.
    """
    gain, kept = full - arms[LEFT_OUT], arms[PERMUTED] - arms[LEFT_OUT]
    return {"gain": gain, "kept": kept, "lost_share": 1.0 - kept / gain if gain > 0.0 else None}

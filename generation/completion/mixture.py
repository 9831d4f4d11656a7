"""The mixture: experts and gate together, as one scorer that can say what each of them contributed.

Layer: ``generation``; imports torch.

Shape suffixes: B questions, N entities, K experts, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate, entity_traits
from generation.completion.saved import SavedModel
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Contributions", "ExpertMixture", "make_mixture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Weight and log probability of each expert for candidates of one question. *Shape:* both ``(K, C)``."""

    experts: tuple[str, ...]
    weights: NDArray[np.float32]
    log_probabilities: NDArray[np.float32]


class ExpertMixture:
    """Blends experts by a gate.

    :param experts: The experts by name.
    :param gate: The gate over just these experts.
    :param traits_NF: Traits of the entities. *Shape:* ``(N, F)``.
    :param n_relations: Number of relations without inverses.
    :raises CompletionError: If the gate is of other experts.
    """

    def __init__(
        self, experts: Mapping[str, Expert], gate: Gate, traits_NF: NDArray[np.float32], *, n_relations: int
    ) -> None:
        if tuple(experts) != gate.experts:
            raise CompletionError(f"The gate weighs {gate.experts}, the experts are {tuple(experts)}. Train again.")
        self.experts, self.gate, self.n_relations = dict(experts), gate, n_relations
        self.traits_NF = torch.from_numpy(traits_NF)

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities, the gate's included."""
        return self.gate.n_parameters + sum(expert.n_constant_parameters for expert in self.experts.values())

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity, over all entities."""
        return sum(expert.n_entity_parameters for expert in self.experts.values())

    @property
    def n_parameters(self) -> int:
        """Count all learnt numbers."""
        return self.n_constant_parameters + self.n_entity_parameters

    def log_probabilities(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> list[Tensor]:
        """Ask each expert.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Per expert the logarithm of its softmax over all entities. *Shape:* each ``(B, N)``.
        :raises CompletionError: If an expert returns a score that is not a finite number.
        """
        asked = []
        for name, expert in self.experts.items():
            scores_BN = torch.from_numpy(expert.score_all(anchors, relations))
            total_B1 = scores_BN.logsumexp(dim=1, keepdim=True)
            if not bool(torch.isfinite(total_B1).all()) or not bool(torch.isfinite(scores_BN.amin(dim=1)).all()):
                raise CompletionError(
                    f"The expert {name!r} returned scores that are not finite numbers; the model is damaged. Train it "
                    "again."
                )
            asked.append(scores_BN.sub_(total_B1))
        return asked

    @torch.inference_mode()
    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``; experts of weight 0 are not asked.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``, float32.
        """
        is_single = self.gate.kind == "single" and len(self.experts) > 1
        mixture = self.alone(self.gate.experts[int(self.gate.base_K.argmax())]) if is_single else self
        asked = mixture.log_probabilities(anchors, relations)
        scores: NDArray[np.float32] = mixture.blend(asked, anchors, relations).numpy()
        return scores

    def alone(self, name: str) -> ExpertMixture:
        """Return the mixture of one expert, without what the gate has learnt.

        :param name: Name of the expert.
        :returns: A mixture that ranks as the expert does.
        """
        gate = Gate.only(name, (name,), self.gate.traits, n_relations=self.n_relations)
        return ExpertMixture({name: self.experts[name]}, gate, self.traits_NF.numpy(), n_relations=self.n_relations)

    def blend(self, asked: list[Tensor], anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> Tensor:
        """Blend what :meth:`log_probabilities` returned. *Shape:* ``(B, N)``."""
        traits_BF = self.traits_NF[torch.from_numpy(anchors)]
        return self.gate.blend(asked, torch.from_numpy(relations), traits_BF, self.traits_NF)

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)

    @torch.inference_mode()
    def contributions(self, anchor: int, relation: int, candidates: NDArray[np.int64]) -> Contributions:
        """Say what each expert adds to the score of candidates of one question.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param candidates: Entities. *Shape:* ``(C,)``.
        :returns: Weights and log probabilities; the sum of their products and the candidate's bias is its score.
        """
        asked = self.log_probabilities(np.array([anchor]), np.array([relation]))
        places = torch.from_numpy(candidates)
        weights_1K = self.gate.weights(torch.tensor([relation]), self.traits_NF[anchor][None])
        weights_CK = weights_1K * self.gate.multipliers(self.traits_NF[places])
        return Contributions(
            experts=self.gate.experts,
            weights=weights_CK.T.numpy(),
            log_probabilities=torch.stack([log_1N[0, places] for log_1N in asked]).numpy(),
        )

    def without(self, *names: str) -> ExpertMixture:
        """Return the mixture without some experts, with a gate that has learnt nothing: fit it before use.

        What a gate has learnt of candidates holds for its own experts together, so it says nothing of fewer.

        :param *names: Names of experts to leave out.
        :returns: The smaller mixture.
        :raises CompletionError: If no expert would be left.
        """
        kept = tuple(name for name in self.gate.experts if name not in names)
        if not kept:
            raise CompletionError(f"Leaving out {names} leaves no expert of {self.gate.experts}.")
        return self.with_gate(Gate.fresh(kept, self.gate.traits, n_relations=self.n_relations))

    def with_gate(self, gate: Gate) -> ExpertMixture:
        """Return a mixture of the experts that a gate names, weighed by it.

        :param gate: A gate over some of the experts.
        :returns: The mixture.
        """
        experts = {name: self.experts[name] for name in gate.experts}
        return ExpertMixture(experts, gate, self.traits_NF.numpy(), n_relations=self.n_relations)


def make_mixture(saved: SavedModel, graph: TripleSet) -> ExpertMixture | None:
    """Put the experts of a model folder together over the graph they were trained on.

    :param saved: The model.
    :param graph: Its graph.
    :returns: The mixture; ``None`` for a folder that holds the structural expert alone.
    """
    parts = saved.parts
    if parts is None:
        return None
    experts: dict[str, Expert] = {}
    for name in parts.gate.experts:
        if name == "structure" and saved.model is not None:
            experts[name] = saved.model
        elif name == "rules":
            experts[name] = RuleExpert(graph, rules=parts.rules or (), strengths=parts.strengths)
        elif name in parts.maps:
            experts[name] = FeatureExpert(name, parts.maps[name], parts.features[name])
    seen = None if saved.model is None else saved.model.seen_N.cpu().numpy()
    names, found_NF = entity_traits(graph, parts.features, seen=seen)
    traits_NF = np.zeros((graph.n_entities, len(parts.gate.traits)), dtype=np.float32)
    for number, name in enumerate(parts.gate.traits):
        if name in names:
            traits_NF[:, number] = found_NF[:, names.index(name)]
    return ExpertMixture(experts, parts.gate, traits_NF, n_relations=graph.n_relations)

"""The mixture: experts and gate together, as one scorer that can say what each of them contributed.

Layer: ``generation``; imports torch.

Shape suffixes: B questions, N entities, K experts, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.experts.base import Expert
from generation.completion.experts.feature_model import FeatureExpert
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate, entity_traits
from generation.completion.reranker import Reranking
from generation.completion.saved import SavedModel
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["RERANKER", "Contributions", "ExpertMixture", "Heard", "log_probabilities", "make_mixture"]

RERANKER = "reranker"
"""What the reranker is called among contributions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Weight and log probability of each expert for candidates of one question. *Shape:* both ``(K, C)``."""

    experts: tuple[str, ...]
    weights: NDArray[np.float32]
    log_probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was said to one question: by each expert, *shape* ``(1, N)``, and by a reranker of the places it ranked."""

    logs: list[Tensor]
    places_C: Tensor | None = None  # noqa: N815 (shape suffix)
    added_C: Tensor | None = None  # noqa: N815 (shape suffix)

    def added_at(self, places: Tensor) -> Tensor:
        """Return what a reranker added to places, 0 to those that it did not rank. *Shape:* ``(P,)`` twice."""
        if self.places_C is None or self.added_C is None:
            return torch.zeros(len(places))
        return ((places[:, None] == self.places_C) * self.added_C).sum(dim=1)


class ExpertMixture:
    """Blends experts by a gate.

    :param experts: The experts by name.
    :param gate: The gate over just these experts.
    :param traits_NF: Traits of the entities. *Shape:* ``(N, F)``.
    :param n_relations: Number of relations without inverses.
    :param reranking: Corrects the best of what the gate makes; fitted with this gate.
    :raises CompletionError: If the gate is of other experts.
    """

    def __init__(
        self,
        experts: Mapping[str, Expert],
        gate: Gate,
        traits_NF: NDArray[np.float32],
        *,
        n_relations: int,
        reranking: Reranking | None = None,
    ) -> None:
        if tuple(experts) != gate.experts:
            raise CompletionError(f"The gate weighs {gate.experts}, the experts are {tuple(experts)}. Train again.")
        self.experts, self.gate, self.n_relations = dict(experts), gate, n_relations
        self.traits_NF = torch.from_numpy(traits_NF)
        self.reranking = reranking

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities, the gate's and the reranker's included."""
        reranker = 0 if self.reranking is None else self.reranking.reranker.n_parameters
        return reranker + self.gate.n_parameters + sum(one.n_constant_parameters for one in self.experts.values())

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
        return log_probabilities(self.experts, anchors, relations)

    @torch.inference_mode()
    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``; experts of weight 0 are not asked.

        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``, float32.
        """
        mixture = self if self._single is None else self.alone(self._single)
        asked = mixture.log_probabilities(anchors, relations)
        scores: NDArray[np.float32] = mixture.blend(asked, anchors, relations).numpy()
        return scores

    @torch.inference_mode()
    def answer(self, anchor: int, relation: int) -> tuple[NDArray[np.float32], Heard]:
        """Score every entity for one question, and keep what was said for :meth:`contributions`.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :returns: The scores of :meth:`score_all`, *shape* ``(N,)``, and what was said.
        """
        question = (np.array([anchor]), np.array([relation]))
        logs = self.log_probabilities(*question)
        if self._single is not None:
            chosen = self.gate.experts.index(self._single)
            return self.alone(self._single).blend([logs[chosen]], *question)[0].numpy(), Heard(logs=logs)
        scores_1N = self.weigh(logs, *question)
        if self.reranking is None:
            return scores_1N[0].numpy(), Heard(logs=logs)
        places_1C, added_1C = self.reranking.corrections(scores_1N, logs, *question)
        scores_1N.scatter_add_(1, places_1C, added_1C)
        return scores_1N[0].numpy(), Heard(logs=logs, places_C=places_1C[0], added_C=added_1C[0])

    @property
    def _single(self) -> str | None:
        """The one expert of several that the gate listens to, if there is one."""
        is_single = self.gate.kind == "single" and len(self.experts) > 1
        return self.gate.experts[int(self.gate.base_K.argmax())] if is_single else None

    def alone(self, name: str) -> ExpertMixture:
        """Return the mixture of one expert, without what the gate has learnt.

        :param name: Name of the expert.
        :returns: A mixture that ranks as the expert does.
        """
        gate = Gate.only(name, (name,), self.gate.traits, n_relations=self.n_relations)
        return ExpertMixture({name: self.experts[name]}, gate, self.traits_NF.numpy(), n_relations=self.n_relations)

    def blend(self, asked: list[Tensor], anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> Tensor:
        """Blend what :meth:`log_probabilities` returned, and rank the best candidates again where there is a reranker.

        :param asked: Per expert. *Shape:* each ``(B, N)``.
        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``.
        """
        scores_BN = self.weigh(asked, anchors, relations)
        if self.reranking is not None:
            scores_BN.scatter_add_(1, *self.reranking.corrections(scores_BN, asked, anchors, relations))
        return scores_BN

    def weigh(self, asked: list[Tensor], anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> Tensor:
        """Blend as :meth:`generation.completion.gate.Gate.blend` does, without the reranker.

        What the gate makes of the candidates is computed once and kept: 4 bytes an entity and expert.

        :param asked: Per expert. *Shape:* each ``(B, N)``.
        :param anchors: Entity indices. *Shape:* ``(B,)``.
        :param relations: Relation indices, inverses from ``n_relations``. *Shape:* ``(B,)``.
        :returns: Scores, higher is better. *Shape:* ``(B, N)``.
        """
        weights_BK = self.gate.weights(torch.from_numpy(relations), self.traits_NF[torch.from_numpy(anchors)])
        bias_N, multipliers_KN = self._of_candidates
        scores_BN = bias_N.repeat(len(weights_BK), 1)
        for number, log_BN in enumerate(asked):
            said_BN = log_BN if multipliers_KN is None else log_BN * multipliers_KN[number]
            scores_BN.addcmul_(said_BN, weights_BK[:, number, None])
        return scores_BN

    @cached_property
    def _of_candidates(self) -> tuple[Tensor, Tensor | None]:
        """The gate's bias, *shape* ``(N,)``, and its multipliers, ``(K, N)``, or ``None`` where all are 1."""
        is_plain = bool((self.gate.candidate_FK == 0).all())
        multipliers_KN = None if is_plain else self.gate.multipliers(self.traits_NF).T.contiguous()
        return self.traits_NF @ self.gate.bias_F, multipliers_KN

    def score_tails(self, heads: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the tail of ``(head, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(heads, relations)

    def score_heads(self, relations: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the head of ``(?, relation, tail)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        return self.score_all(tails, relations + self.n_relations)

    @torch.inference_mode()
    def contributions(
        self, anchor: int, relation: int, candidates: NDArray[np.int64], *, heard: Heard | None = None
    ) -> Contributions:
        """Say what each expert adds to the score of candidates of one question.

        :param anchor: The given entity.
        :param relation: The asked relation, inverses from ``n_relations``.
        :param candidates: Entities. *Shape:* ``(C,)``.
        :param heard: What :meth:`answer` heard, if it was asked already.
        :returns: Weights and log probabilities; the sum of their products and the candidate's bias is its score. What a
            reranker adds stands last, as of an expert of weight 1.
        """
        if heard is None:
            _, heard = self.answer(anchor, relation)
        places = torch.from_numpy(candidates)
        weights_1K = self.gate.weights(torch.tensor([relation]), self.traits_NF[anchor][None])
        weights_CK = weights_1K * self.gate.multipliers(self.traits_NF[places])
        if self._single is not None:  # the others are heard, and count nothing
            chosen = [float(name == self._single) for name in self.gate.experts]
            weights_CK = torch.tensor(chosen).expand(len(candidates), -1)
        names, weights_KC = self.gate.experts, weights_CK.T
        logs_KC = torch.stack([log_1N[0, places] for log_1N in heard.logs])
        if self.reranking is not None:
            names = (*names, RERANKER)
            weights_KC = torch.cat([weights_KC, torch.ones(1, len(places))])
            logs_KC = torch.cat([logs_KC, heard.added_at(places)[None]])
        return Contributions(experts=names, weights=weights_KC.numpy(), log_probabilities=logs_KC.numpy())

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
        return self.with_experts({name: self.experts[name] for name in kept})

    def with_experts(self, experts: Mapping[str, Expert]) -> ExpertMixture:
        """Return a mixture of other experts over the same entities, with a gate that has learnt nothing.

        :param experts: Experts by name, in the order in which a gate is to weigh them.
        :returns: The mixture; fit its gate before use.
        """
        gate = Gate.fresh(tuple(experts), self.gate.traits, n_relations=self.n_relations)
        return ExpertMixture(experts, gate, self.traits_NF.numpy(), n_relations=self.n_relations)

    def with_gate(self, gate: Gate, reranking: Reranking | None = None) -> ExpertMixture:
        """Return a mixture of the experts that a gate names, weighed by it.

        :param gate: A gate over some of the experts.
        :param reranking: What ranks the best of them again.
        :returns: The mixture.
        """
        experts = {name: self.experts[name] for name in gate.experts}
        traits_NF = self.traits_NF.numpy()
        return ExpertMixture(experts, gate, traits_NF, n_relations=self.n_relations, reranking=reranking)


def log_probabilities(
    experts: Mapping[str, Expert], anchors: NDArray[np.int64], relations: NDArray[np.int64]
) -> list[Tensor]:
    """Ask each of some experts, see :meth:`ExpertMixture.log_probabilities`."""
    asked = []
    for name, expert in experts.items():
        scores_BN = torch.from_numpy(expert.score_all(anchors, relations))
        most_B1 = scores_BN.amax(dim=1, keepdim=True)
        if not bool(torch.isfinite(most_B1).all()) or not bool(torch.isfinite(scores_BN.amin(dim=1)).all()):
            raise CompletionError(
                f"The expert {name!r} returned scores that are not finite numbers; the model is damaged. Train it "
                "again."
            )
        # By hand, since torch.logsumexp takes several times as long over one long row.
        total_B1 = (scores_BN - most_B1).exp_().sum(dim=1, keepdim=True).log_().add_(most_B1)
        asked.append(scores_BN.sub_(total_B1))
    return asked


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
        elif name == "twin" and parts.twin is not None:
            experts[name] = parts.twin
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
    reranking = Reranking.over(parts.reranker, graph)
    return ExpertMixture(experts, parts.gate, traits_NF, n_relations=graph.n_relations, reranking=reranking)

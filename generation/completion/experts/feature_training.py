"""Train a feature expert, as :mod:`generation.completion.epochs` trains: softmax over the entities, Adam.

Layer: ``generation``; imports torch. The last state of a checkpoint (:mod:`generation.completion.checkpoints`) is
parameters and Adam's moments, the best one parameters. While it trains, whole blocks of an entity are dropped (modality
dropout), so that the map can do without each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.candidates import draw_candidates
from generation.completion.complex_n3 import multiply
from generation.completion.config import CompletionConfig
from generation.completion.devices import choose_half, threads_set_to
from generation.completion.dropout import dropout
from generation.completion.epochs import EpochTraining
from generation.completion.experts.feature_model import FeatureExpert, FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.questions import QuestionBatch, TrainQuestions
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["FeatureFit", "train_feature_expert"]

_MOST_ANSWERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFit:
    """The expert as validation chose it, the one that then learnt all of train, if any, and how each epoch went."""

    expert: FeatureExpert
    refitted: FeatureExpert | None
    history: tuple[EpochProgress, ...]


def train_feature_expert(
    name: str,
    graph: TripleSet,
    features: FeatureMatrix,
    *,
    config: CompletionConfig,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: ProgressCallback | None = None,
) -> FeatureFit:
    """Train on the train split and return the epoch that is best on validation.

    Where validation was carved from train, training goes on for ``refit_epochs`` with all of train.

    :param name: What the expert is called.
    :param graph: The graph; test triples are only left out of rankings.
    :param features: The vectors of its entities.
    :param config: Settings, resolved.
    :param seed: Seed of everything random.
    :param checkpoint: Folder for checkpoints, one an epoch; ``None`` writes none.
    :param resume: Whether to go on from a checkpoint of the same training.
    :param on_progress: Called after each epoch.
    :returns: The expert.
    :raises CompletionError: If the vectors are of another graph, the loss is not finite, or the checkpoint is of
        another training.
    """
    if len(features.values_ND) != graph.n_entities:
        raise CompletionError(
            f"{name}: {len(features.values_ND)} vectors for {graph.n_entities} entities of {graph.name!r}. Make the "
            "vectors from the same graph."
        )
    with threads_set_to(config.threads):
        training = _FeatureTraining(name, graph, features, config, seed, checkpoint)
        chosen, refitted = training.run(resume=resume, on_progress=on_progress)
        return FeatureFit(
            expert=training.expert_of(chosen),
            refitted=None if refitted is None else training.expert_of(refitted),
            history=tuple(training.state.history),
        )


class _FeatureTraining(EpochTraining):
    """The mutable state of one training."""

    agreeing_in = "graph, seed, vectors or settings"
    order_key = (0xFE,)
    draw_key = (0xD0,)

    def __init__(
        self,
        name: str,
        graph: TripleSet,
        features: FeatureMatrix,
        config: CompletionConfig,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        super().__init__(name, graph, config, seed, checkpoint)
        self.features = features
        n_values = graph.n_entities * 2 * (config.feature_rank or 1)
        self.half = choose_half(config, device=self.device, n_values=n_values)
        self.model = self._fresh_map()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.feature_learning_rate)
        self.values_ND = torch.from_numpy(features.values_ND).to(self.device)

    def _fresh_map(self) -> FeatureMap:
        return FeatureMap(
            self.features.blocks,
            n_relations=self.graph.n_relations,
            rank=self.config.feature_rank or 1,
            hidden=self.config.feature_hidden or 0,
            seed=self.seed,
        ).to(self.device)

    @property
    def n_epochs(self) -> int:
        return self.config.feature_epochs

    @property
    def batch_triples(self) -> int:
        return self.config.feature_batch_size or 1

    @property
    def advice(self) -> str:
        return f"Lower completion.feature_learning_rate (now {self.config.feature_learning_rate:g})."

    def ask(self, train_M3: NDArray[np.int64]) -> TrainQuestions:
        return TrainQuestions(train_M3, self.graph.n_relations, device=self.device, most_answers=_MOST_ANSWERS)

    def _dropped(self, entities_C: Tensor | slice, generator: torch.Generator) -> Tensor:
        """Return the vectors of some entities with single numbers and whole blocks dropped."""
        values_CD = self.values_ND[entities_C]
        shape = (len(values_CD), len(self.features.blocks))
        if shape[1] > 1 and self.config.modality_dropout:
            keeps_CK = torch.rand(shape, generator=generator) >= self.config.modality_dropout
            keeps_CK[~keeps_CK.any(dim=1), 0] = True
            widths = torch.tensor([size for _, size in self.features.blocks])
            values_CD = values_CD * keeps_CK.repeat_interleave(widths, dim=1).to(self.device)
        return dropout(values_CD, self.config.feature_dropout)

    def step(self, batch: QuestionBatch, generator: torch.Generator) -> float:
        drawn = draw_candidates(
            batch, n_entities=self.graph.n_entities, most=self.config.feature_candidates, generator=generator
        )
        places = (slice(None), batch.questions_B2[:, 0], batch.answers_M)
        entities_C, anchors_B, answers_M = (
            places if drawn is None else (drawn.entities_C, drawn.anchors_B, drawn.answers_M)
        )
        features_CD = self._dropped(entities_C, generator)
        with torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.half):
            rows_CW = self.model.rows(features_CD, dropout=self.config.feature_dropout)
            queries_BW = multiply(rows_CW[anchors_B], self.model.relations_RW[batch.questions_B2[:, 1]])
            queries_BW = dropout(queries_BW, self.config.feature_dropout)
            scores_BC = (queries_BW @ rows_CW.T).float()
        if drawn is not None:
            own_BC, rest_BC = scores_BC[:, : drawn.n_own], scores_BC[:, drawn.n_own :]
            scores_BC = torch.cat([own_BC, rest_BC + drawn.log_weight], dim=1)
        counts_B = torch.bincount(batch.owners_M, minlength=len(anchors_B))
        right_M = scores_BC[batch.owners_M, answers_M]
        loss = batch.weight * ((counts_B * scores_BC.logsumexp(dim=1)).sum() - right_M.sum())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())

    def set_rate(self, share: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = share * self.config.feature_learning_rate

    def scorer(self) -> FeatureExpert:
        return FeatureExpert(self.name, self.model, self.features)

    def parameters(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    def set_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict({name: tensors[name] for name in self.model.state_dict()})

    def optimiser_state(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": torch.as_tensor(value)
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
        }

    def set_optimiser_state(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            self.optimiser.state[parameter] = {
                key: tensors[f"{name}/{key}"].cpu() if key == "step" else tensors[f"{name}/{key}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
            }

    def identity(self) -> dict[str, object]:
        return {"expert": self.name, "features": self.features.digest, "half": self.half}

    def expert_of(self, tensors: Mapping[str, Tensor]) -> FeatureExpert:
        """Return an expert of its own with these parameters."""
        model = self._fresh_map()
        model.load_state_dict(dict(tensors))
        return FeatureExpert(self.name, model.requires_grad_(False), self.features)

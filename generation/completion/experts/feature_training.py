"""Train a feature expert: softmax over the entities, early stopping on validation, an exact resume.

Layer: ``generation``; imports torch. The last state of a checkpoint (:mod:`generation.completion.checkpoints`) is
parameters and Adam's moments, the best one parameters. Everything random derives from ``(seed, epoch)``, as in
``trainer``.

While it trains, whole blocks of an entity are dropped (modality dropout), so that the map can do without each of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generation.completion.candidates import draw_candidates
from generation.completion.checkpoints import has_checkpoint, read_checkpoint, write_checkpoint
from generation.completion.complex_n3 import multiply
from generation.completion.config import CompletionConfig
from generation.completion.evaluator import evaluate
from generation.completion.experts.feature_model import FeatureExpert, FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.known import KnownEnds
from generation.completion.progress import EpochProgress, ProgressCallback, TrainingState
from generation.completion.questions import QuestionBatch, TrainQuestions
from generation.completion.trainer import choose_device, choose_half, threads_set_to, validation_part
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["train_feature_expert"]

_MOST_ANSWERS = 4


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
) -> FeatureExpert:
    """Train on the train split and return the epoch that is best on validation.

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
        return training.run(resume=resume, on_progress=on_progress)


class _FeatureTraining:
    """The mutable state of one training."""

    def __init__(
        self,
        name: str,
        graph: TripleSet,
        features: FeatureMatrix,
        config: CompletionConfig,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        self.name, self.graph, self.features, self.config = name, graph, features, config
        self.seed, self.checkpoint = seed, checkpoint
        self.device = choose_device(config.device)
        n_values = graph.n_entities * 2 * (config.feature_rank or 1)
        self.half = choose_half(config, device=self.device, n_values=n_values)
        self.model = FeatureMap(
            features.blocks,
            n_relations=graph.n_relations,
            rank=config.feature_rank or 1,
            hidden=config.feature_hidden or 0,
            seed=seed,
        ).to(self.device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.feature_learning_rate)
        self.values_ND = torch.from_numpy(features.values_ND).to(self.device)
        self.questions = TrainQuestions(graph.train, graph.n_relations, device=self.device, most_answers=_MOST_ANSWERS)
        self.n_questions = self.questions.batch_questions(config.feature_batch_size or 1)
        self.validation = validation_part(graph, config, seed)
        self.known = KnownEnds.build(graph.known(), n_relations=graph.n_relations)
        self.best: Mapping[str, Tensor] | None = None
        self.state = TrainingState()

    def run(self, *, resume: bool, on_progress: ProgressCallback | None) -> FeatureExpert:
        if resume and self.checkpoint is not None and has_checkpoint(self.checkpoint):
            self._restore(self.checkpoint)
        config = self.config
        while self.state.epoch < config.feature_epochs and self.state.n_stale < config.patience:
            progress = self._epoch()
            if self.checkpoint is not None:
                self._save(self.checkpoint)
            if on_progress is not None:
                on_progress(progress)
        if self.best is not None:
            self.model.load_state_dict(self.best)
        return FeatureExpert(self.name, self.model, self.features)

    def _dropped(self, entities_C: Tensor | slice, generator: torch.Generator) -> Tensor:
        """Return the vectors of some entities with single numbers and whole blocks dropped."""
        values_CD = self.values_ND[entities_C]
        shape = (len(values_CD), len(self.features.blocks))
        if shape[1] > 1 and self.config.modality_dropout:
            keeps_CK = torch.rand(shape, generator=generator) >= self.config.modality_dropout
            keeps_CK[~keeps_CK.any(dim=1), 0] = True
            widths = torch.tensor([size for _, size in self.features.blocks])
            values_CD = values_CD * keeps_CK.repeat_interleave(widths, dim=1).to(self.device)
        return functional.dropout(values_CD, self.config.feature_dropout)

    def _epoch(self) -> EpochProgress:
        start = time.perf_counter()
        epoch = self.state.epoch + 1
        rng = np.random.default_rng([self.seed, 0xFE, epoch])
        generator = torch.Generator().manual_seed(int(np.random.default_rng([self.seed, 0xD0, epoch]).integers(2**62)))
        total = 0.0
        with torch.random.fork_rng(devices=[self.device] if self.device.startswith("cuda") else []):
            torch.manual_seed(generator.initial_seed())
            for batch in self.questions.batches(rng, n_questions=self.n_questions):
                loss = self._step(batch, generator)
                if not math.isfinite(loss):
                    raise CompletionError(
                        f"{self.graph.name}: the loss of the {self.name} expert became {loss} in epoch {epoch}. Lower "
                        f"completion.feature_learning_rate (now {self.config.feature_learning_rate:g})."
                    )
                total += loss * len(batch.questions_B2)
        self.state.epoch = epoch
        mrr = self._validate() if epoch % self.config.validate_every == 0 else None
        progress = EpochProgress(
            epoch=epoch,
            loss=total / len(self.questions),
            valid_mrr=mrr,
            seconds=time.perf_counter() - start,
            expert=self.name,
        )
        self.state.history.append(progress)
        return progress

    def _step(self, batch: QuestionBatch, generator: torch.Generator) -> float:
        drawn = draw_candidates(
            batch, n_entities=self.graph.n_entities, most=self.config.candidates, generator=generator
        )
        places = (slice(None), batch.questions_B2[:, 0], batch.answers_M)
        entities_C, anchors_B, answers_M = (
            places if drawn is None else (drawn.entities_C, drawn.anchors_B, drawn.answers_M)
        )
        features_CD = self._dropped(entities_C, generator)
        with torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.half):
            rows_CW = self.model.rows(features_CD, dropout=self.config.feature_dropout)
            queries_BW = multiply(rows_CW[anchors_B], self.model.relations_RW[batch.questions_B2[:, 1]])
            queries_BW = functional.dropout(queries_BW, self.config.feature_dropout)
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

    def _validate(self) -> float | None:
        if not len(self.validation):
            return None
        expert = FeatureExpert(self.name, self.model, self.features)
        mrr = evaluate(expert, self.graph, triples=self.validation, known=self.known).mrr
        if self.state.note_validation(mrr):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        return mrr

    def _identity(self) -> dict[str, object]:
        settings = self.config.to_mapping()
        for name in ("max_epochs", "feature_epochs", "patience", "threads", "device", "experts"):
            settings.pop(name)
        return {
            "expert": self.name,
            "train": self.graph.train_fingerprint,
            "seed": self.seed,
            "config": settings,
            "features": self.features.digest,
            "half": self.half,
        }

    def _save(self, folder: Path) -> None:
        tensors = dict(self.model.state_dict())
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"{name}/{key}"] = torch.as_tensor(value)
        write_checkpoint(folder, self.state, identity=self._identity(), last=tensors, best=self.best)

    def _restore(self, folder: Path) -> None:
        what = "graph, seed, vectors or settings"
        found = read_checkpoint(folder, identity=self._identity(), what=what, device=self.device)
        self.state, self.best, tensors = found.state, found.best, found.last
        self.model.load_state_dict({name: tensors[name] for name in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            self.optimiser.state[parameter] = {
                key: tensors[f"{name}/{key}"].cpu() if key == "step" else tensors[f"{name}/{key}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
            }

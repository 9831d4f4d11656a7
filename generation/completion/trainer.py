"""Train ComplEx-N3, as :mod:`generation.completion.epochs` trains.

Layer: ``generation``; imports torch. The last state of a checkpoint (:mod:`generation.completion.checkpoints`) is
tables and Adagrad sums, the best one tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.answer_softmax import AnswerSoftmax
from generation.completion.candidates import draw_candidates
from generation.completion.complex_n3 import ComplExModel, loss_and_gradients
from generation.completion.config import CompletionConfig
from generation.completion.devices import choose_half, threads_set_to
from generation.completion.epochs import EpochTraining
from generation.completion.progress import EpochProgress, ProgressCallback
from generation.completion.questions import QuestionBatch, TrainQuestions
from generation.completion.row_adagrad import RowAdagrad
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Fit", "train_complex"]

_OTHERS = ("text_blocks", "modality_dropout", "softmax_bytes")
"""Settings that the structural expert does not read, or that only say how much memory it takes."""
_SUMS = {"entities": "entity_sums", "relations": "relation_sums"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A trained model, where it came from, and how each epoch went.

    ``refitted`` has gone on to learn all of train where validation was carved from it, else ``None``.
    """

    model: ComplExModel
    refitted: ComplExModel | None
    config: CompletionConfig
    best_epoch: int
    best_valid_mrr: float | None
    history: tuple[EpochProgress, ...]


def train_complex(
    triples: TripleSet,
    *,
    config: CompletionConfig,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: ProgressCallback | None = None,
    initial: ComplExModel | None = None,
    name: str = "structure",
) -> Fit:
    """Train on the train split, choose the epoch by MRR on the validation split, and return that epoch's model.

    Where validation was carved from train, training goes on for ``refit_epochs`` with all of train.

    :param triples: The graph. Test triples are neither read nor ranked here, except to be left out of rankings.
    :param config: Settings; those left open are chosen from the graph's sizes.
    :param seed: Seed of initial values and of the order of triples.
    :param checkpoint: Folder for checkpoints, one an epoch; ``None`` writes none.
    :param resume: Whether to go on from ``checkpoint`` if it holds a state of the same graph, settings and seed.
    :param on_progress: Called after each epoch.
    :param initial: Tables to begin with, of the same shapes (:mod:`generation.completion.warm_start`); ``None`` begins
        with small random rows. A resumed training ignores it.
    :param name: What the expert is called.
    :returns: The best model (the last where there is no validation split) and the history.
    :raises CompletionError: If train is empty, the loss is not finite, or the checkpoint is of another training.
    """
    if not len(triples.train):
        raise CompletionError(f"{triples.name}: there are no train triples, so nothing can be learnt.")
    config = config.resolve(n_entities=triples.n_entities, n_train=len(triples.train))
    with threads_set_to(config.threads):
        training = _Training(name, triples, config, seed, checkpoint)
        if initial is not None:
            training.set_parameters({"entities": initial.entities_NW, "relations": initial.relations_RW})
            training.state.goes_on = True
        chosen, refitted = training.run(resume=resume, on_progress=on_progress)
    state = training.state
    return Fit(
        model=training.model_of(chosen, triples.train),
        refitted=None if refitted is None else training.model_of(refitted, triples.with_validation_in_train().train),
        config=config,
        best_epoch=state.best_epoch or state.epoch,
        best_valid_mrr=state.best_mrr,
        history=tuple(state.history),
    )


class _Training(EpochTraining):
    """The mutable state of one training."""

    agreeing_in = "graph, seed or settings"
    order_key = ()
    draw_key = (0xCA,)

    def __init__(
        self, name: str, graph: TripleSet, config: CompletionConfig, seed: int, checkpoint: Path | None
    ) -> None:
        super().__init__(name, graph, config, seed, checkpoint)
        rank = config.rank or 1
        self.half = choose_half(config, device=self.device, n_values=graph.n_entities * 2 * rank)
        self.model = ComplExModel.fresh(
            n_entities=graph.n_entities,
            n_relations=graph.n_relations,
            rank=rank,
            init_scale=config.init_scale,
            seed=seed,
            device=self.device,
        )
        self.optimisers = {
            name: RowAdagrad(table, learning_rate=config.learning_rate) for name, table in self.parameters().items()
        }
        self.softmax = AnswerSoftmax(half=self.half, chunk_bytes=config.softmax_bytes)

    @property
    def n_epochs(self) -> int:
        return self.config.max_epochs

    @property
    def batch_triples(self) -> int:
        return self.config.batch_size or 1

    @property
    def advice(self) -> str:
        return f"Lower completion.learning_rate (now {self.config.learning_rate:g}) or raise completion.regularisation."

    def ask(self, train_M3: NDArray[np.int64]) -> TrainQuestions:
        return TrainQuestions(train_M3, self.graph.n_relations, device=self.device)

    def step(self, batch: QuestionBatch, generator: torch.Generator) -> float:
        candidates = draw_candidates(
            batch, n_entities=self.graph.n_entities, most=self.config.candidates, generator=generator
        )
        loss, gradients = loss_and_gradients(
            self.model,
            batch,
            candidates=candidates,
            softmax=self.softmax,
            regularisation=self.config.regularisation or 0.0,
            relation_weight=self.config.relation_weight or 0.0,
        )
        self.optimisers["entities"].step(gradients.entities_CW, None if candidates is None else candidates.entities_C)
        self.optimisers["relations"].step(gradients.relations_RW)
        return loss.total

    def set_rate(self, share: float) -> None:
        for optimiser in self.optimisers.values():
            optimiser.learning_rate = share * self.config.learning_rate

    def scorer(self) -> ComplExModel:
        self.model.note_train(self.graph.train)
        return self.model

    def parameters(self) -> dict[str, Tensor]:
        return {"entities": self.model.entities_NW, "relations": self.model.relations_RW}

    def set_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        for name, table in self.parameters().items():
            table.copy_(tensors[name])

    def optimiser_state(self) -> dict[str, Tensor]:
        return {_SUMS[name]: optimiser.sums_NW for name, optimiser in self.optimisers.items()}

    def set_optimiser_state(self, tensors: Mapping[str, Tensor]) -> None:
        for name, optimiser in self.optimisers.items():
            optimiser.sums_NW.copy_(tensors[_SUMS[name]])

    def identity(self) -> dict[str, object]:
        return {"half": self.half}

    def depends_on(self, setting: str) -> bool:
        return super().depends_on(setting) and setting not in _OTHERS and not setting.startswith("feature_")

    def model_of(self, tensors: Mapping[str, Tensor], train_M3: NDArray[np.int64]) -> ComplExModel:
        """Return a model of its own with these tables, trained on these triples."""
        model = ComplExModel(
            entities_NW=tensors["entities"],
            relations_RW=tensors["relations"],
            seen_N=torch.zeros(self.graph.n_entities, dtype=torch.bool, device=self.device),
            anchors_RW=torch.zeros_like(self.model.anchors_RW),
        )
        model.note_train(train_M3)
        return model

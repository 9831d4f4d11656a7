"""What the trainings of the structural and the feature experts have in common.

Layer: ``generation``; imports torch. The number of epochs is fixed, the learning rate follows
:mod:`generation.completion.schedule`, and validation chooses the epoch, most often one of the last. Where validation
was carved from train, some more epochs then run over all of train (``refit_epochs``): the epoch is chosen and the gate
fitted with what has not seen validation, and what is used in the end has learnt all that train holds. Goodfellow et
al. 2016 (Deep Learning), section 7.8, call it the second strategy of early stopping: go on from the parameters.

Everything random derives from ``(seed, epoch)``, so an interrupted training, resumed, ends at the same numbers on the
same kind of CPU with the same number of threads. On a GPU, scattered additions make runs agree to rounding only.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.checkpoints import has_checkpoint, read_checkpoint, write_checkpoint
from generation.completion.config import CompletionConfig
from generation.completion.devices import choose_device
from generation.completion.evaluator import Scorer, evaluate
from generation.completion.progress import EpochProgress, ProgressCallback, TrainingState
from generation.completion.questions import QuestionBatch, TrainQuestions
from generation.completion.schedule import GOES_ON_SHARE, REFIT_SHARE, rate_share
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["EpochTraining", "validation_part"]

_LOG = logging.getLogger(__name__)
_RUN_SETTINGS = (
    "max_epochs",
    "feature_epochs",
    "twin_epochs",
    "twin_rank",
    "gate_limit",
    "threads",
    "device",
    "experts",
)


def validation_part(triples: TripleSet, seed: int, *, limit: int) -> NDArray[np.int64]:
    """Return the validation triples, or so many of them, the same for the same seed.

    :param triples: The graph.
    :param seed: Seed of the choice.
    :param limit: The most triples.
    :returns: Triples. *Shape:* ``(M, 3)``.
    """
    valid = triples.valid
    if len(valid) <= limit:
        return valid
    chosen = np.random.default_rng([seed, 0x7A]).permutation(len(valid))[:limit]
    return valid[np.sort(chosen)]


class EpochTraining(ABC):
    """The mutable state of one training.

    :param name: What the expert is called.
    :param graph: The graph; test triples are only left out of rankings.
    :param config: Settings, resolved.
    :param seed: Seed of everything random.
    :param checkpoint: Folder for checkpoints, one an epoch; ``None`` writes none.
    """

    agreeing_in: ClassVar[str]
    """What a checkpoint must agree in, in words."""
    order_key: ClassVar[tuple[int, ...]]
    draw_key: ClassVar[tuple[int, ...]]
    """What tells the random numbers of this kind of training from those of others."""

    def __init__(
        self, name: str, graph: TripleSet, config: CompletionConfig, seed: int, checkpoint: Path | None
    ) -> None:
        self.name, self.graph, self.config, self.seed, self.checkpoint = name, graph, config, seed, checkpoint
        self.device = choose_device(config.device)
        self.validation = validation_part(graph, seed, limit=config.validation_limit)
        self.best: Mapping[str, Tensor] | None = None
        self.state = TrainingState()
        self._learn_from(graph.train)

    @property
    @abstractmethod
    def n_epochs(self) -> int:
        """The epochs that validation chooses from; the learning rate falls over them."""

    @property
    @abstractmethod
    def batch_triples(self) -> int:
        """The triples of a batch, on average."""

    @abstractmethod
    def ask(self, train_M3: NDArray[np.int64]) -> TrainQuestions:
        """Make the questions of triples."""

    @abstractmethod
    def step(self, batch: QuestionBatch, generator: torch.Generator) -> float:
        """Learn from a batch and return its loss in nats."""

    @abstractmethod
    def set_rate(self, share: float) -> None:
        """Take this share of the settings' learning rate from now on."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return what ranks with the present parameters."""

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that a model is made of; they are not copied."""

    @abstractmethod
    def set_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors that :meth:`parameters` named."""

    @abstractmethod
    def optimiser_state(self) -> dict[str, Tensor]:
        """Return the tensors of the optimiser, under other names than the parameters."""

    @abstractmethod
    def set_optimiser_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors that :meth:`optimiser_state` named."""

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what a checkpoint must agree in beside graph, seed and settings."""

    def depends_on(self, setting: str) -> bool:
        """Say whether a setting changes what an epoch does; a training goes on only with the same ones."""
        return setting not in _RUN_SETTINGS

    @property
    @abstractmethod
    def advice(self) -> str:
        """What to do where the loss is not finite."""

    def run(
        self, *, resume: bool, on_progress: ProgressCallback | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Train, and then go on over all of train where validation was carved from it.

        :param resume: Whether to go on from a checkpoint of the same training, if there is one.
        :param on_progress: Called after each epoch.
        :returns: The parameters of the epoch that is best on validation (the last where there is no validation), and
            those after the epochs over all of train, ``None`` where there were none.
        """
        if resume and self.checkpoint is not None and has_checkpoint(self.checkpoint):
            self._restore(self.checkpoint)
        state, wanted = self.state, self.config.refit_epochs if self.graph.carved is not None else 0
        while not state.n_refit and state.epoch < self.n_epochs:
            self._finish(self._epoch(), on_progress)
        chosen = self._copied() if self.best is None else dict(self.best)
        if not wanted:
            return chosen, None
        self._learn_from(self.graph.with_validation_in_train().train)
        while state.n_refit < wanted:
            state.n_refit += 1
            self._finish(self._epoch(), on_progress)
        return chosen, self._copied()

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.parameters().items()}

    def _learn_from(self, train_M3: NDArray[np.int64]) -> None:
        self.questions = self.ask(train_M3)
        self.n_questions = self.questions.batch_questions(self.batch_triples)

    def _epoch(self) -> EpochProgress:
        start = time.perf_counter()
        epoch = self.state.epoch + 1
        self.set_rate(self._rate_share(epoch))
        rng = np.random.default_rng([self.seed, *self.order_key, epoch])
        drawn = int(np.random.default_rng([self.seed, *self.draw_key, epoch]).integers(2**62))
        generator = torch.Generator().manual_seed(drawn)
        total = 0.0
        with torch.random.fork_rng(devices=[self.device] if self.device.startswith("cuda") else []):
            torch.manual_seed(drawn)
            for batch in self.questions.batches(rng, n_questions=self.n_questions):
                loss = self.step(batch, generator)
                if not math.isfinite(loss):
                    raise CompletionError(
                        f"{self.graph.name}: the loss of {self.name} became {loss} in epoch {epoch}. {self.advice}"
                    )
                total += loss * len(batch.questions_B2)
        self.state.epoch = epoch
        validates = not self.state.n_refit and epoch % self.config.validate_every == 0
        mrr = self._validate() if validates else None
        progress = EpochProgress(
            epoch=epoch,
            loss=total / len(self.questions),
            valid_mrr=mrr,
            seconds=time.perf_counter() - start,
            expert=self.name,
            is_refit=bool(self.state.n_refit),
        )
        self.state.history.append(progress)
        return progress

    def _rate_share(self, epoch: int) -> float:
        if self.state.n_refit:
            return rate_share(self.state.n_refit, self.config.refit_epochs, falls_from=REFIT_SHARE)
        falls_from = GOES_ON_SHARE if self.state.goes_on else None
        return rate_share(epoch, self.n_epochs, falls_from=falls_from)

    def _validate(self) -> float | None:
        if not len(self.validation):
            return None
        mrr = evaluate(self.scorer(), self.graph, triples=self.validation).mrr
        if self.state.note_validation(mrr):
            self.best = self._copied()
        return mrr

    def _finish(self, progress: EpochProgress, on_progress: ProgressCallback | None) -> None:
        if self.checkpoint is not None:
            last = self.parameters() | self.optimiser_state()
            write_checkpoint(self.checkpoint, self.state, identity=self._identity(), last=last, best=self.best)
        _LOG.info(
            "%s, epoch %d%s: loss %.4f, valid MRR %s, %.1f s",
            self.name,
            progress.epoch,
            " (all of train)" if progress.is_refit else "",
            progress.loss,
            "-" if progress.valid_mrr is None else f"{progress.valid_mrr:.4f}",
            progress.seconds,
        )
        if on_progress is not None:
            on_progress(progress)

    def _identity(self) -> dict[str, object]:
        kept = {name: value for name, value in self.config.to_mapping().items() if self.depends_on(name)}
        of_run = {"train": self.graph.train_fingerprint, "seed": self.seed, "config": kept, "n_epochs": self.n_epochs}
        return of_run | self.identity()

    def _restore(self, folder: Path) -> None:
        found = read_checkpoint(folder, identity=self._identity(), what=self.agreeing_in, device=self.device)
        self.state, self.best = found.state, found.best
        self.set_parameters(found.last)
        self.set_optimiser_state(found.last)

"""Train ComplEx-N3 with early stopping, an exact resume, and a checkpoint that a crash cannot tear.

Layer: ``generation``; imports torch. The last state of a checkpoint (:mod:`generation.completion.checkpoints`) is
tables and Adagrad sums, the best one tables.

Everything random derives from ``(seed, epoch)``, so an interrupted training, resumed, ends at the same numbers on the
same kind of CPU with the same number of threads. On a GPU, scattered additions make runs agree to rounding only.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.completion.answer_softmax import AnswerSoftmax
from generation.completion.candidates import draw_candidates
from generation.completion.checkpoints import has_checkpoint, read_checkpoint, write_checkpoint
from generation.completion.complex_n3 import ComplExModel, accumulate_gradients
from generation.completion.config import CompletionConfig
from generation.completion.evaluator import evaluate
from generation.completion.known import KnownEnds
from generation.completion.progress import EpochProgress, ProgressCallback, TrainingState
from generation.completion.questions import TrainQuestions
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["Fit", "choose_device", "choose_half", "threads_set_to", "train_complex", "validation_part"]

_LOG = logging.getLogger(__name__)
_LARGE_TABLE = 2_000_000
_RUN_SETTINGS = (
    "max_epochs",
    "patience",
    "threads",
    "device",
    "experts",
    "text_blocks",
    "modality_dropout",
    "softmax_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A trained model, where it came from, and how each epoch went."""

    model: ComplExModel
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
) -> Fit:
    """Train on the train split, choose the epoch by MRR on the validation split, and return that epoch's model.

    :param triples: The graph. Test triples are neither read nor ranked here, except to be left out of rankings.
    :param config: Settings; those left open are chosen from the graph's sizes.
    :param seed: Seed of initial values and of the order of triples.
    :param checkpoint: Folder for checkpoints, one an epoch; ``None`` writes none.
    :param resume: Whether to go on from ``checkpoint`` if it holds a state of the same graph, settings and seed.
    :param on_progress: Called after each epoch.
    :param initial: Tables to begin with, of the same shapes (:mod:`generation.completion.warm_start`); ``None`` begins
        with small random rows. A resumed training ignores it.
    :returns: The best model (the last where there is no validation split) and the history.
    :raises CompletionError: If train is empty, the loss is not finite, or the checkpoint is of another training.
    """
    if not len(triples.train):
        raise CompletionError(f"{triples.name}: there are no train triples, so nothing can be learnt.")
    config = config.resolve(n_entities=triples.n_entities, n_train=len(triples.train))
    with threads_set_to(config.threads):
        training = _Training(triples, config, seed, checkpoint)
        if initial is not None:
            training._set_tables(initial.entities_NW, initial.relations_RW)
        return training.run(resume=resume, on_progress=on_progress)


@contextmanager
def threads_set_to(n_threads: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block; ``None`` changes nothing."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(wanted: str) -> str:
    """Return the device to train on.

    :param wanted: A device of torch, or ``auto``.
    :returns: The device; for ``auto`` a GPU where there is one.
    :raises CompletionError: If it cannot be used.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise CompletionError(f"completion.device: {wanted!r} cannot be used here ({error}). Try auto.") from error
    return wanted


def choose_half(config: CompletionConfig, *, device: str, n_values: int) -> bool:
    """Say whether large products run in bfloat16.

    :param config: Settings; ``precision`` counts.
    :param device: Where it trains.
    :param n_values: Numbers of the entity table; small ones gain nothing.
    :returns: The answer; for ``auto`` it is yes where the table is large and the processor multiplies bfloat16 (AMX,
        AVX-512 BF16, or a GPU).
    """
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if n_values < _LARGE_TABLE:
        return False
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    asked = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("amx_tile", "avx512_bf16"))
    return any(ask is not None and ask() for ask in asked)


def validation_part(triples: TripleSet, config: CompletionConfig, seed: int) -> NDArray[np.int64]:
    """Return the validation triples, or as many of them as the settings allow, the same for the same seed.

    :param triples: The graph.
    :param config: Settings; ``validation_limit`` counts.
    :param seed: Seed of the choice.
    :returns: Triples. *Shape:* ``(M, 3)``.
    """
    valid = triples.valid
    if len(valid) <= config.validation_limit:
        return valid
    chosen = np.random.default_rng([seed, 0x7A]).permutation(len(valid))[: config.validation_limit]
    return valid[np.sort(chosen)]


class _Training:
    """The mutable state of one training."""

    def __init__(self, triples: TripleSet, config: CompletionConfig, seed: int, checkpoint: Path | None) -> None:
        rank = config.rank or 1
        self.triples, self.config, self.seed, self.checkpoint = triples, config, seed, checkpoint
        self.device = choose_device(config.device)
        self.half = choose_half(config, device=self.device, n_values=triples.n_entities * 2 * rank)
        self.model = ComplExModel.fresh(
            n_entities=triples.n_entities,
            n_relations=triples.n_relations,
            rank=rank,
            init_scale=config.init_scale,
            seed=seed,
            device=self.device,
        )
        whole = triples.n_entities <= config.candidates
        self.optimiser = torch.optim.Adagrad(
            [self.model.entities_NW, self.model.relations_RW],
            lr=config.learning_rate,
            fused=whole and self.device == "cpu",
        )
        self.questions = TrainQuestions(triples.train, triples.n_relations, device=self.device)
        self.n_questions = self.questions.batch_questions(config.batch_size or 1)
        self.softmax = AnswerSoftmax(half=self.half, chunk_bytes=config.softmax_bytes)
        self.validation = validation_part(triples, config, seed)
        self.known = KnownEnds.build(triples.known(), n_relations=triples.n_relations)
        self.best: Mapping[str, Tensor] | None = None
        self.state = TrainingState()

    def run(self, *, resume: bool, on_progress: ProgressCallback | None) -> Fit:
        if resume and self.checkpoint is not None and has_checkpoint(self.checkpoint):
            self._restore(self.checkpoint)
        while self.state.epoch < self.config.max_epochs and self.state.n_stale < self.config.patience:
            progress = self._epoch()
            if self.checkpoint is not None:
                self._save(self.checkpoint)
            _LOG.info(
                "epoch %d: loss %.4f, valid MRR %s, %.1f s",
                progress.epoch,
                progress.loss,
                "-" if progress.valid_mrr is None else f"{progress.valid_mrr:.4f}",
                progress.seconds,
            )
            if on_progress is not None:
                on_progress(progress)
        if self.best is not None:
            self._set_tables(self.best["entities"], self.best["relations"])
        self.model.note_train(self.triples.train)
        return Fit(
            model=self.model,
            config=self.config,
            best_epoch=self.state.best_epoch or self.state.epoch,
            best_valid_mrr=self.state.best_mrr,
            history=tuple(self.state.history),
        )

    def _set_tables(self, entities_NW: Tensor, relations_RW: Tensor) -> None:
        self.model.entities_NW.copy_(entities_NW)
        self.model.relations_RW.copy_(relations_RW)

    def _tables(self) -> dict[str, Tensor]:
        return {"entities": self.model.entities_NW, "relations": self.model.relations_RW}

    def _epoch(self) -> EpochProgress:
        start = time.perf_counter()
        epoch = self.state.epoch + 1
        rng = np.random.default_rng([self.seed, epoch])
        generator = torch.Generator().manual_seed(int(np.random.default_rng([self.seed, 0xCA, epoch]).integers(2**62)))
        total = 0.0
        for batch in self.questions.batches(rng, n_questions=self.n_questions):
            candidates = draw_candidates(
                batch, n_entities=self.triples.n_entities, most=self.config.candidates, generator=generator
            )
            loss = accumulate_gradients(
                self.model,
                batch,
                candidates=candidates,
                softmax=self.softmax,
                regularisation=self.config.regularisation or 0.0,
                relation_weight=self.config.relation_weight or 0.0,
            )
            if not math.isfinite(loss.total):
                raise CompletionError(
                    f"{self.triples.name}: the loss became {loss.total} in epoch {epoch}. Lower "
                    f"completion.learning_rate (now {self.config.learning_rate:g}) or raise completion.regularisation."
                )
            # Says that the optimiser's own sparse tensors are not checked, which torch warns of otherwise.
            with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
                self.optimiser.step()
            total += loss.total * len(batch.questions_B2)
        self.state.epoch = epoch
        mrr = self._validate() if epoch % self.config.validate_every == 0 else None
        progress = EpochProgress(
            epoch=epoch, loss=total / len(self.questions), valid_mrr=mrr, seconds=time.perf_counter() - start
        )
        self.state.history.append(progress)
        return progress

    def _validate(self) -> float | None:
        if not len(self.validation):
            return None
        self.model.note_train(self.triples.train)
        mrr = evaluate(self.model, self.triples, triples=self.validation, known=self.known).mrr
        if self.state.note_validation(mrr):
            self.best = {name: table.clone() for name, table in self._tables().items()}
        return mrr

    def _identity(self) -> dict[str, object]:
        settings = self.config.to_mapping()
        for name in tuple(settings):
            if name in _RUN_SETTINGS or name.startswith("feature_"):
                settings.pop(name)
        return {"train": self.triples.train_fingerprint, "seed": self.seed, "config": settings, "half": self.half}

    def _save(self, folder: Path) -> None:
        sums = self.optimiser.state
        last = self._tables() | {
            "entity_sums": sums[self.model.entities_NW]["sum"],
            "relation_sums": sums[self.model.relations_RW]["sum"],
        }
        write_checkpoint(folder, self.state, identity=self._identity(), last=last, best=self.best)

    def _restore(self, folder: Path) -> None:
        what = "graph, seed or settings"
        found = read_checkpoint(folder, identity=self._identity(), what=what, device=self.device)
        self.state, self.best, tensors = found.state, found.best, found.last
        self._set_tables(tensors["entities"], tensors["relations"])
        for table, name in ((self.model.entities_NW, "entity_sums"), (self.model.relations_RW, "relation_sums")):
            self.optimiser.state[table]["sum"].copy_(tensors[name])

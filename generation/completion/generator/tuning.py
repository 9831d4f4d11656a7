"""Tune a generator on the questions of a graph: low-rank experts over frozen weights, stopped early, exact to resume.

Layer: ``generation``; imports torch. The loop, its checkpoints and its log are those of :mod:`moe_backbone.training`.
While it runs, ``OUT/checkpoint`` holds what resuming needs; it goes when the folder is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from generation.completion.files import write_json_atomically
from generation.completion.generator.answer_loss import AnswerLoss
from generation.completion.generator.loading import network_of, open_plain, tokenizer_of
from generation.completion.generator.seq2seq import Seq2SeqModel
from generation.completion.generator.tuned_adapters import adapt, count_tuned
from generation.completion.generator.tuned_io import (
    TunedGenerator,
    base_fingerprint,
    is_tuned,
    read_tuned,
    write_tuned,
)
from generation.completion.generator.tuning_config import TuningConfig
from generation.completion.generator.tuning_data import QuestionEncoder, TuningQuestions, held_out_batches
from generation.completion.generator.tuning_report import Look, TuningReport
from generation.completion.generator.tuning_watch import ValidationWatch
from generation.completion.triples import TripleSet
from kg.errors import CompletionError
from moe_backbone.checkpoint import MANIFEST_NAME, CheckpointError, is_complete, read_manifest
from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingError
from moe_backbone.training.data import Batch
from moe_backbone.training.loop import TrainingReport, train
from moe_backbone.training.machine import choose_precision, has_fast_bfloat16

__all__ = ["tune"]

_CHECKPOINT = "checkpoint"
_RUN_FILE = "run.json"
_WARMUP_SHARE = 0.05


def tune(
    graph: TripleSet,
    base: Path,
    out: Path,
    *,
    config: TuningConfig,
    base_name: str | None = None,
    device: str | None = None,
    resume: bool = False,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    on_look: Callable[[Look], None] | None = None,
) -> TuningReport:
    """Tune a model on a graph's train triples and write a folder of adapters. Sets torch's random generators.

    :param graph: The graph; validation, where there is any, decides when to stop.
    :param base: The checkpoint folder of a causal or an encoder-decoder model. It is not changed.
    :param out: The folder to write.
    :param config: Settings.
    :param base_name: What the user calls the base; ``None`` takes the folder's name.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param resume: Go on from the newest whole checkpoint of the same tuning; begin anew where there is none.
    :param on_step: Called with each line of the log.
    :param on_look: Called with each look at validation.
    :returns: The report.
    :raises CompletionError: If the output folder holds something else or another tuning, or a setting fits neither
        model nor graph.
    """
    _check_out(out)
    run = _prepare(graph, base, config=config, name=base_name or base.name, device=device)
    if resume and is_tuned(out) and is_complete(out, recipe=run.identity):
        return TuningReport.from_mapping(dict(read_tuned(out).report))
    checkpoint = out / _CHECKPOINT
    if not resume:
        shutil.rmtree(checkpoint, ignore_errors=True)
    _note_run(checkpoint, run.identity)
    watch = run.watch(checkpoint, on_look=on_look)
    if watch is not None and not watch.looks():
        watch.look(0, run.model)
    try:
        done = train(
            run.model,
            run.questions,
            config=run.settings,
            folder=checkpoint,
            source=run.fingerprint["weights"],
            resume=resume,
            objective=AnswerLoss(run.model, balance_weight=config.balance_weight),
            watch=watch,
            on_step=on_step,
        )
    except (TrainingError, CheckpointError) as error:
        raise CompletionError(f"tuning stopped: {error}") from error
    report = run.report(done, watch)
    write_tuned(run.model, out, run.about(base, report), log=checkpoint / "log.jsonl", recipe=run.identity)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A model with fresh adapters, what it is tuned on, and everything that makes the run what it is."""

    name: str
    graph: TripleSet
    config: TuningConfig
    settings: TrainingConfig
    model: nn.Module
    questions: TuningQuestions
    held_out: list[Batch]
    fingerprint: dict[str, str]
    n_base_parameters: int

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be gone on from; JSON values."""
        return {
            "kind": "tuned-generator",
            "version": 1,
            "base": self.fingerprint,
            "settings": self.config.to_mapping(),
            "questions": self.questions.fingerprint,
            "precision": self.settings.precision,
        }

    def watch(self, folder: Path, *, on_look: Callable[[Look], None] | None) -> ValidationWatch | None:
        if not self.held_out:
            return None
        _, autocast, _ = choose_precision(self.settings.precision, self.device)
        patience = self.config.patience
        return ValidationWatch(folder, batches=self.held_out, patience=patience, autocast=autocast, on_look=on_look)

    def report(self, done: TrainingReport, watch: ValidationWatch | None) -> TuningReport:
        """Give the model its best adapters, and say what was reached."""
        notes = [*self.graph.notes, *done.notes]
        best: Look | None = None
        looks: tuple[Look, ...] = ()
        if watch is None:
            notes.append("there is no validation part: all steps were taken, and the last adapters kept")
        else:
            best, looks = watch.restore_best(self.model, until=done.steps), watch.looks(until=done.steps)
            if best.step == 0:
                notes.append("no look was better than the base model: its adapters add nothing")
            if done.steps < self.config.steps:
                notes.append(f"stopped early: {self.config.patience} looks brought nothing better")
        return TuningReport(
            base=self.name,
            graph=self.graph.name,
            steps=done.steps,
            best_step=done.steps if best is None else best.step,
            loss_before=looks[0].loss if looks else None,
            loss=None if best is None else best.loss,
            looks=looks,
            n_questions=len(self.questions),
            n_held_out=sum(len(batch.ids) for batch in self.held_out),
            n_parameters=count_tuned(self.model),
            n_base_parameters=self.n_base_parameters,
            n_tokens=done.n_tokens,
            seconds=done.seconds,
            resumed_from=done.resumed_from,
            precision=done.precision,
            device=str(self.device),
            notes=tuple(notes),
        )

    def about(self, base: Path, report: TuningReport) -> TunedGenerator:
        graph = {
            "name": self.graph.name,
            "vocabulary_fingerprint": self.graph.vocabulary_fingerprint,
            "train_fingerprint": self.graph.train_fingerprint,
        }
        return TunedGenerator(
            base=self.name,
            base_folder=str(base.resolve()),
            fingerprint=self.fingerprint,
            config=self.config,
            graph=graph,
            report=report.to_mapping(),
        )


def _prepare(graph: TripleSet, base: Path, *, config: TuningConfig, name: str, device: str | None) -> _Run:
    if is_tuned(base):
        raise CompletionError(f"{base} is itself a tuned generator's folder. Tune its base model, on all questions.")
    opened = open_plain(base, device=device, dtype=torch.float32)
    model, tokenizer = network_of(opened).float(), tokenizer_of(opened)
    if config.max_tokens > opened.context_tokens:
        raise CompletionError(f"tuning.max_tokens: {name} reads {opened.context_tokens}, got {config.max_tokens}.")
    if config.learn_neighbours and not getattr(tokenizer, "is_fast", False):
        raise CompletionError(f"tuning.learn_neighbours: needs a fast tokenizer, and {name} has a slow one.")
    n_base = sum(parameter.numel() for parameter in model.parameters())
    torch.manual_seed(config.seed)  # fresh adapters are drawn
    adapt(model, config)
    seq2seq = isinstance(opened, Seq2SeqModel)
    encoder = QuestionEncoder(opened, tokenizer, seq2seq=seq2seq, max_tokens=config.max_tokens)
    return _Run(
        name=name,
        graph=graph,
        config=config,
        settings=_training_config(config, device=next(model.parameters()).device),
        model=model,
        questions=TuningQuestions(graph, encoder, config=config),
        held_out=held_out_batches(graph, encoder, config=config),
        fingerprint=base_fingerprint(base, tokenizer),
        n_base_parameters=n_base,
    )


def _training_config(config: TuningConfig, *, device: torch.device) -> TrainingConfig:
    """Return the loop's settings: adapters alone are trained, without decay, and the base's routers are left alone."""
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    stage = StageConfig(
        name="tuning",
        steps=config.steps,
        train=("@lora",),
        learning_rate=config.learning_rate,
        warmup_steps=max(1, round(_WARMUP_SHARE * config.steps)),
        balance_weight=0.0,
        z_weight=0.0,
    )
    return TrainingConfig(
        stages=(stage,),
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        sequence_length=config.max_tokens,
        precision=precision,
        weight_decay=0.0,
        checkpoint_every=config.validate_every,
        seed=config.seed,
    )


def _check_out(out: Path) -> None:
    """Refuse a folder whose content is not ours, for the finished one takes its place."""
    if out.exists() and not out.is_dir():
        raise CompletionError(f"{out} is a file. Name a folder for the tuned generator.")
    if not out.is_dir():
        return
    manifest = read_manifest(out) if is_tuned(out) else None
    ours = {MANIFEST_NAME, _CHECKPOINT, *(manifest["files"] if manifest is not None else ())}
    others = sorted({path.name for path in out.iterdir()} - ours)
    if (out / _CHECKPOINT).exists() and not (out / _CHECKPOINT / _RUN_FILE).is_file():
        others.append(_CHECKPOINT)
    if others:
        raise CompletionError(
            f"{out} holds {', '.join(others[:3])}, which no tuning wrote and which would be lost. Name another folder."
        )


def _note_run(checkpoint: Path, identity: dict[str, Any]) -> None:
    """Note what the run is, or refuse to go on with what belongs to another."""
    path = checkpoint / _RUN_FILE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before == json.loads(json.dumps(identity)):
            return
        old, new = before.get("settings", {}), identity["settings"]
        changed = [f"{name} was {old.get(name)!r} and is {new[name]!r}" for name in new if old.get(name) != new[name]]
        changed += [name for name in ("base", "questions", "precision") if before.get(name) != identity[name]]
        raise CompletionError(
            f"{checkpoint} belongs to another tuning, which differs in: {'; '.join(changed[:4])}. Undo the change, or "
            "tune anew (without --resume, or into another folder)."
        )
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, identity)

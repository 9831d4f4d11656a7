"""The training loop: stages, checkpoints that resume exactly, a log line per step, and a stop where numbers break.

Layer: ``moe_backbone``; imports torch only.
A run is a function of the model it starts from, the data and the settings. What the next step depends on is in a
checkpoint (:mod:`moe_backbone.training.state`), so a run that was killed and resumed ends bit for bit as one that was
not, on the same machine with the same number of threads.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from moe_backbone.routers.base import RouterError
from moe_backbone.training.autocast import ExpertsInAutocast
from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingDivergedError, TrainingError
from moe_backbone.training.data import BatchSource
from moe_backbone.training.freezing import apply_freezing
from moe_backbone.training.machine import choose_precision, peak_memory_bytes, recompute_activations
from moe_backbone.training.objectives import Objective, make_objective
from moe_backbone.training.optimisation import (
    load_optimiser,
    make_optimiser,
    optimiser_tensors,
    rate_share,
    set_rate,
)
from moe_backbone.training.routing import RouterTap, update_router_biases
from moe_backbone.training.state import (
    SavedState,
    latest_state,
    restore_model,
    restore_random_states,
    save_state,
)
from moe_backbone.training.steps import BatchContext, RoutingLoss, StepResult, accumulate_gradient, token_context

__all__ = ["TrainingReport", "Watch", "train"]

_LOG = "log.jsonl"
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a run did.

    :param steps: Optimiser steps done in the whole run.
    :param resumed_from: The step it went on from, 0 if it began anew.
    :param loss: Of the last step.
    :param n_tokens: Tokens trained on, in this call.
    :param seconds: Of this call's steps.
    :param peak_memory_bytes: The most memory in use.
    :param precision: What was computed in.
    :param notes: What the user should know.
    """

    steps: int
    resumed_from: int
    loss: float
    n_tokens: int
    seconds: float
    peak_memory_bytes: int
    precision: str
    notes: tuple[str, ...]


class Watch(Protocol):
    """Looks at the model before each checkpoint, and may end the run there: early stopping.

    A resumed run may look again at a step that it had looked at: what a watch knows must be a function of the looks at
    steps up to the one it is asked about.
    """

    def look(self, step: int, model: nn.Module) -> None:
        """Judge the model after step ``step`` (from 1), in the mode it is trained in; it must be left as it was."""
        ...

    def is_over(self, step: int) -> bool:
        """Tell whether the run ends after step ``step``."""
        ...


def train(
    model: nn.Module,
    data: BatchSource | Mapping[str, BatchSource],
    *,
    config: TrainingConfig,
    folder: Path,
    source: str = "",
    teacher: nn.Module | None = None,
    resume: bool = False,
    context: BatchContext = token_context,
    routing_loss: RoutingLoss | None = None,
    objective: Objective | None = None,
    watch: Watch | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingReport:
    """Train ``model`` in place through all stages. Sets torch's random generators.

    :param model: A causal language model of transformers, or anything called alike, with float32 (or float64) weights.
    :param data: The batches, or those of each stage by its name.
    :param config: The settings.
    :param folder: Where ``log.jsonl`` and the checkpoints go.
    :param source: A hash of the weights that the run starts from; a run resumes from the same only.
    :param teacher: The teacher of ``kl`` stages, and the reference of ``dpo`` stages; only read.
    :param resume: Go on from the newest whole checkpoint; begin anew where there is none.
    :param context: Opened around each forward pass, to tell routers what the tokens are.
    :param routing_loss: A further loss of the routers, such as those of :mod:`moe_backbone.losses.modality`.
    :param objective: What every stage minimises, in place of the one that it names.
    :param watch: Looks at the model before each checkpoint and may end the run; checkpoint_every is then part of what
        the run is.
    :param on_step: Called with each line of the log.
    :param clock: Seconds, for the speed.
    :returns: What was done.
    :raises TrainingError: If the folder holds another run, or a setting does not fit model or data.
    :raises TrainingDivergedError: If a loss or gradient is not finite.
    """
    run = _Run(model, data, config=config, folder=folder, teacher=teacher, context=context, clock=clock, source=source)
    run.routing_loss, run.watch = routing_loss, watch
    if objective is not None:
        run.objectives = dict.fromkeys(run.data, objective)
    if watch is not None:
        run.identity["looks_every"] = config.checkpoint_every
    saved = run.find_saved(resume=resume)
    was_training = model.training
    model.train()
    if teacher is not None:
        teacher.eval()
    try:
        with RouterTap(model) as tap, ExpertsInAutocast(model):
            return run.go(tap, saved, on_step=on_step)
    finally:
        model.train(was_training)


class _Run:
    def __init__(
        self,
        model: nn.Module,
        data: BatchSource | Mapping[str, BatchSource],
        *,
        config: TrainingConfig,
        folder: Path,
        teacher: nn.Module | None,
        context: BatchContext,
        clock: Callable[[], float],
        source: str,
    ) -> None:
        self.model, self.config, self.folder, self.context, self.clock = model, config, folder, context, clock
        self.device = next(model.parameters()).device
        self.data = _by_stage(data, config)
        self.objectives: dict[str, Objective] = {
            stage.name: make_objective(stage, teacher=teacher) for stage in config.stages
        }
        self.precision, self.autocast, note = choose_precision(config.precision, self.device)
        self.notes = [note] if note else []
        settings = config.to_mapping()
        for name in ("checkpoint_every", "keep_checkpoints"):
            del settings[name]
        self.identity: dict[str, Any] = {
            "settings": settings,
            "precision": self.precision,
            "data": {name: source_.fingerprint for name, source_ in self.data.items()},
            "source": source,
        }
        self.routing_loss: RoutingLoss | None = None
        self.watch: Watch | None = None
        self.trained: dict[str, None] = {}  # every parameter that a stage so far has trained, in order

    @property
    def checkpoints(self) -> Path:
        return self.folder / _CHECKPOINTS

    def find_saved(self, *, resume: bool) -> SavedState | None:
        if not resume:
            if self.checkpoints.is_dir() and any(self.checkpoints.glob("step-*")):
                raise TrainingError(
                    f"{self.folder} holds the checkpoints of a training. Resume it, or train into another folder."
                )
            return None
        return latest_state(self.checkpoints, run=self.identity)

    def go(
        self, tap: RouterTap, saved: SavedState | None, *, on_step: Callable[[dict[str, Any]], None] | None
    ) -> TrainingReport:
        first = saved.step if saved is not None else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        last_line = _cut_log(self.folder / _LOG, first)
        torch.manual_seed(self.config.seed)
        if self.config.gradient_checkpointing:
            recompute_activations(self.model)
        if saved is not None:
            restore_model(self.model, saved.model)
        n_tokens, started = 0, self.clock()
        before = started
        stage_number, optimiser = -1, None
        done = first
        for step in range(first, self.config.n_steps):
            if self._is_over(step):
                break
            number, place = self.config.stage_at(step)
            stage = self.config.stages[number]
            if number != stage_number or optimiser is None:
                optimiser = self._enter(number)
                if saved is not None and stage_number < 0:
                    if place > 0:
                        load_optimiser(optimiser, saved.optimiser)
                    restore_random_states(saved.random)
                stage_number = number
            result, norm = self._step(tap, optimiser, step=step, stage=stage, place=place)
            now = self.clock()
            last_line = self._line(step, stage, optimiser, result, norm=norm, seconds=now - before)
            before, n_tokens = now, n_tokens + result.n_tokens
            with (self.folder / _LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(last_line) + "\n")
            if on_step is not None:
                on_step(last_line)
            done = step + 1
            if done % self.config.checkpoint_every == 0 or done == self.config.n_steps:
                self._save(done, optimiser)
        return TrainingReport(
            steps=done,
            resumed_from=first,
            loss=float(last_line.get("loss", math.nan)),
            n_tokens=n_tokens,
            seconds=self.clock() - started,
            peak_memory_bytes=peak_memory_bytes(self.device),
            precision=self.precision,
            notes=tuple(self.notes),
        )

    def _enter(self, number: int) -> torch.optim.AdamW:
        """Freeze as the stages up to this one say, and make the optimiser of this one."""
        names: tuple[str, ...] = ()
        for stage in self.config.stages[: number + 1]:
            names = apply_freezing(self.model, train=stage.train, freeze=stage.freeze)
            self.trained.update(dict.fromkeys(names))
        return make_optimiser(self.model, names, config=self.config, stage=self.config.stages[number])

    def _step(
        self, tap: RouterTap, optimiser: torch.optim.AdamW, *, step: int, stage: StageConfig, place: int
    ) -> tuple[StepResult, float]:
        batch = self.data[stage.name].batch(step, size=self.config.batch_size, seed=self.config.seed)
        objective: Objective = self.objectives[stage.name]
        optimiser.zero_grad(set_to_none=True)
        try:
            result = accumulate_gradient(
                self.model,
                batch.to(self.device).split(self.config.micro_batch_size),
                objective=objective,
                stage=stage,
                tap=tap,
                whole_batch_balance=self.config.whole_batch_balance,
                autocast=self.autocast,
                context=self.context,
                routing_loss=self.routing_loss,
            )
        except RouterError as error:  # our routers refuse logits that are no numbers before they reach a loss
            raise TrainingDivergedError(f"step {step + 1} (stage {stage.name!r}): {error}", step=step + 1) from error
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        limit = self.config.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        for what, value in (("loss", result.loss), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"step {step + 1} (stage {stage.name!r}): the {what} is {value}. Nothing was updated with it; the "
                    f"checkpoints in {self.checkpoints} are untouched. Lower the learning rate, or look at the data.",
                    step=step + 1,
                )
        share = rate_share(place, n_steps=stage.steps, warmup_steps=stage.warmup_steps, final_share=stage.final_share)
        set_rate(optimiser, share)
        optimiser.step()
        if stage.bias_rate > 0 and result.totals:
            update_router_biases(tap.blocks, result.totals, rate=stage.bias_rate)
        return result, norm

    def _is_over(self, step: int) -> bool:
        return self.watch is not None and self.watch.is_over(step)

    def _save(self, step: int, optimiser: torch.optim.AdamW) -> None:
        if self.watch is not None:
            self.watch.look(step, self.model)
        save_state(
            self.checkpoints,
            step=step,
            model=self.model,
            trained=self.trained,
            optimiser=optimiser_tensors(optimiser),
            run=self.identity,
            keep=self.config.keep_checkpoints,
        )

    def _line(
        self,
        step: int,
        stage: StageConfig,
        optimiser: torch.optim.AdamW,
        result: StepResult,
        *,
        norm: float,
        seconds: float,
    ) -> dict[str, Any]:
        return {
            "step": step + 1,
            "stage": stage.name,
            "loss": result.loss,
            "objective": result.objective,
            **result.parts,
            "balance_per_layer": list(result.balance),
            "largest_load_per_layer": list(result.load),
            "z": result.z,
            "learning_rate": max(group["lr"] for group in optimiser.param_groups),
            "gradient_norm": norm,
            "n_targets": result.n_targets,
            "n_tokens": result.n_tokens,
            "tokens_per_s": result.n_tokens / seconds if seconds > 0 else 0.0,
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }


def _by_stage(data: BatchSource | Mapping[str, BatchSource], config: TrainingConfig) -> dict[str, BatchSource]:
    if not isinstance(data, Mapping):
        return {stage.name: data for stage in config.stages}
    missing = [stage.name for stage in config.stages if stage.name not in data]
    if missing:
        raise TrainingError(f"there is no data for the stages {missing}; data is given for {sorted(data)}.")
    return {stage.name: data[stage.name] for stage in config.stages}


def _cut_log(path: Path, step: int) -> dict[str, Any]:
    """Drop the lines of steps past ``step``, which will be run again; return the last one that stays."""
    if not path.is_file():
        return {}
    kept: list[str] = []
    last: dict[str, Any] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break  # the process was killed while it wrote this line
        if line["step"] > step:
            break
        kept.append(text + "\n")
        last = line
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(path)
    return last

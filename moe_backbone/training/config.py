"""The frozen, validated settings of a training run and of its stages.

Layer: ``moe_backbone``; the standard library only.
Sources: AdamW with betas (0.9, 0.95), decay 0.1 and gradients clipped to norm 1: Llama, arXiv:2302.13971, section 2.3;
balance weight 0.01: Switch Transformers, arXiv:2101.03961, section 2.2; z weight 0.001: ST-MoE, arXiv:2202.08906,
section 3.3; beta 0.1: DPO, arXiv:2305.18290, appendix B; balance over the whole batch instead of the micro-batch:
Demons in the Detail, arXiv:2501.11873.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args, get_type_hints

__all__ = ["StageConfig", "TrainingConfig", "TrainingDivergedError", "TrainingError"]

OBJECTIVES = ("lm", "kl", "dpo")
PRECISIONS = ("float32", "bfloat16")


class TrainingError(ValueError):
    """A training cannot start or go on; the message says where, what was given and what to do."""


class TrainingDivergedError(TrainingError):
    """A loss or a gradient is not finite; nothing was updated with it, and the last checkpoint is untouched.

    :param message: What is not finite, and where.
    :param step: The optimiser step, counted from 1, that could not be taken.
    """

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: what is trained, on which objective, for how long.

    :param name: Its name in the log, unique in a run.
    :param steps: Optimiser steps, at least 1.
    :param train: Patterns of parameters to train; see :mod:`moe_backbone.training.freezing`.
    :param freeze: Patterns that stay frozen although ``train`` names them.
    :param objective: ``lm`` (next token), ``kl`` (a teacher's distribution) or ``dpo`` (preference pairs).
    :param learning_rate: Peak learning rate, > 0.
    :param router_rate: Factor on the learning rate of routers, >= 0.
    :param warmup_steps: Steps of linear warm-up.
    :param final_share: Share of the peak that the cosine ends at, in [0, 1].
    :param balance_weight: Weight of the load-balance loss (mean over layers), >= 0.
    :param z_weight: Weight of the router z-loss, >= 0.
    :param bias_rate: Step of the aux-loss-free bias update (routers with ``e_score_correction_bias``); 0 turns it off.
    :param temperature: Of ``kl``, > 0.
    :param teacher_top_k: Of ``kl``: the teacher's most probable tokens kept apart, the others one bucket; 0 keeps all.
    :param hard_weight: Of ``kl``: share of the next-token loss, in [0, 1].
    :param beta: Of ``dpo``: strength of the tie to the reference, > 0.
    :raises TrainingError: If a value is out of its range.
    """

    name: str = "all"
    steps: int = 100
    train: tuple[str, ...] = ("*",)
    freeze: tuple[str, ...] = ()
    objective: str = "lm"
    learning_rate: float = 1e-4
    router_rate: float = 1.0
    warmup_steps: int = 10
    final_share: float = 0.1
    balance_weight: float = 0.01
    z_weight: float = 0.001
    bias_rate: float = 0.0
    temperature: float = 1.0
    teacher_top_k: int = 0
    hard_weight: float = 0.0
    beta: float = 0.1

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        _check_types(self, where)
        _require(self.objective in OBJECTIVES, where, "objective", self.objective, f"one of {', '.join(OBJECTIVES)}")
        _require(self.steps >= 1, where, "steps", self.steps, "at least 1")
        for setting in ("learning_rate", "temperature", "beta"):
            _require(getattr(self, setting) > 0, where, setting, getattr(self, setting), "above 0")
        for setting in ("router_rate", "warmup_steps", "balance_weight", "z_weight", "bias_rate", "teacher_top_k"):
            _require(getattr(self, setting) >= 0, where, setting, getattr(self, setting), "at least 0")
        for setting in ("final_share", "hard_weight"):
            _require(0 <= getattr(self, setting) <= 1, where, setting, getattr(self, setting), "between 0 and 1")
        _require(bool(self.train), where, "train", self.train, "at least one pattern")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a run is trained.

    :param stages: The stages, in order.
    :param batch_size: Sequences (``dpo``: pairs) of an optimiser step.
    :param micro_batch_size: Sequences (pairs) of one forward pass; the last of a step may be smaller.
    :param sequence_length: Tokens of a sequence.
    :param whole_batch_balance: Balance the load over the whole step, at the price of a forward pass without gradient;
        ``False`` balances each micro-batch alone. No price where a step is one micro-batch.
    :param precision: ``bfloat16`` computes in it (autocast) and keeps parameters, routers and losses in float32.
    :param gradient_checkpointing: Recompute activations in the backward pass instead of keeping them.
    :param weight_decay: Of matrices; vectors and routers have none.
    :param beta1: Of AdamW.
    :param beta2: Of AdamW.
    :param epsilon: Of AdamW.
    :param clip_norm: Largest norm of the whole gradient; 0 does not clip.
    :param checkpoint_every: Steps between checkpoints.
    :param keep_checkpoints: Checkpoints that are kept.
    :param lora_rank: Rank of LoRA experts; 0 trains the weights themselves.
    :param seed: Seed of the order of the data and of dropout.
    :raises TrainingError: If a value is out of its range.
    """

    stages: tuple[StageConfig, ...] = field(default_factory=lambda: (StageConfig(),))
    batch_size: int = 8
    micro_batch_size: int = 8
    sequence_length: int = 256
    whole_batch_balance: bool = True
    precision: str = "float32"
    gradient_checkpointing: bool = False
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip_norm: float = 1.0
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    lora_rank: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        where = "training"
        _check_types(self, where)
        _require(bool(self.stages), where, "stages", self.stages, "at least one stage")
        names = [stage.name for stage in self.stages]
        _require(len(set(names)) == len(names), where, "stages", names, "stages of different names")
        _require(self.precision in PRECISIONS, where, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        for setting in ("batch_size", "micro_batch_size", "checkpoint_every", "keep_checkpoints"):
            _require(getattr(self, setting) >= 1, where, setting, getattr(self, setting), "at least 1")
        _require(self.sequence_length >= 2, where, "sequence_length", self.sequence_length, "at least 2")
        for setting in ("weight_decay", "clip_norm", "lora_rank", "seed"):
            _require(getattr(self, setting) >= 0, where, setting, getattr(self, setting), "at least 0")
        for setting in ("beta1", "beta2"):
            _require(0 <= getattr(self, setting) < 1, where, setting, getattr(self, setting), "in [0, 1)")
        _require(self.epsilon > 0, where, "epsilon", self.epsilon, "above 0")

    @property
    def n_steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, int]:
        """Return the stage that step ``step`` (from 0) belongs to, and the step's place in it, both from 0."""
        before = 0
        for number, stage in enumerate(self.stages):
            if step < before + stage.steps:
                return number, step - before
            before += stage.steps
        raise TrainingError(f"training: step {step} is past the {self.n_steps} steps of the stages.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Make a configuration from a mapping, as YAML or JSON gives it; ``stages`` is a list of mappings.

        :param values: Field names and values; those left out keep their defaults.
        :returns: The configuration.
        :raises TrainingError: If a key is unknown or a value unusable.
        """
        given = dict(_known(cls, values, "training"))
        if "stages" in given:
            stages = given["stages"]
            if not isinstance(stages, (list, tuple)) or not all(isinstance(stage, Mapping) for stage in stages):
                raise TrainingError(f"training.stages: got {stages!r}. Give a list of mappings.")
            given["stages"] = tuple(_stage(stage, place) for place, stage in enumerate(stages))
        return cls(**given)

    def to_mapping(self) -> dict[str, Any]:
        """Return the settings as a plain mapping that :meth:`from_mapping` reads back."""
        return asdict(self)


def _stage(values: Mapping[str, Any], place: int) -> StageConfig:
    given = dict(_known(StageConfig, values, f"training.stages[{place}]"))
    for setting in ("train", "freeze"):
        patterns = given.get(setting, ())
        if isinstance(patterns, str) or not all(isinstance(item, str) for item in patterns):
            raise TrainingError(f"training.stages[{place}].{setting}: got {patterns!r}. Give a list of patterns.")
        if setting in given:
            given[setting] = tuple(patterns)
    return StageConfig(**given)


def _known(kind: type, values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    known = {field.name for field in fields(kind)}
    unknown = sorted(str(key) for key in set(values) - known)
    if unknown:
        raise TrainingError(f"{where}: unknown settings {unknown}. Known are {sorted(known)}.")
    return values


def _check_types(config: Any, where: str) -> None:
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if kind is bool:
            _require(isinstance(value, bool), where, name, value, "true or false")
        elif kind is int:
            _require(isinstance(value, int) and not isinstance(value, bool), where, name, value, "a whole number")
        elif kind is float:
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            _require(number, where, name, value, "a finite number")
        elif kind is str:
            _require(isinstance(value, str), where, name, value, "text")
        elif get_args(kind):
            _require(isinstance(value, tuple), where, name, value, "a list")


def _require(fits: bool, where: str, setting: str, value: object, wanted: str) -> None:
    if not fits:
        raise TrainingError(f"{where}: {setting} must be {wanted}, got {value!r}.")

"""Train a checkpoint folder, or distil one into another; the result is a stock checkpoint folder.

Layer: ``api``; imports ``moe_backbone``, and torch only when called.
An output folder holds ``log.jsonl``, ``checkpoints/`` and, when the run is done, ``model/`` and ``report.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.moe_data import read_preferences, read_text
from kg.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import nn

    from moe_backbone.training.config import TrainingConfig
    from moe_backbone.training.data import Batch, PackedTokens

__all__ = ["DistilRequest", "Progress", "TrainRequest", "distil_folder", "read_config", "train_folder"]

Progress = Callable[[dict[str, Any]], None]
"""Called with every line of a run's log."""

_HELD_OUT_ROWS = 64
_USE_ROWS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train on what.

    :param model: The checkpoint folder to start from.
    :param data: Files of :mod:`api.moe_data`.
    :param out: The output folder.
    :param config: The settings.
    :param preferences: Files of preferences, for stages of the objective ``dpo``.
    :param device: A torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param resume: Go on from the newest checkpoint.
    """

    model: Path
    data: tuple[Path, ...]
    out: Path
    config: TrainingConfig
    preferences: tuple[Path, ...] = ()
    device: str | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilRequest(TrainRequest):
    """A distillation: ``model`` is the teacher.

    :param student: The student's checkpoint folder; ``None`` makes one from the teacher's experts.
    :param start: How it is made from the experts: ``join`` or ``mean``.
    :param dense_source: A dense checkpoint to stand beside the student in the report.
    :param baseline: Train a fresh model of the student's shape on the next token, the same data and steps, beside it.
    """

    student: Path | None = None
    start: str = "join"
    dense_source: Path | None = None
    baseline: bool = True


def read_config(
    recipe: dict[str, Any],
    *,
    preset: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    lora_rank: int | None = None,
    seed: int | None = None,
) -> TrainingConfig:
    """Make the settings of a run from a recipe and from options, which win.

    :param recipe: A mapping of :class:`~moe_backbone.training.config.TrainingConfig`; unknown keys are refused.
    :param preset: A freeze map that replaces the recipe's stages.
    :param steps: Steps of each stage.
    :param learning_rate: Peak learning rate of each stage.
    :param lora_rank: Rank of LoRA experts.
    :param seed: Seed of everything random.
    :returns: The settings.
    :raises ConfigError: If a setting is unknown or cannot be used, or recipe and options contradict each other.
    """
    from moe_backbone.training.config import TrainingConfig, TrainingError
    from moe_backbone.training.freezing import preset_stages

    if preset is not None and len(recipe.get("stages") or ()) > 1:
        raise ConfigError("--stage replaces the stages, but the recipe has several. Leave one of the two out.")
    try:
        config = TrainingConfig.from_mapping(recipe)
        stages = config.stages
        changes: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate}
        stages = tuple(replace(s, **{k: v for k, v in changes.items() if v is not None}) for s in stages)
        if preset is not None:
            stages = preset_stages(preset, base=stages[0])
        given: dict[str, Any] = {"lora_rank": lora_rank, "seed": seed}
        return replace(config, stages=stages, **{k: v for k, v in given.items() if v is not None})
    except TrainingError as error:
        raise ConfigError(str(error)) from error


def train_folder(request: TrainRequest, *, on_step: Progress | None = None) -> dict[str, Any]:
    """Train a model through the stages of its settings.

    :param request: What to train on what.
    :param on_step: Called with each line of the log.
    :returns: The report: losses on held-out text before and after, speed, memory.
    :raises InputError: If the data cannot be used.
    """
    from moe_backbone.training.comparison import held_out_loss
    from moe_backbone.training.loop import train

    model, tokenizer, notes = _open(request.model, request)
    text, held_out = _data(request, tokenizer, model)
    reference = _reference(request) if _needs_teacher(request.config) else None
    before = held_out_loss(model, held_out)
    finish = _adapt(model, request.config)
    report = train(
        model,
        _by_stage(request, tokenizer, text),
        config=request.config,
        folder=request.out,
        source=_hash(request.model),
        teacher=reference,
        resume=request.resume,
        on_step=on_step,
    )
    finish(request.out)
    after = held_out_loss(model, held_out)
    _save_model(model, request, like=request.model, folder=request.out / "model")
    result = {
        "model": str(request.out / "model"),
        **asdict(report),
        "tokens_per_s": report.n_tokens / report.seconds if report.n_tokens else 0.0,
        "held_out_tokens": sum(batch.n_tokens for batch in held_out),
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "notes": [*notes, *report.notes],
    }
    _write_report(request.out, result)
    return result


def distil_folder(request: DistilRequest, *, on_step: Progress | None = None) -> dict[str, Any]:
    """Distil a teacher into a student, and measure both beside the baselines.

    :param request: What to distil on what.
    :param on_step: Called with each line of the log.
    :returns: The report, with size, quality and speed of every model.
    :raises InputError: If the data cannot be used.
    """
    from moe_backbone.training.comparison import compare, held_out_loss
    from moe_backbone.training.dense import dense_from_experts, fresh_like, measure_use
    from moe_backbone.training.loop import train

    if request.config.lora_rank:
        raise ConfigError("a distillation trains weights, not adapters. Set lora_rank to 0.")
    teacher, tokenizer, notes = _open(request.model, request)
    text, held_out = _data(request, tokenizer, teacher)
    if request.student is not None:
        student, others, more = _open(request.student, request)
        notes = [*notes, *more]
        if others.get_vocab() != tokenizer.get_vocab():
            raise InputError(
                f"{request.student} and {request.model} have different tokenizers: what the teacher says of a token "
                "would mean another one to the student. Choose models of one vocabulary."
            )
    else:
        rows = text.rows(slice(0, _USE_ROWS)).to(_device_of(teacher))
        student = dense_from_experts(teacher, measure_use(teacher, rows.split(4)), start=request.start)
        student.to(_device_of(teacher))
    before = held_out_loss(student, held_out)
    report = train(
        student,
        _by_stage(request, tokenizer, text),
        config=request.config,
        folder=request.out,
        source=f"{_hash(request.model)} {_hash(request.student) if request.student else request.start}",
        teacher=teacher,
        resume=request.resume,
        on_step=on_step,
    )
    _save_model(student, request, like=request.student or request.model, folder=request.out / "model")
    models: dict[str, nn.Module] = {"teacher": teacher, "student": student}
    if request.baseline:
        fresh = fresh_like(student, seed=request.config.seed).to(_device_of(teacher))
        train(
            fresh,
            text,
            config=_next_token_only(request.config),
            folder=request.out / "baseline",
            source="fresh",
            resume=request.resume,
            on_step=on_step,
        )
        models["from scratch"] = fresh
    if request.dense_source is not None:
        models["dense source"] = _open(request.dense_source, request)[0]
    figures = compare(models, held_out)
    result = {
        "model": str(request.out / "model"),
        **asdict(report),
        "held_out_tokens": sum(batch.n_tokens for batch in held_out),
        "student_loss_before": before,
        "models": {name: one.to_mapping() for name, one in figures.items()},
        "notes": [*notes, *report.notes],
    }
    _write_report(request.out, result)
    return result


def _open(folder: Path, request: TrainRequest) -> tuple[nn.Module, Any, list[str]]:
    """Load a model in float32 with experts that can be trained in any width, and its tokenizer."""
    import torch
    from transformers import AutoTokenizer

    from moe_backbone.adapters import can_dispatch, implementation_name, register_dispatches
    from moe_backbone.blocks import find_blocks
    from moe_backbone.loading import open_model

    register_dispatches()
    opened = open_model(folder, device=request.device, dtype=torch.float32)
    model: Any = opened.model
    if find_blocks(model) and can_dispatch(model):
        model.set_experts_implementation(implementation_name("grouped"))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no tokenizer that can be read: {error}") from error
    return model, tokenizer, list(opened.notes)


def _data(request: TrainRequest, tokenizer: Any, model: nn.Module) -> tuple[PackedTokens, list[Batch]]:
    """Return what is trained on, and the held-out batches: the last twentieth of the rows, at most 64."""
    if not request.data:
        raise InputError("there is no training data. Give at least one file with --data.")
    config = request.config
    rows = read_text(request.data, tokenizer, length=config.sequence_length)
    text, held_out = rows.split(max(1, min(_HELD_OUT_ROWS, len(rows) // 20)))
    whole = held_out.rows(slice(0, len(held_out))).to(_device_of(model))
    return text, list(whole.split(config.micro_batch_size))


def _by_stage(request: TrainRequest, tokenizer: Any, text: PackedTokens) -> dict[str, Any]:
    pairs = None
    if any(stage.objective == "dpo" for stage in request.config.stages):
        if not request.preferences:
            raise InputError("a stage of the objective 'dpo' needs preferences. Give a file with --preferences.")
        pairs = read_preferences(request.preferences, tokenizer, length=request.config.sequence_length)
    return {stage.name: pairs if stage.objective == "dpo" else text for stage in request.config.stages}


def _needs_teacher(config: TrainingConfig) -> bool:
    if any(stage.objective == "kl" for stage in config.stages):
        raise ConfigError("a stage of the objective 'kl' needs a teacher. Use `mmkg moe distil`.")
    return any(stage.objective == "dpo" for stage in config.stages)


def _reference(request: TrainRequest) -> nn.Module:
    """Open the model once more: preferences are learnt against the model as it was."""
    return _open(request.model, request)[0].requires_grad_(requires_grad=False)


def _next_token_only(config: TrainingConfig) -> TrainingConfig:
    """Return the settings of the baseline: all steps in one stage, on the next token, everything trained."""
    first = config.stages[0]
    stage = replace(first, name="baseline", objective="lm", steps=config.n_steps, train=("*",), freeze=())
    return replace(config, stages=(stage,), lora_rank=0)


def _device_of(model: nn.Module) -> Any:
    return next(model.parameters()).device


def _hash(folder: Path) -> str:
    from moe_backbone.checkpoint import source_sha256

    return source_sha256(folder)


def _save_model(model: Any, request: TrainRequest, *, like: Path, folder: Path) -> None:
    from moe_backbone.checkpoint import checkpoint_folder, copy_side_files

    recipe = {
        "kind": "trained",
        "version": 1,
        "source_sha256": _hash(request.model),
        "settings": request.config.to_mapping(),
        "data": [path.name for path in request.data],
    }
    size_bytes = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    with checkpoint_folder(folder, recipe=recipe, size_bytes=size_bytes) as part:
        model.save_pretrained(part)
        copy_side_files(like, part)


def _write_report(out: Path, report: dict[str, Any]) -> None:
    part = out / ".report.json.part"
    part.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    part.replace(out / "report.json")


def _adapt(model: nn.Module, config: TrainingConfig) -> Callable[[Path], None]:
    """Wrap the experts in low-rank adapters where a rank is given; return what merges and removes them afterwards."""
    import torch

    from moe_backbone.lora.adapters import adapt_experts, remove_adapters, save_adapter
    from moe_backbone.lora.fused import LoRAFusedExperts
    from moe_backbone.lora.low_rank import LoRAConfig

    if not config.lora_rank:
        return lambda out: None
    torch.manual_seed(config.seed)
    adapt_experts(model, LoRAConfig(rank=config.lora_rank, alpha=2.0 * config.lora_rank))

    def finish(out: Path) -> None:
        save_adapter(model, out / "adapter.safetensors")
        for module in model.modules():
            if isinstance(module, LoRAFusedExperts):
                module.merge()
        remove_adapters(model)

    return finish

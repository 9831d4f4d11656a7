"""``mmkg moe train`` and ``mmkg moe distil``.

Layer: ``api.cli``; :mod:`api.moe_training` does the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.moe.common import ModelArgument, model_failures_explained, model_folder
from api.cli.options import JsonOption
from api.cli.output import console, human_bytes, print_json, print_table, progress

if TYPE_CHECKING:
    from moe_backbone.training.config import TrainingConfig

__all__ = ["distil", "train"]

DataOption = Annotated[
    list[Path],
    typer.Option(
        "--data", help="Text: .txt, .md, or .jsonl with text, or prompt and completion. May be given many times."
    ),
]
PreferencesOption = Annotated[
    list[Path] | None,
    typer.Option("--preferences", help="Preferences: .jsonl with prompt, chosen and rejected. For stages of dpo."),
]
OutOption = Annotated[Path, typer.Option("--out", help="The folder of the run: model/, log.jsonl, checkpoints/.")]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="YAML with the settings of the run and its stages; options win.")
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps of each stage.")]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate of each stage.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu or cuda; by default cuda where there is one.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the newest whole checkpoint; the result is the same to the bit.")
]


def train(
    context: typer.Context,
    model: ModelArgument,
    data: DataOption,
    out: OutOption,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="What is trained: all, routers, experts, gradual (one after another), moe-llava."),
    ] = None,
    steps: StepsOption = None,
    learning_rate: RateOption = None,
    lora_rank: Annotated[
        int | None,
        typer.Option("--lora-rank", min=1, help="Train low-rank adapters of the experts, merged at the end."),
    ] = None,
    preferences: PreferencesOption = None,
    recipe: RecipeOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a causal language model, sparse or dense, on text; the result is a stock checkpoint.

    A run that was stopped (Ctrl-C, a kill, a power cut) goes on with --resume and ends as if it had not been.
    """
    with _training_explained(as_json=as_json):
        from api.moe_training import TrainRequest, read_config, train_folder

        config = read_config(
            _recipe(recipe),
            preset=stage,
            steps=steps,
            learning_rate=learning_rate,
            lora_rank=lora_rank,
            seed=seed,
        )
        request = TrainRequest(
            model=model_folder(context, model),
            data=tuple(data),
            out=out,
            config=config,
            preferences=tuple(preferences or ()),
            device=device,
            resume=resume,
        )
        with _bar("training", config.n_steps, quiet=as_json) as on_step:
            report = train_folder(request, on_step=on_step)
    if as_json:
        print_json(report)
        return
    rows = [
        ("model", report["model"]),
        ("steps", f"{report['steps']} (from {report['resumed_from']})"),
        ("held-out loss", f"{report['held_out_loss_before']:.4f} before, {report['held_out_loss_after']:.4f} after"),
        ("held-out tokens", f"{report['held_out_tokens']:,}"),
        ("tokens per second", f"{report['tokens_per_s']:.0f}"),
        ("memory at most", human_bytes(report["peak_memory_bytes"])),
        ("precision", report["precision"]),
    ]
    print_table("", ("what", "value"), rows)
    _notes(report)


def distil(
    context: typer.Context,
    teacher: ModelArgument,
    data: DataOption,
    out: OutOption,
    student: Annotated[
        str | None,
        typer.Argument(
            help="The student: a folder or a known name. Left out with --init-from-experts.", show_default=False
        ),
    ] = None,
    init_from_experts: Annotated[
        str | None,
        typer.Option(
            "--init-from-experts",
            help="Make a dense student of the teacher's experts: join (the most used ones) or mean (weighted by load).",
        ),
    ] = None,
    dense_source: Annotated[
        Path | None, typer.Option("--dense-source", help="A dense checkpoint to measure beside the student.")
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option("--baseline/--no-baseline", help="Train a fresh model of the student's shape beside it."),
    ] = True,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Softens both distributions.")] = None,
    teacher_top_k: Annotated[
        int | None, typer.Option("--teacher-top-k", min=0, help="Tokens of the teacher kept apart; 0 keeps all.")
    ] = None,
    preferences: PreferencesOption = None,
    steps: StepsOption = None,
    learning_rate: RateOption = None,
    recipe: RecipeOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Teach a student a teacher's distribution (KL), then preferences against it (DPO) where some are given.

    Size, quality and speed of teacher, student and baselines are measured on held-out text in one run.
    """
    with _training_explained(as_json=as_json):
        from api.moe_training import DistilRequest, distil_folder, read_config
        from kg.errors import ConfigError

        if (student is None) == (init_from_experts is None):
            raise ConfigError("give either a STUDENT or --init-from-experts, and not both.")
        settings = _recipe(recipe)
        config = _distil_config(
            read_config(settings, steps=steps, learning_rate=learning_rate, seed=seed),
            own_stages="stages" in settings,
            preferences=bool(preferences),
            temperature=temperature,
            teacher_top_k=teacher_top_k,
        )
        request = DistilRequest(
            model=model_folder(context, teacher),
            student=None if student is None else model_folder(context, student),
            start=init_from_experts or "join",
            dense_source=dense_source,
            baseline=baseline,
            data=tuple(data),
            preferences=tuple(preferences or ()),
            out=out,
            config=config,
            device=device,
            resume=resume,
        )
        with _bar("distilling", config.n_steps * (1 + baseline), quiet=as_json) as on_step:
            report = distil_folder(request, on_step=on_step)
    if as_json:
        print_json(report)
        return
    console().print(f"model: {report['model']}", markup=False, soft_wrap=True)
    columns = ("", "parameters", "active", "size", "loss", "perplexity", "tokens/s")
    rows = [
        (
            name,
            f"{one['parameters'] / 1e6:.2f} M",
            f"{one['active_parameters'] / 1e6:.2f} M",
            human_bytes(one["size_bytes"]),
            f"{one['loss']:.4f}",
            f"{one['perplexity']:.2f}",
            f"{one['tokens_per_s']:.0f}",
        )
        for name, one in report["models"].items()
    ]
    print_table(f"{report['held_out_tokens']:,} held-out tokens", columns, rows, right=columns[1:])
    console().print(f"The student's loss before: {report['student_loss_before']:.4f}", markup=False)
    _notes(report)


def _recipe(file: Path | None) -> dict[str, Any]:
    from api.reading import read_mapping

    return {} if file is None else read_mapping(file, what="recipe")


def _distil_config(
    config: TrainingConfig,
    *,
    own_stages: bool,
    preferences: bool,
    temperature: float | None,
    teacher_top_k: int | None,
) -> TrainingConfig:
    """Where the recipe names no stages: one of KL, and a tenth of its steps of DPO where there are preferences."""
    from dataclasses import replace

    from kg.errors import ConfigError
    from moe_backbone.training.config import TrainingError

    stages = config.stages
    if not own_stages:
        kl = replace(stages[0], name="kl", objective="kl")
        dpo = replace(kl, name="dpo", objective="dpo", steps=max(1, kl.steps // 10))
        stages = (kl, dpo) if preferences else (kl,)
    changes: dict[str, Any] = {"temperature": temperature, "teacher_top_k": teacher_top_k}
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return replace(config, stages=tuple(replace(s, **given) if s.objective == "kl" else s for s in stages))
    except TrainingError as error:
        raise ConfigError(str(error)) from error


@contextmanager
def _training_explained(*, as_json: bool) -> Iterator[None]:
    """Explain what a training refuses, and how to go on after Ctrl-C."""
    with model_failures_explained(as_json=as_json):
        from kg.errors import InputError, ModelError
        from moe_backbone.lora.adapter_file import AdapterError
        from moe_backbone.training.config import TrainingDivergedError, TrainingError

        try:
            yield
        except (TrainingDivergedError, AdapterError) as error:
            raise ModelError(str(error)) from error
        except TrainingError as error:
            raise InputError(str(error)) from error
        except KeyboardInterrupt as error:
            console(stderr=True).print("[yellow]interrupted[/]: run the command again with --resume to go on.")
            raise typer.Exit(130) from error


@contextmanager
def _bar(description: str, total: int, *, quiet: bool) -> Iterator[Any]:
    with progress(description, total=total, quiet=quiet) as bar:
        yield lambda line: bar.advance(f"{line['stage']} {line['step']}: loss {line['loss']:.3f}")


def _notes(report: dict[str, Any]) -> None:
    for note in report["notes"]:
        console().print(f"note: {note}", markup=False, soft_wrap=True)

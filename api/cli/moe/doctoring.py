"""``mmkg moe doctor``: what is wrong with a model's experts and routers.

Layer: ``api.cli``.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.moe.common import ModelArgument, model_failures_explained, model_folder, read_text
from api.cli.options import JsonOption
from api.cli.output import console, print_json, print_table, progress
from kg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from moe_backbone.observe.alarms import Alarm
    from moe_backbone.observe.doctor import Diagnosis
    from moe_backbone.observe.stats import RoutingStats

__all__ = ["doctor"]

_WINDOW = 512
"""Tokens read at a time, or the model's context where that is shorter."""
_SAMPLES = ("ferry-company.md", "energy-notes.txt")
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def doctor(
    context: typer.Context,
    model: ModelArgument,
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", help="A UTF-8 text to run; give several, and each is a label. Default: two samples."),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="The most tokens read of each text.")] = 1024,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the load of expert × layer, by text (.png, .svg, .pdf).")
    ] = None,
    plot_pairs: Annotated[
        Path | None, typer.Option("--plot-pairs", help="Draw which experts are chosen together (.png, .svg, .pdf).")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="torch device; default: CUDA if there is one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run text through a mixture of experts and raise alarms, each with its evidence and what to do.

    Exit status 1 if an alarm is an error. A quantised checkpoint is judged by its files alone.
    """
    alarms: list[Alarm]
    diagnosis: Diagnosis | None
    notes: tuple[str, ...]
    with model_failures_explained(as_json=as_json):
        from moe_backbone.loading import open_structure, stored_tensors
        from moe_backbone.observe.plots import KINDS

        for file in (plot, plot_pairs):
            if file is not None and (file.suffix.lstrip(".").lower() not in KINDS or not file.parent.is_dir()):
                raise InputError(f"{file} must be in a folder that is there and end in .{', .'.join(KINDS)}.")
        folder = model_folder(context, model)
        if open_structure(folder).quantised:
            from moe_backbone.observe.weight_alarms import stored_alarms

            alarms, diagnosis, notes = stored_alarms(stored_tensors(folder)), None, ()
        else:
            diagnosis, notes = _examine(folder, _read(text), tokens, device=device, quiet=as_json)
            alarms = list(diagnosis.alarms)
            _draw(diagnosis, plot, plot_pairs, name=folder.name)
    if as_json:
        layers = [] if diagnosis is None or diagnosis.stats is None else _layers(diagnosis.stats)
        print_json({"alarms": [asdict(alarm) for alarm in alarms], "layers": layers, "notes": list(notes)})
    else:
        for note in notes:
            console(stderr=True).print(f"note: {note}", markup=False, soft_wrap=True)
        _show(alarms, diagnosis)
    if any(alarm.severity == "error" for alarm in alarms):
        raise typer.Exit(1)


def _read(files: list[Path] | None) -> dict[str, str]:
    """Read the texts by label: the names of their files, with the folder where two are alike."""
    if not files:
        corpus = resources.files("api.samples") / "corpus"
        return {Path(name).stem: (corpus / name).read_text(encoding="utf-8") for name in _SAMPLES}
    stems = [file.stem for file in files]
    texts: dict[str, str] = {}
    for file in files:
        label = file.stem if stems.count(file.stem) == 1 else str(file)
        if label in texts:
            raise InputError(f"--text {file} is given twice.")
        texts[label] = read_text(file)
        if not texts[label].strip():
            raise InputError(f"--text {file} is empty.")
    return texts


def _examine(
    folder: Path, texts: dict[str, str], n_tokens: int, *, device: str | None, quiet: bool
) -> tuple[Diagnosis, tuple[str, ...]]:
    from moe_backbone.loading import open_model, open_tokenizer
    from moe_backbone.observe.doctor import examine
    from moe_backbone.sites import find_sites

    tokenizer = open_tokenizer(folder)
    opened = open_model(folder, device=device)
    if not find_sites(opened.model):
        raise InputError(f"{folder} holds a {type(opened.model).__name__}, which has no experts to examine.")
    longest = getattr(opened.config.get_text_config(), "max_position_embeddings", _WINDOW)
    where = next(opened.model.parameters()).device
    batches: list[tuple[str, Tensor]] = []
    for label, text in texts.items():
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=n_tokens)["input_ids"].to(where)
        batches += [(label, part) for part in ids.split(min(_WINDOW, longest), dim=1)]
    with progress("reading", total=len(batches), quiet=quiet) as bar:
        diagnosis = examine(opened.model, batches, labels=tuple(texts), config=opened.config, on_batch=bar.advance)
    return diagnosis, opened.notes


def _draw(diagnosis: Diagnosis, plot: Path | None, pairs: Path | None, *, name: str) -> None:
    from moe_backbone.observe.plots import plot_load, plot_pairs

    if diagnosis.stats is None or not any(layer.n_tokens for layer in diagnosis.stats.layers):
        return
    if plot is not None:
        plot_load(diagnosis.stats, plot, title=name)
    if pairs is not None:
        plot_pairs(diagnosis.stats, pairs, title=name)


def _layers(stats: RoutingStats) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "n_tokens": layer.n_tokens,
            "load": layer.load,
            "skipped": layer.skipped,
            "load_entropy": layer.load_entropy,
            "router_entropy": _finite(layer.router_entropy),
            "confidence": _finite(layer.confidence),
            "largest_logit": _finite(layer.largest_logit),
            "balance_loss": _finite(layer.balance_loss),
            "dead": layer.dead,
            "specialisation": layer.specialisation,
            "labels": {
                label: {"n_tokens": one.n_tokens, "load": one.load, "skipped": one.skipped}
                for label, one in layer.labels.items()
            },
        }
        for layer in stats.layers
    ]


def _finite(value: float) -> float | None:
    return value if value == value else None  # JSON has no NaN


def _show(alarms: list[Alarm], diagnosis: Diagnosis | None) -> None:
    from rich.markup import escape

    out = console()
    if diagnosis is None:
        out.print("The checkpoint is quantised: its files were judged, its routing was not.", markup=False)
    for alarm in alarms:
        where = f" ({len(alarm.where)} layers)" if len(alarm.where) > 1 else ""
        out.print(f"[{_COLOURS[alarm.severity]}]{alarm.severity}[/] {alarm.code}{where}", soft_wrap=True)
        out.print(f"  {escape(alarm.evidence)}.", soft_wrap=True)
        out.print(f"  → {escape(alarm.advice)}", soft_wrap=True)
    if not any(alarm.severity in ("error", "warning") for alarm in alarms):
        out.print("Nothing is wrong.", markup=False)
    if diagnosis is None or diagnosis.stats is None:
        return
    rows = [
        (
            layer.name,
            f"{layer.n_tokens:,}",
            f"{layer.load_entropy:.2f}",
            f"{layer.router_entropy:.2f}",
            f"{layer.confidence:.2f}",
            len(layer.dead),
            f"{layer.specialisation:.2f}",
        )
        for layer in diagnosis.stats.layers
    ]
    columns = ("router", "tokens", "load entropy", "router entropy", "confidence", "dead", "special")
    print_table("", columns, rows, right=columns[1:])

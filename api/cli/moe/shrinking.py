"""``mmkg moe shrink``: make a mixture of experts smaller or cheaper, and see what that costs.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.moe.common import ModelArgument, model_failures_explained, model_folder, read_text
from api.cli.options import JsonOption
from api.cli.output import console, human_bytes, print_json, print_table, progress
from kg.errors import InputError, ModelError

if TYPE_CHECKING:
    from moe_backbone.smaller.report import ShrinkReport

__all__ = ["shrink"]

_TEXT = "text"
_KINDS = {True: "a stock checkpoint", False: "load it with load_shrunk", None: "a policy of skipping"}


def shrink(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to make; with several budgets, a folder METHOD-BUDGET in it for each.")
    ],
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            help="Text to calibrate on, FILE or LABEL=FILE (image=captions.txt, graph=facts.txt); repeat for more. "
            "FILE alone is labelled text.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="prune: drop experts. merge: average those that do alike. skip: leave out unimportant expert calls. "
            "mixed: store experts in few bits, each in its own number.",
        ),
    ] = "prune",
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            "--budgets",
            help="Share of experts to keep (prune, merge), share of expert calls to run (skip), or stored bits per "
            "expert weight, scales counted (mixed). Several at once: 0.9,0.75,0.5. [default: 0.75, or 4.5 for mixed]",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="Text to judge on, as --text; without it a part of --text is held out."),
    ] = None,
    criterion: Annotated[
        str,
        typer.Option("--criterion", help="Of prune: gate_mass, frequency, output_mass, reap, leave_one_out or random."),
    ] = "gate_mass",
    stock: Annotated[
        bool,
        typer.Option(
            "--stock", help="Of prune and merge: as many experts in each layer, so that transformers loads the folder."
        ),
    ] = False,
    dense: Annotated[
        str | None,
        typer.Option("--dense", help="A dense model of the same tokenizer to stand beside, named as MODEL."),
    ] = None,
    bits: Annotated[str, typer.Option("--bits", help="Of mixed: the choices; 0 is to prune.")] = "2,3,4,8",
    compensate: Annotated[
        bool, typer.Option("--compensate/--round", help="Of mixed: spread rounding errors (GPTQ), or round to nearest.")
    ] = True,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of tokens of each label to calibrate on.")] = 64,
    held_out_rows: Annotated[int, typer.Option("--held-out-rows", min=1, help="Rows of each label to judge on.")] = 8,
    length: Annotated[int, typer.Option("--length", min=8, help="Tokens per row.")] = 128,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="File to keep the calibration in, for other methods and budgets. Without it an interrupted run goes "
            "on where it was, and nothing is kept after it.",
        ),
    ] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Time each result beside the original.")] = True,
    plot: Annotated[Path | None, typer.Option("--plot", help="Picture of quality against size to write.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prune, merge, skip or quantise the experts of a model, and report size, quality and speed before and after.

    Every result stands beside the original and beside baselines of its size: a random choice, or one precision for all.
    """
    with model_failures_explained(as_json=as_json):
        from moe_backbone.smaller.report import plot as draw
        from moe_backbone.smaller.runs import ShrinkRequest
        from moe_backbone.smaller.runs import shrink as run
        from moe_backbone.smaller.surgery import ShrinkError

        request = ShrinkRequest(
            model=model_folder(context, model),
            out=out,
            method=method,
            budgets=_numbers(budgets or ["4.5" if method == "mixed" else "0.75"], option="--budget"),
            texts=_read_texts(text),
            held_out=_read_texts(held_out) if held_out else None,
            criterion=criterion,
            stock=stock,
            dense=None if dense is None else model_folder(context, dense),
            bits=tuple(int(value) for value in _numbers([bits], option="--bits")),
            compensate=compensate,
            rows=rows,
            held_out_rows=held_out_rows,
            length=length,
            seed=seed,
            calibration=calibration,
            measure_speed=speed,
        )
        try:
            with progress("shrinking", quiet=as_json) as bar:
                report = run(request, on_progress=_Steps(bar))
            if plot is not None:
                draw(report, plot)
        except ShrinkError as error:
            raise ModelError(str(error)) from error
    if as_json:
        print_json(report.to_mapping())
        return
    _show(report)
    if plot is not None:
        console().print(f"picture: {plot}", markup=False, soft_wrap=True)


class _Steps:
    """Moves a bar through stages that have steps of their own."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._stage = ""
        self._done = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or done < self._done:
            self._bar.advance(stage, steps=-self._done)
            self._bar.set_total(total)
            self._stage, self._done = stage, 0
        self._bar.advance(stage, steps=done - self._done)
        self._done = done


def _numbers(values: list[str], *, option: str) -> tuple[float, ...]:
    words = [word for value in values for word in value.replace(",", " ").split()]
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise InputError(f"{option} takes numbers, as in 0.9,0.75,0.5; got {' '.join(words)!r}.") from None


def _read_texts(values: list[str]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for value in values:
        label, equals, name = value.partition("=")
        if not equals or Path(value).is_file():
            label, name = _TEXT, value
        texts.setdefault(label, []).append(read_text(Path(name)))
    return texts


def _show(report: ShrinkReport) -> None:
    rows = [row.cells(report.method) for row in report.rows]
    print_table(f"{report.method}, on held-out text", report.columns, rows, right=report.columns[2:])
    labels = [cells for row in report.rows for cells in row.label_cells()]
    if len({cells[2] for cells in labels}) > 1:
        columns = ("model", "budget", "label", "tokens", "perplexity", "KL")
        print_table("by label", columns, labels, right=columns[3:])
    out = console()
    for row in report.rows:
        if row.folder is not None:
            kind = _KINDS[row.stock]
            size = f", {human_bytes(row.disk_bytes)} of weights" if row.disk_bytes else ""
            out.print(f"written: {row.folder} ({kind}{size})", markup=False, soft_wrap=True)
    for note in report.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    speed = report.rows[0].speed
    if speed is not None:
        out.print(
            f"speed: the original reads {speed.prefill_per_s:.0f} and writes {speed.decode_per_s:.1f} tokens a second; "
            f"the others over it, timed in turns ({report.hardware})",
            markup=False,
            soft_wrap=True,
        )

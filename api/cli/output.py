"""Printing: one place for tables, JSON, errors and the terminal they go to.

Layer: ``api.cli``; rich, loaded when something is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from kg.errors import MmkgError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from generation.completion.progress import EpochProgress, ProgressCallback

__all__ = [
    "ProgressBar",
    "console",
    "failures_explained",
    "human_bytes",
    "print_json",
    "print_table",
    "progress",
    "training_progress",
]


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output (or error) as it is now, so tests and pipes see what is printed."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document, UTF-8, to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """Print a table.

    :param title: The line above it; empty for none.
    :param columns: Headings.
    :param rows: Cells, as many as there are headings.
    :param right: Headings of the columns that are set flush right (numbers).
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console().print(table)


def human_bytes(size: float) -> str:
    """Write a size for people: ``91.6 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@contextmanager
def failures_explained(*, as_json: bool = False) -> Iterator[None]:
    """Turn an explainable error into a message and exit status 1; anything else is a bug and keeps its traceback.

    :param as_json: Print ``{"error": {"code", "message"}}`` to standard output instead of text to standard error.
    :yields: Nothing.
    :raises typer.Exit: With status 1 after an :class:`MmkgError`.
    """
    try:
        yield
    except MmkgError as error:
        if as_json:
            print_json({"error": {"code": error.code, "message": str(error)}})
        else:
            from rich.markup import escape

            console(stderr=True).print(f"[bold red]error[/] ({error.code}): {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        console(stderr=True).print(
            "[yellow]interrupted[/]: what was finished is kept; run the command again, or `mmkg jobs resume`, to go on."
        )
        raise typer.Exit(130) from error


class ProgressBar:
    """A bar that is told its total when that is known, and each step when it is done."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def set_total(self, total: int) -> None:
        """Say how many steps there are."""
        self._bar.update(self._task, total=total)

    def advance(self, label: str = "", steps: int = 1) -> None:
        """Move the bar, and show what was just finished."""
        self._bar.update(self._task, advance=steps, label=label[-48:])

    def move_to(self, done: int, total: int, label: str = "") -> None:
        """Set how many steps are done, of how many, and by what."""
        self._bar.update(self._task, completed=done, total=total, label=label[-48:])


@contextmanager
def progress(description: str, *, total: int | None = None, quiet: bool = False) -> Iterator[ProgressBar]:
    """Show a progress bar on standard error while the block runs; nothing where that is not a terminal.

    :param description: What is being done.
    :param total: How many steps there are; ``None`` if it is not known yet.
    :param quiet: Show nothing (``--json``, or ``--quiet``).
    :yields: The bar.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    terminal = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[label]}", markup=False),
    )
    with Progress(*columns, console=terminal, disable=quiet or not terminal.is_terminal, transient=True) as bar:
        yield ProgressBar(bar, bar.add_task(description, total=total, label=""))


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[ProgressCallback]:
    """Show how a link predictor is trained, if it is; what is yielded is to be told each epoch."""
    with progress("training", quiet=quiet) as bar:
        yield lambda epoch: bar.advance(_epoch_line(epoch))


def _epoch_line(epoch: EpochProgress) -> str:
    """Say in a few words how an epoch of a link predictor went, or a round in which its gate is fitted."""
    mrr = "" if epoch.valid_mrr is None else f", valid MRR {epoch.valid_mrr:.3f}"
    part = ", all of train" if epoch.is_refit else ""
    done = "validation answered" if epoch.loss is None else f"loss {epoch.loss:.3f}"
    return f"{epoch.expert} {epoch.epoch}{part}: {done}{mrr}"

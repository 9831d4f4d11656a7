"""What `mmkg ingest` and `mmkg jobs resume` share: progress by stage, Ctrl-C that keeps the record whole, the report.

Layer: ``api.cli``; rich, loaded when something is shown.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import typer

from api.cli.output import console, human_bytes, print_json, print_table

if TYPE_CHECKING:
    from kg.ingest import Cancellation, IngestProgress
    from kg.types import IngestReport

__all__ = ["Interruptible", "report_ingest", "shown_progress"]

_LINE_EVERY_S = 15.0
_NAMED_AFTER_S = 20.0
"""A run that took longer says the name of its job: shorter ones are simply run again."""


class Interruptible:
    """Turns the first Ctrl-C into a wish to end after the file at hand, and lets a second one interrupt at once.

    :param job_id: The job, to name in the message; it may become known later (:attr:`job_id`).
    :param workspace: The workspace, to name in the message.
    """

    def __init__(self, job_id: str = "", *, workspace: str) -> None:
        from kg.ingest import Cancellation

        self.job_id = job_id
        self._workspace = workspace
        self._wish = Cancellation()
        self._before: Any = None

    def __enter__(self) -> Cancellation:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._asked)
        return self._wish

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _asked(self, _signal: int, _frame: FrameType | None) -> None:
        if self._wish.is_cancelled():
            raise KeyboardInterrupt
        self._wish.cancel()
        sys.stderr.write("\nending after the file at hand (Ctrl-C again to end at once) …\n")


@contextmanager
def shown_progress(*, total: int | None = None, is_quiet: bool) -> Iterator[Callable[[IngestProgress], None]]:
    """Show the stages while the block runs: a line each on a terminal, else a line of text now and then.

    :param total: How many files there are; the steps say so too.
    :param is_quiet: Show nothing (``--json``, or ``--quiet``).
    :yields: What is told the steps, from any thread.
    """
    terminal = console(stderr=True)
    if is_quiet:
        yield lambda _: None
        return
    if not terminal.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=terminal, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: IngestProgress) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=total)
            note = step.name[-40:] if step.stage == "parse" else _note(step)
            bars.update(tasks[step.stage], completed=step.done, total=step.total or total, note=note)

        for stage in ("parse", "caption", "extract", "encode", "store"):
            tasks[stage] = bars.add_task(stage, total=total, note="")
        yield show


def _note(step: IngestProgress) -> str:
    if step.stage == "caption":
        return f"{step.n_pictures} pictures"
    if step.stage == "extract":
        return f"{step.n_pages} pages, {human_bytes(step.n_bytes)}"
    if step.stage == "store" and step.eta_s is not None:
        return f"{_duration(step.eta_s)} left" if step.eta_s else ""
    return ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Lines:
    """Writes a line to standard error every quarter of a minute: for logs."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_EVERY_S

    def __call__(self, step: IngestProgress) -> None:
        if step.stage != "store" or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_EVERY_S
        left = "" if step.eta_s is None else f", {_duration(step.eta_s)} left"
        sys.stderr.write(
            f"{step.done} of {step.total or '?'} files, {step.n_pages} pages, {step.n_pictures} pictures{left}\n"
        )
        sys.stderr.flush()


def report_ingest(report: IngestReport, job_id: str, *, workspace: str, quiet: bool, as_json: bool) -> None:
    """Print what an ingest did, and end the command with the status that says so.

    :param report: What it did.
    :param job_id: Its job.
    :param workspace: Where.
    :param quiet: Print failures only.
    :param as_json: Print JSON.
    :raises typer.Exit: With status 130 if it was cancelled, else 1 if a file failed.
    """
    if as_json:
        from api.payloads import report_payload

        print_json({"job_id": job_id, **report_payload(report)})
    else:
        _print_report(report, job_id, workspace=workspace, quiet=quiet)
    if report.is_cancelled:
        raise typer.Exit(130)
    if report.n_failed:
        raise typer.Exit(1)


def _print_report(report: IngestReport, job_id: str, *, workspace: str, quiet: bool) -> None:
    out = console()
    if not quiet:
        rows = [
            (o.name, o.status, o.n_pages, o.n_assets, o.n_chunks, o.n_mentions, o.n_triples, f"{o.seconds:.1f}")
            for o in report.outcomes
            if not o.message
        ]
        columns = ("file", "outcome", "pages", "pictures", "chunks", "mentions", "statements", "s")
        if rows:
            print_table("", columns, rows, right=columns[2:])
    for line in _messages(report, failures_only=quiet):
        out.print(line, markup=False, soft_wrap=True)
    for warning in report.warnings:
        console(stderr=True).print(f"warning: {warning}", markup=False, soft_wrap=True, style="yellow")
    if not quiet:
        kept = len(report.outcomes) - report.n_failed
        out.print(f"{kept} of {len(report.outcomes)} files are in workspace {workspace!r} ({report.seconds:.1f} s).")
    if report.is_cancelled:
        out.print(f"cancelled: resume with `mmkg jobs resume {job_id} -w {workspace}`", markup=False)
    elif report.n_failed and not quiet:
        out.print(f"job {job_id}: try what failed again with `mmkg jobs retry {job_id} -w {workspace}`", markup=False)
    elif report.seconds > _NAMED_AFTER_S and not quiet:
        out.print(f"job {job_id}", markup=False)


def _messages(report: IngestReport, *, failures_only: bool) -> list[str]:
    """One line a file that has something to say; files with the same message, such as a full disk, share a line."""
    outcomes_of: dict[tuple[str, str], list[str]] = {}
    for outcome in report.outcomes:
        if outcome.message and (outcome.status == "failed" or not failures_only):
            outcomes_of.setdefault((outcome.status, outcome.message), []).append(outcome.name)
    lines = []
    for (status, message), names in outcomes_of.items():
        if len(names) > 1:
            lines.append(f"{status} {len(names)} files, {names[0]} to {names[-1]}: {message}")
        else:
            lines.append(f"{status} {message if message.startswith(names[0]) else f'{names[0]}: {message}'}")
    return lines

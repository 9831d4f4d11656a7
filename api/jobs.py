"""The jobs of all workspaces: made of paths or uploads, run in this process, and asked of afterwards.

Layer: ``api``. What a job is stands in :mod:`kg.jobs`. The process that runs one is known by host, process id and start
time (:mod:`api.processes`), so a job whose process was killed is recognised at once and can be resumed.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from api.processes import is_alive, this_process
from api.uploads import keep_uploads, read_upload, upload_folder
from api.workspaces import Workspace, Workspaces
from kg.errors import InputError, NotFoundError
from kg.jobs.model import ItemState, Job, JobItem, JobState
from kg.types import FileOutcome, IngestReport, RawFile

if TYPE_CHECKING:
    from api.settings import Settings
    from kg.ingest import Cancellation, IngestPipeline, IngestProgress
    from kg.jobs import JobStore
    from kg.ports import RecordStore

__all__ = ["Found", "JobParts", "Jobs", "KindRunner"]

KindRunner = Callable[[str, str, "Cancellation | None"], IngestReport]
"""Runs a job of a workspace by id, until it ends or the end is asked for."""
_TO_RESUME = (JobState.QUEUED, JobState.RUNNING)


class Found(Protocol):
    """A file that was found and can be read when its turn comes."""

    source: str
    name: str
    root: str

    def read(self) -> Iterable[RawFile | FileOutcome]:
        """Read it: one file, the members of an archive, or the outcome that says why it cannot be read."""
        ...


class JobParts(Protocol):
    """What jobs are made of; :class:`api.wiring.Wiring` supplies it."""

    settings: Settings

    def discover(self, paths: Sequence[str | Path]) -> Sequence[Found]:
        """Find the files that paths, folders and patterns name, without reading them."""
        ...

    def reopen(self, source: str, root: str) -> Sequence[Found]:
        """Find one file again, which was found before under this root."""
        ...

    def uploaded(self, name: str, data: bytes) -> Iterable[RawFile | FileOutcome]:
        """Turn an upload into files, or into the outcome that says why it cannot be read."""
        ...

    def pipeline(self, store: RecordStore, folder: Path | None = None) -> IngestPipeline:
        """Return the road from files into one record."""
        ...

    def jobs(self, store: RecordStore) -> JobStore:
        """Return the jobs that are written down in a record."""
        ...


class Jobs:
    """The jobs of every workspace. Safe between threads.

    :param workspaces: The open workspaces.
    :param parts: What jobs are made of.
    :param follow: Brings what copies a workspace's graph up to it after a job, and returns what went wrong with that.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        parts: JobParts,
        *,
        follow: Callable[[Workspace], Sequence[str]] = lambda _: (),
    ) -> None:
        self._workspaces = workspaces
        self._parts = parts
        self._follow = follow
        self._progress: dict[tuple[str, str], dict[str, IngestProgress]] = {}
        self._live: dict[str, Sequence[Found]] = {}
        self._kinds: dict[str, KindRunner] = {}

    def add_kind(self, kind: str, run: KindRunner) -> None:
        """Say who runs the jobs of a kind that is no ingest."""
        self._kinds[kind] = run

    # ------------------------------------------------------------------ making

    def of_paths(self, workspace: str, paths: Sequence[str | Path], *, by: str) -> Job:
        """Write down a job that reads files, folders, patterns, archives or addresses.

        :param workspace: Its name; it is made if it does not exist.
        :param paths: What to read.
        :param by: Who made it: ``cli`` or ``server``; a server that starts again resumes its own.
        :returns: The job, queued.
        :raises InputError: If there are no paths.
        """
        if not paths:
            raise InputError("Nothing to ingest: name at least one file, folder or pattern.")
        opened = self._workspaces.get(workspace, create=True)
        found = self._parts.discover(paths)
        items = (
            JobItem(ordinal=place, source=one.source, name=one.name, root=one.root) for place, one in enumerate(found)
        )
        request = {"kind": "paths", "by": by, "paths": [str(path) for path in paths]}
        job = self._parts.jobs(opened.store).create(kind="ingest", request=request, items=items)
        self._live[job.job_id] = found
        return job

    def of_uploads(self, workspace: str, files: Iterable[tuple[str, BinaryIO]]) -> Job:
        """Keep uploads on disk and write down the job that reads them.

        :param workspace: Its name; it is made if it does not exist.
        :param files: Names and open streams, which are read to their end.
        :returns: The job, queued.
        :raises InputError: If there are no files, or one has no name.
        :raises LimitExceededError: If one file, or all together, are larger than allowed; nothing is kept then.
        """
        opened, settings = self._workspaces.get(workspace, create=True), self._parts.settings
        with keep_uploads(
            opened.folder, files, max_file_bytes=settings.max_upload_bytes, max_bytes=settings.max_job_bytes
        ) as (folder, names):
            items = [JobItem(ordinal=place, source=f"upload:{name}", name=name) for place, name in enumerate(names)]
            request = {"kind": "uploads", "by": "server", "folder": folder}
            return self._parts.jobs(opened.store).create(kind="ingest", request=request, items=items)

    # ------------------------------------------------------------------ running

    def run(
        self,
        workspace: str,
        job_id: str,
        *,
        on_outcome: Callable[[FileOutcome], None] = lambda _: None,
        on_progress: Callable[[IngestProgress], None] = lambda _: None,
        cancellation: Cancellation | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> IngestReport:
        """Run a job in this thread until it is done, cancelled or hopeless, and bring the indexes up to date.

        :param workspace: Its name.
        :param job_id: The job.
        :param on_outcome: Told the outcome of each file.
        :param on_progress: Told each step of each stage, from the stages' threads.
        :param cancellation: Asks for the end.
        :param config: Settings of the section ``ingest`` for this run alone.
        :returns: The outcome of every file that was tried.
        :raises NotFoundError: If there is no such job.
        :raises InputError: If a living process runs it already.
        """
        from dataclasses import replace

        from kg.jobs import JobRunner, RetryPolicy

        opened = self._workspaces.get(workspace, create=False)
        jobs = self._parts.jobs(opened.store)
        run_kind = self._kinds.get(jobs.get(job_id).kind)
        if run_kind is not None:
            return run_kind(workspace, job_id, cancellation)
        if not jobs.claim(job_id, this_process(), is_alive=is_alive):
            owner = jobs.get(job_id).owner
            raise InputError(
                f"Job {job_id} is running already (process {owner.pid if owner else '?'}). Wait for it, or end it with "
                f"`mmkg jobs cancel {job_id}`."
            )
        pipeline = self._parts.pipeline(opened.store, opened.folder)
        settings = replace(self._parts.settings.ingest, **(config or {}))
        policy = RetryPolicy(
            max_attempts=settings.max_attempts,
            backoff_s=settings.backoff_s,
            max_backoff_s=settings.max_backoff_s,
        )
        seen = self._progress.setdefault((workspace, job_id), {})

        def progressed(step: IngestProgress) -> None:
            seen[step.stage] = step
            on_progress(step)

        runner = JobRunner(
            jobs, replace(pipeline, config=settings), self._reader(opened, jobs.get(job_id)), policy=policy
        )

        try:
            report = runner.run(job_id, on_outcome=on_outcome, on_progress=progressed, cancellation=cancellation)
        finally:
            self._progress.pop((workspace, job_id), None)
            self._live.pop(job_id, None)
        self._sweep(opened, jobs.get(job_id))
        notes = opened.engine.refresh()
        return replace(report, warnings=(*report.warnings, *notes, *self._follow(opened)))

    def _reader(self, opened: Workspace, job: Job) -> Callable[[JobItem], Iterable[RawFile | FileOutcome]]:
        if job.request.get("kind") == "uploads":
            folder = upload_folder(opened.folder, job)
            return lambda item: read_upload(folder / str(item.ordinal), item, expand=self._parts.uploaded)
        live = self._live.get(job.job_id)

        def read(item: JobItem) -> Iterator[RawFile | FileOutcome]:
            found = [live[item.ordinal]] if live is not None else self._parts.reopen(item.source, item.root)
            return itertools.chain.from_iterable(one.read() for one in found)

        return read

    def _sweep(self, opened: Workspace, job: Job) -> None:
        """Delete the uploads of a job of which every file is in the record."""
        if job.request.get("kind") == "uploads" and job.counts.get(ItemState.DONE, 0) == job.n_items:
            shutil.rmtree(upload_folder(opened.folder, job), ignore_errors=True)

    # ------------------------------------------------------------------ asking

    def recent(self, workspace: str, *, limit: int = 50) -> list[Job]:
        """List the jobs of a workspace, the newest first."""
        return self._of(workspace).jobs(limit=limit)

    def get(self, workspace: str, job_id: str) -> Job:
        """Return a job, or the newest one for ``last``; raise ``NotFoundError`` if there is none."""
        jobs = self._of(workspace)
        if job_id == "last":
            newest = jobs.jobs(limit=1)
            if not newest:
                raise NotFoundError(f"Workspace {workspace!r} has no jobs yet.")
            return newest[0]
        return jobs.get(job_id)

    def items(
        self, workspace: str, job_id: str, *, states: Sequence[ItemState] = (), after: int = -1, limit: int = 100
    ) -> Sequence[JobItem]:
        """List items of a job whose ordinal is above ``after``, at most ``limit``."""
        job = self.get(workspace, job_id)
        return self._of(workspace).items(job.job_id, states=states, after=after, limit=limit)

    def progress(self, workspace: str, job_id: str) -> Sequence[IngestProgress]:
        """Return the last step of each stage of a job that runs in this process; nothing of others."""
        return tuple(dict(self._progress.get((workspace, job_id), {})).values())

    def can_be_resumed(self, job: Job) -> bool:
        """Tell whether a job has work left and no living process is at it."""
        if job.state is JobState.DONE:
            return False
        return not (job.state is JobState.RUNNING and job.owner and is_alive(job.owner, job.heartbeat_at))

    def cancel(self, workspace: str, job_id: str) -> Job:
        """Ask for the end of a job, whatever process runs it; it ends after the file it is at."""
        return self._of(workspace).ask_to_cancel(self.get(workspace, job_id).job_id, is_alive=is_alive)

    def retry(self, workspace: str, job_id: str) -> Job:
        """Set what failed, died or was cancelled to be tried again; the job is queued then.

        :param workspace: Its name.
        :param job_id: The job.
        :returns: The job.
        :raises InputError: If nothing of it failed, or a living process is at it.
        """
        jobs, job = self._of(workspace), self.get(workspace, job_id)
        if job.state is JobState.RUNNING and not self.can_be_resumed(job):
            raise InputError(f"Job {job.job_id} is running. Wait for it, or end it with `mmkg jobs cancel`.")
        if not jobs.reset(job.job_id, states=[ItemState.FAILED, ItemState.DEAD, ItemState.CANCELLED]):
            raise InputError(f"Nothing of job {job.job_id} failed, so there is nothing to try again.")
        return jobs.get(job.job_id)

    def requeue(self, workspace: str, job_id: str) -> None:
        """Queue what a server that is going down had not come to, for when it comes up again."""
        self._of(workspace).reset(job_id, states=[ItemState.CANCELLED, ItemState.PENDING])

    def forget(self, workspace: str, job_id: str) -> Job:
        """Delete the note of a job, and uploads of it that never came in; no document is touched."""
        jobs, job = self._of(workspace), self.get(workspace, job_id)
        if job.state is JobState.RUNNING and not self.can_be_resumed(job):
            raise InputError(f"Job {job.job_id} is running. End it first with `mmkg jobs cancel {job.job_id}`.")
        if job.request.get("kind") == "uploads":
            shutil.rmtree(upload_folder(self._workspaces.folder(workspace), job), ignore_errors=True)
        jobs.forget(job.job_id)
        return job

    def forget_document(self, workspace: str, document_id: str) -> None:
        """Delete what jobs say of a document that is being deleted."""
        self._of(workspace).forget_document(document_id)

    def left_by_server(self) -> list[tuple[str, str]]:
        """List the jobs, with their workspaces, that a server had taken and not finished, the oldest first."""
        left = []
        for workspace in self._workspaces.names():
            for job in reversed(self.recent(workspace, limit=1_000)):
                if job.request.get("by") == "server" and job.state in _TO_RESUME and self.can_be_resumed(job):
                    left.append((workspace, job.job_id))
        return left

    def _of(self, workspace: str) -> JobStore:
        return self._parts.jobs(self._workspaces.get(workspace, create=False).store)

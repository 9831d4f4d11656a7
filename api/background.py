"""Jobs of a server, run behind its requests: one at a time in each workspace, resumed when it starts again.

Layer: ``api``. What waits is written down in the record; here are only threads.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from api.jobs import Jobs
from kg.errors import MmkgError, StoreBusyError
from kg.ingest import Cancellation

__all__ = ["MAX_WAITING", "BackgroundJobs"]

MAX_WAITING = 100
"""Jobs that may wait in one workspace; further ones are refused until some are done. Each is many files, so a client
that sends more sends them one by one."""

_log = logging.getLogger(__name__)


class BackgroundJobs:
    """Runs jobs in a thread for each workspace.

    :param jobs: The jobs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._waiting: dict[str, int] = {}
        self._wish = Cancellation()

    def start(self) -> None:
        """Take up what an earlier server had taken and not finished."""
        for workspace, job_id in self._jobs.left_by_server():
            _log.info("going on with job %s of workspace %s", job_id, workspace)
            self.submit(workspace, job_id)

    def require_room(self, workspace: str) -> None:
        """Raise ``StoreBusyError`` if no further job of this workspace can wait."""
        if self._waiting.get(workspace, 0) >= MAX_WAITING:
            raise StoreBusyError(
                f"{MAX_WAITING} jobs wait in workspace {workspace!r} already. Send this again when some are done."
            )

    def submit(self, workspace: str, job_id: str) -> None:
        """Run a job when its turn comes."""
        with self._lock:
            if self._wish.is_cancelled():
                return  # it is written down, and the next server takes it up
            if workspace not in self._threads:
                self._threads[workspace] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"jobs-{workspace}")
            self._waiting[workspace] = self._waiting.get(workspace, 0) + 1
            future = self._threads[workspace].submit(self._run, workspace, job_id)
        future.add_done_callback(partial(self._ended, workspace, job_id))

    def stop(self) -> None:
        """End the running jobs after the files they are at, and wait for that; the next server goes on with them."""
        with self._lock:
            self._wish.cancel()
            threads = list(self._threads.values())
        for thread in threads:
            thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, workspace: str, job_id: str) -> None:
        report = self._jobs.run(workspace, job_id, cancellation=self._wish)
        if report.is_cancelled and self._wish.is_cancelled():
            self._jobs.requeue(workspace, job_id)

    def _ended(self, workspace: str, job_id: str, future: Future[None]) -> None:
        with self._lock:
            self._waiting[workspace] -= 1
        error = None if future.cancelled() else future.exception()
        if isinstance(error, MmkgError):
            _log.error("job %s of workspace %s: %s", job_id, workspace, error)
        elif error is not None:
            _log.error("job %s of workspace %s failed", job_id, workspace, exc_info=error)

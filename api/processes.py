"""Which process has a job, and whether it still lives.

Layer: ``api``; psutil.
"""

from __future__ import annotations

import socket
import time
from functools import cache

from kg.jobs.model import JobOwner

__all__ = ["SILENT_S", "is_alive", "this_process"]

SILENT_S = 60.0
"""A job of another machine that was not heard of for so long is taken to be dead; a living one is heard of each
second."""


@cache
def this_process() -> JobOwner:
    """Return who we are: as long as this process lives, no other one has this name."""
    import psutil

    process = psutil.Process()
    return JobOwner(host=socket.gethostname(), pid=process.pid, started=process.create_time())


def is_alive(owner: JobOwner, heartbeat_at: float) -> bool:
    """Tell whether the process that took a job still runs.

    :param owner: The process.
    :param heartbeat_at: When it was last heard of, in seconds since 1970.
    :returns: Whether it runs; of a process on another machine, whether it was heard of in the last minute.
    """
    import psutil

    if owner.host != this_process().host:
        return time.time() - heartbeat_at < SILENT_S
    try:
        return bool(abs(psutil.Process(owner.pid).create_time() - owner.started) < 1.0)
    except psutil.Error:
        return False

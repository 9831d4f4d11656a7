"""Uploads of jobs: kept in ``uploads/…`` of the workspace's folder, one file each, until they are in the record.

Layer: ``api``. A file's name on disk is its place in the upload: what a client calls it never touches the disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kg.errors import InputError, LimitExceededError, UnreadableFileError
from kg.jobs.model import Job, JobItem
from kg.types import FileOutcome, IngestStatus, RawFile

__all__ = ["keep_uploads", "read_upload", "upload_folder"]

_UPLOADS = "uploads"
_COPIED_AT_ONCE = 1 << 20


def upload_folder(workspace_folder: Path, job: Job) -> Path:
    """Return where the uploads of a job are."""
    return workspace_folder / _UPLOADS / str(job.request["folder"])


@contextmanager
def keep_uploads(
    workspace_folder: Path, files: Iterable[tuple[str, BinaryIO]], *, max_file_bytes: int, max_bytes: int
) -> Iterator[tuple[str, list[str]]]:
    """Copy uploads to disk; if the block that takes them over fails, they are deleted again.

    :param workspace_folder: The workspace's folder.
    :param files: Names and open streams, which are read to their end.
    :param max_file_bytes: The most bytes of one file.
    :param max_bytes: The most bytes of all.
    :yields: The name of the new folder, and the files' names by place, without any folders.
    :raises InputError: If there are no files, or one has no name.
    :raises LimitExceededError: If one file, or all together, are larger than allowed.
    """
    parent = workspace_folder / _UPLOADS
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="job-", dir=parent))
    try:
        names: list[str] = []
        total = 0
        for place, (given, stream) in enumerate(files):
            name = given.replace("\\", "/").rstrip("/").rpartition("/")[2]
            if not name:
                raise InputError(f"Upload {place + 1} has no file name. Send one such as 'report.pdf'.")
            size = 0
            with (folder / str(place)).open("wb") as out:
                while block := stream.read(_COPIED_AT_ONCE):
                    size, total = size + len(block), total + len(block)
                    _require_room(name, size, limit=max_file_bytes, setting="max_upload_bytes")
                    _require_room(name, total, limit=max_bytes, setting="max_job_bytes")
                    out.write(block)
            names.append(name)
        if not names:
            raise InputError("Nothing to ingest: send at least one file, in the form field 'files'.")
        yield folder.name, names
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_upload(
    path: Path, item: JobItem, *, expand: Callable[[str, bytes], Iterable[RawFile | FileOutcome]]
) -> Iterator[RawFile | FileOutcome]:
    """Yield the files of an upload that was kept.

    :param path: Where it was kept.
    :param item: The job's item for it.
    :param expand: Makes files of a name and bytes.
    :yields: Files, or the outcome that says why there are none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{item.name}: the upload is no longer there ({error.strerror}). Send it again."
        yield FileOutcome(
            source=item.source,
            name=item.name,
            status=IngestStatus.FAILED,
            seconds=0.0,
            error_code=UnreadableFileError.code,
            message=message,
        )
        return
    yield from expand(item.name, data)


def _require_room(name: str, size: int, *, limit: int, setting: str) -> None:
    if size > limit:
        raise LimitExceededError(
            f"{name}: more than {setting} = {limit} bytes. Send less at once, or raise MMKG_{setting.upper()}."
        )

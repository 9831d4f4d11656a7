"""Exports of several files: a folder that is whole or not there, and whose parts are found again.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.errors import InputError, StoreError

__all__ = ["MARK", "atomic_folder"]

MARK = "mmkg-export.txt"
"""The file that says that a folder is one of ours, and may be replaced."""


@contextmanager
def atomic_folder(path: Path, *, about: str) -> Iterator[Path]:
    """Give a folder beside ``path`` to write to, and move it there when the block has ended well.

    :param path: Where the folder shall lie. An empty folder or an older export there is replaced.
    :param about: What the folder holds and how it is used, for people; written to the file :data:`MARK`.
    :yields: An empty folder.
    :raises InputError: If something else lies at ``path``.
    :raises StoreError: If it cannot be written.
    """
    if path.exists() and not (path.is_dir() and ((path / MARK).is_file() or not any(path.iterdir()))):
        raise InputError(f"{path} exists and is not an older export. Give a folder that does not exist yet.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}). Choose a folder that you may write to."
        ) from error
    try:
        yield part
        (part / MARK).write_text(about, encoding="utf-8")
        part.chmod(0o755)
        _swap(part, path)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _swap(part: Path, path: Path) -> None:
    """Move the new folder into place; the old one is deleted when the new one stands."""
    if not path.exists():
        part.rename(path)
        return
    old = path.with_name(f"{part.name}-old")
    path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)

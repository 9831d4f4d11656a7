"""Files that are whole or not there.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.errors import StoreError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, and move it there when the block has ended well.

    An older file at ``path`` stays as it is until then; where the block fails, nothing is left behind.

    :param path: Where the file shall lie; its folder is made.
    :yields: An empty file with the same suffix.
    :raises StoreError: If the folder or file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}). Choose a folder that you may write to."
        ) from error
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

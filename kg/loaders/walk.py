"""Which files the paths of a command line mean: files, folders, globs; links followed only inside their folder.

Layer: ``kg``. No file is opened here but ``.mmkgignore``. Rules:

- A folder means all files below it, sorted by name; hidden files and folders are skipped, and so is what the
  ``.mmkgignore`` files of the folders on the way say (see :mod:`kg.loaders.ignore`). A path that is named itself is
  taken whether it is hidden, ignored or a link.
- A link below a folder is followed if it stays below that folder; if it leads elsewhere it is refused. Each real
  folder is entered once, so loops of links end.
- ``*``, ``?`` and ``[…]`` match within one name and do not match hidden names; ``**`` matches any number of folders and
  does not follow links to folders. A folder that a glob matches means all files below it.
- A path that exists is never read as a glob, so ``notes[1].txt`` can be named.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kg.errors import LoadError, UnreadableFileError, UnsafePathError
from kg.loaders.ignore import Ignored

__all__ = ["Found", "find_files"]

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file, as its real path and the folder it was found below, or why it cannot be taken."""

    path: Path
    root: Path
    error: LoadError | None = None


def _refused(path: Path, root: Path, error: LoadError) -> Found:
    return Found(path=path, root=root, error=error)


def _resolve(path: Path) -> Path | LoadError:
    """Return the real path of something that exists, or what is wrong with it."""
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        if path.is_symlink():
            return UnreadableFileError(f"{path}: a broken link to {os.readlink(path)}. Mend or remove it.")  # noqa: PTH115
        return UnreadableFileError(f"{path}: there is no such file or folder. Check the spelling.")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        return UnreadableFileError(f"{path}: cannot be followed ({error}).")


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


class _Walk:
    """One walk over one argument; ``entered`` holds the real folders that were seen."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entered: set[Path] = set()
        self._ignored = Ignored(root)

    def below(self, start: Path) -> Iterator[Found]:
        """Yield the files below ``start`` in the order of their names."""
        stack = [start]
        while stack:
            path = stack.pop()
            real = _resolve(path)
            if path != self._root and self._ignored.covers(path, is_folder=isinstance(real, Path) and real.is_dir()):
                continue
            if isinstance(real, LoadError):
                yield _refused(path, self._root, real)
            elif not real.is_relative_to(self._root):
                reason = f"{path}: leads to {real}, outside {self._root}. Name that place itself to read it."
                yield _refused(path, self._root, UnsafePathError(reason))
            elif not real.is_dir():
                yield Found(path=real, root=self._root)
            elif real not in self._entered:
                self._entered.add(real)
                try:
                    stack.extend(reversed(_children(real)))
                except OSError as error:
                    reason = f"{path}: the folder cannot be listed ({error.strerror})."
                    yield _refused(path, self._root, UnreadableFileError(reason))
        for unusable in self._ignored.take_errors():
            yield _refused(start, self._root, unusable)


def _match(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield what matches the components ``parts`` below ``folder``, sorted within each folder."""
    if not parts:
        yield folder
        return
    head, rest = parts[0], parts[1:]
    try:
        children = _children(folder) if _MAGIC & set(head) else []
    except OSError:
        return  # not a folder, or one that cannot be listed: nothing matches there
    if head == "**":
        yield from _match(folder, rest)
        for child in children:
            if child.is_dir() and not child.is_symlink():
                yield from _match(child, parts)
    elif _MAGIC & set(head):
        for child in children:
            if fnmatch.fnmatchcase(child.name, head) and (not rest or child.is_dir()):
                yield from _match(child, rest)
    elif (folder / head).exists() or (folder / head).is_symlink():
        yield from _match(folder / head, rest)


def _glob(pattern: Path) -> Iterator[Found]:
    parts = pattern.parts
    n_fixed = next(index for index, part in enumerate(parts) if _MAGIC & set(part))
    base = Path(*parts[:n_fixed]) if n_fixed else Path()
    root = _resolve(base)
    if isinstance(root, LoadError):
        yield _refused(pattern, base, root)
        return
    walk = _Walk(root)
    n_files = 0
    for path in _match(root, parts[n_fixed:]):
        for found in walk.below(path):
            n_files += 1
            yield found
    if n_files == 0:
        yield _refused(pattern, root, UnreadableFileError(f"{pattern}: the pattern matches no file below {root}."))


def _find(argument: Path) -> Iterator[Found]:
    exists = argument.is_symlink() or argument.exists()
    if not exists and _MAGIC & set(str(argument)):
        yield from _glob(argument)
        return
    real = _resolve(argument)
    if isinstance(real, LoadError):
        yield _refused(argument, argument.parent, real)
    elif not real.is_dir():
        yield Found(path=real, root=real.parent)
    else:
        n_files = 0
        for found in _Walk(real).below(real):
            n_files += 1
            yield found
        if n_files == 0:
            reason = f"{argument}: the folder holds no files (hidden and ignored ones are skipped)."
            yield _refused(argument, real, UnreadableFileError(reason))


def find_files(argument: str | Path) -> Iterator[Found]:
    """Yield the files that one argument of a command line means.

    :param argument: A file, a folder or a glob; ``~`` stands for the home folder.
    :yields: Files by their real paths, possibly repeated, and refusals; an argument that means no file is refused.
    """
    try:
        yield from _find(Path(argument).expanduser())
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no home folder, a zero byte
        path = Path(str(argument).replace("\0", "?"))
        yield _refused(path, path, UnreadableFileError(f"{path}: cannot be looked up ({error})."))

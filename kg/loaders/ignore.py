"""``.mmkgignore``: which files of a folder are left out, in the syntax of ``.gitignore``.

Layer: ``kg``; pathspec. A file counts for its folder and all below it; within one file the last pattern that fits
decides, and the file of a deeper folder outweighs those above it. ``!pattern`` takes back. As in Git, a file cannot be
taken back where its folder is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import LoadError, UnreadableFileError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["DEFAULT_PATTERNS", "IGNORE_FILE", "Ignored"]

IGNORE_FILE = ".mmkgignore"
DEFAULT_PATTERNS = ("__pycache__/", "node_modules/", "*.pyc", "Thumbs.db", "desktop.ini")
"""Left out everywhere unless a ``.mmkgignore`` takes them back (``!node_modules/``). Hidden names, ``.git`` among them,
are skipped before any pattern is asked."""
_MAX_BYTES = 256 * 1024
_MAX_PATTERN = 1_000  # characters


class Ignored:
    """Answers for one walk; reads each folder's file once, when the walk first asks for something in that folder.

    :param root: The folder that the walk began at; files above it do not count.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._errors: list[LoadError] = []
        self._defaults: GitIgnoreSpec | None = None

    def take_errors(self) -> list[LoadError]:
        """Return what was wrong with the files read so far, each once."""
        errors, self._errors = self._errors, []
        return errors

    def covers(self, path: Path, *, is_folder: bool) -> bool:
        """Return whether a path below the root is left out, or lies in a folder that is.

        :param path: The path, as it was walked to.
        :param is_folder: Whether it is a folder, for patterns that end in ``/``.
        :returns: Whether the walk is to pass it over.
        """
        if not path.is_relative_to(self._root):
            return False
        parts = path.relative_to(self._root).parts
        for depth in range(1, len(parts) + 1):
            if self._decides(parts[:depth], is_folder=is_folder or depth < len(parts)):
                return True
        return False

    def _decides(self, parts: tuple[str, ...], *, is_folder: bool) -> bool:
        """Ask the deepest file first; the defaults come last."""
        end = "/" if is_folder else ""
        for depth in range(len(parts) - 1, -1, -1):
            spec = self._spec(self._root.joinpath(*parts[:depth]))
            if spec is not None:
                verdict = spec.check_file("/".join(parts[depth:]) + end).include
                if verdict is not None:
                    return bool(verdict)
        if self._defaults is None:
            from pathspec import GitIgnoreSpec

            self._defaults = GitIgnoreSpec.from_lines(DEFAULT_PATTERNS)
        return bool(self._defaults.check_file("/".join(parts) + end).include)

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            self._specs[folder] = self._read(folder / IGNORE_FILE)
        return self._specs[folder]

    def _read(self, file: Path) -> GitIgnoreSpec | None:
        from pathspec import GitIgnoreSpec

        try:
            if not file.is_file():
                return None
            with file.open("rb") as stream:
                data = stream.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES} bytes")
            lines = data.decode("utf-8-sig", errors="replace").splitlines()
            return GitIgnoreSpec.from_lines(line for line in lines if len(line) <= _MAX_PATTERN)
        except (OSError, ValueError) as error:
            self._errors.append(UnreadableFileError(f"{file}: cannot be used ({error}). Nothing is left out by it."))
            return None

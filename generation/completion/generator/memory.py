"""Keep the scores of a generator while a long run lasts, so that an interrupted one goes on where it stopped.

Layer: ``generation``; NumPy. A file of JSON lines, flushed after each question: the first says
what it is of, a file of something else is begun anew, and a line that a crash cut off is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.files import write_bytes_atomically
from kg.errors import CompletionError

__all__ = ["ScoreMemory"]

_Question = tuple[int, int, int | None]


class ScoreMemory:
    """Scores by question and candidates, in a file.

    :param path: The file; made if it does not exist.
    :param about: What the scores are of: model, settings, graph. Another description starts the file anew.
    :raises CompletionError: If the file cannot be written.
    """

    def __init__(self, path: Path, *, about: Mapping[str, object]) -> None:
        self.path = path
        first = json.dumps(dict(about), sort_keys=True)
        self._scores = _read(path, first)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written again whole, so that a line that was cut off cannot swallow the next one.
            lines = [first, *(json.dumps([key, values]) for key, values in self._scores.items())]
            write_bytes_atomically(path, ("\n".join(lines) + "\n").encode())
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise CompletionError(f"{path}: cannot be written ({error.strerror}).") from error

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, question: _Question, candidates: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the scores of a question's candidates, if they are kept.

        :param question: Anchor, relation, and what was left out.
        :param candidates: Entities. *Shape:* ``(C,)``.
        :returns: Scores. *Shape:* ``(C,)``.
        """
        values = self._scores.get(_key(question, candidates))
        return None if values is None or len(values) != len(candidates) else np.array(values, dtype=np.float64)

    def put(self, question: _Question, candidates: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Keep the scores of a question's candidates.

        :param question: Anchor, relation, and what was left out.
        :param candidates: Entities. *Shape:* ``(C,)``.
        :param values: Scores. *Shape:* ``(C,)``.
        :raises CompletionError: If the file cannot be written.
        """
        key, kept = _key(question, candidates), values.tolist()
        self._scores[key] = kept
        try:
            self._stream.write(json.dumps([key, kept]) + "\n")
            self._stream.flush()
        except OSError as error:
            raise CompletionError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def close(self) -> None:
        """Close the file and leave it."""
        self._stream.close()

    def forget(self) -> None:
        """Close the file and remove it: the work is done."""
        self.close()
        self.path.unlink(missing_ok=True)


def _read(path: Path, first: str) -> dict[str, list[float]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    if lines[0] != first:
        return {}
    found: dict[str, list[float]] = {}
    for line in lines[1:]:
        try:
            key, values = json.loads(line)
            found[str(key)] = [float(value) for value in values]
        except (ValueError, TypeError):
            continue
    return found


def _key(question: _Question, candidates: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(candidates.astype("<i8").tobytes()).hexdigest()[:16]
    return f"{question[0]} {question[1]} {question[2]} {digest}"

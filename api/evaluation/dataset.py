"""Read an evaluation folder: a corpus beside ``questions.jsonl``.

Layer: ``api.evaluation``. Three layouts, told apart by what lies there, never by a name:

- ``passages.jsonl`` (``id``, ``title``, ``text``); a question's ``gold`` are passage ids;
- ``images/``; a question's ``gold`` are pictures, as ``images/NAME``;
- ``documents/``; a question has ``document`` and ``pages`` (from 1): its gold. No pages means unanswerable.

A *unit* is what is ranked and scored: a passage, a picture or a page. A chunk counts for the unit it was cut from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kg.errors import ConfigError
from kg.ids import sha256_hex
from kg.types import Chunk, RawFile
from retrieval.types import Evidence

__all__ = ["PASSAGE_MEDIA_TYPE", "EvaluationFolder", "EvaluationQuestion", "read_folder"]

PASSAGE_MEDIA_TYPE = "application/x-mmkg-passage+json"
LAYOUTS = {"passages.jsonl": "passages", "images": "pictures", "documents": "pages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationQuestion:
    """A question, the units that answer it (none: it cannot be answered) and the answers that count as right.

    ``sources`` are the kinds of evidence that the set names (``Chart``, ``Pure-text (Plain-text)``), if it names any.
    """

    question_id: str
    text: str
    gold: frozenset[str]
    answers: tuple[str, ...]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFolder:
    """A corpus and its questions. ``layout`` is ``passages``, ``pictures`` or ``pages``."""

    folder: Path
    layout: str
    questions: tuple[EvaluationQuestion, ...]

    def units_of(self, evidence: Evidence) -> tuple[str, ...]:
        """Return the units that a piece of evidence stands for (a chunk over two pages stands for both)."""
        return self.units_of_chunk(evidence.chunk, name=evidence.document.name)

    def units_of_chunk(self, chunk: Chunk, *, name: str) -> tuple[str, ...]:
        """Return the units that a chunk of the document called ``name`` stands for."""
        if self.layout == "pages":
            return tuple(f"{name}#{page}" for page in range(chunk.page_first, chunk.page_last + 1))
        return (f"images/{name}",) if self.layout == "pictures" else (name,)

    def passages(self) -> Iterator[RawFile]:
        """Yield each passage as a file of the passage media type; nothing in the other layouts."""
        if self.layout != "passages":
            return
        for line_number, row in _rows(self.folder / "passages.jsonl"):
            passage_id = str(_field(row, "id", self.folder / "passages.jsonl", line_number))
            text = str(_field(row, "text", self.folder / "passages.jsonl", line_number))
            data = json.dumps({"title": str(row.get("title") or ""), "text": text}).encode()
            yield RawFile(
                source=f"passage:{passage_id}",
                name=passage_id,
                media_type=PASSAGE_MEDIA_TYPE,
                data=data,
                sha256=sha256_hex(data),
            )

    def paths(self) -> tuple[Path, ...]:
        """Return the folder of pictures or documents to ingest; nothing for passages."""
        return (
            ()
            if self.layout == "passages"
            else (self.folder / {"pictures": "images", "pages": "documents"}[self.layout],)
        )


def read_folder(folder: Path) -> EvaluationFolder:
    """Read an evaluation folder's questions and find its layout.

    :param folder: Holds ``questions.jsonl`` and one of ``passages.jsonl``, ``images`` and ``documents``.
    :returns: The folder's questions, in file order.
    :raises ConfigError: If a file is missing or a line is malformed; the message names the line.
    """
    layouts = [layout for name, layout in LAYOUTS.items() if (folder / name).exists()]
    questions_file = folder / "questions.jsonl"
    if len(layouts) != 1 or not questions_file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise ConfigError(
            f"{folder} is not an evaluation folder: it needs questions.jsonl and exactly one of "
            f"{', '.join(LAYOUTS)}; found {found}."
        )
    questions = tuple(_question(row, questions_file, number) for number, row in _rows(questions_file))
    if not questions:
        raise ConfigError(f"{questions_file} holds no questions.")
    return EvaluationFolder(folder=folder, layout=layouts[0], questions=questions)


def _question(row: Mapping[str, Any], file: Path, line_number: int) -> EvaluationQuestion:
    if "document" in row:
        pages = _list(row, "pages", file, line_number) if row.get("pages") is not None else []
        if not all(isinstance(page, int) for page in pages):
            raise ConfigError(f"{file}, line {line_number}: 'pages' are whole numbers, got {pages!r}.")
        gold = frozenset(f"{row['document']}#{page}" for page in pages)
    else:
        gold = frozenset(str(item) for item in _list(row, "gold", file, line_number))
    answers = _list(row, "answers", file, line_number) if "answers" in row else []
    if "answers" not in row and row.get("answer") not in (None, ""):
        answers = [row["answer"]]
    return EvaluationQuestion(
        question_id=str(_field(row, "id", file, line_number)),
        text=str(_field(row, "question", file, line_number)),
        gold=gold,
        answers=tuple(str(answer) for answer in answers),
        sources=tuple(str(source) for source in (_list(row, "sources", file, line_number) if "sources" in row else ())),
    )


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except json.JSONDecodeError as error:
                raise ConfigError(f"{file}, line {number}: not JSON ({error.msg}).") from error
            except UnicodeDecodeError as error:
                raise ConfigError(f"{file}, line {number}: not UTF-8 ({error.reason}).") from error
            if not isinstance(row, dict):
                raise ConfigError(f"{file}, line {number}: expected an object, got {type(row).__name__}.")
            yield number, row


def _field(row: Mapping[str, Any], name: str, file: Path, line_number: int) -> Any:
    if name not in row:
        raise ConfigError(f"{file}, line {line_number}: the field {name!r} is missing.")
    return row[name]


def _list(row: Mapping[str, Any], name: str, file: Path, line_number: int) -> list[Any]:
    value = _field(row, name, file, line_number)
    if not isinstance(value, list):
        raise ConfigError(f"{file}, line {line_number}: {name!r} must be a list, got {value!r}.")
    return value

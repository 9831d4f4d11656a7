"""Take mutated files into a record that holds good ones, and see whether it is whole before and after.

The record holds a neighbour and the good file of the format. A mutated file comes in under a name of its own, or in the
place of the good one, and then

- if it is refused, no byte of any table may have changed;
- if it comes in, what the record gives back must be the document that was loaded;
- once it is removed (and the good file is back, where it was replaced), the record's content must be what it was.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kg.chunking import chunk_document
from kg.errors import (
    CorruptFileError,
    EmptyFileError,
    EncryptedFileError,
    FetchError,
    LimitExceededError,
    UnreadableFileError,
    UnsafePathError,
    UnsupportedFileError,
)
from kg.ingest import IngestPipeline
from kg.ingest.steps import DocumentLoader
from kg.loaders.raw import FileFailure
from kg.ports import Captioner
from kg.resolution.matcher import GraphEntityMatcher
from kg.stores.record import open_record
from kg.testing import AltTextCaptioner, CapitalisedWordExtractor, NameResolver, WordTokenizer, canonical_dump, make_raw
from kg.types import Document, FileOutcome, IngestStatus, RawFile

__all__ = ["REFUSALS", "Item", "RecordCheck", "Verdict"]

Item = RawFile | FileFailure

REFUSALS = frozenset(
    error.code
    for error in (
        CorruptFileError,
        EmptyFileError,
        EncryptedFileError,
        FetchError,
        LimitExceededError,
        UnreadableFileError,
        UnsafePathError,
        UnsupportedFileError,
    )
)
"""Codes that explain a damaged file to its user. Any other one (``internal``, ``store``, …) is a fault of ours."""
_NEIGHBOUR = "Ann Holm keeps tide tables for Kestrel."
_FILE = "record.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``ok``, a code of :data:`REFUSALS`, ``crash`` or ``partial``; the last two with what was seen."""

    result: str
    detail: str = ""


class _Remembering:
    """Loads documents and keeps them by their ids."""

    def __init__(self, loaders: DocumentLoader) -> None:
        self._loaders = loaders
        self.loaded: dict[str, Document] = {}

    def load(self, raw: RawFile) -> Document:
        document = self._loaders.load(raw)
        self.loaded[document.document_id] = document
        return document


class _Tracebacks(logging.Handler):
    """Keeps the newest traceback that the pipeline logs for a fault of the program."""

    newest = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.newest = logging.Formatter().format(record)


class RecordCheck:
    """One record, which each file must leave as it was.

    :param folder: Where it lies.
    :param loaders: Read the files.
    :param good: What the good file holds: itself, or its members.
    :param captioner: Describes pictures.
    """

    def __init__(
        self,
        folder: Path,
        loaders: DocumentLoader,
        good: Sequence[Item],
        *,
        captioner: Captioner = AltTextCaptioner(),  # noqa: B008 - without state
    ) -> None:
        self._path = folder / _FILE
        self._store = open_record(self._path, matcher=GraphEntityMatcher())
        self._loaders = _Remembering(loaders)
        self._log = _Tracebacks()
        logging.getLogger("kg.ingest").addHandler(self._log)
        self._pipeline = IngestPipeline(
            store=self._store,
            loaders=self._loaders,
            chunker=partial(chunk_document, tokenizer=WordTokenizer()),
            extractor=CapitalisedWordExtractor(),
            resolver=NameResolver(),
            captioner=captioner,
        )
        self._good = list(good)
        self._ingest([make_raw(_NEIGHBOUR, source="neighbour"), *self._good])
        self._ids = self._present()
        self._content = canonical_dump(self._store)
        self._state = self._bytes()

    def close(self) -> None:
        """Release the record."""
        logging.getLogger("kg.ingest").removeHandler(self._log)
        self._store.close()

    def take(self, items: Sequence[Item]) -> Verdict:
        """Ingest what a mutated file holds and put the record back.

        :param items: The file, or its members and their failures.
        :returns: What became of it.
        """
        self._loaders.loaded.clear()
        outcomes = self._ingest(items)
        fault = next((outcome for outcome in outcomes if outcome.error_code not in {"", *REFUSALS}), None)
        if fault is not None:
            return Verdict(result="crash", detail=f"{fault.error_code}: {fault.message}\n{self._log.newest}")
        changed = [one for one in outcomes if one.status in (IngestStatus.ADDED, IngestStatus.REPLACED)]
        if not changed:
            if self._bytes() != self._state:
                return Verdict(result="partial", detail="nothing came in, and yet the tables changed")
            known = any(outcome.status is IngestStatus.UNCHANGED for outcome in outcomes)
            return Verdict(result="ok" if known else next((one.error_code for one in outcomes), "empty"))
        if broken := self._not_as_loaded(changed):
            return Verdict(result="partial", detail=f"{broken} does not come back as it was loaded")
        self._put_back()
        if canonical_dump(self._store) != self._content:
            return Verdict(result="partial", detail="what was left after removing it differs from what was before")
        self._state = self._bytes()
        return Verdict(result="ok")

    def _ingest(self, items: Sequence[Item]) -> tuple[FileOutcome, ...]:
        given = [item if isinstance(item, RawFile) else item.outcome() for item in items]
        return self._pipeline.ingest(given).outcomes

    def _present(self) -> set[str]:
        return {info.document_id for info in self._store.documents()}

    def _not_as_loaded(self, changed: Sequence[FileOutcome]) -> str:
        """Return the name of a document that the record does not give back whole; empty where there is none.

        Of several outcomes of one source the last one counts: it replaced the others.
        """
        for outcome in {outcome.source: outcome for outcome in changed}.values():
            if self._store.document(outcome.document_id) != self._loaders.loaded.get(outcome.document_id):
                return outcome.name
        return ""

    def _put_back(self) -> None:
        if self._ids - self._present():
            self._ingest(self._good)
        for document_id in self._present() - self._ids:
            self._store.remove(document_id)

    def _bytes(self) -> str:
        """Return a hash of every row of every table."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as database:
            digest = hashlib.sha256()
            for line in database.iterdump():
                digest.update(line.encode("utf-8", "surrogatepass"))
            return digest.hexdigest()

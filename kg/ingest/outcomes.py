"""What is said of each file: the lines of an ingest report, and the one place where a fault becomes such a line.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kg.captioning.lines import NAMED_BY_FILE
from kg.errors import MmkgError, StoreError, StoreFullError
from kg.types import Document, DocumentInfo, FileOutcome, GraphDelta, IngestStatus, RawFile

__all__ = ["Failure", "attempt", "done", "failed", "not_tried", "unchanged"]

_INTERNAL = "internal"
"""The error code of a failure that no :class:`MmkgError` explains: a fault of ours or of a library."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a file did not go in; ``ends_run`` says that the record itself failed, so every other file would too."""

    code: str
    message: str
    ends_run: bool = field(default=False)


def attempt(raw: RawFile, action: Callable[[], _T]) -> _T | Failure:
    """Do something for one file, and turn whatever goes wrong into a failure of that file.

    :param raw: The file.
    :param action: What to do.
    :returns: What the action returns, or why it failed.
    """
    try:
        return action()
    except MmkgError as error:
        _log.info("could not ingest %s: %s", raw.source, error, exc_info=True)
        return Failure(code=error.code, message=str(error), ends_run=isinstance(error, StoreError))
    except Exception as error:  # noqa: BLE001 - the one boundary: a fault in one file must not lose the others
        _log.exception("could not ingest %s", raw.source)
        return _explain(raw, error)


def _explain(raw: RawFile, error: Exception) -> Failure:
    """Name a failure that is not an :class:`MmkgError`."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = f"{raw.name}: the disk is full. Free some space and run the same command again."
        return Failure(code=StoreFullError.code, message=message)
    message = (
        f"{raw.name} could not be ingested because of a fault in the program ({type(error).__name__}: {error}). "
        "Nothing of it was stored; the log has the traceback. Please report it."
    )
    return Failure(code=_INTERNAL, message=message)


def failed(raw: RawFile, failure: Failure, *, stages: Mapping[str, float]) -> FileOutcome:
    """Report a file that did not go in."""
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=IngestStatus.FAILED,
        seconds=sum(stages.values()),
        stages=dict(stages),
        error_code=failure.code,
        message=failure.message,
    )


def not_tried(raw: RawFile, *, because: FileOutcome) -> FileOutcome:
    """Report a file after one at which the record failed."""
    message = f"Not tried, because the record failed at {because.name}: {because.message}"
    return failed(raw, Failure(code=because.error_code, message=message), stages={})


def unchanged(raw: RawFile, known: DocumentInfo, *, stages: Mapping[str, float]) -> FileOutcome:
    """Report a file that is in already."""
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=IngestStatus.UNCHANGED,
        seconds=sum(stages.values()),
        stages=dict(stages),
        document_id=known.document_id,
        n_pages=known.n_pages,
        n_chunks=known.n_chunks,
        n_assets=known.n_assets,
    )


def done(raw: RawFile, delta: GraphDelta, *, status: IngestStatus, stages: Mapping[str, float]) -> FileOutcome:
    """Report a file that went in."""
    note = ""
    named = {caption.asset_id for caption in delta.captions if caption.captioner == NAMED_BY_FILE}
    if all(chunk.asset_id in named for chunk in delta.chunks):
        note = (
            f"No words were found in or on {raw.name}: a search for words finds its pictures by the file's name alone."
        )
    note = " ".join(filter(None, (note, delta.document.metadata.get("left_out", ""), _refusals(delta))))
    return FileOutcome(
        source=raw.source,
        name=raw.name,
        status=status,
        seconds=sum(stages.values()),
        stages=dict(stages),
        document_id=delta.document.document_id,
        n_pages=len(delta.document.pages),
        n_pages_with_content=_pages_with_content(delta.document),
        n_chunks=len(delta.chunks),
        n_assets=len(delta.document.assets),
        n_mentions=len(delta.extraction.mentions),
        n_triples=len(delta.extraction.triples),
        message=note,
    )


def _refusals(delta: GraphDelta) -> str:
    """Say how many statements an ontology or the check against the text kept out, with the first of them."""
    refused = delta.extraction.refused
    if not refused:
        return ""
    first = refused[0]
    return (
        f"{len(refused)} statements were refused, the first ({first.head!r}, {first.name!r}, {first.tail!r}) because "
        f"{first.reason}."
    )


def _pages_with_content(document: Document) -> int:
    """Count the pages that have words or a picture; the rest are blank, or nothing could be read on them."""
    pictured = {asset.page for asset in document.assets}
    return sum(
        page.number in pictured or bool(document.text[page.span.start : page.span.end].strip())
        for page in document.pages
    )

"""What ingest did.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.types`, whose header has the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["FileOutcome", "IngestReport", "IngestStatus"]


class IngestStatus(StrEnum):
    """What ingest did with one file."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What happened to one file.

    ``error_code`` is set when, and only when, it failed; ``message`` then says why. With a file that went in,
    ``message`` may say what a user should know of it (that it has no words to search for, say).
    ``n_pages_with_content`` counts the pages of a file that was read on which there are words or a picture. ``seconds``
    is the sum of ``stages``, the seconds of work by stage; time spent waiting for other files is in neither.
    """

    source: str
    name: str
    status: IngestStatus
    seconds: float
    document_id: str = ""
    n_pages: int = 0
    n_pages_with_content: int = 0
    n_chunks: int = 0
    n_assets: int = 0
    n_mentions: int = 0
    n_triples: int = 0
    error_code: str = ""
    message: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """The outcome of every file of one ingest, in the order they were given.

    ``is_cancelled`` says that the rest was not tried because the end was asked for. ``warnings`` say what went wrong
    beside the record, which has everything that the outcomes say it has: a graph database that could not be reached,
    say.
    """

    outcomes: tuple[FileOutcome, ...]
    seconds: float
    is_cancelled: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """Count the files that are not in the record because something went wrong."""
        return sum(outcome.status is IngestStatus.FAILED for outcome in self.outcomes)

"""The rows and change lists that are read from a record in bulk.

Layer: ``kg``; the standard library and ``kg.types``. Import these from :mod:`kg.ports`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kg.types import Modality

__all__ = ["ChangeSet", "ChunkRow", "MentionRow", "PictureRow", "TripleRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What to read again: everything named here was added, changed or removed after the version that was asked for.

    Whoever keeps something derived from the record (an index, an external graph database) reads each named thing again
    and drops those that are gone; it is then at ``version``. A document is named when it was added or removed; an
    entity when its name, type, aliases, counts, mentions or relations changed, or when it vanished. Ids are sorted.
    """

    version: int
    document_ids: tuple[str, ...] = ()
    entity_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """Where a chunk stands and of what kind it is, without its words."""

    chunk_id: str
    document_id: str
    modality: Modality
    heading: str = ""
    page_first: int = 1
    page_last: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionRow:
    """A stored mention, as graph search reads it. ``is_reference``: it refers back ("she") and names nothing itself."""

    chunk_id: str
    entity_id: str
    start: int
    end: int
    label: str = ""
    is_reference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRow:
    """A picture with the first of its chunks, which stands for it in a ranking, and the SHA-256 of its bytes."""

    chunk_id: str
    asset_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TripleRow:
    """A stored statement with its entities resolved, as graph search and completion read it."""

    triple_id: str
    chunk_id: str
    head_id: str
    name: str
    tail_id: str
    score: float
    origin: str

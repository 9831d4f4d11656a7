"""What the record says of its own entities: senses, links, decisions, each document's share, and contradictions.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.ports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kg.ports.entities import NameUse
from kg.ports.record_rows import TripleRow

__all__ = [
    "Contradiction",
    "ContradictionSide",
    "Contribution",
    "Decision",
    "DecisionKind",
    "EntityLink",
    "LinkStatus",
    "Sense",
]


class LinkStatus(StrEnum):
    """Where a link between two senses stands."""

    AUTOMATIC = "automatic"
    """The score suffices: the two are one entity, unless a decision elsewhere keeps them apart."""
    REVIEW = "review"
    """They may be one thing; a person has yet to say."""
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class DecisionKind(StrEnum):
    """What a person decided."""

    SAME = "same"
    DIFFERENT = "different"
    SPLIT = "split"
    """One name means another thing in the documents named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sense:
    """One thing that a name means, and the entity that it belongs to.

    ``names`` are the ways in which its sample of documents writes the name, the commonest first.
    """

    sense_id: str
    name_id: str
    entity_id: str
    n_documents: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityLink:
    """Two senses that are, or may be, one thing. ``decision_id`` is the decision that settled it, 0 for none.

    ``is_joined`` says whether the two are one entity now: an automatic link can be overruled where it would join two
    that a decision, or their common name, keeps apart.
    """

    left_id: str
    right_id: str
    left_entity_id: str
    right_entity_id: str
    score: float
    reasons: tuple[str, ...]
    status: LinkStatus
    decision_id: int = 0

    @property
    def is_joined(self) -> bool:
        """Whether both sides are one entity now."""
        return self.left_entity_id == self.right_entity_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's word on two names, or on one name in some documents. It outlives the documents it was taken on.

    ``left_id`` and ``right_id`` are name ids. ``left_sources`` and ``right_sources`` (hashes of documents' sources, so
    that a replaced document keeps its decisions) say which of a name's senses is meant where it has several; empty
    means the name as such. For a split, ``left_sources`` are the documents set apart, and ``right_id`` is ``left_id``.
    ``at`` and ``undone_at`` are ISO 8601, UTC; the latter is empty while the decision holds.
    """

    decision_id: int
    kind: DecisionKind
    left_id: str
    right_id: str
    left_sources: tuple[str, ...] = ()
    right_sources: tuple[str, ...] = ()
    by: str = ""
    at: str = ""
    note: str = ""
    undone_at: str = ""

    @property
    def is_active(self) -> bool:
        """Whether the decision holds."""
        return not self.undone_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one document says of one entity: how often it uses which name and label, and the statements it makes.

    The use of the empty name counts pronouns and descriptions.
    """

    document_id: str
    uses: Mapping[NameUse, int]
    n_mentions: int
    statements: tuple[TripleRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionSide:
    """One of several answers: the entity at the open end, the value it has, and the statements that say so."""

    entity_id: str
    value: str
    statements: tuple[TripleRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Statements that cannot all hold: ``entity_id`` has one partner in ``relation``, and sources name several.

    ``fixed`` is ``head`` where the entity is the head of the statements (and their tails differ), else ``tail``.
    """

    entity_id: str
    relation: str
    fixed: str
    sides: tuple[ContradictionSide, ...]

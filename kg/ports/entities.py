"""Which names mean the same thing: what the record asks of whoever decides it.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.ports`.

Three levels, each a pure function of what the documents that remain say, so that deleting a document restores exactly
the state before it, in whatever order documents came:

1. *Local entity*: everything that one document calls by one name (:func:`kg.ids.local_id`). The resolver of one
   document (:class:`kg.ports.Resolver`) decides it.
2. *Sense*: the local entities of one name that are one thing. Most names have one sense; homonyms have several.
3. *Entity*: senses of different names that are one thing (aliases), joined by links. A person may confirm or reject a
   link, and that decision outlives documents and can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kg.types import GraphDelta

__all__ = ["EntityMatcher", "EntityProfile", "LinkProposal", "LocalEntity", "NameUse"]

NameUse = tuple[str, str]
"""A surface form, white space collapsed, and the label it was used with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEntity:
    """What one document says of one name. ``features`` are sorted words that tell homonyms apart (see the matcher)."""

    local_id: str
    document_id: str
    name_id: str
    uses: Mapping[NameUse, int]
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityProfile:
    """What a sample of documents says of one sense: its names with their counts, and its features with theirs.

    The sample are the local entities of the sense among the 32 of its name that have the smallest ids (for a sense that
    a person split off, its own 32), and ``n_documents`` is its size. So a profile stays as it is while a popular thing
    wins documents, and what follows from it is not looked at again. Of the features the 64 commonest are kept, ties by
    the alphabet. Names that pronouns and descriptions stand for are not among the uses.
    """

    sense_id: str
    uses: Mapping[NameUse, int]
    features: Mapping[str, int]
    n_documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkProposal:
    """Two senses that may be one thing. ``score`` is in ``[0, 1]``; ``reasons`` are short sentences for a person.

    ``is_automatic`` says that the score suffices without a person's word; otherwise the pair waits for review.
    """

    left_id: str
    right_id: str
    score: float
    reasons: tuple[str, ...]
    is_automatic: bool


@runtime_checkable
class EntityMatcher(Protocol):
    """Decides senses and links. Every method is a pure function of its arguments and must not depend on their order.

    ``version`` names the method and its constants: a record that was resolved under another one is resolved again.
    """

    version: str

    def features(self, delta: GraphDelta) -> Mapping[str, tuple[str, ...]]:
        """Return, for each name id of a document's mentions, the words that tell what it is (sorted, each once).

        Descriptions ("painter"), companions (ids or names mentioned beside it), places and dates near it, and the
        document's subject; bounded in number for each name.
        """
        ...

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        """Cluster the local entities of one name: equal numbers mean one thing. Called with at most 33 of them.

        They are the name's sample of 32; where that has several clusters, once more with each further local entity.
        """
        ...

    def blocks(self, profile: EntityProfile) -> frozenset[str]:
        """Return the keys under which other senses are looked for: two that share none are never compared.

        Of the senses under one key, the 32 with the smallest ids are compared with each other; a key should be rare.
        """
        ...

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        """Judge a pair; ``None`` where it is not worth a person's look."""
        ...

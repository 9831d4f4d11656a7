"""Entities as sums over the documents that remain.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction of :mod:`kg.stores.record`.

An entity has no words of its own: its name, type and aliases follow from how often each of its mentions wrote which
name under which label. Each document's share is kept in ``contributions``, the sum in ``entity_names``. Writing a
document adds its share, deleting it subtracts the same share, so nothing of a deleted document can stay behind, and the
cost depends on the document alone.

Name and type are those that most mentions use; ties go to the one that sorts first, so that the outcome depends neither
on the order of documents nor on the process. A pronoun or a description ("she", "the company") is counted as a mention
and names nothing: it is kept as a use of the empty name, which no entity is called by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kg.stores.queries import in_batches
from kg.stores.rows import Values
from kg.stores.schema import contributions, entities, entity_names
from kg.types import Mention

__all__ = [
    "UNNAMED",
    "Share",
    "add_share",
    "derive_entity",
    "fold",
    "share_of",
    "stored_share",
    "subtract_share",
    "tidy",
]

Use = tuple[str, str]
"""A surface form and the label it was used with."""

UNNAMED: Use = ("", "")
"""The use of a mention that refers to its entity without naming it."""

Share = dict[str, Counter[Use]]
"""What one document says: for each entity id, how many mentions use which surface and label."""


def fold(name: str) -> str:
    """Return the form under which names are compared: white space collapsed, case folded."""
    return tidy(name).casefold()


def tidy(name: str) -> str:
    """Collapse white space, so that a name that was broken over two lines is the same name."""
    return " ".join(name.split())


def share_of(mentions: Iterable[Mention]) -> Share:
    """Count the names that a document's mentions give to each entity.

    An entity that a document never names, so that all its mentions refer to each other, is called by their own words:
    an entity without any name could not be shown.
    """
    mentions = list(mentions)
    named = {mention.entity_id for mention in mentions if not mention.refers_to}
    share: Share = defaultdict(Counter)
    for mention in mentions:
        is_name = not mention.refers_to or mention.entity_id not in named
        share[mention.entity_id][(tidy(mention.text), mention.label) if is_name else UNNAMED] += 1
    return share


def stored_share(connection: Connection, document_id: str) -> Share:
    """Read back what a document contributed."""
    table = contributions.c
    rows = connection.execute(
        select(table.entity_id, table.surface, table.label, table.n_mentions).where(table.document_id == document_id)
    )
    share: Share = defaultdict(Counter)
    for entity_id, surface, label, count in rows:
        share[entity_id][(surface, label)] = count
    return share


def add_share(connection: Connection, share: Share, *, document_id: str) -> None:
    """Add a new document's share to the sums, and store it for its deletion."""
    _change(connection, share, sign=1)
    rows = [
        {"document_id": document_id, "entity_id": entity_id, "surface": surface, "label": label, "n_mentions": count}
        for entity_id, uses in share.items()
        for (surface, label), count in uses.items()
    ]
    if rows:
        connection.execute(insert(contributions), rows)


def subtract_share(connection: Connection, share: Share) -> None:
    """Subtract the share of a document whose rows are gone already; entities that nobody mentions now go too."""
    _change(connection, share, sign=-1)


def derive_entity(entity_id: str, uses: Mapping[Use, int], *, n_documents: int) -> Values:
    """Make the row of ``entities`` that follows from the names in use.

    :param entity_id: The entity.
    :param uses: Mentions by surface and label, at least one, every count > 0.
    :param n_documents: Documents that mention it.
    :returns: The row.
    """
    names: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for (surface, label), count in uses.items():
        if (surface, label) != UNNAMED:
            names[surface] += count
            labels[label] += count
    ranked = _by_count(names)
    return {
        "entity_id": entity_id,
        "name": ranked[0],
        "type": _by_count(labels)[0],
        "aliases": ranked[1:],
        "n_mentions": sum(uses.values()),
        "n_documents": n_documents,
    }


def _by_count(counter: Counter[str]) -> list[str]:
    return [text for text, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]


@dataclass(slots=True)
class _Changes:
    """Rows to write, gathered over all entities, so that each kind is one batch."""

    new_names: list[Values] = field(default_factory=list)
    changed_names: list[Values] = field(default_factory=list)
    gone_names: list[Values] = field(default_factory=list)
    new_entities: list[Values] = field(default_factory=list)
    changed_entities: list[Values] = field(default_factory=list)
    gone_entities: list[str] = field(default_factory=list)


def _change(connection: Connection, share: Share, *, sign: int) -> None:
    ids = sorted(share)
    uses = _stored_uses(connection, ids)
    n_documents: dict[str, int] = {}
    for batch in in_batches(ids):
        known = select(entities.c.entity_id, entities.c.n_documents).where(entities.c.entity_id.in_(batch))
        n_documents.update((row.entity_id, row.n_documents) for row in connection.execute(known))
    changes = _Changes()
    for entity_id in ids:
        before = uses.get(entity_id, {})
        after = dict(before)
        for use, count in share[entity_id].items():
            after[use] = after.get(use, 0) + sign * count
        _compare(entity_id, before, after, changes)
        remaining = {use: count for use, count in after.items() if count > 0}
        if not remaining:
            changes.gone_entities.append(entity_id)
            continue
        row = derive_entity(entity_id, remaining, n_documents=n_documents.get(entity_id, 0) + sign)
        (changes.changed_entities if before else changes.new_entities).append(row)
    _write(connection, changes)


def _stored_uses(connection: Connection, ids: list[str]) -> dict[str, dict[Use, int]]:
    table = entity_names.c
    uses: dict[str, dict[Use, int]] = defaultdict(dict)
    for batch in in_batches(ids):
        rows = connection.execute(
            select(table.entity_id, table.surface, table.label, table.n_mentions).where(table.entity_id.in_(batch))
        )
        for entity_id, surface, label, count in rows:
            uses[entity_id][(surface, label)] = count
    return uses


def _compare(entity_id: str, before: Mapping[Use, int], after: Mapping[Use, int], changes: _Changes) -> None:
    for (surface, label), count in after.items():
        old = before.get((surface, label), 0)
        if count == old:
            continue
        key = {"k_entity": entity_id, "k_surface": surface, "k_label": label}
        if count <= 0:
            changes.gone_names.append(key)
        elif old:
            changes.changed_names.append({**key, "n_mentions": count})
        else:
            changes.new_names.append(
                {
                    "entity_id": entity_id,
                    "surface": surface,
                    "label": label,
                    "folded": fold(surface),
                    "n_mentions": count,
                }
            )


_THIS_NAME = (
    (entity_names.c.entity_id == bindparam("k_entity"))
    & (entity_names.c.surface == bindparam("k_surface"))
    & (entity_names.c.label == bindparam("k_label"))
)


def _write(connection: Connection, changes: _Changes) -> None:
    """Write entities before their names, which refer to them."""
    if changes.new_entities:
        connection.execute(insert(entities), changes.new_entities)
    if changes.changed_entities:
        this_entity = entities.c.entity_id == bindparam("k_entity")
        rows = [{"k_entity": row.pop("entity_id"), **row} for row in changes.changed_entities]
        connection.execute(update(entities).where(this_entity), rows)
    if changes.new_names:
        connection.execute(insert(entity_names), changes.new_names)
    if changes.changed_names:
        connection.execute(update(entity_names).where(_THIS_NAME), changes.changed_names)
    if changes.gone_names:
        connection.execute(delete(entity_names).where(_THIS_NAME), changes.gone_names)
    for batch in in_batches(changes.gone_entities):
        connection.execute(delete(entities).where(entities.c.entity_id.in_(batch)))

"""Find entities by what people call them.

Layer: ``kg``; RapidFuzz (MIT) for the fuzzy part, over all names of the record in memory.

Names are found in four tiers, best first: the same name, the same but for case and white space, the same as an alias,
and nearly the same. The first three are one index look-up. The fourth compares the folded query with every folded name
in the record, which are read once and kept until the record's version changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rapidfuzz import fuzz, process
from sqlalchemy import Connection, select

from kg.stores.queries import rows_by_id
from kg.stores.rows import to_entity
from kg.stores.schema import entities, entity_names, meta
from kg.types import Entity

__all__ = ["NameFinder", "fold", "tidy"]

_CUTOFF = 75.0
"""The least similarity, in percent, of a name that is "nearly so": for "Curie" (5 letters) "Currie" has 91 and passes,
"Curry" has 60 and does not. Lower values bring names that share little more than an ending."""

_PART_WEIGHT = 0.9
"""What a name that shares all its words with a longer one ("Curie" in "Marie Curie") is worth beside an equal one."""

_SHORTEST_FUZZY = 3
"""Folded queries of fewer characters are not compared fuzzily: with two letters everything is near."""


def fold(name: str) -> str:
    """Return the form under which names are compared: white space collapsed, case folded."""
    return tidy(name).casefold()


def tidy(name: str) -> str:
    """Collapse white space, so that a name that was broken over two lines is the same name."""
    return " ".join(name.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """All folded names of one version of the record, and whose they are."""

    version: int
    folded: list[str]
    owners: list[str]


class NameFinder:
    """Looks names up in one record; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: _Names | None = None

    def find(self, connection: Connection, name: str, *, limit: int, where: str) -> list[Entity]:
        """Return up to ``limit`` entities called ``name`` or nearly so.

        :param connection: A connection in a read transaction.
        :param name: What to look for.
        :param limit: The most entities to return.
        :param where: The record as a user knows it, for messages.
        :returns: Entities by tier; within one, those with more mentions first (in the fuzzy tier, the more similar
            first), ties by id.
        """
        wanted = fold(name)
        if not wanted:
            return []
        query = select(entity_names.c.entity_id).where(entity_names.c.folded == wanted).distinct()
        ids = [row.entity_id for row in connection.execute(query)]
        called = [to_entity(row) for row in rows_by_id(connection, entities, ids, kind="entity", where=where)]
        called.sort(key=lambda entity: (_tier(entity, tidy(name)), -entity.n_mentions, entity.entity_id))
        if len(called) >= limit or len(wanted) < _SHORTEST_FUZZY:
            return called[:limit]
        near = self._nearly(connection, wanted, n=limit - len(called), known=set(ids))
        return called + [to_entity(row) for row in rows_by_id(connection, entities, near, kind="entity", where=where)]

    def _nearly(self, connection: Connection, wanted: str, *, n: int, known: set[str]) -> list[str]:
        names = self._current(connection)
        best: dict[str, tuple[float, float]] = {}
        for scorer, weight in ((fuzz.ratio, 1.0), (fuzz.token_set_ratio, _PART_WEIGHT)):
            for owner, folded, score in _matches(names, wanted, scorer=scorer, cutoff=_CUTOFF / weight):
                if owner not in known:
                    # Of names that contain the same words, the one that says least besides stands first.
                    similarity = (score * weight, fuzz.ratio(wanted, folded))
                    best[owner] = max(best.get(owner, similarity), similarity)
        return sorted(best, key=lambda owner: (-best[owner][0], -best[owner][1], owner))[:n]

    def _current(self, connection: Connection) -> _Names:
        version = connection.execute(select(meta.c.version)).scalar_one()
        with self._lock:
            if self._names is None or self._names.version != version:
                query = (
                    select(entity_names.c.folded, entity_names.c.entity_id)
                    .where(entity_names.c.folded != "")
                    .distinct()
                )
                pairs = sorted((row.folded, row.entity_id) for row in connection.execute(query))
                self._names = _Names(
                    version=version, folded=[folded for folded, _ in pairs], owners=[owner for _, owner in pairs]
                )
            return self._names


def _tier(entity: Entity, name: str) -> int:
    if entity.name == name:
        return 0
    return 1 if fold(entity.name) == fold(name) else 2


def _matches(
    names: _Names, wanted: str, *, scorer: Callable[..., float], cutoff: float
) -> list[tuple[str, str, float]]:
    found = process.extract(wanted, names.folded, scorer=scorer, limit=None, score_cutoff=cutoff)
    return [(names.owners[position], folded, score) for folded, score, position in found]

"""What a matcher sees of a sense, and under which keys it looks for others.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction.

A profile is made of the sense's share of its name's sample (:mod:`kg.stores.senses`), so it stays as it is while a
popular name wins documents, and nothing that follows from it has to be looked at again.

A block's *window* are its :data:`WINDOW` senses with the smallest ids: only they are compared with each other. A key
that more senses share than that says little of any of them, and the cost of one more stays bounded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from kg.ports import EntityMatcher, EntityProfile
from kg.stores.locals import UNNAMED, Local
from kg.stores.naming_tables import block_windows, blocks, senses
from kg.stores.queries import among, run
from kg.stores.rows import Values
from kg.stores.senses import Regrouped

__all__ = ["WINDOW", "Profiled", "candidates", "make_profile", "read_profiles", "save_profiles", "sense_row"]

WINDOW = 32
"""Senses of a block that are compared with each other."""

_FEATURES = 64
"""Features that a profile keeps: the commonest, ties by the alphabet, so that reading one costs the same always."""

_LAST = "~"
"""Sorts after every id: the window of a block that has fewer senses than a window holds."""


_S, _B, _W = senses.c, blocks.c, block_windows.c
_PROFILES = select(_S.sense_id, _S.name_id, _S.profile).where(among(_S.sense_id))
_COUNTS = select(_S.sense_id, _S.n_documents).where(among(_S.sense_id))
_INSERT, _DROP = insert(senses), delete(senses).where(among(_S.sense_id))
_THIS = _S.sense_id == bindparam("k_sense")
_COUNT = update(senses).where(_THIS).values(n_documents=bindparam("n_documents"))
_PROFILE = update(senses).where(_THIS).values(n_documents=bindparam("n_documents"), profile=bindparam("profile"))
_BLOCKS_OF_SENSES = select(_B.block, _B.sense_id).where(among(_B.sense_id))
_IN_WINDOWS = (
    select(_B.block, _B.sense_id)
    .join(block_windows, _W.block == _B.block)
    .where(among(_W.block), _B.sense_id <= _W.last)
)
_LEAVE = delete(blocks).where((_B.block == bindparam("k_block")) & (_B.sense_id == bindparam("k_sense")))
_JOIN, _OPEN = insert(blocks), insert(block_windows)
_KNOWN_WINDOWS = select(_W.block).where(among(_W.block))
_LAST_IN_WINDOW = (
    select(_B.sense_id)
    .where(_B.block == _W.block)
    .order_by(_B.sense_id)
    .limit(1)
    .offset(WINDOW - 1)
    .correlate(block_windows)
    .scalar_subquery()
)
_SHIFT = update(block_windows).where(among(_W.block)).values(last=func.coalesce(_LAST_IN_WINDOW, _LAST))
_CLOSE = delete(block_windows).where(
    among(_W.block), ~exists(select(_B.block).where(_B.block == _W.block).correlate(block_windows))
)


@dataclass(slots=True)
class Profiled:
    """Which senses have to be compared again."""

    changed: set[str] = field(default_factory=set)
    """Senses with another profile, or new ones."""
    shifted: set[str] = field(default_factory=set)
    """Senses that came into a window or fell out of one."""


def make_profile(sense_id: str, speakers: Sequence[Local]) -> EntityProfile:
    """Sum up what the local entities that speak for a sense say.

    :param sense_id: The sense.
    :param speakers: At least one local entity of it.
    :returns: Its profile; the order of the speakers does not matter.
    """
    uses: Counter[tuple[str, str]] = Counter()
    features: Counter[str] = Counter()
    for local in speakers:
        for use, count in local.uses.items():
            uses[use] += count
        features.update(local.features)
    del uses[UNNAMED]
    kept = sorted(features.items(), key=lambda item: (-item[1], item[0]))[:_FEATURES]
    return EntityProfile(
        sense_id=sense_id, uses=dict(sorted(uses.items())), features=dict(sorted(kept)), n_documents=len(speakers)
    )


def sense_row(profile: EntityProfile, members: Sequence[Local]) -> Values:
    """Make the row of ``senses`` of a name that means one thing and is one entity."""
    name_id = members[0].name_id
    return {
        "sense_id": profile.sense_id,
        "name_id": name_id,
        "entity_id": name_id,
        "n_documents": len(members),
        "profile": _to_json(profile),
    }


def _to_json(profile: EntityProfile) -> list[object]:
    uses = [[surface, label, count] for (surface, label), count in profile.uses.items()]
    return [uses, [[feature, count] for feature, count in profile.features.items()], profile.n_documents]


def _to_profile(sense_id: str, stored: Sequence[object]) -> EntityProfile:
    uses, features, n_documents = stored
    return EntityProfile(
        sense_id=sense_id,
        uses={(surface, label): count for surface, label, count in uses},  # type: ignore[attr-defined]
        features=dict(features),  # type: ignore[call-overload]
        n_documents=n_documents,  # type: ignore[arg-type]
    )


def profile_names(stored: Sequence[Any]) -> tuple[str, ...]:
    """Return the surface forms of a stored profile, the commonest first, ties by the alphabet."""
    counts: Counter[str] = Counter()
    for surface, _, count in stored[0]:
        counts[surface] += count
    return tuple(sorted(counts, key=lambda surface: (-counts[surface], surface)))


def read_profiles(connection: Connection, wanted: Iterable[str]) -> dict[str, tuple[str, EntityProfile]]:
    """Return the name id and the profile of each of these senses."""
    rows = run(connection, _PROFILES, wanted)
    return {sense_id: (name_id, _to_profile(sense_id, stored)) for sense_id, name_id, stored in rows}


def save_profiles(connection: Connection, matcher: EntityMatcher, regrouped: Regrouped) -> Profiled:
    """Write the rows of ``senses`` that regrouping changed, and their blocks.

    :param connection: A connection in a write transaction.
    :param matcher: Says the keys of a profile.
    :param regrouped: What became of the senses.
    :returns: Which senses have to be compared again.
    """
    looked_at = {*regrouped.counts, *regrouped.count_changes}
    stored = dict(run(connection, _COUNTS, looked_at))
    # A profile is made of no more documents than its sense had: where more speak for it now, it is another one.
    maybe_same = [key for key, found in regrouped.speakers.items() if len(found) <= stored.get(key, 0)]
    known = {row.sense_id: row.profile for row in run(connection, _PROFILES, maybe_same)}
    result = Profiled()
    keys: dict[str, frozenset[str]] = dict.fromkeys(regrouped.vanished, frozenset())
    new: list[Values] = []
    counted: list[Values] = []
    profiled: list[Values] = []
    for sense_id in sorted(looked_at):
        written = None
        if sense_id in regrouped.speakers:
            profile = make_profile(sense_id, regrouped.speakers[sense_id])
            written = _to_json(profile)
            if written != known.get(sense_id):
                keys[sense_id] = matcher.blocks(profile)
                result.changed.add(sense_id)
        old = stored.get(sense_id)
        n_documents = _count(sense_id, old, regrouped)
        if old is None:
            row = {"sense_id": sense_id, "name_id": regrouped.name_of[sense_id], "entity_id": ""}
            new.append({**row, "n_documents": n_documents, "profile": written})
        elif sense_id in result.changed:
            profiled.append({"k_sense": sense_id, "n_documents": n_documents, "profile": written})
        elif old != n_documents:
            counted.append({"k_sense": sense_id, "n_documents": n_documents})
    for statement, rows in ((_INSERT, new), (_COUNT, counted), (_PROFILE, profiled)):
        if rows:
            connection.execute(statement, rows)
    run(connection, _DROP, regrouped.vanished)
    result.shifted = _save_blocks(connection, keys) - set(keys)
    return result


def _count(sense_id: str, old: int | None, regrouped: Regrouped) -> int:
    if old is None or sense_id in regrouped.counts:
        return regrouped.counts[sense_id]
    return old + regrouped.count_changes[sense_id]


def _save_blocks(connection: Connection, keys: Mapping[str, frozenset[str]]) -> set[str]:
    """Write the blocks of these senses; return the senses that this brought into a window or out of one."""
    before: dict[str, set[str]] = {sense_id: set() for sense_id in keys}
    for block, sense_id in run(connection, _BLOCKS_OF_SENSES, keys):
        before[sense_id].add(block)
    left = [(block, sense_id) for sense_id, old in before.items() for block in old - keys[sense_id]]
    joined = [(block, sense_id) for sense_id, new in keys.items() for block in new - before[sense_id]]
    touched = sorted({block for block, _ in (*left, *joined)})
    if not touched:
        return set()
    windows_before = _windows(connection, touched)
    if left:
        connection.execute(_LEAVE, [{"k_block": x, "k_sense": y} for x, y in sorted(left)])
    if joined:
        connection.execute(_JOIN, [{"block": x, "sense_id": y} for x, y in sorted(joined)])
    _shift_windows(connection, touched)
    windows_after = _windows(connection, touched)
    return {sense for block in touched for sense in windows_before[block] ^ windows_after[block]}


def _shift_windows(connection: Connection, touched: Sequence[str]) -> None:
    known = {row.block for row in run(connection, _KNOWN_WINDOWS, touched)}
    new = [{"block": block, "last": ""} for block in touched if block not in known]
    if new:
        connection.execute(_OPEN, new)
    run(connection, _SHIFT, touched)
    run(connection, _CLOSE, touched)


def _windows(connection: Connection, wanted: Sequence[str]) -> dict[str, set[str]]:
    """Return the senses in the window of each block; none for a block that is not there."""
    found: dict[str, set[str]] = defaultdict(set)
    for block, sense_id in run(connection, _IN_WINDOWS, wanted):
        found[block].add(sense_id)
    return found


def candidates(connection: Connection, wanted: Iterable[str]) -> dict[str, set[str]]:
    """Return, for each of these senses, the senses that it is compared with: those beside it in a window."""
    of_sense: dict[str, list[str]] = {}
    for block, sense_id in run(connection, _BLOCKS_OF_SENSES, wanted):
        of_sense.setdefault(sense_id, []).append(block)
    windows = _windows(connection, sorted({block for keys in of_sense.values() for block in keys}))
    return {
        sense_id: set().union(*(windows[block] for block in keys if sense_id in windows[block])) - {sense_id}
        for sense_id, keys in of_sense.items()
    }

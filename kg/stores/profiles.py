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

from sqlalchemy import Connection, Row, bindparam, delete, exists, func, insert, select, update

from kg.ports import EntityMatcher, EntityProfile
from kg.stores.locals import Local, as_local_entity
from kg.stores.queries import in_batches
from kg.stores.rows import Values
from kg.stores.schema import block_windows, blocks, senses
from kg.stores.senses import Regrouped

__all__ = ["WINDOW", "Profiled", "candidates", "make_profile", "read_profiles", "save_profiles", "sense_row"]

WINDOW = 32
"""Senses of a block that are compared with each other."""

_FEATURES = 64
"""Features that a profile keeps: the commonest, ties by the alphabet, so that reading one costs the same always."""

_LAST = "~"
"""Sorts after every id: the window of a block that has fewer senses than a window holds."""


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
        uses.update(as_local_entity(local).uses)
        features.update(local.features)
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
    found: dict[str, tuple[str, EntityProfile]] = {}
    s = senses.c
    for batch in in_batches(sorted(wanted)):
        rows = connection.execute(select(s.sense_id, s.name_id, s.profile).where(s.sense_id.in_(batch)))
        found.update((row.sense_id, (row.name_id, _to_profile(row.sense_id, row.profile))) for row in rows)
    return found


def save_profiles(connection: Connection, matcher: EntityMatcher, regrouped: Regrouped) -> Profiled:
    """Write the rows of ``senses`` that regrouping changed, and their blocks.

    :param connection: A connection in a write transaction.
    :param matcher: Says the keys of a profile.
    :param regrouped: What became of the senses.
    :returns: Which senses have to be compared again.
    """
    s = senses.c
    looked_at = {*regrouped.counts, *regrouped.count_changes}
    stored = {}
    for batch in in_batches(sorted(looked_at)):
        stored.update({row.sense_id: row for row in connection.execute(select(senses).where(s.sense_id.in_(batch)))})
    result = Profiled()
    keys: dict[str, frozenset[str]] = dict.fromkeys(regrouped.vanished, frozenset())
    new: list[Values] = []
    changed: list[Values] = []
    for sense_id in sorted(looked_at):
        old = stored.get(sense_id)
        written = None if old is None else old.profile
        if sense_id in regrouped.speakers:
            profile = make_profile(sense_id, regrouped.speakers[sense_id])
            if _to_json(profile) != written:
                written = _to_json(profile)
                keys[sense_id] = matcher.blocks(profile)
                result.changed.add(sense_id)
        values = {"n_documents": _count(sense_id, old, regrouped), "profile": written}
        if old is None:
            new.append({"sense_id": sense_id, "name_id": regrouped.name_of[sense_id], "entity_id": "", **values})
        elif (old.n_documents, old.profile) != (values["n_documents"], written):
            changed.append({"k_sense": sense_id, **values})
    _save_senses(connection, new=new, changed=changed, vanished=regrouped.vanished)
    result.shifted = _save_blocks(connection, keys) - set(keys)
    return result


def _count(sense_id: str, old: Row[Any] | None, regrouped: Regrouped) -> int:
    if old is None or sense_id in regrouped.counts:
        return regrouped.counts[sense_id]
    return int(old.n_documents) + regrouped.count_changes[sense_id]


def _save_senses(
    connection: Connection, *, new: Sequence[Values], changed: Sequence[Values], vanished: Iterable[str]
) -> None:
    s = senses.c
    if new:
        connection.execute(insert(senses), new)
    if changed:
        connection.execute(update(senses).where(s.sense_id == bindparam("k_sense")), changed)
    for batch in in_batches(sorted(vanished)):
        connection.execute(delete(senses).where(s.sense_id.in_(batch)))


def _save_blocks(connection: Connection, keys: Mapping[str, frozenset[str]]) -> set[str]:
    """Write the blocks of these senses; return the senses that this brought into a window or out of one."""
    b = blocks.c
    before: dict[str, set[str]] = {sense_id: set() for sense_id in keys}
    for batch in in_batches(sorted(keys)):
        for block, sense_id in connection.execute(select(b.block, b.sense_id).where(b.sense_id.in_(batch))):
            before[sense_id].add(block)
    left = [(block, sense_id) for sense_id, old in before.items() for block in old - keys[sense_id]]
    joined = [(block, sense_id) for sense_id, new in keys.items() for block in new - before[sense_id]]
    touched = sorted({block for block, _ in (*left, *joined)})
    if not touched:
        return set()
    windows_before = _windows(connection, touched)
    if left:
        this = (b.block == bindparam("k_block")) & (b.sense_id == bindparam("k_sense"))
        connection.execute(delete(blocks).where(this), [{"k_block": x, "k_sense": y} for x, y in sorted(left)])
    if joined:
        connection.execute(insert(blocks), [{"block": x, "sense_id": y} for x, y in sorted(joined)])
    _shift_windows(connection, touched)
    windows_after = _windows(connection, touched)
    return {sense for block in touched for sense in windows_before[block] ^ windows_after[block]}


def _shift_windows(connection: Connection, touched: Sequence[str]) -> None:
    b, w = blocks.c, block_windows.c
    last = select(b.sense_id).where(b.block == w.block).order_by(b.sense_id).limit(1).offset(WINDOW - 1)
    for batch in in_batches(touched):
        known = set(connection.execute(select(w.block).where(w.block.in_(batch))).scalars())
        new = [{"block": block, "last": ""} for block in batch if block not in known]
        if new:
            connection.execute(insert(block_windows), new)
        wanted = w.block.in_(batch)
        moved = func.coalesce(last.correlate(block_windows).scalar_subquery(), _LAST)
        connection.execute(update(block_windows).where(wanted).values(last=moved))
        is_used = exists(select(b.block).where(b.block == w.block).correlate(block_windows))
        connection.execute(delete(block_windows).where(wanted, ~is_used))


def _windows(connection: Connection, wanted: Sequence[str]) -> dict[str, set[str]]:
    """Return the senses in the window of each block; none for a block that is not there."""
    b, w = blocks.c, block_windows.c
    found: dict[str, set[str]] = defaultdict(set)
    for batch in in_batches(wanted):
        query = select(b.block, b.sense_id).join(block_windows, w.block == b.block)
        for block, sense_id in connection.execute(query.where(w.block.in_(batch), b.sense_id <= w.last)):
            found[block].add(sense_id)
    return found


def candidates(connection: Connection, wanted: Iterable[str]) -> dict[str, set[str]]:
    """Return, for each of these senses, the senses that it is compared with: those beside it in a window."""
    wanted = set(wanted)
    b = blocks.c
    of_sense: dict[str, list[str]] = {}
    for batch in in_batches(sorted(wanted)):
        for block, sense_id in connection.execute(select(b.block, b.sense_id).where(b.sense_id.in_(batch))):
            of_sense.setdefault(sense_id, []).append(block)
    windows = _windows(connection, sorted({block for keys in of_sense.values() for block in keys}))
    return {
        sense_id: set().union(*(windows[block] for block in keys if sense_id in windows[block])) - {sense_id}
        for sense_id, keys in of_sense.items()
    }

"""Links between senses of different names: which pairs are compared, and what became of them.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction. The judgement is the matcher's.

A pair is compared if its senses stand together in the window of a block (:mod:`kg.stores.profiles`) and bear different
names: of one name's senses it is decided already that they are different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from kg.ports import EntityMatcher, EntityProfile, LinkProposal
from kg.stores.naming_tables import links
from kg.stores.profiles import Profiled, candidates, read_profiles
from kg.stores.queries import among, run
from kg.stores.rows import Values

__all__ = ["relink"]

Pair = tuple[str, str]
"""Two sense ids, the smaller one first."""


def relink(connection: Connection, matcher: EntityMatcher, profiled: Profiled, *, vanished: Iterable[str]) -> set[str]:
    """Compare the senses that changed with those that share a key with them, and write what differs from before.

    :param connection: A connection in a write transaction; profiles and blocks are written.
    :param matcher: Judges a pair.
    :param profiled: The senses to compare.
    :param vanished: Senses that are no more.
    :returns: The senses at either end of a link that came, changed or went; some of them may be gone.
    """
    compared = profiled.changed | profiled.shifted
    concerned = compared | set(vanished)
    if not concerned:
        return set()
    before = _stored(connection, concerned)
    after = _propose(connection, matcher, compared)
    gone = sorted(pair for pair, old in before.items() if after.get(pair) != old)
    came = sorted(pair for pair, new in after.items() if before.get(pair) != new)
    if gone:
        connection.execute(_DROP, [{"k_left": left, "k_right": right} for left, right in gone])
    if came:
        connection.execute(_INSERT, [after[pair] for pair in came])
    return {sense_id for pair in (*gone, *came) for sense_id in pair}


_E = links.c
_LINKS = select(links).where(or_(among(_E.left_id), among(_E.right_id)))
_DROP = delete(links).where((_E.left_id == bindparam("k_left")) & (_E.right_id == bindparam("k_right")))
_INSERT = insert(links)


def _stored(connection: Connection, concerned: Iterable[str]) -> dict[Pair, Values]:
    return {(row.left_id, row.right_id): dict(row._mapping) for row in run(connection, _LINKS, concerned)}


def _propose(connection: Connection, matcher: EntityMatcher, compared: set[str]) -> dict[Pair, Values]:
    found = candidates(connection, compared)
    pairs = sorted({(min(one, other), max(one, other)) for one, others in found.items() for other in others})
    profiles = read_profiles(connection, {sense_id for pair in pairs for sense_id in pair})
    proposals: dict[Pair, Values] = {}
    for left, right in pairs:
        proposal = _judge(matcher, profiles, left, right)
        if proposal is not None:
            proposals[(left, right)] = {
                "left_id": left,
                "right_id": right,
                "score": float(proposal.score),
                "is_automatic": bool(proposal.is_automatic),
                "reasons": list(proposal.reasons),
            }
    return proposals


def _judge(
    matcher: EntityMatcher, profiles: Mapping[str, tuple[str, EntityProfile]], left: str, right: str
) -> LinkProposal | None:
    (left_name, left_profile), (right_name, right_profile) = profiles[left], profiles[right]
    return None if left_name == right_name else matcher.compare(left_profile, right_profile)

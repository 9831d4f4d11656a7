"""Which of the documents that use one name mean one thing by it.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction. The judgement is the matcher's
(:class:`kg.ports.EntityMatcher`); this module says on which documents it is asked, so that the outcome follows from the
documents that remain, whatever the order they came in, and costs the same however many they are.

A name's *sample* are its :data:`SAMPLE` local entities with the smallest ids. Ids are hashes, so the sample is drawn as
if by lot, and with ``n`` documents one more changes it in ``SAMPLE / n`` of all cases. The matcher clusters the sample.

- One cluster: all documents mean one thing, and a document outside the sample is not even read.
- Several: each document outside the sample joins the cluster that it falls into when it is clustered along with the
  sample; where it falls into none, the largest.

A person's split comes first: the documents that are set apart are one sense, and the rest is clustered as above. A name
that was split is clustered as a whole each time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kg.ids import sense_id
from kg.ports import EntityMatcher
from kg.stores.locals import Local, as_local_entity, locals_of_names, read_smallest
from kg.stores.naming_tables import names
from kg.stores.queries import among, run

__all__ = ["SAMPLE", "Regrouped", "partition", "regroup"]

SAMPLE = 32
"""Local entities that speak for a name or a sense. A homonym that one document in ten means is missed by a sample of 32
with a chance of 3 %. Clustering compares about SAMPLE**2 / 2 pairs."""

Splits = Mapping[str, Sequence[frozenset[str]]]
"""For each name id, the sets of source ids that a person set apart."""


@dataclass(slots=True)
class Regrouped:
    """What became of the senses of the names that were looked at."""

    speakers: dict[str, list[Local]] = field(default_factory=dict)
    """For each sense whose profile may have changed, the local entities that the profile is made of."""
    counts: dict[str, int] = field(default_factory=dict)
    """Documents of each sense that was looked at and exists now."""
    count_changes: Counter[str] = field(default_factory=Counter)
    """For further senses, documents won or lost."""
    vanished: set[str] = field(default_factory=set)
    moved: list[Local] = field(default_factory=list)
    """Stored locals whose sense changed."""
    name_of: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sense:
    members: list[str]
    speakers: list[Local]


@dataclass(frozen=True, slots=True)
class _Name:
    n_locals: int = 0
    n_senses: int = 0
    last_sampled: str = ""


def partition(matcher: EntityMatcher, members: Sequence[Local], splits: Sequence[frozenset[str]]) -> dict[str, _Sense]:
    """Say which sense each local entity of one name belongs to: a pure function of its arguments.

    :param matcher: Clusters the sample.
    :param members: All local entities of the name, by id.
    :param splits: Sets of source ids that a person set apart.
    :returns: The members of each sense, and those of them that speak for it.
    """
    apart: dict[tuple[int, ...], list[Local]] = defaultdict(list)
    rest: list[Local] = []
    for local in members:
        key = tuple(number for number, sources in enumerate(splits) if local.source_id in sources)
        (apart[key] if key else rest).append(local)
    found = [_Sense([one.local_id for one in group], group[:SAMPLE]) for group in apart.values()]
    found += _clusters(matcher, rest)
    name_id = members[0].name_id
    if len(found) == 1:
        return {name_id: found[0]}
    return {sense_id(name_id, min(one.members)): one for one in found}


def _clusters(matcher: EntityMatcher, members: Sequence[Local]) -> list[_Sense]:
    sample, others = members[:SAMPLE], members[SAMPLE:]
    found: dict[int, _Sense] = {}
    numbers = matcher.senses([as_local_entity(local) for local in sample]) if sample else []
    for local, number in zip(sample, numbers, strict=True):
        sense = found.setdefault(number, _Sense([], []))
        sense.members.append(local.local_id)
        sense.speakers.append(local)
    senses = {str(number): sense for number, sense in found.items()}
    keys = {local.local_id: key for key, sense in senses.items() for local in sense.speakers}
    for local in others:
        key = _place(matcher, sample, keys, local) if len(senses) > 1 else next(iter(senses))
        senses[key].members.append(local.local_id)
    return list(senses.values())


def _place(matcher: EntityMatcher, sample: Sequence[Local], sense_of: Mapping[str, str], local: Local) -> str:
    """Return the sense of the sample that ``local`` falls into."""
    numbers = matcher.senses([as_local_entity(one) for one in (*sample, local)])
    mates = [one.local_id for one, number in zip(sample, numbers, strict=False) if number == numbers[-1]]
    if mates:
        return sense_of[min(mates)]
    sizes = Counter(sense_of.values())
    smallest: dict[str, str] = {}
    for local_id, sense in sense_of.items():
        smallest[sense] = min(local_id, smallest.get(sense, local_id))
    return min(sizes, key=lambda sense: (-sizes[sense], smallest[sense]))


def regroup(
    connection: Connection,
    matcher: EntityMatcher,
    *,
    gone: Sequence[Local],
    added: Sequence[Local],
    splits: Splits,
    anew: Collection[str] = (),
) -> Regrouped:
    """Decide the senses of the names that a change touches, and set them on the locals that are added or move.

    :param connection: A connection in a write transaction; what is gone is deleted, and what is added not yet there.
    :param matcher: Clusters local entities.
    :param gone: Local entities that were deleted.
    :param added: Local entities that will be inserted.
    :param splits: A person's splits of the names that are touched.
    :param anew: Names to cluster as a whole, whatever was changed.
    :returns: What became of their senses; the rows of ``names`` are written.
    """
    touched = {local.name_id for local in (*gone, *added)} | set(anew)
    before = _stored_names(connection, touched)
    gone_of, added_of = _by_name(gone), _by_name(added)
    result = Regrouped()
    after: dict[str, _Name] = {}
    whole: list[str] = []
    for name_id in sorted(touched):
        old = before.get(name_id, _Name())
        is_light = old.n_locals > SAMPLE < old.n_locals - len(gone_of[name_id]) + len(added_of[name_id])
        if is_light and name_id not in anew and not splits.get(name_id):
            light = _lightly(connection, matcher, old, gone=gone_of[name_id], added=added_of[name_id], into=result)
            if light is not None:
                after[name_id] = light
                continue
        whole.append(name_id)
    stored = _by_name(locals_of_names(connection, whole))
    for name_id in whole:
        members = sorted([*stored[name_id], *added_of[name_id]], key=lambda local: local.local_id)
        result.vanished |= {local.sense_id for local in (*stored[name_id], *gone_of[name_id])}
        if members:
            after[name_id] = _wholly(matcher, members, splits.get(name_id, ()), into=result)
    result.vanished -= set(result.counts)
    _save_names(connection, before=before, after=after, touched=touched)
    return result


def _wholly(
    matcher: EntityMatcher, members: list[Local], splits: Sequence[frozenset[str]], *, into: Regrouped
) -> _Name:
    senses = partition(matcher, members, splits)
    sense_of = {local_id: sense for sense, found in senses.items() for local_id in found.members}
    for local in members:
        new = sense_of[local.local_id]
        if local.sense_id and local.sense_id != new:
            into.moved.append(local)
        local.sense_id = new
    for sense, found in senses.items():
        into.speakers[sense] = found.speakers
        into.counts[sense] = len(found.members)
        into.name_of[sense] = members[0].name_id
    last = members[SAMPLE - 1].local_id if len(members) > SAMPLE else ""
    return _Name(n_locals=len(members), n_senses=len(senses), last_sampled=last)


def _lightly(
    connection: Connection,
    matcher: EntityMatcher,
    old: _Name,
    *,
    gone: Sequence[Local],
    added: Sequence[Local],
    into: Regrouped,
) -> _Name | None:
    """Handle a name of more documents than the sample by its sample alone; ``None`` where that is not enough."""
    (name_id,) = {local.name_id for local in (*gone, *added)}
    n_locals = old.n_locals - len(gone) + len(added)
    is_resampled = any(local.local_id <= old.last_sampled for local in (*gone, *added))
    if old.n_senses > 1:
        if is_resampled:
            return None
        _join_senses(connection, matcher, name_id, gone=gone, added=added, into=into)
        return _Name(n_locals=n_locals, n_senses=old.n_senses, last_sampled=old.last_sampled)
    last = old.last_sampled
    if is_resampled:
        stored = read_smallest(connection, name_id, n=SAMPLE)
        sample = sorted([*stored, *added], key=lambda local: local.local_id)[:SAMPLE]
        if len(set(matcher.senses([as_local_entity(local) for local in sample]))) > 1:
            return None
        into.speakers[name_id] = sample
        last = sample[-1].local_id
    for local in added:
        local.sense_id = name_id
    into.counts[name_id] = n_locals
    into.name_of[name_id] = name_id
    return _Name(n_locals=n_locals, n_senses=1, last_sampled=last)


def _join_senses(
    connection: Connection,
    matcher: EntityMatcher,
    name_id: str,
    *,
    gone: Sequence[Local],
    added: Sequence[Local],
    into: Regrouped,
) -> None:
    """Add to the senses of a homonym what falls outside its sample, and take away what is gone from there."""
    sample = read_smallest(connection, name_id, n=SAMPLE) if added else []
    sense_of = {local.local_id: local.sense_id for local in sample}
    for local in added:
        local.sense_id = _place(matcher, sample, sense_of, local)
        into.count_changes[local.sense_id] += 1
        into.name_of[local.sense_id] = name_id
    for local in gone:
        into.count_changes[local.sense_id] -= 1
        into.name_of[local.sense_id] = name_id


def _by_name(found: Iterable[Local]) -> dict[str, list[Local]]:
    grouped: dict[str, list[Local]] = defaultdict(list)
    for local in found:
        grouped[local.name_id].append(local)
    return grouped


_N = names.c
_NAMES = select(_N.name_id, _N.n_locals, _N.n_senses, _N.last_sampled).where(among(_N.name_id))
_INSERT, _DROP = insert(names), delete(names).where(among(_N.name_id))
_CHANGE = (
    update(names)
    .where(_N.name_id == bindparam("k_name"))
    .values({key: bindparam(key) for key in ("n_locals", "n_senses", "last_sampled")})
)


def _stored_names(connection: Connection, wanted: Iterable[str]) -> dict[str, _Name]:
    return {
        name_id: _Name(n_locals, n_senses, last)
        for name_id, n_locals, n_senses, last in run(connection, _NAMES, wanted)
    }


def _save_names(
    connection: Connection, *, before: Mapping[str, _Name], after: Mapping[str, _Name], touched: Iterable[str]
) -> None:
    changed = [name_id for name_id in sorted(touched) if before.get(name_id) != after.get(name_id)]
    run(connection, _DROP, [name_id for name_id in changed if name_id not in after])
    for statement, key, wanted in (
        (_INSERT, "name_id", [name_id for name_id in changed if name_id in after and name_id not in before]),
        (_CHANGE, "k_name", [name_id for name_id in changed if name_id in after and name_id in before]),
    ):
        rows = [
            {
                key: name_id,
                "n_locals": after[name_id].n_locals,
                "n_senses": after[name_id].n_senses,
                "last_sampled": after[name_id].last_sampled,
            }
            for name_id in wanted
        ]
        if rows:
            connection.execute(statement, rows)

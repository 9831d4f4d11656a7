"""Resolve a list of documents from scratch, naively: the oracle of every incremental implementation.

Layer: ``kg``; the standard library only. It holds everything in memory and compares all pairs that share a block.

The rules, which :mod:`kg.ports.entities` states in words:

1. All mentions of one document with one name id are one local entity. A mention that only refers back (``refers_to``)
   belongs to it and gives it no name.
2. ``matcher.senses`` clusters the local entities of one name. A name with one sense keeps its name id; of several,
   each is called by the smallest local id among its own (:func:`kg.ids.sense_id`). Only the
   :data:`MAX_LOCALS` smallest local ids of a name are clustered; the rest belongs to the sense with the most locals
   (ties: the smallest id).
3. ``matcher.compare`` judges all pairs of senses that share a block. A person's "same" joins first, then automatic
   links by falling score, ties by ids. A person's "different" keeps any two components apart that hold its two sides.
4. A component is called by the smallest sense id in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from kg.ids import local_id, sense_id
from kg.ports import EntityMatcher, EntityProfile, LinkProposal, LocalEntity, NameUse
from kg.types import GraphDelta

__all__ = [
    "MAX_LOCALS",
    "LinkDecision",
    "Resolution",
    "locals_of",
    "make_profile",
    "name_senses",
    "resolve_all",
    "resolve_with_reasons",
]

MAX_LOCALS = 200
"""The most local entities of one name that are clustered, and the most whose features a profile sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDecision:
    """A person's word on two senses: they are the same thing, or they are not."""

    left_id: str
    right_id: str
    is_same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Everything that was decided: each mention's entity, the senses, all proposals, and what that cost.

    ``n_pairs`` counts all pairs of senses, ``n_compared`` those that share a block.
    """

    entities: Mapping[str, str]
    profiles: Mapping[str, EntityProfile]
    proposals: tuple[LinkProposal, ...]
    n_pairs: int
    n_compared: int


def locals_of(delta: GraphDelta, matcher: EntityMatcher) -> list[LocalEntity]:
    """Return the local entities of one document, by id.

    :param delta: The document's resolved change.
    :param matcher: Gives the features.
    :returns: One for each name id that its mentions have.
    """
    features = matcher.features(delta)
    document = delta.document.document_id
    uses: dict[str, Counter[NameUse]] = {}
    for mention in delta.extraction.mentions:
        counts = uses.setdefault(mention.entity_id, Counter())
        if not mention.refers_to:
            counts[" ".join(mention.text.split()), mention.label] += 1
    made = [
        LocalEntity(
            local_id=local_id(document, name),
            document_id=document,
            name_id=name,
            uses=dict(counts),
            features=tuple(features.get(name, ())),
        )
        for name, counts in uses.items()
    ]
    return sorted(made, key=lambda local: local.local_id)


def name_senses(locals_of_name: Sequence[LocalEntity], matcher: EntityMatcher) -> dict[str, list[LocalEntity]]:
    """Return the senses of one name, each with its local entities by id.

    :param locals_of_name: All local entities of one name, at least one.
    :param matcher: Clusters them.
    :returns: Local entities by the id of their sense.
    """
    ordered = sorted(locals_of_name, key=lambda local: local.local_id)
    clustered, rest = ordered[:MAX_LOCALS], ordered[MAX_LOCALS:]
    clusters: dict[int, list[LocalEntity]] = defaultdict(list)
    for local, cluster in zip(clustered, matcher.senses(clustered), strict=True):
        clusters[cluster].append(local)
    groups = sorted(clusters.values(), key=lambda group: (-len(group), group[0].local_id))
    groups[0].extend(rest)
    name = ordered[0].name_id
    if len(groups) == 1:
        return {name: groups[0]}
    return {sense_id(name, group[0].local_id): group for group in groups}


def make_profile(sense: str, members: Sequence[LocalEntity]) -> EntityProfile:
    """Sum what the documents say of one sense.

    :param sense: Its id.
    :param members: Its local entities.
    :returns: The profile; features are those of at most :data:`MAX_LOCALS` members.
    """
    ordered = sorted(members, key=lambda local: local.local_id)
    uses: Counter[NameUse] = Counter()
    for local in ordered:
        uses.update(local.uses)
    features = Counter(feature for local in ordered[:MAX_LOCALS] for feature in local.features)
    documents = {local.document_id for local in ordered}
    return EntityProfile(sense_id=sense, uses=dict(uses), features=dict(features), n_documents=len(documents))


def resolve_all(
    deltas: Iterable[GraphDelta], matcher: EntityMatcher, decisions: Iterable[LinkDecision] = ()
) -> dict[str, str]:
    """Resolve documents from scratch.

    :param deltas: The documents' changes, in any order.
    :param matcher: Decides senses and links.
    :param decisions: What people decided.
    :returns: The entity id of each mention id.
    """
    return dict(resolve_with_reasons(deltas, matcher, decisions).entities)


def resolve_with_reasons(
    deltas: Iterable[GraphDelta], matcher: EntityMatcher, decisions: Iterable[LinkDecision] = ()
) -> Resolution:
    """Resolve documents from scratch and keep what was decided on the way.

    :param deltas: The documents' changes, in any order.
    :param matcher: Decides senses and links.
    :param decisions: What people decided.
    :returns: Entities, profiles, proposals and counts.
    """
    deltas = list(deltas)
    by_name: dict[str, list[LocalEntity]] = defaultdict(list)
    for delta in deltas:
        for local in locals_of(delta, matcher):
            by_name[local.name_id].append(local)
    members = {sense: group for name in sorted(by_name) for sense, group in name_senses(by_name[name], matcher).items()}
    profiles = {sense: make_profile(sense, group) for sense, group in sorted(members.items())}
    proposals, n_compared = _compare_all(profiles, matcher)
    entity_of = _components(sorted(profiles), proposals, list(decisions))
    sense_of = {local.local_id: sense for sense, group in members.items() for local in group}
    entities = {
        mention.mention_id: entity_of[sense_of[local_id(delta.document.document_id, mention.entity_id)]]
        for delta in deltas
        for mention in delta.extraction.mentions
    }
    n_pairs = len(profiles) * (len(profiles) - 1) // 2
    return Resolution(entities=entities, profiles=profiles, proposals=proposals, n_pairs=n_pairs, n_compared=n_compared)


def _compare_all(profiles: Mapping[str, EntityProfile], matcher: EntityMatcher) -> tuple[tuple[LinkProposal, ...], int]:
    blocks = {sense: matcher.blocks(profile) for sense, profile in profiles.items()}
    proposals: list[LinkProposal] = []
    n_compared = 0
    for left, right in combinations(sorted(profiles), 2):
        if blocks[left].isdisjoint(blocks[right]):
            continue
        n_compared += 1
        proposal = matcher.compare(profiles[left], profiles[right])
        if proposal is not None:
            proposals.append(proposal)
    return tuple(proposals), n_compared


def _components(
    senses: Sequence[str], proposals: Sequence[LinkProposal], decisions: Sequence[LinkDecision]
) -> dict[str, str]:
    """Join senses and return the entity id of each."""
    component = {sense: {sense} for sense in senses}
    apart = [(d.left_id, d.right_id) for d in decisions if not d.is_same]
    same = sorted((d.left_id, d.right_id) for d in decisions if d.is_same)
    automatic = sorted((-p.score, *sorted((p.left_id, p.right_id))) for p in proposals if p.is_automatic)
    for a, b in [*same, *((left, right) for _, left, right in automatic)]:
        if a not in component or b not in component or component[a] is component[b]:
            continue
        one, other = component[a], component[b]
        if any((x in one and y in other) or (x in other and y in one) for x, y in apart):
            continue
        one |= other
        for sense in other:
            component[sense] = one
    return {sense: min(group) for sense, group in component.items()}

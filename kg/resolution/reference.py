"""Resolve a list of documents from scratch, naively: the oracle of every incremental implementation.

Layer: ``kg``; the standard library only. It holds everything in memory and decides everything anew.

The rules, which :mod:`kg.ports.entities` states in words:

1. All mentions of one document with one name id are one local entity. A mention that only refers back (``refers_to``)
   belongs to it and gives it no name.
2. ``matcher.senses`` clusters the :data:`SAMPLE` local entities of a name with the smallest ids. Each further one joins
   the cluster that it falls into when it is clustered along with them, else the largest. A name with one sense keeps
   its name id; of several, each is called by the smallest local id among its own (:func:`kg.ids.sense_id`).
3. A sense's profile sums what its local entities in the sample say.
4. ``matcher.compare`` judges each pair of senses of different names that stand among the :data:`WINDOW` smallest ids
   of a block that they share. A person's "same" joins first, then automatic links by falling score, ties by ids.
   A person's "different" keeps any two components apart that hold its two sides, and no automatic link joins two
   senses of one name.
5. An entity is called by its sense with the most documents, ties by the smallest id.
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
    "SAMPLE",
    "WINDOW",
    "LinkDecision",
    "Resolution",
    "locals_of",
    "make_profile",
    "name_senses",
    "resolve_all",
    "resolve_with_reasons",
]

SAMPLE = 32
"""The most local entities of one name that speak for it."""

WINDOW = 32
"""The most senses of one block that are compared with each other."""

_FEATURES = 64
"""The most features of a profile: the most frequent, ties by the alphabet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDecision:
    """A person's word on two senses: they are the same thing, or they are not."""

    left_id: str
    right_id: str
    is_same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Everything that was decided: each mention's entity, each local entity's sense, all proposals, and what that cost.

    ``n_pairs`` counts all pairs of senses, ``n_compared`` those that are compared.
    """

    entities: Mapping[str, str]
    senses: Mapping[str, str]
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
    """Return the senses of one name, each with its local entities.

    :param locals_of_name: All local entities of one name, at least one.
    :param matcher: Clusters them.
    :returns: Local entities by the id of their sense, those of the sample first, each part by id.
    """
    ordered = sorted(locals_of_name, key=lambda local: local.local_id)
    sample = ordered[:SAMPLE]
    clusters: dict[int, list[LocalEntity]] = defaultdict(list)
    for local, cluster in zip(sample, matcher.senses(sample), strict=True):
        clusters[cluster].append(local)
    groups = sorted(clusters.values(), key=lambda group: (-len(group), group[0].local_id))
    group_of = {local.local_id: group for group in groups for local in group}
    for local in ordered[SAMPLE:]:
        *numbers, own = matcher.senses([*sample, local])
        mates = [other.local_id for other, number in zip(sample, numbers, strict=True) if number == own]
        (group_of[min(mates)] if mates else groups[0]).append(local)
    name = ordered[0].name_id
    if len(groups) == 1:
        return {name: groups[0]}
    return {sense_id(name, min(local.local_id for local in group)): group for group in groups}


def make_profile(sense: str, speakers: Sequence[LocalEntity]) -> EntityProfile:
    """Sum what the documents that speak for one sense say.

    :param sense: Its id.
    :param speakers: Its local entities in the sample.
    :returns: The profile.
    """
    uses: Counter[NameUse] = Counter()
    for local in speakers:
        uses.update(local.uses)
    features = Counter(feature for local in speakers for feature in local.features)
    kept = sorted(features.items(), key=lambda item: (-item[1], item[0]))[:_FEATURES]
    documents = {local.document_id for local in speakers}
    return EntityProfile(sense_id=sense, uses=dict(uses), features=dict(kept), n_documents=len(documents))


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
    members = {name: name_senses(found, matcher) for name, found in sorted(by_name.items())}
    groups = {sense: group for senses in members.values() for sense, group in senses.items()}
    name_of = {sense: name for name, senses in members.items() for sense in senses}
    ordered = [sorted(found, key=lambda local: local.local_id) for found in by_name.values()]
    sample = {local.local_id for found in ordered for local in found[:SAMPLE]}
    profiles = {
        sense: make_profile(sense, [local for local in group if local.local_id in sample])
        for sense, group in groups.items()
    }
    proposals, n_compared = _compare_all(profiles, name_of, matcher)
    entity_of = _components(groups, name_of, proposals, list(decisions))
    sense_of = {local.local_id: sense for sense, group in groups.items() for local in group}
    entities = {
        mention.mention_id: entity_of[sense_of[local_id(delta.document.document_id, mention.entity_id)]]
        for delta in deltas
        for mention in delta.extraction.mentions
    }
    n_pairs = len(profiles) * (len(profiles) - 1) // 2
    return Resolution(
        entities=entities,
        senses=sense_of,
        profiles=profiles,
        proposals=proposals,
        n_pairs=n_pairs,
        n_compared=n_compared,
    )


def _compare_all(
    profiles: Mapping[str, EntityProfile], name_of: Mapping[str, str], matcher: EntityMatcher
) -> tuple[tuple[LinkProposal, ...], int]:
    blocks: dict[str, list[str]] = defaultdict(list)
    for sense in sorted(profiles):
        for key in matcher.blocks(profiles[sense]):
            blocks[key].append(sense)
    pairs = {
        (left, right)
        for block in blocks.values()
        for left, right in combinations(block[:WINDOW], 2)
        if name_of[left] != name_of[right]
    }
    judged = (matcher.compare(profiles[left], profiles[right]) for left, right in sorted(pairs))
    return tuple(proposal for proposal in judged if proposal is not None), len(pairs)


def _components(
    groups: Mapping[str, Sequence[LocalEntity]],
    name_of: Mapping[str, str],
    proposals: Sequence[LinkProposal],
    decisions: Sequence[LinkDecision],
) -> dict[str, str]:
    """Join senses and return the entity id of each."""
    component = {sense: {sense} for sense in groups}
    apart = {frozenset((d.left_id, d.right_id)) for d in decisions if not d.is_same}
    same = sorted((d.left_id, d.right_id) for d in decisions if d.is_same)
    automatic = sorted((-p.score, *sorted((p.left_id, p.right_id))) for p in proposals if p.is_automatic)
    edges = [(a, b, True) for a, b in same] + [(a, b, False) for _, a, b in automatic]
    for a, b, is_decided in edges:
        if a not in component or b not in component or component[a] is component[b]:
            continue
        one, other = component[a], component[b]
        if any(frozenset((x, y)) in apart for x in one for y in other):
            continue
        if not is_decided and not {name_of[x] for x in one}.isdisjoint(name_of[y] for y in other):
            continue
        one |= other
        for sense in other:
            component[sense] = one
    return {sense: min(joined, key=lambda one: (-len(groups[one]), one)) for sense, joined in component.items()}

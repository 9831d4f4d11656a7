"""Part the local entities of one name into things: homonyms are kept apart, and in doubt there is one thing.

Layer: ``kg``; the standard library only. Deterministic, and independent of the order of its input.

1. Local entities of which the text says something that can tell homonyms apart (what it is, a year, a region) are
   *told*; those with the same such statements start as one cluster.
2. Clusters that nothing keeps apart (:func:`kg.resolution.evidence.are_apart`) join, the pair with the most common
   context first; so one document that calls a person a painter and a chemist joins the painter's and the chemist's.
3. Each other local entity goes to the cluster with which it shares most, among those it is not apart from; where it
   shares nothing, to the one whose labels it has, and then the largest. What is apart from all clusters makes new ones.
4. Step 2 again over all, so that in the end every two clusters are apart.

Most names are such that no two clusters could be apart, whichever way they formed. That is seen first
(:func:`kg.resolution.evidence.can_be_apart`), and ``cluster_by_evidence`` is the reference without that look.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kg.ports import LocalEntity, NameUse
from kg.resolution.evidence import Evidence, are_apart, can_be_apart, evidence_of, shared_context
from kg.resolution.names import VALUE_LABELS, is_common_noun

__all__ = ["cluster_by_evidence", "cluster_senses"]


_Rank = tuple[int, str]


@dataclass(slots=True)
class _Cluster:
    """Local entities taken for one thing, by id, with what they say together."""

    members: list[LocalEntity]
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self.members.sort(key=lambda local: local.local_id)
        self.evidence = _evidence(self.members)

    @property
    def rank(self) -> _Rank:
        """Larger clusters first, then by the smallest id."""
        return (-len(self.members), self.members[0].local_id)


def cluster_senses(locals_of_name: Sequence[LocalEntity]) -> list[int]:
    """Cluster the local entities of one name.

    :param locals_of_name: All local entities of one name, in any order.
    :returns: For each, in the order given, the number of its cluster; 0 is the largest.
    """
    if len(locals_of_name) < 2:
        return [0] * len(locals_of_name)
    uses = [local.uses for local in locals_of_name]
    if all(_is_never_parted(*use) for one in uses for use in one):
        return [0] * len(locals_of_name)
    if not can_be_apart(uses, [local.features for local in locals_of_name]):
        return [0] * len(locals_of_name)
    return cluster_by_evidence(locals_of_name)


def cluster_by_evidence(locals_of_name: Sequence[LocalEntity]) -> list[int]:
    """Cluster as :func:`cluster_senses` does, whatever can be seen beforehand."""
    if all(_is_never_parted(*use) for local in locals_of_name for use in local.uses):
        return [0] * len(locals_of_name)
    ordered = sorted(locals_of_name, key=lambda local: local.local_id)
    evidence = {local.local_id: _evidence([local]) for local in ordered}
    told = [local for local in ordered if _is_told(evidence[local.local_id])]
    untold = [local for local in ordered if not _is_told(evidence[local.local_id])]
    clusters = _joined(_by_statement(told, evidence))
    clusters = _joined(_placed(untold, evidence, clusters))
    clusters.sort(key=lambda cluster: cluster.rank)
    number = {local.local_id: i for i, cluster in enumerate(clusters) for local in cluster.members}
    return [number[local.local_id] for local in locals_of_name]


def _is_never_parted(name: str, label: str) -> bool:
    """Tell whether a use is of a value or a common noun: the bank of a river and one with money stay one word."""
    return label in VALUE_LABELS or is_common_noun(name, label)


def _evidence(members: Sequence[LocalEntity]) -> Evidence:
    uses: Counter[NameUse] = Counter()
    features: Counter[str] = Counter()
    for local in members:
        uses.update(local.uses)
        features.update(local.features)
    return evidence_of(uses, features, n_documents=len(members))


def _is_told(evidence: Evidence) -> bool:
    return bool(evidence.is_common_noun or evidence.kinds or evidence.born or evidence.made or evidence.regions)


def _by_statement(told: Iterable[LocalEntity], evidence: dict[str, Evidence]) -> list[_Cluster]:
    groups: dict[object, list[LocalEntity]] = defaultdict(list)
    for local in told:
        known = evidence[local.local_id]
        groups[known.is_common_noun, known.kinds, known.born, known.made, known.regions].append(local)
    return [_Cluster(group) for group in groups.values()]


def _joined(clusters: list[_Cluster]) -> list[_Cluster]:
    """Join what nothing keeps apart, in rounds, until all that is left is apart.

    In a round those two join that share more context with none than with each other; of equals, the pair with the
    smallest ranks first. The pair with the most common context always does, so the rounds end.
    """
    alive = {cluster.rank: cluster for cluster in clusters}
    bonds: dict[_Rank, dict[_Rank, float]] = {rank: {} for rank in alive}
    fresh = sorted(alive)
    while fresh:
        _bind(fresh, alive, bonds)
        fresh = []
        for one, other in _closest_pairs(bonds):
            grown = _Cluster(alive.pop(one).members + alive.pop(other).members)
            for gone in (one, other):
                for near in bonds.pop(gone):
                    bonds.get(near, {}).pop(gone, None)
            alive[grown.rank], bonds[grown.rank] = grown, {}
            fresh.append(grown.rank)
    return list(alive.values())


def _bind(fresh: Sequence[_Rank], alive: dict[_Rank, _Cluster], bonds: dict[_Rank, dict[_Rank, float]]) -> None:
    """Note how much context each new cluster shares with each other one that it is not apart from."""
    todo = dict(alive)
    for one in fresh:
        mine = todo.pop(one).evidence
        for other, cluster in todo.items():
            if not are_apart(mine, cluster.evidence):
                bonds[one][other] = bonds[other][one] = shared_context(mine, cluster.evidence)


def _closest_pairs(bonds: dict[_Rank, dict[_Rank, float]]) -> list[tuple[_Rank, _Rank]]:
    closest = {rank: max(near.values()) for rank, near in bonds.items() if near}
    pairs: list[tuple[_Rank, _Rank]] = []
    taken: set[_Rank] = set()
    for one in sorted(closest):
        wanted = [other for other, bond in bonds[one].items() if bond == closest[one] == closest[other]]
        free = [other for other in wanted if other not in taken]
        if one not in taken and free:
            pairs.append((one, min(free)))
            taken.update(pairs[-1])
    return pairs


def _placed(untold: Iterable[LocalEntity], evidence: dict[str, Evidence], clusters: list[_Cluster]) -> list[_Cluster]:
    """Give each local entity that tells nothing of itself to the cluster it fits best; all are judged alike."""
    placed: dict[int, list[LocalEntity]] = defaultdict(list)
    left: dict[str, list[LocalEntity]] = defaultdict(list)
    for local in untold:
        known = evidence[local.local_id]
        fits = [
            (-shared_context(known, cluster.evidence), known.group not in cluster.evidence.groups, cluster.rank, i)
            for i, cluster in enumerate(clusters)
            if not are_apart(known, cluster.evidence)
        ]
        if fits:
            placed[min(fits)[-1]].append(local)
        else:
            left[known.group].append(local)
    grown = [_Cluster(cluster.members + placed[i]) for i, cluster in enumerate(clusters)]
    return grown + [_Cluster(group) for group in left.values()]

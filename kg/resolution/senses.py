"""Part the local entities of one name into things: homonyms are kept apart, and in doubt there is one thing.

Layer: ``kg``; the standard library only. Deterministic, and independent of the order of its input.

1. Local entities of which the text says something that can tell homonyms apart (what it is, a year, a region) are
   *told*; those with the same such statements start as one cluster.
2. Clusters that nothing keeps apart (:func:`kg.resolution.evidence.are_apart`) join, the pair with the most common
   context first; so one document that calls a person a painter and a chemist joins the painter's and the chemist's.
3. Each other local entity goes to the cluster with which it shares most, among those it is not apart from; where it
   shares nothing, to the one whose labels it has, and then the largest. What is apart from all clusters makes new ones.
4. Step 2 again over all, so that in the end every two clusters are apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kg.ports import LocalEntity, NameUse
from kg.resolution.evidence import Evidence, are_apart, evidence_of, shared_context
from kg.resolution.names import VALUE_LABELS, is_common_noun

__all__ = ["cluster_senses"]


@dataclass(slots=True)
class _Cluster:
    """Local entities taken for one thing, by id, with what they say together."""

    members: list[LocalEntity]
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self.members.sort(key=lambda local: local.local_id)
        self.evidence = _evidence(self.members)

    @property
    def rank(self) -> tuple[int, str]:
        """Larger clusters first, then by the smallest id."""
        return (-len(self.members), self.members[0].local_id)


def cluster_senses(locals_of_name: Sequence[LocalEntity]) -> list[int]:
    """Cluster the local entities of one name.

    :param locals_of_name: All local entities of one name, in any order.
    :returns: For each, in the order given, the number of its cluster; 0 is the largest.
    """
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


def _evidence(members: Iterable[LocalEntity]) -> Evidence:
    uses: Counter[NameUse] = Counter()
    features: Counter[str] = Counter()
    for local in members:
        uses.update(local.uses)
        features.update(local.features)
    return evidence_of(uses, features)


def _is_told(evidence: Evidence) -> bool:
    return bool(evidence.is_common_noun or evidence.kinds or evidence.born or evidence.made or evidence.regions)


def _by_statement(told: Iterable[LocalEntity], evidence: dict[str, Evidence]) -> list[_Cluster]:
    groups: dict[object, list[LocalEntity]] = defaultdict(list)
    for local in told:
        known = evidence[local.local_id]
        groups[known.is_common_noun, known.kinds, known.born, known.made, known.regions].append(local)
    return [_Cluster(group) for group in groups.values()]


def _joined(clusters: list[_Cluster]) -> list[_Cluster]:
    """Join what nothing keeps apart, the pair with the most common context first, ties by rank."""
    clusters = sorted(clusters, key=lambda cluster: cluster.rank)
    bonds: dict[tuple[int, int], float] = {}
    alive = dict(enumerate(clusters))
    pairs = [(i, j) for i in alive for j in alive if i < j]
    while True:
        for i, j in pairs:
            one, other = alive[i].evidence, alive[j].evidence
            if not are_apart(one, other):
                bonds[i, j] = shared_context(one, other)
        if not bonds:
            return list(alive.values())
        best = min(bonds, key=lambda pair: (-bonds[pair], alive[pair[0]].rank, alive[pair[1]].rank))
        kept, gone = best
        alive[kept] = _Cluster(alive[kept].members + alive.pop(gone).members)
        bonds = {pair: bond for pair, bond in bonds.items() if kept not in pair and gone not in pair}
        pairs = [(min(kept, other), max(kept, other)) for other in alive if other != kept]


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

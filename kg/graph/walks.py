"""Walks over a graph, the same for every graph store that cannot walk by itself.

Layer: ``kg``; the standard library only. A store says what lies next to a set of entities; the walks are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.types import Relation

__all__ = ["HOPS_MAX", "Rings", "WeightedPath", "expand", "require_walk", "shortest"]

HOPS_MAX = 8
"""The most relations that a walk may take. In graphs of documents almost everything is within four."""

NextRing = Callable[[Sequence[str], set[str], int], tuple[list[str], int]]
"""``(ring, seen, room)`` to the up to ``room`` best entities next to ``ring`` that are not in ``seen``, and the number
that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """Entities by their distance from the nearest seed; ``n_left_out`` would have been next."""

    hops: Mapping[str, int]
    n_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedPath:
    """Entity ids from one end to the other; ``weight`` sums the statements of the best relation of each hop."""

    entity_ids: tuple[str, ...]
    weight: int


def require_walk(*, hops: int, limit: int) -> None:
    """Raise ``InputError`` unless ``hops`` is in ``[1, HOPS_MAX]`` and ``limit`` at least 1."""
    if not 1 <= hops <= HOPS_MAX:
        raise InputError(f"A walk takes 1 to {HOPS_MAX} hops, got {hops}.")
    if limit < 1:
        raise InputError(f"A walk returns at least 1 thing, got a limit of {limit}.")


def expand(seeds: Sequence[str], next_ring: NextRing, *, hops: int, max_nodes: int) -> Rings:
    """Walk outwards from the seeds, ring by ring, until ``hops`` or ``max_nodes`` is reached.

    :param seeds: Entity ids, all of which are kept while there is room.
    :param next_ring: What lies next to a ring, the best first.
    :param hops: The most relations from a seed.
    :param max_nodes: The most entities.
    :returns: The rings.
    """
    kept = list(dict.fromkeys(seeds))
    found = dict.fromkeys(kept[:max_nodes], 0)
    ring, left_out = list(found), max(0, len(kept) - max_nodes)
    for distance in range(1, hops + 1):
        if not ring or left_out:
            break
        room = max_nodes - len(found)
        ring, n_candidates = next_ring(ring, set(found), room)
        found.update(dict.fromkeys(ring, distance))
        left_out = n_candidates - len(ring)
    return Rings(hops=found, n_left_out=left_out)


def shortest(
    adjacency: Callable[[str], Iterable[Relation]], start: str, end: str, *, max_hops: int, limit: int
) -> list[WeightedPath]:
    """Find the shortest ways between two entities, the best supported first, ties by entity ids.

    Breadth first, one layer at a time; each entity of a layer keeps its ``limit`` best ways from the start. The
    ways to one entity all grow by the same hops, so no way that is dropped could have been among the best.

    :param adjacency: The relations that touch an entity.
    :param start: Where the ways begin.
    :param end: Where they end.
    :param max_hops: The most relations of a way.
    :param limit: The most ways.
    :returns: Ways of equal length; none where there is no way, or ``start == end``.
    """
    if start == end:
        return []
    layer: dict[str, list[WeightedPath]] = {start: [WeightedPath(entity_ids=(start,), weight=0)]}
    seen = {start}
    for _ in range(max_hops):
        grown: dict[str, list[WeightedPath]] = {}
        for node, ways in layer.items():
            for other, weight in _weights(adjacency(node), node).items():
                if other not in seen:
                    grown.setdefault(other, []).extend(
                        WeightedPath(entity_ids=(*way.entity_ids, other), weight=way.weight + weight) for way in ways
                    )
        layer = {node: _best(ways, limit) for node, ways in grown.items()}
        if end in layer or not layer:
            break
        seen.update(layer)
    return layer.get(end, [])


def _best(ways: list[WeightedPath], limit: int) -> list[WeightedPath]:
    return sorted(ways, key=lambda way: (-way.weight, way.entity_ids))[:limit]


def _weights(relations: Iterable[Relation], node: str) -> dict[str, int]:
    best: dict[str, int] = {}
    for relation in relations:
        other = relation.tail_id if relation.head_id == node else relation.head_id
        best[other] = max(best.get(other, 0), relation.n_statements)
    return best

"""Rules of length 1 and 2, mined from train, and the entities they lead to with the path that grounds them.

Layer: ``generation``; NumPy only. ``r1(x, y) → r(x, y)`` and ``r1(x, z), r2(z, y) → r(x, y)``; each relation has its
inverse at ``relation + n_relations``, so both directions of a question are asked alike. A path has three different
entities, so neither the edge that it concludes nor its inverse can be a step of it.
Source: path rules and the pessimistic constant of the confidence, Meilicke et al. 2019 (AnyBURL, IJCAI), eq. 3.

Bounds: a step from ``z`` by ``r2`` that fans out to more than ``max_fan`` entities is left out, in mining and in use,
and anchors are sampled where there would be more than ``max_paths`` paths, so memory and time stay bounded.

Shape suffixes: E edges and their inverses, P paths, Q rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet

__all__ = ["Adjacency", "PathRule", "mine_path_rules", "mine_path_rules_naively"]

PESSIMISM = 5
_CHUNK_PATHS = 2_000_000
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRule:
    """If the body's steps lead from x to y then ``head(x, y)``; relations from ``n_relations`` up are inverses.

    ``support`` counts the pairs of train that have both, ``n_body`` those that the body leads to, and ``confidence`` is
    ``support / (n_body + 5)``. Where anchors were sampled, both count in the sample.
    """

    body: tuple[int, ...]
    head: int
    support: int
    n_body: int

    @property
    def confidence(self) -> float:
        """How often the rule would have been right, seen pessimistically, in ``[0, 1)``."""
        return self.support / (self.n_body + PESSIMISM)


class Adjacency:
    """The edges of train and their inverses by the entity they leave, each entity's by relation and end.

    :param graph: The graph; only train is read.
    :param max_fan: The most ends of one entity by one relation for the second step of a path.
    """

    def __init__(self, graph: TripleSet, *, max_fan: int = 30) -> None:
        self.n_entities, self.n_relations, self.max_fan = graph.n_entities, graph.n_relations, max_fan
        inverses = graph.train[:, ::-1].copy()
        inverses[:, 1] += graph.n_relations
        edges = np.unique(np.concatenate([graph.train, inverses]), axis=0)
        edges = edges[edges[:, 0] != edges[:, 2]]
        self.heads_E, self.relations_E, self.ends_E = (np.ascontiguousarray(column) for column in edges.T)
        self.starts = np.searchsorted(self.heads_E, np.arange(graph.n_entities + 1))
        asked = self.heads_E * (2 * graph.n_relations) + self.relations_E
        _, where, sizes = np.unique(asked, return_inverse=True, return_counts=True)
        narrow = sizes[where] <= max_fan
        self.narrow_relations, self.narrow_ends = self.relations_E[narrow], self.ends_E[narrow]
        self.narrow_starts = np.searchsorted(self.heads_E[narrow], np.arange(graph.n_entities + 1))

    def first_steps(self, entity: int) -> tuple[_Ints, _Ints]:
        """Return relation and end of each edge that leaves an entity."""
        part = slice(self.starts[entity], self.starts[entity + 1])
        return self.relations_E[part], self.ends_E[part]

    def second_steps(self, entities: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        """Return the narrow edges that leave several entities.

        :param entities: Entities. *Shape:* ``(M,)``.
        :returns: Place in ``entities`` of each edge, its relation and its end. *Shape:* each ``(P,)``.
        """
        first = self.narrow_starts[entities]
        sizes = self.narrow_starts[entities + 1] - first
        origin = np.repeat(np.arange(len(entities)), sizes)
        offsets = np.arange(len(origin)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = np.repeat(first, sizes) + offsets
        return origin, self.narrow_relations[places], self.narrow_ends[places]


def mine_path_rules(
    graph: TripleSet,
    *,
    adjacency: Adjacency | None = None,
    min_support: int = 2,
    min_confidence: float = 0.01,
    max_rules: int = 200,
    max_paths: int = 40_000_000,
    seed: int = 0,
) -> list[PathRule]:
    """Find the rules of length 1 and 2 that train supports.

    :param graph: The graph; only train is read.
    :param adjacency: Its edges, if they are indexed already.
    :param min_support: The least number of pairs a rule must have been right for.
    :param min_confidence: The least confidence, a fraction.
    :param max_rules: The most rules that conclude one relation, the most confident ones.
    :param max_paths: The most paths of length 2 to count; beyond it anchors are sampled.
    :param seed: Seed of that sample.
    :returns: Rules by head, then falling confidence, falling support, and body.
    """
    adjacency = adjacency or Adjacency(graph)
    wide = 2 * graph.n_relations
    bodies: dict[int, int] = defaultdict(int)
    supports: dict[int, int] = defaultdict(int)
    pair_E = adjacency.heads_E * graph.n_entities + adjacency.ends_E
    order = np.argsort(pair_E, kind="stable")
    pairs, heads = pair_E[order], adjacency.relations_E[order]
    ones = (adjacency.relations_E + 1) * (wide + 1)  # body (r,) as the key of (r, none); 0 stands for none
    _count(_join(pairs, heads, pair_E, ones, wide), supports)
    _count(ones, bodies)
    for reached, keys in _paths(adjacency, max_paths=max_paths, seed=seed):
        _count(keys, bodies)
        _count(_join(pairs, heads, reached, keys, wide), supports)
    best: dict[int, list[PathRule]] = defaultdict(list)
    for key, support in supports.items():
        body_key, head = divmod(key, wide)
        first, second = divmod(body_key, wide + 1)
        body = (first - 1,) if second == 0 else (first - 1, second - 1)
        rule = PathRule(body=body, head=head, support=support, n_body=bodies[body_key])
        if support >= min_support and rule.confidence >= min_confidence and body != (head,):
            best[head].append(rule)
    return [rule for head in sorted(best) for rule in sorted(best[head], key=_by_worth)[:max_rules]]


def _by_worth(rule: PathRule) -> tuple[float, int, tuple[int, ...]]:
    return -rule.confidence, -rule.support, rule.body


def _paths(adjacency: Adjacency, *, max_paths: int, seed: int) -> Iterator[tuple[_Ints, _Ints]]:
    """Yield distinct ``(x, y)`` pairs and body keys of the paths of length 2, some anchors at a time."""
    fan = np.diff(adjacency.narrow_starts)
    per_edge = fan[adjacency.ends_E]
    running = np.concatenate([[0], np.cumsum(per_edge)])
    per_anchor = running[adjacency.starts[1:]] - running[adjacency.starts[:-1]]
    anchors = np.flatnonzero(per_anchor)
    if per_anchor.sum() > max_paths:
        anchors = np.random.default_rng([seed, 0x9A]).permutation(anchors)
        anchors = np.sort(anchors[: max(1, int(np.searchsorted(np.cumsum(per_anchor[anchors]), max_paths)))])
    chunks = np.cumsum(per_anchor[anchors]) // _CHUNK_PATHS
    wide = 2 * adjacency.n_relations
    for group in np.split(anchors, np.flatnonzero(np.diff(chunks)) + 1):
        if not len(group):
            continue
        edges = np.concatenate([np.arange(adjacency.starts[x], adjacency.starts[x + 1]) for x in group.tolist()])
        origin, second, end = adjacency.second_steps(adjacency.ends_E[edges])
        x = adjacency.heads_E[edges[origin]]
        apart = end != x
        pair = (x * adjacency.n_entities + end)[apart]
        key = (adjacency.relations_E[edges[origin]] + 1)[apart] * (wide + 1) + second[apart] + 1
        order = np.lexsort((key, pair))
        pair, key = pair[order], key[order]
        fresh = np.ones(len(pair), dtype=np.bool_)
        fresh[1:] = (pair[1:] != pair[:-1]) | (key[1:] != key[:-1])
        yield pair[fresh], key[fresh]


def _join(pairs: _Ints, heads: _Ints, reached: _Ints, keys: _Ints, wide: int) -> _Ints:
    """Return the key ``(body, head)`` of each reached pair that train links by ``head``."""
    first, last = np.searchsorted(pairs, reached, side="left"), np.searchsorted(pairs, reached, side="right")
    sizes = last - first
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    joined: _Ints = np.repeat(keys, sizes) * wide + heads[np.repeat(first, sizes) + offsets]
    return joined


def _count(keys: _Ints, counts: dict[int, int]) -> None:
    values, n = np.unique(keys, return_counts=True)
    for value, many in zip(values.tolist(), n.tolist(), strict=True):
        counts[value] += many


def mine_path_rules_naively(
    graph: TripleSet, *, min_support: int = 2, min_confidence: float = 0.01, max_fan: int = 30
) -> list[PathRule]:
    """Find the same rules by the definition, with sets of pairs: the reference for :func:`mine_path_rules`."""
    links: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for head, relation, tail in graph.train.tolist():
        if head != tail:
            links[relation].add((head, tail))
            links[relation + graph.n_relations].add((tail, head))
    narrow = {
        r: {(z, y) for z, y in pairs if sum(other == z for other, _ in pairs) <= max_fan} for r, pairs in links.items()
    }
    bodies: dict[tuple[int, ...], set[tuple[int, int]]] = {(r,): pairs for r, pairs in links.items()}
    for first, left in links.items():
        for second, right in narrow.items():
            bodies[first, second] = {(x, y) for x, z in left for w, y in right if z == w and x != y}
    rules = [
        PathRule(body=body, head=head, support=len(pairs & linked), n_body=len(pairs))
        for body, pairs in bodies.items()
        for head, linked in links.items()
        if body != (head,)
    ]
    kept = [rule for rule in rules if rule.support >= min_support and rule.confidence >= min_confidence]
    return sorted(kept, key=lambda rule: (rule.head, *_by_worth(rule)))


def rules_by_head(rules: Iterable[PathRule]) -> dict[int, Sequence[PathRule]]:
    """Group rules by the relation that they conclude."""
    grouped: dict[int, list[PathRule]] = defaultdict(list)
    for rule in rules:
        grouped[rule.head].append(rule)
    return dict(grouped)

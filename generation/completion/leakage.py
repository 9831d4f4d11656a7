"""Say of a graph's test part how much of it can be answered without understanding anything.

Layer: ``generation``; NumPy only. Nothing is trained; ``mmkg kgc check`` prints it.

* *Redundancy*: the pair of a test triple is linked in train already, in the same or the other direction. Beside it
  stands what chance would give: how often another train triple links the pair of a train triple. Where test was cleared
  of such pairs (as in FB15k-237), that they are not linked is itself a hint.
* *Duplicate relations*: two relations that link mostly the same pairs, or one the pairs of the other turned round.
  (Akrami et al. 2020, arXiv:2003.08001, section 4.2, whose threshold of 0.8 is the default.)
* *Texts that name the answer* and *types that equal it*: see :mod:`generation.completion.named_answers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from generation.completion.named_answers import NamedAnswers, answers_as_types, answers_in_texts
from generation.completion.relation_kinds import RelationKinds
from generation.completion.triples import TripleSet, are_among, distinct_triples, sorted_keys

__all__ = ["LeakageReport", "Redundancy", "RelationPair", "find_leakage"]

_DUPLICATE_SHARE = 0.8
_MIN_PAIRS = 5
_MANY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundancy:
    """Test triples whose pair train links already; ``either`` counts those of one or both kinds once.

    ``train_either`` counts the distinct train triples whose pair another one links, of ``n_train``.
    """

    n: int
    same_direction: int
    other_direction: int
    either: int
    reflexive: int
    n_train: int
    train_either: int

    @property
    def is_cleared(self) -> bool:
        """Whether none of many test triples is linked, though train's own are, from one in twenty."""
        return self.n >= _MANY and not self.either and self.train_either >= self.n_train / 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationPair:
    """Two relations that share ``n_shared`` train pairs; ``turned`` if one reads the other's pairs backwards.

    ``share_left`` and ``share_right`` are the shares of their own pairs. A relation turned onto itself is symmetric.
    """

    left: str
    right: str
    turned: bool
    n_shared: int
    share_left: float
    share_right: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """What was found; lists are sorted with the worst first. ``typed`` is ``None`` where no types are given."""

    graph: str
    sizes: dict[str, int]
    counts: dict[str, int]
    overlaps: dict[str, int]
    clashes: dict[str, int]
    redundancy: Redundancy
    duplicates: tuple[RelationPair, ...]
    texts: tuple[NamedAnswers, ...]
    texts_by_relation: tuple[NamedAnswers, ...]
    typed: NamedAnswers | None
    typed_by_relation: tuple[NamedAnswers, ...]
    unseen: dict[str, int]
    cardinality: dict[str, dict[str, int]]

    def to_mapping(self) -> dict[str, object]:
        """Return the report as plain values, with the shares that tables show."""
        plain: dict[str, object] = asdict(self)
        for name in ("texts", "texts_by_relation", "typed_by_relation"):
            plain[name] = [_with_shares(found) for found in getattr(self, name)]
        plain["typed"] = None if self.typed is None else _with_shares(self.typed)
        plain["duplicates"] = [asdict(pair) for pair in self.duplicates]
        found = asdict(self.redundancy)
        shares = {
            f"{key}_share": value / max(1, found["n_train" if key.startswith("train") else "n"])
            for key, value in found.items()
            if key not in ("n", "n_train")
        }
        plain["redundancy"] = {**found, **shares, "is_cleared": self.redundancy.is_cleared}
        return plain


def _with_shares(found: NamedAnswers) -> dict[str, object]:
    return {**asdict(found), "share": found.share, "chance_share": found.chance_share}


def find_leakage(
    graph: TripleSet,
    *,
    types: Sequence[set[str]] | None = None,
    seed: int = 0,
    duplicate_share: float = _DUPLICATE_SHARE,
) -> LeakageReport:
    """Look for leaks from train and from texts into test; without a test part into validation, else only at train.

    :param graph: The graph. Its splits may overlap, if it was read so; that is reported first.
    :param types: Types of each entity, in the graph's order, if there are any.
    :param seed: Seed of the draws behind the chance shares.
    :param duplicate_share: Least share of pairs, of both relations, that makes them duplicates.
    :returns: The report.
    """
    asked = graph.test if len(graph.test) else graph.valid
    rng = np.random.default_rng([seed, 0x1EA])
    texts, by_relation = answers_in_texts(graph, asked, rng=rng)
    typed, typed_by_relation = answers_as_types(graph, asked, types, rng=rng)
    unseen_ends = ~graph.seen[asked[:, [0, 2]]]
    trained = np.bincount(graph.train[:, 1], minlength=graph.n_relations) > 0
    kinds = RelationKinds.of(graph)
    return LeakageReport(
        graph=graph.name,
        sizes={
            "entities": graph.n_entities,
            "relations": graph.n_relations,
            **{name: len(getattr(graph, name)) for name in ("train", "valid", "test", "filter_only")},
            "with_text": sum(map(bool, graph.entity_texts)),
        },
        counts=dict(graph.counts),
        overlaps=graph.overlaps(),
        clashes=_clashes(graph),
        redundancy=_redundancy(graph, asked),
        duplicates=_duplicate_relations(graph, duplicate_share),
        texts=texts,
        texts_by_relation=by_relation,
        typed=typed,
        typed_by_relation=typed_by_relation,
        unseen={
            "entities_not_in_train": int((~graph.seen).sum()),
            "entities_asked_unseen": len(np.unique(asked[:, [0, 2]][unseen_ends])),
            "triples_with_unseen_entity": int(unseen_ends.any(axis=1).sum()),
            "relations_not_in_train": int((~trained).sum()),
            "triples_with_unseen_relation": int((~trained[asked[:, 1]]).sum()),
        },
        cardinality=kinds.count(asked),
    )


def _pair_keys(graph: TripleSet, heads: NDArray[np.int64], tails: NDArray[np.int64]) -> NDArray[np.int64]:
    return heads * graph.n_entities + tails


def _redundancy(graph: TripleSet, asked: NDArray[np.int64]) -> Redundancy:
    linked = sorted_keys(_pair_keys(graph, graph.train[:, 0], graph.train[:, 2]))
    same = are_among(_pair_keys(graph, asked[:, 0], asked[:, 2]), linked)
    other = are_among(_pair_keys(graph, asked[:, 2], asked[:, 0]), linked)
    train = distinct_triples(graph.train, n_entities=graph.n_entities, n_relations=graph.n_relations)
    return Redundancy(
        n_train=len(train),
        train_either=int(_stands_with_another(graph, train).sum()),
        n=len(asked),
        same_direction=int(same.sum()),
        other_direction=int(other.sum()),
        either=int((same | other).sum()),
        reflexive=int((asked[:, 0] == asked[:, 2]).sum()),
    )


def _duplicate_relations(graph: TripleSet, least: float) -> tuple[RelationPair, ...]:
    """Join train with itself, and with its inverses, on the pair of entities."""
    n, n_entities = graph.n_relations, graph.n_entities
    rows = distinct_triples(graph.train, n_entities=n_entities, n_relations=n)
    sizes = np.bincount(rows[:, 1], minlength=n)
    rows = rows[_stands_with_another(graph, rows) | (rows[:, 0] == rows[:, 2])]
    heads = np.concatenate([rows[:, 0], rows[:, 2]])
    tails = np.concatenate([rows[:, 2], rows[:, 0]])
    relations = np.concatenate([rows[:, 1], rows[:, 1] + n])
    keys = _pair_keys(graph, heads, tails)
    order = np.lexsort((relations, keys))
    keys, relations = keys[order], relations[order]
    shared: Counter[int] = Counter()
    step = 1
    while step < len(keys):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(same):
            break
        joined, times = np.unique(relations[same] * 2 * n + relations[same + step], return_counts=True)
        shared.update(dict(zip(joined.tolist(), times.tolist(), strict=True)))
        step += 1
    found = [_relation_pair(graph, key // (2 * n), key % (2 * n), times, sizes) for key, times in shared.items()]
    kept = [pair for pair in found if pair and min(pair.share_left, pair.share_right) >= least]
    return tuple(sorted(kept, key=lambda pair: (-pair.n_shared, pair.left, pair.right)))


def _stands_with_another(graph: TripleSet, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which triples do not stand alone on their two entities; in large graphs nearly all stand alone."""
    keys = _pair_keys(graph, np.minimum(rows[:, 0], rows[:, 2]), np.maximum(rows[:, 0], rows[:, 2]))
    ordered = np.sort(keys)
    return are_among(keys, sorted_keys(ordered[1:][ordered[1:] == ordered[:-1]]))


def _relation_pair(
    graph: TripleSet, left: int, right: int, n_shared: int, sizes: NDArray[np.int64]
) -> RelationPair | None:
    """Describe two relations that share pairs; ``left < right``, and inverses count from ``n_relations``."""
    n = graph.n_relations
    if left >= n or (right >= n and right - n < left):
        return None  # the same finding seen from the other side
    other = right % n
    if min(sizes[left], sizes[other]) < _MIN_PAIRS:
        return None
    return RelationPair(
        left=graph.relation_names[left],
        right=graph.relation_names[other],
        turned=right >= n,
        n_shared=n_shared,
        share_left=n_shared / int(sizes[left]),
        share_right=n_shared / int(sizes[other]),
    )


def _clashes(graph: TripleSet) -> dict[str, int]:
    """Count ids and names that a reader, or a lookup by name, would take for one another."""

    def surplus(items: Sequence[str]) -> int:
        return len(items) - len(set(items))

    def folded(items: Sequence[str]) -> list[str]:
        return [" ".join(item.split()).casefold() for item in items]

    return {
        "entities_sharing_a_name": sum(n for n in Counter(graph.entity_names).values() if n > 1),
        "names_shared_by_entities": sum(n > 1 for n in Counter(graph.entity_names).values()),
        "entity_ids_equal_but_for_case": surplus(folded(graph.entity_ids)),
        "relations_sharing_a_name": sum(n for n in Counter(graph.relation_names).values() if n > 1),
        "relation_ids_equal_but_for_case": surplus(folded(graph.relation_ids)),
    }

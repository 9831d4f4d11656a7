"""Split a graph anew: for entities the model knows, or for entities it has never seen.

Layer: ``generation``; NumPy only. Both ways pool the triples of all splits first and are the same for the same seed.

* *Transductive*: validation and test are drawn from triples whose entities and relation keep a train triple.
* *Inductive*: a share of the entities is taken out of train with every triple that touches one. No other entity loses
  its last train triple by that, so the entities unseen in train are exactly those chosen. They are dealt out between
  validation and test, which therefore ask for different ones; triples between the two groups serve the filter only.
  (Teru et al. 2020, arXiv:1911.06962, split whole graphs; here, as in Daza et al. 2021, arXiv:2010.03496, new entities
  meet a known graph.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet, distinct_triples
from kg.errors import CompletionError

__all__ = ["inductive_split", "transductive_split"]


def transductive_split(graph: TripleSet, *, valid_fraction: float, test_fraction: float, seed: int) -> TripleSet:
    """Draw validation and test anew, such that train still holds every entity and relation that it held.

    :param graph: The graph; its train, validation and test are pooled.
    :param valid_fraction: Share of the pooled triples for validation, in ``[0, 1)``.
    :param test_fraction: Share for test, in ``(0, 1)``.
    :param seed: Seed of the choice.
    :returns: The graph split anew; a note says what was drawn, and where fewer triples than wanted could be spared.
    :raises CompletionError: If a fraction is out of range or no triple can be spared.
    """
    _require_fraction("valid fraction", valid_fraction, zero=True)
    _require_fraction("test fraction", test_fraction)
    if valid_fraction + test_fraction >= 1.0:
        raise CompletionError(f"The fractions {valid_fraction:g} and {test_fraction:g} leave nothing to train on.")
    pool = _pooled(graph)
    n_test, n_valid = round(test_fraction * len(pool)), round(valid_fraction * len(pool))
    taken = _spare(pool, graph, wanted=n_test + n_valid, seed=seed)
    if not len(taken):
        raise CompletionError(
            f"{graph.name}: each of its {len(pool)} triples is the last one of an entity or relation in train, so none "
            "can be spared for a test."
        )
    n_test = min(n_test, max(1, round(len(taken) * n_test / max(1, n_test + n_valid))))
    note = f"split anew with seed {seed}: {n_test} test and {len(taken) - n_test} validation triples of {len(pool)}"
    left = np.ones(len(pool), dtype=np.bool_)
    left[taken] = False
    counts = {"pooled": len(pool), "train": int(left.sum()), "valid": len(taken) - n_test, "test": n_test}
    return _resplit(graph, pool[left], pool[taken[n_test:]], pool[taken[:n_test]], counts, note)


def inductive_split(graph: TripleSet, *, unseen_fraction: float, seed: int, valid_share: float = 0.5) -> TripleSet:
    """Take entities out of train, so that validation and test ask for entities that train has never seen.

    :param graph: The graph; its train, validation and test are pooled.
    :param unseen_fraction: Share of the entities that stand in a triple to take out, in ``(0, 1)``.
    :param seed: Seed of the choice.
    :param valid_share: Share of those entities that goes to validation, in ``[0, 1)``; the rest goes to test.
    :returns: The graph split anew; ``counts`` says how many entities and triples of each kind there are.
    :raises CompletionError: If a fraction is out of range or no entity can be taken out.
    """
    _require_fraction("share of unseen entities", unseen_fraction)
    _require_fraction("validation's share of them", valid_share, zero=True)
    pool = _pooled(graph)
    present = np.unique(pool[:, [0, 2]])
    wanted = max(1, round(unseen_fraction * len(present)))
    chosen, n_passed = _choose_unseen(pool, graph, present, wanted=wanted, seed=seed)
    if not chosen:
        raise CompletionError(
            f"{graph.name}: no entity can be taken out of train without a neighbour or relation losing its last train "
            "triple. The graph is too sparse for an inductive split."
        )
    n_valid = min(round(valid_share * len(chosen)), len(chosen) - 1)
    group = np.zeros(graph.n_entities, dtype=np.int64)  # 0 stays in train, 1 is new in validation, 2 is new in test
    group[chosen[:n_valid]], group[chosen[n_valid:]] = 1, 2
    ends = group[pool[:, [0, 2]]]
    in_valid, in_test = (ends == 1).any(axis=1), (ends == 2).any(axis=1)
    between = in_valid & in_test
    counts = {
        "pooled": len(pool),
        "unseen_entities_valid": n_valid,
        "unseen_entities_test": len(chosen) - n_valid,
        "entities_passed_over": n_passed,
        "train": int((~in_valid & ~in_test).sum()),
        "valid": int((in_valid & ~between).sum()),
        "test": int((in_test & ~between).sum()),
        "test_both_ends_unseen": int((ends == 2).all(axis=1).sum()),
        "between_filter_only": int(between.sum()),
    }
    note = (
        f"inductive split with seed {seed}: {n_valid} entities are new in validation and {len(chosen) - n_valid} "
        f"others in test, of {len(present)}; {n_passed} were passed over because a neighbour or relation would have "
        "lost its last train triple"
    )
    kept = replace(graph, filter_only=np.concatenate([graph.filter_only, pool[between]]))
    return _resplit(kept, pool[~in_valid & ~in_test], pool[in_valid & ~between], pool[in_test & ~between], counts, note)


def _choose_unseen(
    pool: NDArray[np.int64], graph: TripleSet, present: NDArray[np.int64], *, wanted: int, seed: int
) -> tuple[list[int], int]:
    """Draw entities one by one, passing over those that would take the last train triple of something else."""
    left = np.bincount(pool[:, [0, 2]].ravel(), minlength=graph.n_entities)
    relation_left = np.bincount(pool[:, 1], minlength=graph.n_relations)
    ends = np.concatenate([pool[:, 0], pool[:, 2]])
    order = np.argsort(ends, kind="stable")
    first = np.searchsorted(ends[order], np.arange(graph.n_entities + 1))
    in_train = np.ones(len(pool), dtype=np.bool_)
    is_chosen = np.zeros(graph.n_entities, dtype=np.bool_)
    chosen: list[int] = []
    n_passed = 0
    for entity in np.random.default_rng([seed, 0x1D]).permutation(present).tolist():
        if len(chosen) == wanted:
            break
        rows = np.unique(order[first[entity] : first[entity + 1]] % len(pool))
        rows = rows[in_train[rows]]
        others, lost = np.unique(pool[rows][:, [0, 2]], return_counts=True)
        relations, used = np.unique(pool[rows, 1], return_counts=True)
        spared = others != entity
        if (left[others[spared]] <= lost[spared]).any() or (relation_left[relations] <= used).any():
            n_passed += 1
            continue
        left[others] -= lost
        relation_left[relations] -= used
        in_train[rows] = False
        is_chosen[entity] = True
        chosen.append(entity)
    return chosen, n_passed


def _spare(pool: NDArray[np.int64], graph: TripleSet, *, wanted: int, seed: int) -> NDArray[np.int64]:
    """Draw triples whose entities and relation keep another one."""
    left = np.bincount(pool[:, [0, 2]].ravel(), minlength=graph.n_entities)
    relation_left = np.bincount(pool[:, 1], minlength=graph.n_relations)
    taken: list[int] = []
    for row in np.random.default_rng([seed, 0x75]).permutation(len(pool)).tolist():
        if len(taken) == wanted:
            break
        head, relation, tail = pool[row]
        if relation_left[relation] < 2 or left[head] < 2 + (head == tail) or left[tail] < 2:
            continue
        left[head] -= 1
        left[tail] -= 1
        relation_left[relation] -= 1
        taken.append(row)
    return np.array(taken, dtype=np.int64)


def _pooled(graph: TripleSet) -> NDArray[np.int64]:
    rows = np.concatenate([graph.train, graph.valid, graph.test])
    return distinct_triples(rows, n_entities=graph.n_entities, n_relations=graph.n_relations)


def _resplit(
    graph: TripleSet,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    test: NDArray[np.int64],
    counts: dict[str, int],
    note: str,
) -> TripleSet:
    return replace(
        graph,
        train=train,
        valid=valid,
        test=test,
        counts=counts,
        notes=(note,),
        carved=None,
        allow_overlap=False,
    )


def _require_fraction(name: str, value: float, *, zero: bool = False) -> None:
    if not (0.0 < value < 1.0 or (zero and value == 0.0)):
        bound = "from 0" if zero else "above 0"
        raise CompletionError(f"The {name} must be {bound} and below 1, got {value:g}.")

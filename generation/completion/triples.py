"""A graph to complete: entities, relations, and triples in train, validation and test, checked when it is made.

Layer: ``generation``; NumPy and ``kg.errors`` only. Where the triples come from is told in ``tsv_folder`` (files) and
``workspace_graph`` (a workspace's own record).

Triples are rows ``(head, relation, tail)`` of indices, int64. Shape suffixes: M triples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from generation.completion.known import KnownEnds
from generation.completion.train_facts import TrainFacts
from kg.errors import CompletionError

__all__ = [
    "TripleSet",
    "are_among",
    "carve_validation",
    "distinct_triples",
    "empty_triples",
    "held_out",
    "sorted_keys",
    "triple_keys",
    "without_repeats",
]

_MAX_CARVED = 5_000


def empty_triples() -> NDArray[np.int64]:
    """Return no triples. *Shape:* ``(0, 3)``."""
    return np.empty((0, 3), dtype=np.int64)


def triple_keys(triples_M3: NDArray[np.int64], *, n_entities: int, n_relations: int) -> NDArray[np.int64]:
    """Give each triple a number of its own, so that sets of triples can be compared fast.

    :param triples_M3: Triples. *Shape:* ``(M, 3)``.
    :param n_entities: Number of entities.
    :param n_relations: Number of relations.
    :returns: ``(head * n_relations + relation) * n_entities + tail``. *Shape:* ``(M,)``.
    :raises CompletionError: If the graph is too large for 64-bit keys.
    """
    if n_entities * n_relations * n_entities >= 2**63:
        raise CompletionError(f"{n_entities} entities with {n_relations} relations are too many for 64-bit keys.")
    return (triples_M3[:, 0] * n_relations + triples_M3[:, 1]) * n_entities + triples_M3[:, 2]


def sorted_keys(keys_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort keys and drop repeats.

    ``np.unique`` does this by hashing since NumPy 2.3, which took half the time of a check of two million triples.

    :param keys_M: Keys. *Shape:* ``(M,)``.
    :returns: The distinct ones, rising. *Shape:* ``(K,)``, ``K <= M``.
    """
    ordered = np.sort(keys_M)
    fresh = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return ordered[fresh]


def are_among(keys_M: NDArray[np.int64], known_K: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which keys are among others.

    :param keys_M: Keys to look up. *Shape:* ``(M,)``.
    :param known_K: Keys as :func:`sorted_keys` returns them. *Shape:* ``(K,)``.
    :returns: Whether each is there. *Shape:* ``(M,)``.
    """
    if not len(known_K):
        return np.zeros(len(keys_M), dtype=np.bool_)
    places = np.minimum(np.searchsorted(known_K, keys_M), len(known_K) - 1)
    found: NDArray[np.bool_] = known_K[places] == keys_M
    return found


def distinct_triples(triples_M3: NDArray[np.int64], *, n_entities: int, n_relations: int) -> NDArray[np.int64]:
    """Sort triples by head, relation and tail and drop repeats: ``np.unique(…, axis=0)`` by their keys, much faster.

    :param triples_M3: Triples. *Shape:* ``(M, 3)``.
    :param n_entities: Number of entities.
    :param n_relations: Number of relations.
    :returns: The distinct ones. *Shape:* ``(K, 3)``, ``K <= M``.
    """
    keys = sorted_keys(triple_keys(triples_M3, n_entities=n_entities, n_relations=n_relations))
    heads_relations, tails = np.divmod(keys, max(1, n_entities))
    heads, relations = np.divmod(heads_relations, max(1, n_relations))
    return np.stack([heads, relations, tails], axis=1)


def without_repeats(triples_M3: NDArray[np.int64], *, n_entities: int, n_relations: int) -> NDArray[np.int64]:
    """Keep the first of each triple, in the order given.

    :param triples_M3: Triples. *Shape:* ``(M, 3)``.
    :param n_entities: Number of entities.
    :param n_relations: Number of relations.
    :returns: The distinct ones; the array itself where none repeats. *Shape:* ``(K, 3)``, ``K <= M``.
    """
    keys = triple_keys(triples_M3, n_entities=n_entities, n_relations=max(1, n_relations))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    later = order[1:][keys[1:] == keys[:-1]]
    if not len(later):
        return triples_M3
    del keys, order  # 16 bytes a triple, at the moment when memory is at its peak
    kept = np.ones(len(triples_M3), dtype=np.bool_)
    kept[later] = False
    return triples_M3[kept]


@dataclass(frozen=True, kw_only=True, eq=False)
class TripleSet:
    """A graph split for link prediction.

    ``filter_only`` holds triples that are known to be true and are neither trained on nor ranked: ranking skips them
    as it skips all known ones. ``counts`` says what loading met (duplicates, reflexive triples, unlisted ids,
    overlaps), ``notes`` says it in words. ``carved`` is ``(seed, fraction)`` where validation was carved from train.

    :raises CompletionError: If vocabularies repeat an id, an index is out of range, or splits overlap while
        ``allow_overlap`` is false.
    """

    name: str
    entity_ids: tuple[str, ...]
    entity_names: tuple[str, ...]
    relation_ids: tuple[str, ...]
    relation_names: tuple[str, ...]
    train: NDArray[np.int64]
    valid: NDArray[np.int64] = field(default_factory=empty_triples)
    test: NDArray[np.int64] = field(default_factory=empty_triples)
    filter_only: NDArray[np.int64] = field(default_factory=empty_triples)
    entity_texts: tuple[str, ...] = ()
    entity_aliases: tuple[tuple[str, ...], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    carved: tuple[int, float] | None = None
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        self._check_vocabulary()
        for split in ("train", "valid", "test", "filter_only"):
            self._check_indices(split, getattr(self, split))
        overlaps = self.overlaps()
        if overlaps and not self.allow_overlap:
            found = ", ".join(f"{n} of {pair}" for pair, n in overlaps.items())
            raise CompletionError(
                f"{self.name}: the splits share triples ({found}), so scores on them would be memory. Remove the "
                "shared triples from one side, rename a broken split to NAME-broken.tsv (it then serves the filter "
                "only), or allow the overlap explicitly."
            )

    def _check_vocabulary(self) -> None:
        for kind, ids, names in (
            ("entity", self.entity_ids, self.entity_names),
            ("relation", self.relation_ids, self.relation_names),
        ):
            if len(ids) != len(names):
                raise CompletionError(f"{self.name}: {len(ids)} {kind} ids but {len(names)} names.")
            if len(set(ids)) != len(ids):
                raise CompletionError(f"{self.name}: an {kind} id is listed twice.")
        for texts in (self.entity_texts, self.entity_aliases):
            if texts and len(texts) != len(self.entity_ids):
                raise CompletionError(f"{self.name}: {len(texts)} entity texts for {len(self.entity_ids)} entities.")

    def _check_indices(self, split: str, triples_M3: NDArray[np.int64]) -> None:
        if triples_M3.ndim != 2 or triples_M3.shape[1] != 3 or triples_M3.dtype != np.int64:
            raise CompletionError(f"{self.name}: {split} must be int64 of shape (M, 3), got {triples_M3.shape}.")
        limits = (self.n_entities, self.n_relations, self.n_entities)
        for column, limit in enumerate(limits):
            values = triples_M3[:, column]
            if values.size and (int(values.min()) < 0 or int(values.max()) >= limit):
                raise CompletionError(f"{self.name}: {split} holds an index outside 0..{limit - 1}.")

    @property
    def n_entities(self) -> int:
        """Count the entities."""
        return len(self.entity_ids)

    @property
    def n_relations(self) -> int:
        """Count the relations, without their inverses."""
        return len(self.relation_ids)

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the triples of a split by its name.

        :param name: ``train``, ``valid`` or ``test``.
        :returns: Its triples. *Shape:* ``(M, 3)``.
        :raises CompletionError: If there is no such split, or it is empty.
        """
        if name not in ("train", "valid", "test"):
            raise CompletionError(f"There is no split {name!r}. Use train, valid or test.")
        triples: NDArray[np.int64] = getattr(self, name)
        if not len(triples):
            raise CompletionError(f"{self.name}: the split {name!r} is empty; add {name}.tsv or choose another split.")
        return triples

    def known(self) -> NDArray[np.int64]:
        """Return every triple known to be true, of all splits, sorted and without repeats. *Shape:* ``(M, 3)``."""
        rows = np.concatenate([self.train, self.valid, self.test, self.filter_only])
        return distinct_triples(rows, n_entities=self.n_entities, n_relations=self.n_relations)

    @cached_property
    def known_ends(self) -> KnownEnds:
        """The index of :meth:`known`, made when it is first asked for and then kept."""
        return KnownEnds.build(self.known(), n_relations=self.n_relations)

    @cached_property
    def train_facts(self) -> TrainFacts:
        """Counts of train, made when they are first asked for and then kept."""
        return TrainFacts.build(self.train, n_entities=self.n_entities, n_relations=self.n_relations)

    def overlaps(self) -> dict[str, int]:
        """Count the distinct triples that two splits share, for each pair that shares any."""
        keys = {
            name: sorted_keys(
                triple_keys(getattr(self, name), n_entities=self.n_entities, n_relations=self.n_relations)
            )
            for name in ("train", "valid", "test")
        }
        found: dict[str, int] = {}
        for left, right in (("train", "valid"), ("train", "test"), ("valid", "test")):
            shared = int(are_among(keys[right], keys[left]).sum())
            if shared:
                found[f"{left}+{right}"] = shared
        return found

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Say of each entity whether it occurs in train. *Shape:* ``(n_entities,)``."""
        mask = np.zeros(self.n_entities, dtype=np.bool_)
        mask[self.train[:, 0]] = True
        mask[self.train[:, 2]] = True
        return mask

    def with_validation_in_train(self) -> TripleSet:
        """Return the graph with its validation triples as train triples, for what has learnt both."""
        return replace(self, train=np.concatenate([self.train, self.valid]), valid=empty_triples())

    @cached_property
    def vocabulary_fingerprint(self) -> str:
        """Digest of the entity and relation ids in their order: what a model's rows stand for."""
        digest = hashlib.sha256()
        for ids in (self.entity_ids, self.relation_ids):
            digest.update(len(ids).to_bytes(8, "big"))
            for item in ids:
                encoded = item.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()

    @cached_property
    def train_fingerprint(self) -> str:
        """Digest of the vocabulary and of the train triples as a set: what a model has seen."""
        digest = hashlib.sha256(self.vocabulary_fingerprint.encode())
        rows = distinct_triples(self.train, n_entities=self.n_entities, n_relations=self.n_relations)
        digest.update(rows.astype("<i8").tobytes())
        return digest.hexdigest()


def held_out(
    triples: TripleSet,
    order: NDArray[np.int64],
    *,
    most: int | None = None,
    asked_R: NDArray[np.bool_] | None = None,  # noqa: N803 (shape suffix)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take triples out of train while their two entities and their relation keep another one.

    Relations that are not asked for say no more than that two entities are spoken of together. They are never held out,
    and are taken out of train between the ends of what is: most links to be predicted are of entities that no sentence
    brings together, and a held-out one must look like them.

    :param triples: A graph.
    :param order: Rows of train, in the order in which they are tried. *Shape:* ``(K,)``.
    :param most: The most to hold out; ``None`` sets no bound.
    :param asked_R: Whether a relation is asked for; ``None``: all are. *Shape:* ``(n_relations,)``.
    :returns: What is left of train, and those held out, both in the order of train. Reflexive triples are left.
        *Shape:* ``(M, 3)`` and ``(K, 3)``.
    """
    train = triples.train
    is_asked = np.ones(len(train), dtype=np.bool_) if asked_R is None else asked_R[train[:, 1]]
    entity_left = np.bincount(train[:, [0, 2]].ravel(), minlength=triples.n_entities)
    relation_left = np.bincount(train[:, 1], minlength=triples.n_relations)
    taken: list[int] = []
    for index in order[is_asked[order]]:
        if most is not None and len(taken) >= most:
            break
        head, relation, tail = train[index]
        if head == tail or min(entity_left[head], entity_left[tail], relation_left[relation]) < 2:
            continue
        entity_left[head] -= 1
        entity_left[tail] -= 1
        relation_left[relation] -= 1
        taken.append(int(index))
    is_out = np.zeros(len(train), dtype=np.bool_)
    is_out[taken] = True
    pairs = np.sort(train[:, [0, 2]], axis=1) @ np.array([triples.n_entities, 1])
    is_left = ~is_out & (is_asked | ~np.isin(pairs, pairs[is_out]))
    return train[is_left], train[is_out]


def carve_validation(
    triples: TripleSet,
    *,
    fraction: float,
    seed: int,
    asked_R: NDArray[np.bool_] | None = None,  # noqa: N803 (shape suffix)
) -> TripleSet:
    """Move a part of train to validation, the same for the same seed.

    A triple is taken only while its two entities and its relation keep another train triple, so validation costs no
    entity its place in the model. It is therefore a little easier than test: good for choosing, not for reporting.

    :param triples: A graph without validation triples.
    :param fraction: The share of train to take, ``0 <= fraction < 1``; at most 5,000 triples are taken.
    :param seed: Seed of the choice.
    :param asked_R: Whether a relation is asked for, see :func:`held_out`; the share is of these. *Shape:*
        ``(n_relations,)``.
    :returns: The graph with the part moved, and a note that says so; the graph itself where nothing could be taken.
    """
    n_asked = len(triples.train) if asked_R is None else int(asked_R[triples.train[:, 1]].sum())
    order = np.random.default_rng([seed, 0xCA]).permutation(len(triples.train))
    train, valid = held_out(triples, order, most=min(_MAX_CARVED, round(fraction * n_asked)), asked_R=asked_R)
    if not len(valid):
        return triples
    note = f"validation: {len(valid)} triples carved from train with seed {seed} (fraction {fraction:g})"
    return replace(
        triples,
        train=train,
        valid=valid,
        carved=(seed, fraction),
        counts={**triples.counts, "carved_valid": len(valid)},
        notes=(*triples.notes, note),
    )

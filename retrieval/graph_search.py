"""Search the graph of chunks and the entities they mention, by personalised PageRank on sparse matrices.

Layer: ``retrieval``; imports ``kg``, NumPy, and SciPy (lazily, with the first graph).
Sources: the relation-free graph of chunks and entities is LinearRAG's (Zhuang et al., ICLR 2026, arXiv:2510.10114); the
restart at both entities and passages, and its probability of one half, are HippoRAG 2's (Gutierrez et al. 2025,
arXiv:2502.14802).

The walk starts at the chunks that other retrievers like and at the entities that the question names. At each step it
goes on with probability ``damping`` along a mention (chunk to entity, entity to chunk), else it starts again. A chunk
that answers the second half of a question shares an entity with one that answers the first, and so gains from it.

A mention weighs ``n ** mention_exponent * idf``, so "the company" joins nothing and a rare name joins much; in ``n`` a
mention by a common noun phrase counts ``concept_mention``, one by a name 1. A chunk
that mentions nothing gets an entity of its own, so that it is no worse off than one whose entities nobody shares.

Shape suffixes: N chunks, E entities, V nodes (chunks first, then entities).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kg.ports import MentionRow
from kg.resolution.names import COMMON_LABELS
from kg.types import Entity
from retrieval.analysis import ENGLISH_STOP_WORDS, QUESTION_WORDS
from retrieval.config import RetrievalConfig
from retrieval.pagerank import fast_pagerank

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["EntityGraph", "Walk", "personalised_pagerank"]

_WORD = re.compile(r"[^\W_]+(?:[-'’.&][^\W_]+)*")
_LEAST_FLOW = 1e-9
_LEAST_SHARE = 0.02  # An entity that brings less than this part of what the strongest brings explains nothing.
_NOT_NAMES = ENGLISH_STOP_WORDS | QUESTION_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Where the walk of one question spends its time.

    ``scores`` holds the share of the walk, > 0, higher is better, of the best of the allowed chunks, best first, ties
    by id. ``restarts`` is the part of it that comes from starting at the chunk itself rather than from arriving through
    an entity. ``entities`` names the entities through which the best chunks were reached, strongest first.
    """

    scores: Mapping[str, float]
    restarts: Mapping[str, float]
    entities: Mapping[str, tuple[str, ...]]


class EntityGraph:
    """The graph of one version of the record: immutable, so threads share it without a lock.

    :param chunk_ids: All chunks, each once.
    :param mentions: Who mentions what; rows of unknown chunks are left out.
    :param entities: The entities, for their names; the names of a question's words are looked up among these.
    :param config: The constants.
    """

    def __init__(
        self,
        chunk_ids: Sequence[str],
        *,
        mentions: Iterable[MentionRow],
        entities: Sequence[Entity],
        config: RetrievalConfig,
    ) -> None:
        self.config = config
        self.chunk_ids = tuple(chunk_ids)
        self.names = tuple(entity.name for entity in entities)
        self.entity_ids = tuple(entity.entity_id for entity in entities)
        self.types = tuple(entity.type for entity in entities)
        self._rows = {chunk_id: row for row, chunk_id in enumerate(self.chunk_ids)}
        columns = {entity.entity_id: column for column, entity in enumerate(entities)}
        counted = [
            (place, column, config.concept_mention if row.label in COMMON_LABELS else 1.0)
            for row in mentions
            if (place := self._rows.get(row.chunk_id)) is not None
            and (column := columns.get(row.entity_id)) is not None
        ]
        self._edges, self.specificity_E = _weigh(counted, len(self.chunk_ids), len(entities), config=config)
        self._steps = _Steps.of(self._edges)
        self._lookup = _name_table(entities)

    def recognise(self, text: str, *, allowed: Collection[str] | None = None) -> dict[int, float]:
        """Find the entities that a text names, by look-up of its runs of words; no model is needed.

        From each word on, the longest run that is a name or an alias counts. Case, punctuation, possessives and a
        leading article do not matter.

        :param text: A question.
        :param allowed: Only entities that one of these chunks mentions; ``None`` allows all.
        :returns: The share of each entity's column, > 0, in sum 1: rarer names weigh more. Empty where none is known.
        """
        words = _words(text)
        found: set[int] = set()
        for start in range(len(words)):
            longest = min(self.config.max_name_words, len(words) - start)
            for n_words in range(longest, 0, -1):
                columns = self._lookup.get(" ".join(words[start : start + n_words]))
                if columns:
                    found.update(columns)
                    break
        if allowed is not None:
            found = {column for column in found if not self.mentioning((column,)).isdisjoint(allowed)}
        weights = {column: float(self.specificity_E[column]) for column in sorted(found)}
        total = sum(weights.values())
        return {column: weight / total for column, weight in weights.items() if weight > 0.0}

    def called(self, name: str) -> tuple[int, ...]:
        """Return the columns of the entities that are called so; case, punctuation and an article do not matter."""
        return self._lookup.get(_name_key(name), ())

    def mentioned_in(self, chunk_id: str) -> tuple[int, ...]:
        """Return the columns of the entities that a chunk mentions, in order of their columns."""
        row = self._rows.get(chunk_id)
        if row is None:
            return ()
        start, end = self._edges.indptr[row : row + 2].tolist()
        return tuple(self._edges.indices[start:end].tolist())

    def mentioning(self, columns: Collection[int]) -> frozenset[str]:
        """Return the chunks that mention any of these entities."""
        if not columns:
            return frozenset()
        rows = self._edges[:, sorted(columns)].nonzero()[0]
        return frozenset(self.chunk_ids[row] for row in set(rows.tolist()))

    def seen(self, names: Iterable[str], chunk_ids: Collection[str]) -> tuple[str, ...]:
        """Return those of the names of entities that these chunks mention, in their order."""
        return tuple(name for name in names if not self.mentioning(self.called(name)).isdisjoint(chunk_ids))

    def walk(
        self,
        seeds: Mapping[str, float],
        entities: Mapping[int, float],
        *,
        allowed: frozenset[str] | None = None,
        n_explained: int = 50,
        n_best: int | None = None,
    ) -> Walk:
        """Walk from weighted chunks and entities.

        :param seeds: Weight of each chunk to start from, >= 0; they are scaled to what ``entities`` leave over.
        :param entities: What :meth:`recognise` returned.
        :param allowed: Only these chunks, and only mentions in them, exist for this walk; ``None`` allows all.
        :param n_explained: For how many of the best chunks the entities are worked out.
        :param n_best: How many of the chunks that the walk reached are returned; ``None`` for all.
        :returns: The best chunks that the walk reached. Empty if it has nowhere to start.
        """
        rows = self._allowed_rows(allowed)
        steps = self._steps if allowed is None else _Steps.of(self._edges[rows])
        start_V = self._start(rows, seeds, entities, n_nodes=sum(steps.from_entities.shape))
        if not start_V.any():
            return Walk(scores={}, restarts={}, entities={})
        share_V = fast_pagerank(
            steps.from_chunks,
            steps.from_entities,
            start_V,
            damping=self.config.damping,
            tolerance=self.config.walk_tolerance,
            max_steps=self.config.max_walk_steps,
        )
        n_chunks = len(rows)
        best = _best_rows(share_V[:n_chunks], n_best)
        ids = [self.chunk_ids[row] for row in rows[best].tolist()]
        ways = _Ways(steps, share_V, damping=self.config.damping, n_named=len(self.names))
        return Walk(
            scores=dict(zip(ids, share_V[best].tolist(), strict=True)),
            restarts=dict(zip(ids, ((1.0 - self.config.damping) * start_V[best]).tolist(), strict=True)),
            entities={
                self.chunk_ids[rows[row]]: tuple(
                    self.names[column] for column in ways.into(row, limit=self.config.n_explaining_entities)
                )
                for row in best[:n_explained].tolist()
            },
        )

    def _allowed_rows(self, allowed: frozenset[str] | None) -> NDArray[np.int64]:
        if allowed is None:
            return np.arange(len(self.chunk_ids))
        return np.array(sorted(self._rows[item] for item in allowed if item in self._rows), dtype=np.int64)

    def _start(
        self, rows: NDArray[np.int64], seeds: Mapping[str, float], entities: Mapping[int, float], *, n_nodes: int
    ) -> NDArray[np.float64]:
        """Return the start distribution over nodes: in sum 1, or all 0 where there is no start. *Shape:* ``(V,)``."""
        start_V = np.zeros(n_nodes)
        for chunk_id, weight in seeds.items():
            row = self._rows.get(chunk_id, len(self.chunk_ids))
            place = int(np.searchsorted(rows, row))
            if place < len(rows) and rows[place] == row:
                start_V[place] = weight
        by_entity = np.zeros(n_nodes)
        for column, weight in entities.items():
            by_entity[len(rows) + column] = weight
        n_seeded, n_named = start_V.sum(), by_entity.sum()
        share = self.config.entity_share if n_seeded > 0.0 else 1.0
        if n_named == 0.0:
            return start_V / n_seeded if n_seeded > 0.0 else start_V
        if n_seeded > 0.0:
            start_V *= (1.0 - share) / n_seeded
        start_V += share / n_named * by_entity
        return start_V


def _best_rows(share_N: NDArray[np.float64], n_best: int | None) -> NDArray[np.int64]:
    """Return the rows that were reached, by falling share, ties by row: all of them, or the best."""
    reached = np.flatnonzero(share_N > 0.0)
    if n_best is not None and n_best < len(reached):
        least = np.partition(share_N[reached], len(reached) - n_best)[len(reached) - n_best]
        reached = reached[share_N[reached] >= least]
    return reached[np.argsort(-share_N[reached], kind="stable")][:n_best]


def personalised_pagerank(
    chunk_to_entity: csr_matrix,
    entity_to_chunk: csr_matrix,
    start_V: NDArray[np.float64],
    *,
    damping: float,
    tolerance: float,
    max_steps: int,
) -> NDArray[np.float64]:
    """Return the stationary distribution of a walk with restart on a bipartite graph, by power iteration.

    A node without edges keeps no walker: its probability returns to the start, as in ``networkx.pagerank``.

    :param chunk_to_entity: Transition probabilities, transposed: column ``n`` says where chunk ``n`` leads. *Shape:*
        ``(E, N)``.
    :param entity_to_chunk: The same for entities. *Shape:* ``(N, E)``.
    :param start_V: The restart distribution, in sum 1. *Shape:* ``(V,)`` with ``V = N + E``.
    :param damping: Probability of going on, in ``[0, 1)``.
    :param tolerance: Stop when a step changes less than this in sum.
    :param max_steps: Stop after this many steps.
    :returns: The share of time spent at each node, in sum 1. *Shape:* ``(V,)``.
    """
    n_chunks = entity_to_chunk.shape[0]
    share_V = start_V.copy()
    for _ in range(max_steps):
        moved_V = np.concatenate([entity_to_chunk @ share_V[n_chunks:], chunk_to_entity @ share_V[:n_chunks]])
        next_V = damping * moved_V
        next_V += (1.0 - damping * moved_V.sum()) * start_V
        change = float(np.abs(next_V - share_V).sum())
        share_V = next_V
        if change < tolerance:
            break
    return share_V


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """Where the walk goes: columns sum to 1, or to 0 for an entity that nothing here mentions.

    *Shapes:* ``from_chunks`` ``(E, N)``, ``from_entities`` ``(N, E)``, and ``sent`` is ``from_chunks`` turned over, so
    that what one chunk sends out is one row; E counts the chunks' own nodes too.
    """

    from_chunks: csr_matrix
    from_entities: csr_matrix
    sent: csr_matrix

    @classmethod
    def of(cls, weights: csr_matrix) -> _Steps:
        """Work out the steps from weighted edges. *Shape:* ``(N, E)``."""
        from scipy.sparse import csr_matrix, diags

        def inverse(total: NDArray[Any]) -> Any:
            return diags(np.divide(1.0, total, out=np.zeros_like(total), where=total > 0.0))

        edges = _with_own_nodes(weights)
        by_chunk = np.asarray(edges.sum(axis=1)).ravel()
        by_entity = np.asarray(edges.sum(axis=0)).ravel()
        sent = csr_matrix(inverse(by_chunk) @ edges)
        return cls(from_chunks=csr_matrix(sent.T), from_entities=csr_matrix(edges @ inverse(by_entity)), sent=sent)


class _Ways:
    """Says through which entities a chunk was reached, leaving out what only went there and back."""

    def __init__(self, steps: _Steps, share_V: NDArray[np.float64], *, damping: float, n_named: int) -> None:
        self._out = steps.sent
        self._in = steps.from_entities
        self._share_N = share_V[: self._in.shape[0]]
        self._share_E = share_V[self._in.shape[0] :]
        self._damping = damping
        self._n_named = n_named

    def into(self, row: int, *, limit: int) -> list[int]:
        """Return the columns of the entities that brought most to the chunk, strongest first, ties by column."""
        own = slice(self._out.indptr[row], self._out.indptr[row + 1])
        sent = dict(zip(self._out.indices[own].tolist(), self._out.data[own].tolist(), strict=True))
        back = self._damping * float(self._share_N[row])
        edges = slice(self._in.indptr[row], self._in.indptr[row + 1])
        brought = []
        for column, probability in zip(self._in.indices[edges].tolist(), self._in.data[edges].tolist(), strict=True):
            flow = probability * (float(self._share_E[column]) - back * sent.get(column, 0.0))
            if column < self._n_named:
                brought.append((-flow, column))
        brought.sort()
        # The walk stops short of the limit, so what only went there and back leaves a trace far below a real way.
        least = max(_LEAST_FLOW, _LEAST_SHARE * -brought[0][0]) if brought else 0.0
        return [column for negative, column in brought[:limit] if -negative >= least]


def _weigh(
    counted: Sequence[tuple[int, int, float]], n_chunks: int, n_entities: int, *, config: RetrievalConfig
) -> tuple[csr_matrix, NDArray[np.float64]]:
    """Return the weighted edges, *shape* ``(N, E)``, and how specific each entity is, *shape* ``(E,)``.

    ``counted`` has a chunk, an entity and what it counts for each mention.
    """
    from scipy.sparse import csr_matrix

    places, entities, counts = np.array(counted, dtype=np.float64).reshape(-1, 3).T
    pairs, pair_of = np.unique(places.astype(np.int64) * n_entities + entities.astype(np.int64), return_inverse=True)
    n_mentions = np.bincount(pair_of, weights=counts, minlength=len(pairs))
    rows, columns = np.divmod(pairs[n_mentions > 0.0], max(n_entities, 1))
    n_mentions = n_mentions[n_mentions > 0.0]
    frequency_E = np.bincount(columns, minlength=n_entities).astype(np.float64)
    idf_E = np.log1p((n_chunks - frequency_E + 0.5) / (frequency_E + 0.5))
    weights = n_mentions**config.mention_exponent * idf_E[columns]
    specificity_E = np.where(frequency_E > 0, idf_E / np.sqrt(np.maximum(frequency_E, 1.0)), 0.0)
    return csr_matrix((weights, (rows, columns)), shape=(n_chunks, n_entities)), specificity_E


def _with_own_nodes(weights: csr_matrix) -> csr_matrix:
    """Give each chunk that mentions nothing a node of its own behind the entities."""
    from scipy.sparse import csr_matrix, hstack

    alone = np.flatnonzero(np.diff(weights.indptr) == 0)
    own = csr_matrix((np.ones(len(alone)), (alone, np.arange(len(alone)))), shape=(weights.shape[0], len(alone)))
    return csr_matrix(hstack([weights, own], format="csr"))


def _words(text: str) -> list[str]:
    words = (match.group().replace("’", "'").casefold() for match in _WORD.finditer(text))
    return [word.removesuffix("'s") for word in words]


def _name_key(name: str) -> str:
    words = _words(name)
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def _name_table(entities: Sequence[Entity]) -> dict[str, tuple[int, ...]]:
    table: dict[str, set[int]] = defaultdict(set)
    for column, entity in enumerate(entities):
        for name in (entity.name, *entity.aliases):
            key = _name_key(name)
            if key and (" " in key or (len(key) >= 2 and key not in _NOT_NAMES)):
                table[key].add(column)
    return {name: tuple(sorted(columns)) for name, columns in table.items()}

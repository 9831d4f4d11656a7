"""What follows a search: rerank the best candidates, arrange them, make them diverse, cut, and let a gate judge.

Layer: ``retrieval``; imports ``kg`` and its own package. Models reach it through the ports of
:mod:`retrieval.rerank.types`, made by name where they are wired.

- A reranker scores each candidate by itself. Its standard score is weighed with the search's,
  ``(1 - trust) * search + trust * reranker``, so a search that saw more than words (a walk) is not thrown away.
- An arranger orders the list as a whole, as diversity does. Both keep the scores and deal them out in the new order.
- What stands behind the candidates keeps its order, and its scores follow the last candidate's at their old distances.

Shape suffixes: N candidates, D vector width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kg.errors import InputError
from retrieval.options import Refinement
from retrieval.rerank.mmr import diversify
from retrieval.rerank.scale import first_stage, standard
from retrieval.rerank.types import Arranger, Reranker
from retrieval.types import Contribution, Evidence, Query, Trace
from retrieval.verdicts import GateVerdict

__all__ = ["OFF", "Gate", "RefinementParts", "Refiner"]

OFF = "off"
"""The gate that lets everything through unseen."""
_Scores = NDArray[np.float64]


class Gate(Protocol):
    """Judges a request before and after its search. Holds no request state."""

    name: str

    def before(self, query: Query) -> GateVerdict | None:
        """Return the verdict that retrieval is not needed, or ``None`` to search."""
        ...

    def after(self, query: Query, evidence: Sequence[Evidence]) -> GateVerdict:
        """Judge what was found."""
        ...


class RefinementParts(Protocol):
    """Makes what requests name; each part once, when it is first named."""

    def reranker(self, name: str) -> Reranker | Arranger:
        """Return a reranker or arranger; raise ``InputError`` for an unknown name."""
        ...

    def gate(self, name: str) -> Gate:
        """Return a gate; raise ``InputError`` for an unknown name."""
        ...

    def vectors(self, chunk_ids: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return the stored unit vectors of chunks; those that have none are left out."""
        ...


class Refiner:
    """The steps after the search. Holds no request state.

    :param parts: What requests name.
    :param clock: Gives the time in seconds, for the trace.
    """

    def __init__(self, parts: RefinementParts, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._parts = parts
        self._clock = clock

    def check(self, refinement: Refinement) -> None:
        """Refuse what cannot be done, before anything is searched.

        :param refinement: What the request asks for.
        :raises InputError: If a number is out of its range, or a name is unknown.
        """
        if refinement.n_candidates < 1:
            raise InputError(f"n_candidates must be at least 1, got {refinement.n_candidates}.")
        if not 0.0 <= refinement.diversity <= 1.0:
            raise InputError(f"diversity must lie in [0, 1], got {refinement.diversity}.")
        for name in refinement.rerank:
            self._parts.reranker(name)
        if refinement.gate != OFF:
            self._parts.gate(refinement.gate)

    def depth(self, refinement: Refinement, k: int) -> int:
        """Return how many candidates a search must give, where ``k`` are wanted in the end."""
        return max(k, refinement.n_candidates) if _reorders(refinement) else k

    def before(self, query: Query, refinement: Refinement) -> GateVerdict | None:
        """Return the gate's verdict that retrieval is not needed, or ``None`` to search."""
        return None if refinement.gate == OFF else self._parts.gate(refinement.gate).before(query)

    def refine(
        self, query: Query, evidence: Sequence[Evidence], trace: Trace, *, k: int, refinement: Refinement
    ) -> tuple[list[Evidence], Trace]:
        """Refine what a search found.

        :param query: The query.
        :param evidence: Candidates, best first.
        :param trace: The trace of the search.
        :param k: How many to keep, >= 1.
        :param refinement: Which steps to take.
        :returns: Evidence, best first, ranks from 1, with a contribution by each step; and the trace, gone on with.
        :raises InputError: If a name is unknown.
        """
        stages, notes = list(trace.stages), list(trace.notes)
        n_candidates = refinement.n_candidates if _reorders(refinement) else len(evidence)
        pool, rest = list(evidence[:n_candidates]), evidence[n_candidates:]
        least = min((item.score for item in pool), default=0.0)
        scale = first_stage(pool)
        for name in refinement.rerank:
            started = self._clock()
            pool, scale = self._reordered(self._parts.reranker(name), query, pool, scale)
            stages.append((name, self._clock() - started))
        if refinement.diversity > 0.0 and pool:
            started = self._clock()
            order = diversify(scale, self._matrix(pool, notes), diversity=refinement.diversity)
            pool, scale = _dealt("mmr", pool, scale, order)
            stages.append(("mmr", self._clock() - started))
        behind = [replace(item, score=pool[-1].score + min(item.score - least, 0.0)) for item in rest]
        found = [replace(item, rank=rank) for rank, item in enumerate([*pool, *behind][:k], start=1)]
        verdict = trace.gate
        if refinement.gate != OFF:
            started = self._clock()
            verdict = self._parts.gate(refinement.gate).after(query, found)
            stages.append(("gate", self._clock() - started))
            notes.append(f"gate {verdict.gate}: {verdict.decision} ({verdict.reason})")
            for rank, passage in enumerate(verdict.passages, start=1):
                if not passage.is_consistent:
                    notes.append(f"gate: hit {rank} contradicts more sources: {'; '.join(passage.conflicts)}")
        return found, replace(trace, stages=tuple(stages), notes=tuple(notes), gate=verdict)

    def _reordered(
        self, reranker: Reranker | Arranger, query: Query, pool: list[Evidence], scale: _Scores
    ) -> tuple[list[Evidence], _Scores]:
        if not pool:
            return pool, scale
        if isinstance(reranker, Arranger):
            return _dealt(reranker.name, pool, scale, reranker.arrange(query, pool, scale.tolist()))
        said = reranker.scores(query, pool)
        fused = (1.0 - reranker.trust) * scale + reranker.trust * standard(said, who=reranker.name)
        ranks = np.empty(len(pool), dtype=np.int64)
        ranks[np.argsort(-np.asarray(said), kind="stable")] = np.arange(1, len(pool) + 1)
        order = np.argsort(-fused, kind="stable")
        items = [
            replace(_with(pool[place], reranker.name, int(ranks[place]), said[place]), score=float(fused[place]))
            for place in order
        ]
        return items, fused[order]

    def _matrix(self, pool: Sequence[Evidence], notes: list[str]) -> NDArray[np.float32]:
        """Return the candidates' vectors; zeros for those that have none. *Shape:* ``(N, D)``."""
        stored = self._parts.vectors([item.chunk.chunk_id for item in pool])
        width = len(next(iter(stored.values()))) if stored else 1
        if len(stored) < len(pool):
            notes.append(f"diversity: {len(pool) - len(stored)} of {len(pool)} candidates have no vector")
        nothing_D = np.zeros(width, dtype=np.float32)
        return np.stack([stored.get(item.chunk.chunk_id, nothing_D) for item in pool])


def _reorders(refinement: Refinement) -> bool:
    return bool(refinement.rerank) or refinement.diversity > 0.0


def _dealt(
    name: str, pool: Sequence[Evidence], scale: _Scores, order: Sequence[tuple[int, float]]
) -> tuple[list[Evidence], _Scores]:
    """Put candidates in a new order and deal the scores out in it, the best to the first."""
    scores = sorted((item.score for item in pool), reverse=True)
    items = [
        replace(_with(pool[place], name, rank, said), score=score)
        for rank, ((place, said), score) in enumerate(zip(order, scores, strict=True), start=1)
    ]
    return items, np.sort(scale)[::-1]


def _with(item: Evidence, name: str, rank: int, score: float) -> Evidence:
    """Add what a step said, in the place of what it said before; it found nothing itself, so it has no share."""
    others = tuple(one for one in item.contributions if one.retriever != name)
    return replace(item, contributions=(*others, Contribution(retriever=name, rank=rank, score=score)))

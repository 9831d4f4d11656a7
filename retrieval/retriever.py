"""One request from the question to the evidence: understand the question, search, refine what was found.

Layer: ``retrieval``; imports ``kg.types`` and the engine. The search itself is the engine's; what stands here is the
order of the steps around it, each of which a :class:`retrieval.options.Refinement` switches.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import replace

from kg.errors import InputError
from retrieval.engine import MODES, RetrievalEngine
from retrieval.options import Refinement
from retrieval.rerank.refiner import Refiner
from retrieval.types import Evidence, Query, Trace
from retrieval.understanding.decompose import PlanKind
from retrieval.understanding.filters import Filter, FilterReader, Selection
from retrieval.understanding.parts import PartsSearch, add_up
from retrieval.understanding.ports import QuestionModels
from retrieval.understanding.understand import Understander, Understood

__all__ = ["Retriever"]

_DEPTH = 60
"""How many hits of each search are added up, at least: standard scores need a list to be measured against."""
_ADDED_UP = (PlanKind.SEQUENCE, PlanKind.PARTS)


class Retriever:
    """Runs requests over one workspace; safe to share between threads.

    :param engine: The search over the workspace's record.
    :param models: Language models for questions, by name; ``None`` has none.
    :param today: What "last year" is relative to.
    :param refiner: The steps after the search; ``None`` takes none, and a refinement that asks for one is refused.
    """

    def __init__(
        self,
        engine: RetrievalEngine,
        *,
        models: QuestionModels | None = None,
        today: Callable[[], datetime.date] = datetime.date.today,
        refiner: Refiner | None = None,
    ) -> None:
        self._engine = engine
        self._refiner = refiner
        self._understander = Understander(engine, models=models, today=today)
        self._filters = FilterReader(engine)
        self._parts = PartsSearch(engine)

    def search(
        self,
        query: Query,
        *,
        k: int,
        mode: str = "auto",
        within: Filter | None = None,
        refinement: Refinement | None = None,
    ) -> tuple[list[Evidence], Trace]:
        """Find evidence for a query.

        :param query: Words, a picture, or both.
        :param k: The most pieces of evidence, >= 1.
        :param mode: One of :data:`retrieval.engine.MODES`.
        :param within: What the request may see; ``None`` sees everything.
        :param refinement: The steps around the search; ``None`` takes the defaults.
        :returns: Evidence, best first, ranks from 1; and how long each stage took, in seconds. ``Trace.question`` is
            the question that was searched for, where the conversation completed it.
        :raises InputError: As :meth:`RetrievalEngine.search`, or if a filter or a switch cannot be used.
        :raises NotFoundError: As :meth:`RetrievalEngine.search`.
        :raises VectorsMissingError: As :meth:`RetrievalEngine.search`.
        :raises EncoderError: As :meth:`RetrievalEngine.search`.
        """
        if k < 1:
            raise InputError(f"search: k must be at least 1, got {k}.")
        if mode not in MODES:
            raise InputError(f"search: there is no mode {mode!r}. Use one of {', '.join(MODES)}.")
        refinement = refinement or Refinement()
        refiner = self._following(refinement)
        started = time.perf_counter()
        asked = self._understander.understand(query.text, mode=mode, within=within or Filter(), refinement=refinement)
        query = replace(query, text=asked.text)
        question = asked.text if asked.is_completed else ""
        verdict = None if refiner is None else refiner.before(query, refinement)
        if verdict is not None:
            note = f"gate {verdict.gate}: {verdict.decision} ({verdict.reason})"
            return [], Trace(notes=(*asked.notes, note), question=question, gate=verdict)
        selection = self.select(asked.within)
        understood = (("understand", time.perf_counter() - started),)
        notes = list(asked.notes)
        if selection is not None:
            notes.append(
                f"filter {asked.within}: {len(selection.chunk_ids)} passages of {len(selection.document_ids)} documents"
            )
        depth = k if refiner is None else refiner.depth(refinement, k)
        evidence, trace = self._found(query, asked, selection, k=depth, notes=notes, route=refinement.route)
        trace = Trace(stages=(*understood, *trace.stages), notes=(*notes, *trace.notes), question=question)
        if refiner is None:
            return evidence[:k], trace
        return refiner.refine(query, evidence, trace, k=k, refinement=refinement)

    def _following(self, refinement: Refinement) -> Refiner | None:
        """Return the steps after the search where any is asked for, and refuse what cannot be done."""
        if not refinement.follows_search:
            return None
        if self._refiner is None:
            raise InputError("search: this retriever has no steps after the search; ask for none.")
        self._refiner.check(refinement)
        return self._refiner

    def complete(self, question: str, refinement: Refinement) -> tuple[str, tuple[str, ...]]:
        """Complete a question by the conversation before it.

        :param question: The question.
        :param refinement: Its ``history`` and ``rewrite``.
        :returns: The question as it is to be understood, and what was done, in words.
        :raises InputError: If there is no such rewriter, or the history is too long.
        """
        return self._understander.complete(question, refinement)

    def select(self, within: Filter) -> Selection | None:
        """Return what a filter lets through in the record as it is now; ``None`` for an empty one."""
        return self._filters.select(within)

    def _found(
        self,
        query: Query,
        asked: Understood,
        selection: Selection | None,
        *,
        k: int,
        notes: list[str],
        route: str,
    ) -> tuple[list[Evidence], Trace]:
        """Search for the question, for what is of its time, and for its parts."""
        allowed = None if selection is None else selection.chunk_ids
        is_deep = asked.soft_time is not None or (asked.plan is not None and asked.plan.kind in _ADDED_UP)
        depth = max(k, _DEPTH) if is_deep else k

        def search(text: str, chunk_ids: frozenset[str] | None = allowed) -> list[Evidence]:
            return self._engine.search(
                replace(query, text=text), k=depth, mode=asked.mode, chunk_ids=chunk_ids, route=route
            )[0]

        evidence, trace = self._engine.search(query, k=depth, mode=asked.mode, chunk_ids=allowed, route=route)
        if asked.falls_back and not any(item.community for item in evidence):
            notes.append("mode mix: the graph has no communities")
            evidence, trace = self._engine.search(query, k=depth, mode="mix", chunk_ids=allowed, route=route)
        started = time.perf_counter()
        if asked.soft_time is not None:
            dated = self.select(replace(asked.within, period=asked.soft_time.period, counts_mentions=False))
            if dated is not None and dated.chunk_ids:
                of_time = search(asked.text, dated.chunk_ids)
                evidence = add_up({"": evidence, asked.soft_time.phrase: of_time}, retriever="time")
        if asked.plan is not None:
            evidence = self._parts.run(asked.plan, asked.text, evidence, search, allowed=allowed, notes=notes)
        if not is_deep and asked.plan is None:
            return evidence, trace
        return evidence, replace(trace, stages=(*trace.stages, ("parts", time.perf_counter() - started)))

"""Understand a request before it is searched for: the conversation, the mode, the times, the parts.

Layer: ``retrieval``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kg.errors import InputError
from retrieval.options import Refinement
from retrieval.understanding.decompose import Plan, PlanKind, plan_question
from retrieval.understanding.filters import Filter
from retrieval.understanding.history import complete_question
from retrieval.understanding.ports import QuestionModel, QuestionModels
from retrieval.understanding.routing import choose_mode
from retrieval.understanding.times import TimeAsked, asked_time

if TYPE_CHECKING:  # named in signatures only
    from retrieval.engine import RetrievalEngine

__all__ = ["RULES", "TIMES", "Understander", "Understood"]

RULES = ("auto", "off", "rules")
"""What may stand in the place of a language model's name."""
TIMES = ("auto", "hard", "off", "soft")
_WITH_VECTORS = ("auto", "global", "hybrid", "mix", "naive")
_MAX_TURNS = 200
_MAX_PARTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A request as it is searched for.

    ``text`` is the completed question, ``is_completed`` whether that is another than was asked. ``soft_time`` is what
    gains; a hard one is a part of ``within``.
    """

    text: str
    is_completed: bool
    mode: str
    falls_back: bool
    """Whether ``global`` was chosen rather than asked for: where the graph has no communities, ``mix`` answers."""
    within: Filter
    plan: Plan | None
    soft_time: TimeAsked | None
    notes: tuple[str, ...]


class Understander:
    """Understands requests; holds no request state.

    :param engine: The search, for the types of the entities that a conversation names.
    :param models: Language models by name; ``None`` has none.
    :param today: What "last year" is relative to.
    """

    def __init__(
        self,
        engine: RetrievalEngine,
        *,
        models: QuestionModels | None = None,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        self._engine = engine
        self._models = models
        self._today = today

    def understand(self, text: str, *, mode: str, within: Filter, refinement: Refinement) -> Understood:
        """Understand a request.

        :param text: The question; empty for a picture alone.
        :param mode: The mode that was asked for.
        :param within: What the request may see.
        :param refinement: The switches.
        :returns: What is searched for.
        :raises InputError: If a switch has a value that it cannot have.
        """
        if refinement.times not in TIMES:
            raise InputError(f"times: there is no {refinement.times!r}; known are {', '.join(TIMES)}.")
        completed, said = self.complete(text, refinement)
        notes = list(said)
        chosen = mode
        if mode == "auto" and completed.strip():
            chosen, why = choose_mode(completed)
            notes.append(f"mode {chosen}: {why}")
        times = refinement.times if refinement.times != "auto" else "soft" if mode == "auto" else "off"
        time = asked_time(completed, today=self._today()) if times != "off" and within.period is None else None
        if time is not None:
            how = "nothing else is found" if times == "hard" else "documents of that time gain"
            notes.append(f"time: {time.phrase!r} is {time.period.first} to {time.period.last}; {how}")
            if times == "hard":
                within = replace(within, period=time.period)
        return Understood(
            text=completed,
            is_completed=completed != text,
            mode=chosen,
            falls_back=mode == "auto" and chosen == "global",
            within=within,
            plan=self._plan(completed, asked_mode=mode, mode=chosen, refinement=refinement),
            soft_time=time if times == "soft" else None,
            notes=tuple(notes),
        )

    def complete(self, text: str, refinement: Refinement) -> tuple[str, tuple[str, ...]]:
        """Complete a question by the conversation before it; see :meth:`retrieval.retriever.Retriever.complete`."""
        if len(refinement.history) > _MAX_TURNS:
            raise InputError(f"history: {len(refinement.history)} turns; give the last {_MAX_TURNS} at most.")
        if not refinement.history or refinement.rewrite == "off" or not text.strip():
            return text, ()
        if refinement.rewrite in RULES:
            rewritten = complete_question(text, refinement.history, type_of=self._type_of)
            how = "; ".join(rewritten.changes)
            return rewritten.text, ((f"read as {rewritten.text!r} ({how})",) if rewritten.changes else ())
        model = self._model(refinement.rewrite)
        completed = model.rewrite(text, refinement.history)
        return completed, (() if completed == text else (f"read as {completed!r} (by {model.name})",))

    def _type_of(self, name: str) -> str:
        graph = self._engine.state.graph(self._engine.state.catalog())
        types = {graph.types[column] for column in graph.called(name)}
        return types.pop() if len(types) == 1 else ""

    def _plan(self, text: str, *, asked_mode: str, mode: str, refinement: Refinement) -> Plan | None:
        asked = refinement.decompose
        if asked == "off" or mode == "global" or (asked == "auto" and asked_mode != "auto"):
            return None
        if asked in RULES:
            plan = plan_question(text)
            needs_vectors = plan is not None and plan.kind in (PlanKind.BRIDGE, PlanKind.COMPARISON)
            return None if needs_vectors and mode not in _WITH_VECTORS else plan
        parts = tuple(
            dict.fromkeys(part for part in self._model(asked).take_apart(text) if part.strip() and part != text)
        )
        return Plan(kind=PlanKind.PARTS, parts=parts[:_MAX_PARTS]) if len(parts) > 1 else None

    def _model(self, name: str) -> QuestionModel:
        if self._models is None:
            raise InputError(f"There is no language model {name!r} here; known are {', '.join(RULES)}.")
        return self._models(name)

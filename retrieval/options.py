"""What one request may ask of retrieval beside the search itself.

Layer: ``retrieval``; imports nothing. A switch that is not ``off`` by default has measured a gain on some development
set and no loss on any; each can be set for one request alone.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Refinement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The steps before and after the search of one request."""

    rerank: tuple[str, ...] = ()
    """Names of the rerankers that order the best candidates anew, one after another."""
    n_candidates: int = 50
    """How many candidates are reranked, >= 1; what stands behind them keeps its order."""
    diversity: float = 0.0
    """How far a hit that says what a better one said is put back, in ``[0, 1]``; at 0 relevance alone counts."""
    gate: str = "off"
    """Who may say that retrieval is not needed, or that nothing found is relevant."""
    decompose: str = "auto"
    """Who takes a question apart that asks for several things: ``off``, ``rules``, ``auto`` (rules, in the modes that
    search the graph with vectors), or the name of a language model."""
    history: tuple[str, ...] = ()
    """The earlier turns of the conversation, oldest first: a question that leans on them is completed by them. What the
    other side said may stand among them, as ``assistant: …``."""
    rewrite: str = "rules"
    """Who completes such a question: ``rules``, ``off``, or the name of a language model."""
    times: str = "auto"
    """What a phrase of time in the question does: ``off``, ``soft`` (documents of that time gain), ``hard`` (only
    passages of that time are found) or ``auto`` (soft, in the mode ``auto``)."""
    route: str = "off"
    """Who chooses which kinds of evidence, and how large pieces of it, are searched."""

    @property
    def follows_search(self) -> bool:
        """Whether anything is to be done with what a search finds."""
        return bool(self.rerank) or self.diversity != 0.0 or self.gate != "off"

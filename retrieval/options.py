"""What one request may ask of retrieval beside the search itself.

Layer: ``retrieval``; imports nothing. Everything is off by default, so that an empty :class:`Refinement` is the plain
search; each switch can be set for one request alone.
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
    decompose: str = "off"
    """Who takes a question apart that asks for several things."""
    history: tuple[str, ...] = ()
    """The earlier turns of the conversation, oldest first: a question that leans on them is completed by them."""
    route: str = "off"
    """Who chooses which kinds of evidence, and how large pieces of it, are searched."""

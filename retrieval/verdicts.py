"""What a gate says of a request.

Layer: ``retrieval``; the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["GateDecision", "GateVerdict", "PassageVerdict"]


class GateDecision(StrEnum):
    """What follows from a verdict."""

    PASSED = "passed"
    NOT_NEEDED = "retrieval_not_needed"
    """The request asks nothing of the documents: a greeting, thanks, arithmetic, what the service is."""
    NOTHING_RELEVANT = "nothing_relevant"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageVerdict:
    """What the gate says of one piece of evidence.

    ``relevance`` is in ``[0, 1]``. ``conflicts`` says in words what other sources state otherwise; ``is_consistent`` is
    false where more of them do than agree.
    """

    chunk_id: str
    relevance: float
    is_relevant: bool
    is_consistent: bool = True
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """A gate's word on one request: who judged, what it decided, why, and on what.

    ``relevance`` is that of the evidence as a whole, in ``[0, 1]``; 0 where nothing was searched. ``reply`` is what to
    say where retrieval is not needed.
    """

    gate: str
    decision: GateDecision
    reason: str
    relevance: float = 0.0
    reply: str = ""
    passages: tuple[PassageVerdict, ...] = ()

"""What a request, or else the settings, ask of the steps after a search.

Layer: ``api``; light, because every edge imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from api.settings import Settings
from kg.errors import InputError
from retrieval.options import Refinement

__all__ = ["GATES", "NO_RERANKER", "RERANKERS", "with_steps"]

RERANKERS = ("coverage", "cross-encoder", "listwise", "maxsim", "vlm")
"""The names of rerankers, sorted."""
GATES = ("model", "off", "rules")
"""The names of gates, sorted."""
NO_RERANKER = "none"
"""Named alone, it takes none where the settings would take some."""


def with_steps(
    refinement: Refinement,
    settings: Settings,
    *,
    rerank: Sequence[str] | None = None,
    candidates: int | None = None,
    diversity: float | None = None,
    gate: str | None = None,
) -> Refinement:
    """Add the steps after the search to a request's refinement: what it says, else what the settings say.

    :param refinement: The other switches of the request.
    :param settings: The settings.
    :param rerank: Names of rerankers; ``None`` takes ``rerank.default``, and ``none`` alone means none.
    :param candidates: How many candidates are reranked.
    :param diversity: In ``[0, 1]``.
    :param gate: One of :data:`GATES`.
    :returns: The refinement.
    :raises InputError: If a name is unknown or a number is out of its range.
    """
    default = settings.rerank
    names = default.default if rerank is None else tuple(rerank)
    names = () if names == (NO_RERANKER,) else names
    chosen = default.gate if gate is None else gate
    for name in names:
        if name not in RERANKERS:
            raise InputError(f"There is no reranker {name!r}; known are {', '.join(RERANKERS)}, and {NO_RERANKER}.")
    if chosen not in GATES:
        raise InputError(f"There is no gate {chosen!r}; known are {', '.join(GATES)}.")
    wanted = default.candidates if candidates is None else candidates
    spread = default.diversity if diversity is None else diversity
    if wanted < 1 or not 0.0 <= spread <= 1.0:
        raise InputError(f"candidates={wanted} must be at least 1 and diversity={spread} lie in [0, 1].")
    return replace(refinement, rerank=names, n_candidates=wanted, diversity=spread, gate=chosen)

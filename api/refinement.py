"""Make a refinement of what came from outside, so that a wrong value is refused before anything is searched for.

Layer: ``api``.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.question_models import QUESTION_MODELS
from kg.errors import InputError
from retrieval.options import Refinement

__all__ = ["refinement_of"]

_MAX_TURNS = 200
_MAX_TURN_CHARACTERS = 100_000


def refinement_of(
    *,
    history: Sequence[str] = (),
    decompose: str = "auto",
    rewrite: str = "rules",
    times: str = "auto",
    route: str = "off",
) -> Refinement:
    """Return the refinement of these switches.

    :param history: Earlier turns, oldest first; the other side's begin with ``assistant:``.
    :param decompose: ``auto``, ``off``, ``rules`` or a language model.
    :param rewrite: ``rules``, ``off`` or a language model.
    :param times: ``auto``, ``off``, ``soft`` or ``hard``.
    :param route: ``off``, ``rules`` or a language model.
    :returns: The refinement.
    :raises InputError: If a switch has no such value, or the history is too long.
    """
    for what, given, known in (
        ("decompose", decompose, ("auto", "off", "rules", *QUESTION_MODELS)),
        ("rewrite", rewrite, ("off", "rules", *QUESTION_MODELS)),
        ("times", times, ("auto", "off", "soft", "hard")),
        ("route", route, ("off", "rules", *QUESTION_MODELS)),
    ):
        if given not in known:
            raise InputError(f"{what}: there is no {given[:100]!r}; known are {', '.join(known)}.")
    if len(history) > _MAX_TURNS or any(len(turn) > _MAX_TURN_CHARACTERS for turn in history):
        raise InputError(
            f"history: at most {_MAX_TURNS} turns of {_MAX_TURN_CHARACTERS} characters each; give the latest ones."
        )
    return Refinement(history=tuple(history), decompose=decompose, rewrite=rewrite, times=times, route=route)

"""Choose the mode of a question that is asked with ``auto``.

Layer: ``retrieval``. A question about the whole ("what are the main themes?") that names nothing is ``global``; every
other is ``mix``, the mode that measured best on all four development sets, of whose 1,043 questions none is about the
whole and none is taken for one. Database-like questions are told before a search (:mod:`retrieval.exact_questions`).
"""

from __future__ import annotations

import re

from retrieval.understanding.names import names_in

__all__ = ["choose_mode"]

_MAX_CHARACTERS = 1000
"""A longer text is no such question."""
_CORPUS = (
    r"(?:documents?|collection|corpus|files?|workspace|texts?|archive|library|folder|knowledge base|data ?set|material|"
    r"everything|it all)"
)
_MAIN = r"(?:main|key|major|central|overall|overarching|general|principal|dominant|recurring|most (?:important|common))"
_THIS = r"(?:all )?(?:of )?(?:(?:this|these|those|the|my|our|your) )?(?:whole |entire |complete )?"
_THEMES = r"(?:themes?|topics?|subjects?|issues?|ideas?|storylines?)"
_IN = r"(?:in|of|across|from|by|through)"
_SAID = r"(?:(?: that)?(?: are| is)? (?:discussed|covered|mentioned|treated|described|here|there|about))*"
_WHOLE = re.compile(
    rf"\b{_MAIN} {_THEMES}{_SAID}(?: {_IN} {_THIS}{_CORPUS})?\W*$"
    rf"|\b(?:what|which|list|summari[sz]e)\b.* {_THEMES}{_SAID}(?: run)? {_IN} {_THIS}{_CORPUS}\W*$"
    rf"|\bwhat (?:is|are|do|does) {_THIS}{_CORPUS} (?:all |mostly |mainly )?(?:about|contain|cover)\W*$"
    rf"|\b(?:summari[sz]e|summary of|overview (?:of|over)|describe) {_THIS}{_CORPUS}\W*$",
    re.I,
)


def choose_mode(question: str) -> tuple[str, str]:
    """Choose the mode of a question.

    :param question: The question.
    :returns: ``global`` or ``mix``, and why, in words.
    """
    flat = " ".join(question[:_MAX_CHARACTERS].split())
    if len(question) <= _MAX_CHARACTERS and _WHOLE.search(flat) and not names_in(flat):
        return "global", "it asks about the whole and names nothing"
    return "mix", "it asks for something in particular"

"""Choose the mode of a question that is asked with ``auto``.

Layer: ``retrieval``. A question about the whole ("what are the main themes?") that names nothing is ``global``; every
other is ``mix``, the mode that measured best on all four development sets, of whose 1,026 questions none is about the
whole. Database-like questions are told before a search (:mod:`retrieval.exact_questions`).
"""

from __future__ import annotations

import re

from retrieval.understanding.names import names_in

__all__ = ["choose_mode"]

_CORPUS = (
    r"(?:documents?|collection|corpus|files?|workspace|texts?|archive|library|folder|knowledge base|data ?set|material|"
    r"everything|it all)"
)
_MAIN = r"(?:main|key|major|central|overall|overarching|general|principal|dominant|recurring|most (?:important|common))"
_THIS = r"(?:this|these|the|my|our)"
_WHOLE = re.compile(
    rf"\b{_MAIN}\s+(?:themes?|topics?|subjects?|issues?|ideas?|storylines?)\b"
    r"|\b(?:themes|topics|subjects)\b.*\b(?:discussed|covered|mentioned|treated|here|in (?:all|the|this|these|my))\b"
    rf"|\bwhat (?:is|are|do) (?:all )?(?:of )?{_THIS} {_CORPUS} (?:all |mostly |mainly )?(?:about|contain|cover)\b"
    rf"|\b(?:summari[sz]e|summary of|overview (?:of|over)|describe) (?:all )?(?:of )?(?:{_THIS} )?"
    rf"(?:whole |entire |complete )?{_CORPUS}\b",
    re.I,
)


def choose_mode(question: str) -> tuple[str, str]:
    """Choose the mode of a question.

    :param question: The question.
    :returns: ``global`` or ``mix``, and why, in words.
    """
    if _WHOLE.search(question[:1000]) and not names_in(question[:1000]):
        return "global", "it asks about the whole and names nothing"
    return "mix", "it asks for something in particular"

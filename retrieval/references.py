"""What a question names by its number: "Figure 6", "Table 2", "Appendix B".

Layer: ``retrieval``; the standard library only. A chunk that is captioned so is what the question means; one that only
mentions it is found by its words.
"""

from __future__ import annotations

import re

__all__ = ["captioned", "named_references"]

_KINDS = {"figure": "figure", "fig": "figure", "table": "table", "chart": "chart", "box": "box", "appendix": "appendix"}
_LABEL = r"(figure|fig|table|chart|box|appendix)\.?\s+(\d+(?:\.\d+)*|[a-z])\b"
_NAMED = re.compile(rf"\b{_LABEL}", re.IGNORECASE)
_CAPTION = re.compile(rf"^\s*{_LABEL}\s*(?:\([a-z]\))?\s*[:.|–—-]", re.IGNORECASE | re.MULTILINE)


def named_references(question: str) -> frozenset[tuple[str, str]]:
    """Return what a question names by its number.

    :param question: A question.
    :returns: Kind and number, as ``("figure", "6")``; a lone small letter ("figure a plan") is no number.
    """
    return frozenset(_pair(found) for found in _NAMED.finditer(question) if not found[2].islower())


def captioned(text: str) -> frozenset[tuple[str, str]]:
    """Return what a line of a text captions: it begins with the label and a mark after it.

    :param text: The words of a chunk.
    :returns: Kind and number of each caption.
    """
    return frozenset(_pair(found) for found in _CAPTION.finditer(text))


def _pair(found: re.Match[str]) -> tuple[str, str]:
    return _KINDS[found[1].lower()], found[2].upper()

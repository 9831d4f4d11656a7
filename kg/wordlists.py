"""Write a list of words as one string, so that a long list stays readable and diffs stay small.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

__all__ = ["word_list", "word_set"]


def word_list(words: str) -> tuple[str, ...]:
    """Return the words of a string, which white space parts, in their order."""
    return tuple(words.split())


def word_set(words: str) -> frozenset[str]:
    """Return the words of a string, which white space parts, as a set."""
    return frozenset(words.split())

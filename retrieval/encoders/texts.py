"""What every text encoder asks of the texts it is given.

Layer: ``retrieval``; the standard library and ``kg.errors`` only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kg.errors import InputError

__all__ = ["require_texts", "without_surrogates"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def require_texts(texts: Sequence[str]) -> None:
    """Refuse one string in the place of several.

    :param texts: What was given.
    :raises InputError: If it is a string.
    """
    if isinstance(texts, str):
        raise InputError("Text encoder: encode takes a sequence of texts, got one string. Put it in a list.")


def without_surrogates(text: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates, which are no characters, become U+FFFD, places stay."""
    return _SURROGATE.sub("\ufffd", text)

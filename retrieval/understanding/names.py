"""The names in a question, told by their capitals: no model is loaded for it.

Layer: ``retrieval``; imports ``kg.wordlists``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kg.wordlists import word_set

__all__ = ["INSIDE", "Token", "names_in", "tokens_of"]

_TOKEN = re.compile(r"\"[^\"]*\"|“[^”]*”|[^\W_]+(?:[-'’.&/][^\W_]+)*\.?|[^\w\s]")
INSIDE = word_set("of the de del della di da do dos du la le les van von der den ap ibn bin al el for in on y e")
"""Small words that stand inside a name."""
_FIRST = word_set(
    "a after all also among an and are as at before besides between both but by can compare could count describe "
    "did do does during each either every explain express find first for from give had has have he her his how i "
    "if in is it its list may most name no of on one or please question she should show so some sum summarise "
    "summarize tell than that the their there these they this those to under until was we were what when where "
    "which while who whom whose why will with would you your"
)
"""Words whose capital at the beginning of a sentence is the sentence's."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a quotation or a sign, its place, and whether it is a part of a name."""

    text: str
    start: int
    end: int
    is_name: bool


def tokens_of(text: str) -> list[Token]:
    """Cut a text into tokens.

    :param text: The text.
    :returns: Tokens in order; a capital that only begins a sentence makes no name.
    """
    found: list[Token] = []
    begins = True
    for match in _TOKEN.finditer(text):
        word = match.group()
        is_quoted = len(word) > 2 and word[0] in '"“'
        follows_name = bool(found) and found[-1].is_name and word.isdigit() and len(word) < 4
        is_written_so = word[0].isupper() or (word[0].isdigit() and word[-1].isupper()) or follows_name
        only_begins = begins and word.lower() in _FIRST
        found.append(Token(word, match.start(), match.end(), is_quoted or (is_written_so and not only_begins)))
        begins = word in (".", "?", "!", ":") or (len(word) > 3 and word.endswith("."))
    return found


def names_in(text: str) -> list[tuple[str, int, int]]:
    """Return the names of a text in order, with their characters: runs of name tokens, small words inside them too.

    :param text: The text.
    :returns: ``(name, start, end)``; a possessive ending and a closing full stop are left out.
    """
    tokens = tokens_of(text)
    found = []
    place = 0
    while place < len(tokens):
        if not tokens[place].is_name:
            place += 1
            continue
        end = place
        for ahead in range(place + 1, len(tokens)):
            if tokens[ahead].is_name and text[tokens[ahead - 1].end : tokens[ahead].start] in ("", " "):
                end = ahead
            elif tokens[ahead].text.lower() not in INSIDE:
                break
        start, stop = tokens[place].start, tokens[end].end
        name = text[start:stop]
        for ending in ("'s", "’s", "."):
            name = name.removesuffix(ending)
        found.append((name.strip('"“”'), start, start + len(name)))
        place = end + 1
    return found

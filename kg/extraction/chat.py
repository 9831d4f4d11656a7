"""Who speaks: lines of chat (``Name: text``), and the writer of a letter.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kg.extraction.words import Parsed
from kg.sentences import CHAT_STAMP
from kg.wordlists import word_set

__all__ = ["FIRST_PERSON", "SPEAKER", "Turn", "find_turns", "find_writer"]

SPEAKER = re.compile(
    rf"(?:(?P<stamp>{CHAT_STAMP}) ?)?"
    r"(?P<name>[^\W\d_][\w.'’-]*(?: [^\W\d_a-z][\w.'’-]*){0,3})(?: \([^)\n]{1,30}\))?: +(?=\S)"
)
"""A pattern: what opens a line of chat, with its time and the name of the speaker."""
FIRST_PERSON = frozenset({"i", "me", "my", "mine", "myself"})
"""The words by which a speaker speaks of himself."""

_FIELDS = word_set(
    "time date note notes source sources figure fig table example question answer subject from to cc re title author "
    "authors abstract keywords summary warning caution tip important url email phone address page chapter section "
    "image photo caption total step q a present plate map"
)
_FROM = re.compile(r"^[ \t]*(?:From|Author|Written by):[ \t]+(?=\S)", re.MULTILINE)
_NAME = re.compile(r"(?:(?:Mr|Mrs|Ms|Dr|Prof)\.? )?([^\W\d_]\w+(?: [^\W\d_a-z][\w.'’-]*){0,3})")


@dataclass(frozen=True, slots=True)
class Turn:
    """A line of chat: the words of its speaker, the range of words of what is said, and its time as it stands."""

    speaker: tuple[int, int]
    start: int
    end: int
    stamp: str


def find_turns(parsed: Parsed) -> list[Turn]:
    """Find the lines of chat: a name, a colon, and words. Who is a name in one line is one in all lines."""
    found: list[tuple[str, Turn]] = []
    names: set[str] = set()
    if ": " not in parsed.text:
        return []
    for match in re.finditer(r"^[ \t]*(?=\S)", parsed.text, re.MULTILINE):
        speaker = SPEAKER.match(parsed.text, match.end())
        if speaker is None or speaker["name"].lower() in _FIELDS:
            continue
        line_end = parsed.text.find("\n", speaker.end())
        start, end = parsed.words_within(speaker.end(), len(parsed.text) if line_end < 0 else line_end)
        name = parsed.words_at(*speaker.span("name"))
        if name is None or sum(word.text.isalpha() for word in parsed.words[start:end]) < 2:
            continue
        words = parsed.words[name[0] : name[1]]
        if speaker["stamp"] or all(word.pos in ("PROPN", "PUNCT") or word.ent == "PERSON" for word in words):
            names.add(speaker["name"])
        found.append((speaker["name"], Turn(name, start, end, speaker["stamp"] or "")))
    return [turn for name, turn in found if name in names]


def find_writer(parsed: Parsed) -> tuple[int, int] | None:
    """Return the words of the name behind ``From:``, or behind the comma of "I, Edith Crane": who "I" is."""
    header = _FROM.search(parsed.text)
    name = _NAME.match(parsed.text, header.end()) if header else None
    if name is not None:
        return parsed.words_at(*name.span(1))
    stated = re.search(r"\bI, ((?:[A-Z][\w.'’-]+ )+[A-Z][\w'’-]+)", parsed.text)
    return parsed.words_at(*stated.span(1)) if stated else None

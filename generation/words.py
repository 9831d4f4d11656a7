"""The words that carry meaning in a sentence: stems, numbers, names, negations, and instructions to a machine.

Layer: ``generation``; imports ``retrieval.analysis`` for its stemmer. Nothing here loads a model: a question is read
with regular expressions and word lists, so an answer never waits for a parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from generation.lexicon import CALENDAR, IRREGULAR, NEGATIONS, NUMBER_WORDS, STOP_WORDS
from retrieval.analysis import Analyzer

__all__ = [
    "Word",
    "collapse",
    "content_stems",
    "looks_like_instruction",
    "names_in",
    "negated_stems",
    "numbers_in",
    "stem",
    "stems",
    "words",
]

_ANALYZER = Analyzer(stop_words=())
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[A-Z][a-z]+(?=[A-Z][a-z])|[^\W\d_]+(?:['’][^\W\d_]+)*|\w+")
"""Numbers, words; ``AdamSmith`` is two, because chats and PDF files run names together and questions do not."""
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?(\d{1,3}(?:,\d{3})+|\d+)((?:\.\d+)?)(?=(?:st|nd|rd|th|s|k|m|bn)?\b|%|_|[^\w])", re.I
)
_CLAUSE_END = re.compile(r"[,;:.!?()]|\b(?:but|although|though|however|whereas|while|because|and|which|who)\b", re.I)
_NEGATION_REACH = 6
"""How many words after a negation it can govern, unless the clause ends first."""
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,40}\b(?:previous|prior|above|earlier|all|other|system|these|"
    r"your)\b"
    r"[^.!?\n]{0,40}\b(?:instruction|prompt|rule|context|message|direction|question|evidence|text)s?\b"
    r"|\byou are now\b|\bsystem prompt\b|\b(?:as|you are) an? (?:ai|assistant|language model)\b"
    r"|<\|?/?(?:im_start|im_end|system|assistant|user|inst)\b"
    r"|\b(?:respond|reply|answer) only with\b|\binstead,? (?:say|print|output|reply|respond|answer)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its place in the text that it was cut from."""

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """Cut ``text`` into words and numbers, in order, with their places."""
    return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the stem of one word, case folded, accents dropped; ``""`` where nothing is left."""
    terms = _ANALYZER.terms(IRREGULAR.get(word.lower(), word))
    return terms[0] if terms else ""


def stems(text: str) -> list[str]:
    """Return the stems of all words of ``text`` in order, repeats and function words included."""
    return [found for word in words(text) if (found := stem(word.text))]


def content_stems(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, in order, each once."""
    kept = (stem(word.text) for word in words(text) if word.text.lower().replace("’", "'") not in STOP_WORDS)
    return list(dict.fromkeys(found for found in kept if found and (len(found) > 1 or found.isdigit())))


def numbers_in(text: str, *, spelled: bool = True) -> list[str]:
    """Return the numbers of ``text`` in one spelling (``1,200.50`` is ``1200.5``), each once.

    :param text: Any text.
    :param spelled: Whether number words count too (``three`` is ``3``).
    :returns: Decimal digits without separators, signs or trailing zeros, in order.
    """
    found: list[str] = []
    for match in _NUMBER.finditer(text):
        whole, decimals = match.group(1).replace(",", ""), match.group(2).rstrip("0").rstrip(".")
        found.append((whole.lstrip("0") or "0") + decimals)
    if spelled:
        found += [NUMBER_WORDS[word.text.lower()] for word in words(text) if word.text.lower() in NUMBER_WORDS]
    return list(dict.fromkeys(found))


def names_in(text: str, *, known: Iterable[str] = ()) -> list[str]:
    """Return the words of ``text`` that look like names: capitals that grammar does not explain, and acronyms.

    A capital at the start of a sentence explains itself, so such a word counts only if it carries a capital or digit
    further in, if another name follows it, or if its stem is among ``known``.

    :param text: Any text.
    :param known: Stems of words that are names elsewhere (say, in the evidence).
    :returns: Words as they stand, in order, each once; months and weekdays are left to the dates.
    """
    known_stems = frozenset(known)
    found = words(text)
    names: list[str] = []
    for index, word in enumerate(found):
        lower = word.text.lower()
        if not word.text[0].isupper() or lower in STOP_WORDS or lower in CALENDAR or lower in NUMBER_WORDS:
            continue
        opens = index == 0 or text[: word.start].rstrip(" \"'“‘([*").endswith((".", "!", "?", ":", "\n", "•"))
        inner = any(char.isupper() or char.isdigit() for char in word.text[1:])
        follower = found[index + 1] if index + 1 < len(found) else None
        followed = follower is not None and follower.text[0].isupper() and text[word.end : follower.start] == " "
        if not opens or inner or followed or stem(word.text) in known_stems:
            names.append(word.text)
    return list(dict.fromkeys(names))


def negated_stems(text: str) -> frozenset[str]:
    """Return the stems that a negation governs: the words after it, up to the clause's end or six words on."""
    governed: set[str] = set()
    found = words(text)
    for index, word in enumerate(found):
        lower = word.text.lower().replace("’", "'")
        if lower not in NEGATIONS and not lower.endswith("n't"):
            continue
        stop = _CLAUSE_END.search(text, word.end)
        end = stop.start() if stop else len(text)
        reach = [other for other in found[index + 1 :] if other.start < end][:_NEGATION_REACH]
        governed.update(stem(other.text) for other in reach if other.text.lower() not in STOP_WORDS)
    return frozenset(governed - {""})


def looks_like_instruction(text: str) -> bool:
    """Tell whether ``text`` speaks to a machine ("ignore previous instructions"): it may be quoted, never followed."""
    return _INSTRUCTION.search(text) is not None


def collapse(text: str) -> str:
    """Return ``text`` on one line: every run of white space is one space."""
    return " ".join(text.split())

"""Split text into sentences, by rules, in linear time.

Layer: ``kg``; the standard library only. Chunking, extraction, graph search and the answerer all call
:func:`sentence_spans`, so that they agree on what a sentence is.

Two passes. The first cuts text into *blocks* at blank lines, at bullets, at table rows, at ``Name: text`` lines and at
line ends that are not mere wrapping; so a heading, a chart label or a line of chat never runs into its neighbour, while
a sentence that a text file or a PDF wrapped over several lines stays whole. The second cuts each block after ``.``,
``!``, ``?`` and their kin, unless the rules on abbreviations, initials, list numbers and lower-case continuations say
that the sentence goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kg.types import Span
from kg.wordlists import word_set

__all__ = ["CHAT_STAMP", "sentence_spans"]

CHAT_STAMP = (
    r"(?:\[[^\]\n]{0,24}\d[:.]\d\d[^\]\n]{0,12}\]|"
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? )?\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?(?: [–-])?)"
)
"""A pattern: the time before the speaker of a line of chat, ``[2023-07-14 09:02]`` or ``14/07/2023, 09:02 -``."""

# After these a sentence never ends: something that belongs to them follows.
_LEADING = word_set(
    "mr mrs ms mx dr prof rev fr hon gov sen rep pres gen col maj capt cmdr lt sgt cpl pvt adm supt amb mme mlle msgr "
    "st mt ft fig figs eq eqs sec ch art pt vol vols ed eds trans vs v cf viz e.g i.e eg ie al approx ca resp incl "
    "excl esp op"
)
# After these it ends only where the next word is one that usually opens a sentence.
_EITHER = word_set(
    "inc ltd co corp llc plc bros jr sr esq etc dept univ assn est ave blvd rd sq a.m p.m am pm u.s u.k e.u u.n ph.d "
    "m.d b.a m.a b.sc m.sc d.c jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri "
    "sat sun b.c a.d"
)
# After a day these go on with the date: "12. März 1924".
_MONTHS = word_set(
    "januar jänner februar märz april mai juni juli august september oktober november dezember jan feb mär apr jun jul "
    "aug sept okt nov dez"
)
# After these it goes on only before a number: "No. 5", "pp. 12".
_BEFORE_NUMBER = word_set("no nos nr p pp para art tab")
_OPENERS = word_set(
    "the a an this that these those there here it he she they we you i his her its their our my in on at by for from "
    "to with after before during since when while where if as although though because but and so however moreover "
    "furthermore also then thus therefore meanwhile today what who which how why both each all some many most one two "
    "another other such no not under over between among according despite unlike like once until"
)

# Possessive, and tried at the start of a run only: a line of a million full stops costs a million steps.
_STOP = re.compile(r"(?:(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s|$))|(?:[。！？]++[」』”’）]*+)")
_WORD_BEFORE = re.compile(r"[^\s(\[{\"“‘'«—–/]*\Z")
_NEXT_WORD = re.compile(r"[\s\"'“‘«(\[]*([^\s]*)")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]\Z")
_LIST_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\Z")
_BULLET = re.compile(r"\s*(?:[•‣◦▪●○■□◆➢➤✓*+–—-]\s+|\(?\d{1,3}[.)]\s+|\(?[a-zA-Z][.)]\s+|#{1,6}\s|>\s)")
_FIGURE_NUMBER = re.compile(
    r"\s*(?:fig(?:ure|\.)?|table|chart|exhibit|plate|box|map|scheme|abb(?:ildung|\.)|tab(?:elle|leau|\.))"
    r"\s?[A-Z]{0,2}[-.]?\d[\d.]{0,6}\Z",
    re.IGNORECASE,
)
_SALUTATION = re.compile(
    r"(?:dear|hello|hi|sehr geehrte[rs]?|liebe[rs]?|(?:yours|kind|best|warm|with)\b|sincerely|regards)\b[^,]{0,50},\Z",
    re.IGNORECASE,
)
_STAMPED = re.compile(r"\s*\[[^\]\n]{0,24}\d[:.]\d\d[^\]\n]{0,12}\]")
_SPEAKER = re.compile(rf"\s*(?:{CHAT_STAMP} ?)?" r"[^\W\d_][\w.'’ -]{0,38}?(?: ?\([^)\n]{1,30}\))?:(?:\s|$)")
_CELLS = re.compile(r"\||\t|(?<! ) {3,}+\S")
_FIRST_WORD = re.compile(r"\s*(\S{1,80})")
_LOOK_BEHIND = 40  # No abbreviation is longer; a bounded look keeps the pass linear on a line without spaces.
_MIN_WRAP_CHARACTERS = 30  # Nobody wraps prose narrower than this; a shorter line is a label, a heading or an address.
_WRAP_SLACK = 0.85  # A proportional font wraps at a width, not at a count: lines of one paragraph vary by some 15 %.


def sentence_spans(text: str) -> list[Span]:
    """Return the span of each sentence of ``text``, in order.

    The spans are disjoint, begin and end with a character that is not white space, and hold every such character of
    ``text``. Time and memory are linear in ``len(text)``.

    :param text: Any text: prose, wrapped or not, chat logs, tables, lines read off a picture.
    :returns: Spans into ``text``; empty for blank text.
    """
    found: list[Span] = []
    for start, end in _blocks(text):
        found.extend(_split_block(text, start, end))
    return found


def _trimmed(text: str, start: int, end: int) -> Span | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start=start, end=end) if end > start else None


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        newline = text.find("\n", start)
        end = len(text) if newline < 0 else newline
        yield start, end
        start = end + 1


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield runs of lines that read on from one to the next."""
    paragraph: list[tuple[int, int]] = []
    for start, end in _lines(text):
        if text[start:end].strip():
            paragraph.append((start, end))
        else:
            yield from _split_paragraph(text, paragraph)
            paragraph = []
    yield from _split_paragraph(text, paragraph)


def _split_paragraph(text: str, lines: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    if not lines:
        return
    width = max(len(text[start:end].strip()) for start, end in lines)
    block_start, (last_start, last_end) = lines[0][0], lines[0]
    for start, end in lines[1:]:
        if not _is_wrapped(text[last_start:last_end], text[start:end], width):
            yield block_start, last_end
            block_start = start
        last_start, last_end = start, end
    yield block_start, last_end


def _is_wrapped(line: str, following: str, width: int) -> bool:
    """Tell whether the break between two lines is wrapping only: the sentence may go on behind it."""
    if _BULLET.match(following) or _SPEAKER.match(following) or _CELLS.search(following) or _CELLS.search(line.strip()):
        return False
    line = line.strip()
    if _STAMPED.match(following) or _SALUTATION.match(line):
        return False
    following = following.strip()
    if line[-1] in ",-–—&/(" or (following[0].islower() and line[-1] not in ".!?:;"):
        return True
    if len(line) < _MIN_WRAP_CHARACTERS or not (following[0].isalnum() or following[0] in "\"'“‘(["):
        return False
    word = _FIRST_WORD.match(following)
    return word is not None and len(line) + 1 + len(word.group(1)) > _WRAP_SLACK * width and width <= 250


def _split_block(text: str, start: int, end: int) -> Iterator[Span]:
    sentence_start = start
    for stop in _STOP.finditer(text, start, end):
        if _ends_sentence(text, sentence_start, stop, end):
            span = _trimmed(text, sentence_start, stop.end())
            if span is not None:
                yield span
            sentence_start = stop.end()
    span = _trimmed(text, sentence_start, end)
    if span is not None:
        yield span


def _ends_sentence(text: str, start: int, stop: re.Match[str], end: int) -> bool:
    mark = stop.group()
    if mark[0] in "。！？":
        return True
    following = _NEXT_WORD.match(text, stop.end(), min(end, stop.end() + _LOOK_BEHIND))
    next_word = following.group(1) if following else ""
    if not next_word:
        return True
    if next_word[0].islower():
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    window_start = max(start, stop.start() - _LOOK_BEHIND)
    before = _WORD_BEFORE.search(text[window_start : stop.start()])
    word = before.group() if before else ""
    if window_start == start and _FIGURE_NUMBER.match(text, start, stop.start()):
        return False
    is_first_word = not text[start : max(start, stop.start() - len(word))].strip(" \n\t([")[:1]
    return _ends_after(word, next_word, is_first_word=is_first_word, closes_quote=len(mark) > 1)


def _ends_after(word: str, next_word: str, *, is_first_word: bool, closes_quote: bool) -> bool:
    """Decide on a full stop between ``word`` and ``next_word``, which does not begin in lower case."""
    if closes_quote:
        return True
    lowered = word.lower()
    if lowered in _LEADING or (is_first_word and _LIST_NUMBER.match(word)):
        return False
    if len(word) <= 2 and word.isdecimal() and next_word.rstrip(".,;:)").lower() in _MONTHS:
        return False
    if lowered in _BEFORE_NUMBER and next_word[0].isdigit():
        return False
    if lowered in _EITHER or _INITIALS.match(word):
        return next_word.rstrip(".,;:!?'\"”’)").lower() in _OPENERS and not (word == "I" and is_first_word)
    return True

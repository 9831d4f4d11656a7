"""Take a question apart that asks for several things, by rules over its words.

Layer: ``retrieval``; imports ``kg``. No parser is loaded for a question: the words, their capitals and a few dozen
function words suffice to tell three kinds, and what is not told is searched for as it is.

- *Comparison*: two names joined ("Which is older, A or B?", "Are A and B both …?"). One sub-question for each name.
- *Sequence*: two events joined ("Did … before …?"). One sub-question for each event.
- *Bridge*: something is described rather than named ("the director of the film that …"). The question is searched for,
  and what the best evidence names completes it (:mod:`retrieval.understanding.bridge`).

Source of the kinds: comparison and bridge are those of HotpotQA (Yang et al. 2018, arXiv:1809.09600, section 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from retrieval.understanding.names import INSIDE, Token, tokens_of

__all__ = ["Plan", "PlanKind", "plan_question"]

_MAX_WORDS = 120
"""A longer text is no question that these rules read."""
_COMPARES = re.compile(
    r"\b(?:both|same|common|between|either|compare[ds]?|difference|connected|related|similar|respective(?:ly)?|each|"
    r"(?:old|young|larg|small|bigg|tall|long|short|high|low|earl|lat|fast|slow|rich|poor|heav|light|new)(?:i?er|i?est)|"
    r"first|last|more|less|most|least|better|worse|closer)\b",
    re.I,
)
_SEQUENCE = re.compile(
    r"^(?:did|does|do|was|were|is|has|have|had)\s+(?P<first>.{8,}?)\s+(?P<word>before|after)\s+(?P<second>.{8,}?)[\s?.!]*$",
    re.I | re.S,
)
_PRONOUN_CLAUSE = re.compile(
    r"(?<=\w)[\s,]+(?:(?:in|of|on|at|to|for|by|from|with|under)\s+)?(?:that|who|whom|whose|whom's|who's|which|where)\s+"
    r"(?!of\b)\w+",
    re.I,
)
_DESCRIBED = re.compile(
    r"\b(?:the|a|an|this|these|which|what|whose)\s+(?:[\w'’&-]+\s+){1,6}?(?:of|by|from|for|in|with|on|at|to)\s+"
    r"(?:the|a|an|one of the)\s+[\w'’-]+",
    re.I,
)
_A_THING = re.compile(
    r"\b(?:by|with|from|of|at|in|for|on|to|as)\s+(?:an?|the|one of the)\s+(?:[\w'’-]+\s+){0,5}?[a-z][\w'’-]*\s+"
    r"(?:[a-z]+(?:ed|ing)|known|born|founded|based|built|written|made|held|led|of|in|by|from|for|with)\b"
)


class PlanKind(StrEnum):
    """What a question asks several things for; ``parts`` is what a model took apart."""

    COMPARISON = "comparison"
    SEQUENCE = "sequence"
    BRIDGE = "bridge"
    PARTS = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a question is taken apart.

    ``parts`` are sub-questions that can be searched for alone, in order; of a bridge there are none, because the first
    is the question itself and what follows is completed by what it finds. ``subjects`` are the names that the parts
    are about, where they are about a name.
    """

    kind: PlanKind
    parts: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


def plan_question(text: str) -> Plan | None:
    """Take a question apart.

    :param text: The question.
    :returns: The plan; ``None`` for a question that asks for one thing, or that these rules cannot read.
    """
    flat = " ".join(text.split())
    tokens = tokens_of(flat)
    if not 3 <= len(tokens) <= _MAX_WORDS:
        return None
    return _comparison(flat, tokens) or _sequence(flat) or _bridge(flat)


def _comparison(text: str, tokens: list[Token]) -> Plan | None:
    """Find two names that are joined, and make a question of each."""
    for place, token in enumerate(tokens):
        if token.text.lower() not in ("and", "or") or not 0 < place < len(tokens) - 1:
            continue
        left, right = _name_before(tokens, place), _name_after(tokens, place)
        if left is None or right is None:
            continue
        is_choice = token.text.lower() == "or"
        starts_closed = re.match(
            r"(?:are|is|was|were|do|does|did|has|have|had|which|who|what|between|both)\b", text, re.I
        )
        if not (_COMPARES.search(text) or (is_choice and starts_closed)):
            continue
        names = (text[left[0] : left[1]], text[right[0] : right[1]])
        before, after = text[: left[0]], text[right[1] :]
        parts = tuple(_of_one(f"{before}{name}{after}") for name in names)
        return Plan(kind=PlanKind.COMPARISON, parts=parts, subjects=names)
    return None


def _name_before(tokens: list[Token], place: int) -> tuple[int, int] | None:
    """Return the characters of the name that ends before a place."""
    end = place - 1
    if tokens[end].text == ",":
        end -= 1
    start = end + 1
    while start > 0 and (tokens[start - 1].is_name or (start <= end and tokens[start - 1].text.lower() in INSIDE)):
        start -= 1
    while start <= end and not tokens[start].is_name:
        start += 1
    return None if start > end else (tokens[start].start, tokens[end].end)


def _name_after(tokens: list[Token], place: int) -> tuple[int, int] | None:
    """Return the characters of the name that begins after a place."""
    start = place + 1
    while start < len(tokens) and tokens[start].text.lower() in ("the", "a", "an"):
        start += 1
    end = start
    while end < len(tokens) and (tokens[end].is_name or tokens[end].text.lower() in INSIDE):
        end += 1
    while end > start and not tokens[end - 1].is_name:
        end -= 1
    return None if end == start else (tokens[start].start, tokens[end - 1].end)


def _sequence(text: str) -> Plan | None:
    match = _SEQUENCE.match(text)
    if match is None:
        return None
    parts = tuple(f"{match[name][:1].upper()}{match[name][1:]}?" for name in ("first", "second"))
    return Plan(kind=PlanKind.SEQUENCE, parts=parts)


def _bridge(text: str) -> Plan | None:
    is_nested = _PRONOUN_CLAUSE.search(text) or _DESCRIBED.search(text) or _A_THING.search(text)
    return Plan(kind=PlanKind.BRIDGE) if is_nested else None


def _of_one(text: str) -> str:
    """Make what was asked of two a question about one."""
    text = re.sub(r"\bboth\b ?|^between ", "", text, flags=re.I)
    for many, one in (("are", "is"), ("were", "was"), ("do", "does"), ("have", "has")):
        text = re.sub(rf"^{many}\b", one, text, flags=re.I)
    text = " ".join(text.split()).replace(" ,", ",").replace(" ?", "?").lstrip(" ,")
    return f"{text[:1].upper()}{text[1:]}"

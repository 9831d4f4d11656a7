"""Recognise database-like questions in English: "how many …", "which is the largest …", "list all …", "which X …".

Layer: ``retrieval``; imports ``kg``. Rules only. What is recognised here still needs a plan that accounts for every
word of the question; so these rules may take too much, and a plan then refuses it.
"""

from __future__ import annotations

import re

from kg.wordlists import word_set
from retrieval.exact_questions.types import AskedExactly, ExactKind, UnclearQuestionError
from retrieval.exact_questions.words import cut, is_number, stem

__all__ = ["LEAST", "MOST", "recognise"]

MOST = word_set(
    "highest largest biggest greatest most maximum longest tallest heaviest newest youngest latest last fastest "
    "deepest widest hottest warmest"
)
"""Words for the greatest value; of dates, the latest."""
LEAST = word_set(
    "lowest smallest least fewest minimum shortest lightest cheapest slowest oldest earliest first coldest narrowest "
    "shallowest"
)
"""Words for the least value; of dates, the earliest."""
_MAX_WORDS = 40
_STARTS = re.compile(
    r"^(?:and |so |please )?(?:how many|how much|which|what|who|list|name|enumerate|show|give|tell|count|find|"
    r"in which|in what|on which|at which|for which|the (?:number|total))\b",
    re.I,
)
_COUNT = re.compile(
    r"^(?:and |so )?(?:how many\b|count\b|(?:what (?:is|was)|give me|tell me|find)?\s*the number of\b)", re.I
)
_LIST = re.compile(
    r"^(?:please )?(?:(?:list|enumerate|name|show|give|tell|find)\b(?: me| us)? (?:all|every|each|the|which)\b|list\b|"
    r"what (?:are|were) (?:all )?(?:of )?the\b|which\b|what (?!is\b|was\b|are\b|were\b|do\b|does\b|did\b|has\b|have\b"
    r"|if\b|can\b|happen|kind\b|sort\b|makes?\b|causes?\b)\w+|in (?:which|what)\b)",
    re.I,
)
_SUM = re.compile(
    r"^(?:how much|how many)\b.*\b(?:in total|altogether|combined|overall)\b|\btotal\b(?! of \d)|\bsum of\b", re.I
)
_AVERAGE = re.compile(r"\b(?:the|on) average\b|\baverage\b|\bthe mean\b", re.I)
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|except|excluding|other than|but for)\b|n['’]t\b", re.I
)
_NO_NEGATION = re.compile(r"\bno (?:more|less|fewer|later|earlier) than\b", re.I)
_RANKS = re.compile(
    r"\b(?:second|third|fourth|fifth|next|two|three|four|five|six|seven|eight|nine|ten|\d+(?:st|nd|rd|th)?)[ -]"
    r"(?:most|least|\w{3,}est)\b|\btop[ -]?(?:\w+)?\b|\bmost of\b|\b(?:rank|percent|percentage|proportion|share of|"
    r"difference|change|grow|grew|growth|increase[ds]?|decrease[ds]?|compared|per)\b",
    re.I,
)
"""Ranks further down, shares, and what is worked out of several values: not what these plans work out."""
_NOUN_ENDS = word_set(
    "is are was were be been do does did has have had can could will would should may might in on at of for with by "
    "from to that who which whose where when than over above under below before after since until between there more "
    "less fewer and or according exist mentioned listed named recorded shown the a an not no as"
)
_DETERMINERS = word_set("all the every each any of me us different distinct unique which what names")


def recognise(text: str) -> AskedExactly | None:
    """Read a question.

    :param text: The question as it was asked.
    :returns: What is asked for; ``None`` for a question of another kind.
    :raises UnclearQuestionError: If it is of this kind, but asks for what is not worked out exactly.
    """
    flat = " ".join(text.split())
    found = cut(flat)
    if not found or len(found) > _MAX_WORDS or _STARTS.search(flat) is None or re.search(r"[.?!]\s+\w", flat):
        return None
    words = tuple(word for word, _, _ in found)
    lower = [word.lower() for word in words]
    superlative = _superlative(lower)
    kind = _kind(flat, superlative)
    if kind is None:
        return None
    if _NEGATION.search(_NO_NEGATION.sub("", flat)):
        raise UnclearQuestionError("it holds a negation")
    if _RANKS.search(flat):
        raise UnclearQuestionError("it asks for a rank further down, a share or a change")
    is_extreme = kind in (ExactKind.MAX, ExactKind.MIN)
    return AskedExactly(
        text=flat,
        kind=kind,
        words=words,
        stems=tuple(stem(word) for word in words),
        spans=tuple((start, end) for _, start, end in found),
        noun=_noun(lower, superlative if is_extreme else ""),
        superlative=superlative if is_extreme else "",
    )


def _superlative(lower: list[str]) -> str:
    """Return the first superlative that is a word of its own ("first", not "first-ever") and no bound ("at least")."""
    before = ["", *lower]
    return next(
        (word for word, previous in zip(lower, before, strict=False) if word in MOST | LEAST and previous != "at"), ""
    )


def _kind(text: str, superlative: str) -> ExactKind | None:
    if _AVERAGE.search(text):
        return ExactKind.AVERAGE
    if superlative and not _COUNT.search(text):
        dear = re.search(rf"\b{superlative} (?:cheap|inexpensive)\b", text, re.I)
        is_most = (superlative in MOST) != (dear is not None)
        return ExactKind.MAX if is_most else ExactKind.MIN
    if _SUM.search(text):
        return ExactKind.SUM
    if _COUNT.search(text):
        return ExactKind.COUNT
    return ExactKind.LIST if _LIST.search(text) else None


def _noun(lower: list[str], superlative: str) -> tuple[int, ...]:
    """Return the places of the words that name what is asked for."""
    starts = [place for place, word in enumerate(lower) if word in ("which", "what") and place <= 2]
    if lower[:2] == ["how", "many"] or lower[:2] == ["how", "much"]:
        starts = [1]
    elif "number" in lower[:5]:
        starts = [lower.index("number") + 1]
    elif lower[0] in ("list", "enumerate", "name", "show", "give", "tell", "find", "count"):
        starts = [0]
    for start in starts[:1]:
        run = _run(lower, start + 1, skip=_DETERMINERS | {"are", "were"} if not superlative else frozenset())
        if run:
            return run
    if superlative:
        return _run(lower, lower.index(superlative) + 1, skip=frozenset({"of", "the", "recent"}))
    return ()


def _run(lower: list[str], start: int, *, skip: frozenset[str]) -> tuple[int, ...]:
    place = start
    while place < len(lower) and lower[place] in skip:
        place += 1
    run: list[int] = []
    while place < len(lower) and lower[place] not in _NOUN_ENDS and lower[place] not in MOST | LEAST:
        if is_number(lower[place]):
            break
        run.append(place)
        place += 1
    return tuple(run)

"""Read what a question asks for: a person, a date, a number, yes or no, a choice between two, or an explanation.

Layer: ``generation``; regular expressions and word lists only, so it costs microseconds and loads nothing. The classes
are the coarse ones of Li and Roth 2002 ("Learning Question Classifiers"), kept to those that a pattern can check in an
answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from generation.lexicon import IRREGULAR, word_set
from generation.words import collapse, content_stems, names_in, numbers_in

__all__ = ["Question", "QuestionKind", "read_question"]


class QuestionKind(StrEnum):
    """What kind of thing would answer."""

    PERSON = "person"
    PLACE = "place"
    DATE = "date"
    DURATION = "duration"
    NUMBER = "number"
    PERCENT = "percent"
    MONEY = "money"
    YES_NO = "yes_no"
    CHOICE = "choice"
    THING = "thing"
    DEFINITION = "definition"
    EXPLANATION = "explanation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, read.

    ``stems`` are its content words (:func:`generation.words.content_stems`), ``names`` its capitalised ones,
    ``numbers`` its numbers. ``head`` is the noun that is asked for ("which *city*", "how many *employees*"), empty
    where there is none. ``options`` are the things to choose from or to check together ("A or B", "both A and B"),
    else empty. ``focus`` are the content words of the clause that asks, without its head: of "the film that premiered
    on which date" it is "premiered", and a date beside that word is worth more than one beside "film".
    ``text`` is what was asked without the wishes about the answer's form.
    """

    text: str
    kind: QuestionKind
    stems: tuple[str, ...]
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    head: str = ""
    options: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()


_AUX = r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|must|am)"
_YES_NO = re.compile(rf"^(?:[^,?]{{0,80}}, )?{_AUX}\b(?!.*\bor\b.*\?)", re.I)
_OPTIONS = re.compile(
    r"(?:,|:|\b(?:first|older|oldest|younger|larger|bigger|smaller|earlier|later|longer|shorter|newer|between|more|"
    r"than)\b)"
    r"\s*(?P<a>(?!or\b)[^,?:]{2,80}?),?\s+or\s+(?P<b>[^,?]{2,80}?)\s*\??$",
    re.I,
)
_BETWEEN = re.compile(r"\bbetween\s+(?P<a>[^,?]{2,80}?)\s+and\s+(?P<b>[^,?]{2,80}?)\s*,", re.I)
_AUX_OPTIONS = re.compile(rf"^(?i:{_AUX})\s+(?P<a>[A-Z\"“][^,?]{{1,80}}?)\s+or\s+(?P<b>[A-Z\"“][^,?]{{1,80}}?)\s*\??$")
_BOTH = re.compile(
    r"^(?i:are|were|did|do|have|is)\s+(?:both\s+(?:of\s+)?)?(?:[a-z]+,\s*)?(?:the\s+)?(?P<a>[A-Z\"“][^?]{1,60}?)"
    r"\s+and\s+(?:the\s+)?(?P<b>[A-Z\"“0-9](?:[^?\s]|\s(?=[A-Z\"“0-9]|of\b|the\b|from\b|in\b(?=\s[A-Z])))*)",
)
_HEAD = re.compile(
    r"\b(?:what|which)\s+(?:(?:was|is|were|are)\s+(?:the|his|her|its|their)\s+)?"
    r"(?P<noun>(?:[\w'’-]+\s+){0,4}?[\w'’-]+?)(?=\s+(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|"
    r"of|in|on|at|"
    r"for|from|by|to|that|who|with|between|when|as|named|called|[a-z]+ed)\b|\s*[?,]|$)",
    re.I,
)
_KINDS: tuple[tuple[QuestionKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.I))
    for kind, pattern in (
        (QuestionKind.PERCENT, r"\b(?:what|which|how much|how many|how large)\b.{0,40}\b(?:percent|percentage|per "
                               r"cent|share|proportion|fraction|%)"),
        (QuestionKind.MONEY, r"\bhow much\b.{0,60}\b(?:cost|pay|paid|spend|spent|price|worth|charge|earn|dollars|"
                             r"euros|money|raise|budget|fee|invest)|"
                             r"\b(?:what|which)\b.{0,30}\b(?:price|cost|budget|revenue|salary|fee|turnover|fine|"
                             r"amount of money)\b"),
        (QuestionKind.DURATION, r"\bhow (?:long|soon)\b|\bhow many (?:years|months|weeks|days|hours|minutes|"
                                r"seconds)\b|\bwhat (?:duration|length of time)\b"),
        (QuestionKind.NUMBER, r"\bhow (?:many|much|old|tall|far|high|deep|wide|heavy|large|big|fast|often|hot|cold)\b"
                              r"|\bwhat(?: is| was| are| were)?(?: the| its| his)? (?:\w+ ){0,3}(?:number|population|"
                              r"total|capacity|height|weight|length|"
                              r"width|depth|speed|temperature|area|distance|score|ratio|rate|count|value|accuracy|"
                              r"age|size|voltage|pressure|rating)\b"),
        (QuestionKind.DATE, r"^when\b|(?<=[,.] )when\b|\bwhen (?:was|is|were|did|does|do|will|are)\b|\b(?:what|which|"
                            r"on what|in which)\s+(?:\w+\s+){0,2}(?:year|date|day|month|"
                            r"decade|century|time|era)\b|\bsince when\b"),
        (QuestionKind.PERSON, r"\b(?:who|whom|whose)\b(?=[^,]*\?|\s+(?:is|was|are|were|did|does|do|has|have|had|will|"
                              r"[a-z]+s|[a-z]+ed)\b)(?<!one who)(?<!those who)"),
        (QuestionKind.PLACE, r"^where\b|\bwhere (?:is|are|was|were|did|do|does|will|can)\b|\b(?:based|located|"
                             r"headquartered|held) where\b|\b(?:what|which)\s+(?:\w+\s+){0,3}?"
                             r"(?:city|country|state|town|village|place|location|province|region|county|river|island|"
                             r"continent|district|harbou?r|"
                             r"port|lake|mountain|capital)\b"),
        (QuestionKind.EXPLANATION, r"\bwhy\b|\bhow (?:do|does|did|is|are|was|were|can|could|should|to|will|would|has|"
                                   r"have)\b|^(?:explain|describe|comment|"
                                   r"summari[sz]e|compare|discuss|tell)\b|\bwhat (?:happens?|happened|caused?)\b|"
                                   r"\bhow\b.*\bconnected\b"),
    )
)  # fmt: skip
_FORM = (
    re.compile(r"(?:,?\s*(?:\be\.g\.,?|\bfor example,?:?))\s*\[[^\]]*\]\.?", re.I),
    re.compile(
        r"(?:^|(?<=[.?!]))\s*(?:please\s+)?(?:directly\s+)?(?:write(?: down)?|give(?: me)?|return(?: me)?|answer|"
        r"express|round|format|list all|the answer (?:shall|should|must) be)\b(?!\s+(?:the|all|an?)\s+"
        r"(?!answer|date|result|"
        r"integer|number|list|float|appropriate|rounded|single|short)\w)[^.?!]*?\b(?:format(?:ted)?|integer|float|"
        r"int|list|"
        r"decimals?(?: places?)?|order|yyyy-mm(?:-dd)?|'?yes'? or '?no'?|words?|sentences?|number|"
        r"percentage)\b[^.?!]*[.?!]?\s*$",
        re.I,
    ),
)
"""Wishes about the form of the answer ("Write the answer as an integer."): they say nothing of its subject."""
_RELATIVE = re.compile(r",|;|\b(?:that|who|whom|whose|which|where|when|for which|in which)\b", re.I)
_ASKING = re.compile(r"\b(?:what|which|who|whom|whose|when|where|how (?:many|much|long|old|often|far))\b", re.I)
_WHO_START = re.compile(r"^(?:\W*)(?:who|whom|whose)\b", re.I)
_WHAT_IS = re.compile(
    r"^(?:what|who) (?:is|are|was|were) (?:an? |the )?(?P<x>[\w'’. -]{2,60}?)\s*\?*$|^define\b|\bdefine\b.*\?*$|"
    r"^what does .{2,60} (?:mean|stand for)\b",
    re.I,
)
_WHO_IS = re.compile(r"^(?i:who (?:is|are|was|were)) (?:[A-Z][\w.'’-]*\s*)+\?*$")
_KIND_STEMS: dict[QuestionKind, frozenset[str]] = {
    kind: frozenset(content_stems(nouns))
    for kind, nouns in (
        (QuestionKind.PERCENT, "percent percentage share proportion number amount large cent per"),
        (QuestionKind.NUMBER, "number amount large total count value high tall far"),
        (QuestionKind.MONEY, "amount money price large total"),
        (QuestionKind.DURATION, "long take last duration time soon years months weeks days hours minutes"),
        (QuestionKind.DATE, "year date day month time decade"),
        (QuestionKind.PLACE, "place location located"),
        (QuestionKind.PERSON, "person people man woman"),
        (QuestionKind.EXPLANATION, "reason cause way mean means happen happens comment compare"),
        (QuestionKind.DEFINITION, "mean means meaning definition define"),
        (
            QuestionKind.CHOICE,
            "first last earlier earliest later latest older oldest elder younger youngest newer newest larger largest "
            "bigger smaller more most recent recently",
        ),
    )
}
_PERSON_HEADS = word_set(
    "actor actress singer author writer director founder president minister scientist physicist player politician "
    "king queen painter composer rapper engineer chef manager ceo chairman artist poet musician mother father "
    "wife husband person man woman character mayor senator footballer inventor"
)
_PLACE_HEADS = word_set(
    "city country state town village province county river island continent district harbor harbour port lake"
)
_DATE_HEADS = word_set("year date day month decade century time era")


_MAX_WISHES = 3
_OPENING_CHARS = 12
"""A question word within these first characters ("In what year …") opens the question."""


def read_question(text: str) -> Question:
    """Read a question.

    :param text: The question as it was asked, one or more sentences.
    :returns: Its kind, content words, names, numbers, the noun that it asks for, and its options.
    """
    flat = _without_form(collapse(text))
    options = _options(flat)
    head = _head(flat)
    kind = _kind(flat, head=head, options=options)
    return Question(
        text=flat,
        kind=kind,
        stems=_stems(flat, kind),
        names=tuple(names_in(flat)),
        numbers=tuple(numbers_in(flat, spelled=False)),
        head=head,
        options=options,
        focus=_focus(flat, head),
    )


def _without_form(text: str) -> str:
    """Leave out wishes about the answer's form; a question that is nothing else stays as it is."""
    left = text
    for _ in range(_MAX_WISHES):
        shorter = left
        for pattern in _FORM:
            shorter = pattern.sub("", shorter).strip()
        if shorter == left:
            break
        left = shorter
    return left if content_stems(left) else text


def _focus(text: str, head: str) -> tuple[str, ...]:
    """Return the content words of the clause around the last question word that is no relative pronoun."""
    asking = list(_ASKING.finditer(text))
    if not asking:
        return ()
    opens = asking[0].start() <= _OPENING_CHARS
    word = asking[0] if opens else asking[-1]
    after = text[word.end() :]
    stop = _RELATIVE.search(after)
    clause = after[: stop.start()] if stop else after
    if not opens:
        before = text[: word.start()]
        cuts = [match.end() for match in _RELATIVE.finditer(before)]
        clause = f"{before[cuts[-1] if cuts else 0 :]} {clause}"
    heads = set(content_stems(head))
    return tuple(found for found in content_stems(clause) if found not in heads)


def _stems(text: str, kind: QuestionKind) -> tuple[str, ...]:
    """Return the content words without those that only say what kind of thing is asked for ("percentage")."""
    every = content_stems(text)
    kept = tuple(found for found in every if found not in _KIND_STEMS.get(kind, frozenset()))
    return kept or tuple(every)


def _options(text: str) -> tuple[str, ...]:
    for pattern in (_BETWEEN, _AUX_OPTIONS, _OPTIONS, _BOTH):
        match = pattern.search(text)
        if match is not None:
            found = tuple(_bare(match[name]) for name in ("a", "b"))
            if all(found):
                return found
    return ()


def _bare(text: str) -> str:
    return re.sub(r"^(?:the|a|an)\s+", "", text.strip(" \"'“”.,?"), flags=re.I)


def _head(text: str) -> str:
    how = re.search(
        r"\bhow (?:many|much) (?P<noun>[\w'’-]+(?: [\w'’-]+)??)(?= (?:is|are|was|were|do|does|did|has|have|had|can|"
        r"will|in|on|of|at|for|people)\b|\?|$)",
        text,
        re.I,
    )
    if how is not None:
        return how["noun"].lower()
    for match in _HEAD.finditer(text):
        noun = match["noun"].strip()
        if noun and noun.lower().split()[0] not in {
            "is",
            "are",
            "was",
            "were",
            "do",
            "does",
            "did",
            "the",
            "has",
            "have",
        }:
            return _noun_part(noun.lower())
    return ""


def _noun_part(text: str) -> str:
    """Cut a verb and what follows it off the words after "which"."""
    kept: list[str] = []
    for word in text.split():
        if kept and (word in IRREGULAR or word in _NO_NOUN):
            break
        kept.append(word)
    return " ".join(kept)


def _kind(text: str, *, head: str, options: tuple[str, ...]) -> QuestionKind:
    if _WHO_IS.search(text):
        return QuestionKind.DEFINITION
    if options and re.search(r"\bor\b|\bbetween\b", text, re.I) and not _WHO_BOTH.search(text):
        return QuestionKind.CHOICE
    if _YES_NO.search(text) and not re.search(r"\b(?:what|which|who|whom|when|where|how)\b", text.split(",")[-1], re.I):
        return QuestionKind.YES_NO
    if (
        (last := head.split()[-1] if head else "")
        and not _WHO_START.search(text)
        and not text.lower().startswith("how")
    ):
        for kind, nouns in (
            (QuestionKind.PERSON, _PERSON_HEADS),
            (QuestionKind.PLACE, _PLACE_HEADS),
            (QuestionKind.DATE, _DATE_HEADS),
        ):
            if last in nouns:
                return kind
    for kind, pattern in _KINDS:
        if pattern.search(text):
            return kind
    if (match := _WHAT_IS.search(text)) is not None:
        return QuestionKind.DEFINITION if not (match["x"] or "").count(" of ") else QuestionKind.THING
    return QuestionKind.THING


_NO_NOUN = word_set("the a an they he she it we you i best most")
_WHO_BOTH = re.compile(r"^(?:are|were|is|did|do|have)\b(?!.*\bor\b)", re.I)

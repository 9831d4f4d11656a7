"""Find the stretches of a parsed text that name something: named entities, names from titles, and noun phrases.

Layer: ``kg``; the standard library only. It reads spaCy's ``Doc`` through its attributes and never imports spaCy.

Precedence where stretches overlap: speaker of a chat line, document title, named entity, noun phrase; within one kind
the longer, then the earlier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kg.wordlists import word_set

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token
else:
    Doc = Token = Any

__all__ = ["CONCEPT", "MISC", "Candidate", "find_candidates", "is_prose"]

CONCEPT = "CONCEPT"
MISC = "MISC"

_DATE_WORD = re.compile(
    r"\d|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec|january|february|march|april|august|september|"
    r"october|november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)day|century|christmas|easter)\b",
    re.IGNORECASE,
)
_NUMERIC_LABELS = frozenset({"DATE", "TIME", "MONEY", "QUANTITY"})
_DROPPED_LABELS = frozenset({"CARDINAL", "ORDINAL", "PERCENT"})
_EMPTY_NOUNS = word_set(
    "thing way lot kind sort bit one part number time day moment case example fact anything something everything "
    "nothing anyone someone everyone addition order couple variety series well bye hi hello ok okay yeah thanks "
    "hey oh haha wow please glad awesome great cool sure absolutely definitely thank"
)
_MAX_WORDS = 6
_MAX_CHARACTERS = 60
_LABEL_ROW = re.compile(r"\s*([^\W\d_][^:|]{1,48}[^\W_+%)]?[+%)]?): [<$€£]?\d")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Tokens ``[start, end)`` of a ``Doc`` that name something."""

    start: int
    end: int
    label: str
    source: str


def find_candidates(
    doc: Doc, *, speakers: Sequence[tuple[int, int]], titles: Sequence[str], is_picture: bool
) -> list[Candidate]:
    """Find what ``doc`` names, without overlaps, by position.

    :param doc: A parsed text with sentence starts, tags, dependencies and entities.
    :param speakers: Token ranges of the names that open lines of chat.
    :param titles: Names by which the document is titled; any occurrence is a candidate.
    :param is_picture: Whether the text was read off a picture: then lines that are not prose yield only well-formed
        names and the labels of rows of values.
    :returns: Candidates in order of their position.
    """
    taken = [False] * len(doc)
    found: list[Candidate] = []

    def take(candidates: Iterator[Candidate]) -> None:
        for candidate in candidates:
            if candidate.end > candidate.start and not any(taken[candidate.start : candidate.end]):
                taken[candidate.start : candidate.end] = [True] * (candidate.end - candidate.start)
                found.append(candidate)

    take(Candidate(start, end, "PERSON", "title") for start, end in speakers)
    take(_titles(doc, titles))
    take(_named(doc, is_picture=is_picture))
    if is_picture:
        take(_row_labels(doc))
    take(_noun_phrases(doc, taken, is_picture=is_picture))
    return sorted(found, key=lambda c: c.start)


def is_prose(sentence: Any) -> bool:
    """Tell whether a parsed sentence (a spaCy ``Span``) is one: mostly words, with a verb that has a subject."""
    words = [token for token in sentence if not token.is_space and not token.is_punct]
    alphabetic = sum(token.is_alpha for token in words)
    if alphabetic < 3 or alphabetic < 0.6 * len(words) or "|" in sentence.text:
        return False
    return any(token.dep_ in ("nsubj", "nsubjpass") for token in sentence)


def _titles(doc: Doc, titles: Sequence[str]) -> Iterator[Candidate]:
    for title in titles:
        words = re.findall(r"\w+", title)
        # Case and dashes vary, but a title of one word must look like one: "Apple" is not "apple".
        flags = re.IGNORECASE if len(words) > 1 else re.NOFLAG
        pattern = r"\W{1,3}".join(re.escape(word) for word in words)
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", doc.text, flags):
            span = doc.char_span(match.start(), match.end())
            if span is not None:
                label = next((e.label_ for e in span.ents if e.label_ not in _NUMERIC_LABELS | _DROPPED_LABELS), MISC)
                yield Candidate(span.start, span.end, label, "title")


def _named(doc: Doc, *, is_picture: bool) -> Iterator[Candidate]:
    for entity in doc.ents:
        start, end = entity.start, entity.end
        while start < end and (doc[start].is_punct or doc[start].is_space or doc[start].lower_ in ("the", "a", "an")):
            start += 1
        while end > start and (doc[end - 1].is_punct or doc[end - 1].is_space or doc[end - 1].tag_ == "POS"):
            end -= 1
        if start < end and _is_sound_name(
            doc[start:end], entity.label_, in_prose=not is_picture or is_prose(entity.sent)
        ):
            yield Candidate(start, end, entity.label_, "ner")


def _is_sound_name(span: Any, label: str, *, in_prose: bool) -> bool:
    text: str = span.text
    if label in _DROPPED_LABELS or "\n" in text or len(text) < 2 or len(text) > 80:
        return False
    if label in _NUMERIC_LABELS:
        return _is_sound_quantity(text, label, in_prose=in_prose)
    if not any(c.isalpha() for c in text) or re.search(r"[|_:=<>@]|https?|[:;]-?[()]", text):
        return False
    # "WHO" and "US" are names, "who" and "us" are not.
    if all((token.is_stop and not token.text.isupper()) or token.lower_ in _EMPTY_NOUNS for token in span):
        return False
    if not any(c.isupper() for c in text):
        return False
    # Of a label on a chart only what is plainly a name is believed.
    return in_prose or (len(text) > 2 and all(t.is_alpha and (t.is_stop or t.text[0].isupper()) for t in span))


def _is_sound_quantity(text: str, label: str, *, in_prose: bool) -> bool:
    if label == "DATE":
        if re.fullmatch(r"\d+|\d{8}_[\d:]+", text) and not re.fullmatch(r"1[0-9]{3}|20[0-9]{2}", text):
            return False
        return _DATE_WORD.search(text) is not None and (in_prose or re.search(r"\d{4}", text) is not None)
    return in_prose and any(c.isdigit() for c in text) and any(c.isalpha() or c in "$€£¥" for c in text)


def _row_labels(doc: Doc) -> Iterator[Candidate]:
    for sentence in doc.sents:
        match = _LABEL_ROW.match(sentence.text)
        if match:
            span = doc.char_span(sentence.start_char + match.start(1), sentence.start_char + match.end(1))
            if span is not None and len(span) <= _MAX_WORDS and sum(c.isalpha() for c in span.text) >= 3:
                yield Candidate(span.start, span.end, CONCEPT, "noun_phrase")


def _noun_phrases(doc: Doc, taken: Sequence[bool], *, is_picture: bool) -> Iterator[Candidate]:
    prose = {sentence.start: not is_picture or is_prose(sentence) for sentence in doc.sents}
    for phrase in doc.noun_chunks:
        if not prose[phrase.sent.start]:
            continue
        end = phrase.root.i + 1
        if taken[phrase.root.i]:
            # "American film director Christopher Nolan": what he is stands before his name.
            end = next((i for i in range(phrase.start, end) if taken[i] and all(taken[i:end])), phrase.start)
        start = end
        while start > phrase.start and not taken[start - 1] and _may_be_inside(doc[start - 1]):
            start -= 1
        while start < end and _is_idle(doc[start]):
            start += 1
        if start < end and _names_something(doc[start:end]):
            root = doc[end - 1]
            label = MISC if root.pos_ == "PROPN" and root.text[0].isupper() else CONCEPT
            yield Candidate(start, end, label, "noun_phrase")


def _may_be_inside(token: Token) -> bool:
    return not token.is_space and (not token.is_punct or token.text in "-–/&'’.") and token.tag_ != "POS"


def _is_idle(token: Token) -> bool:
    return bool(
        token.pos_ in ("DET", "PRON", "NUM", "PUNCT", "ADV", "CCONJ", "ADP", "PART", "SYM", "INTJ", "AUX")
        or (token.is_stop and token.pos_ != "PROPN")
        or not any(c.isalnum() for c in token.text)
    )


def _names_something(span: Any) -> bool:
    root, text = span[-1], span.text
    if root.pos_ not in ("NOUN", "PROPN") or root.lemma_.lower() in _EMPTY_NOUNS or root.is_stop:
        return False
    if len(span) > _MAX_WORDS or len(text) > _MAX_CHARACTERS or sum(c.isalpha() for c in text) < 3:
        return False
    return re.search(r"[|_:=<>@~*^]|https?", text) is None and sum(c.isalpha() for c in text) >= 0.6 * len(text)

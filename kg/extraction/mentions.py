"""Find the stretches of a parsed text that name something: names, titles, dates and amounts, and noun phrases.

Layer: ``kg``; the standard library only.

Precedence where stretches overlap: speaker of a chat line, document title, date or amount, quoted title, named entity,
noun phrase; within one kind the longer, then the earlier. The parser's names are repaired first: "Regional Court" and
"Trier" become one where "of" joins them, "Selke" takes in its "River", and "Dr." stays outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kg.extraction.labels import TITLES, is_person_noun
from kg.extraction.names import BEFORE_NAMES, repaired_names, with_kind
from kg.extraction.parentheses import life_dates
from kg.extraction.values import VALUE_LABELS, find_values, value_of
from kg.extraction.words import Parsed, Word
from kg.wordlists import word_set

__all__ = ["CONCEPT", "MISC", "Candidate", "find_candidates", "is_relative"]

CONCEPT = "CONCEPT"
MISC = "MISC"

_DATE_WORD = re.compile(
    r"\d|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec|january|february|march|april|august|september|"
    r"october|november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)days?|century|christmas|easter|spring|summer|"
    r"autumn|winter)\b",
    re.IGNORECASE,
)
_EMPTY_NOUNS = word_set(
    "thing way lot kind sort bit one part number time day moment case example fact anything something everything "
    "nothing anyone someone everyone addition order couple variety series well bye hi hello ok okay yeah thanks "
    "hey oh haha wow please glad awesome great cool sure absolutely definitely thank favour favor behalf front dear "
    "regard regards present side bottom top back amount whole rest front others one ones name"
)
_MAX_WORDS = 6
_MAX_CHARACTERS = 60
_LABEL_ROW = re.compile(r"\s*([^\W\d_][^:|]{1,48}[^\W_+%)]?[+%)]?): [<$€£]?\d")
_QUOTED = re.compile(r"[\"“«]((?=[A-Z])[^\"“”«»\n]{2,60})[\"”»]")
_SMALL = word_set("a an and at by for from in of on or the to with und der die das de la le du von van")
_UNSOUND = re.compile(r"[|_:=<>@]|https?|www\.|[:;]-?[()]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Words ``[start, end)`` that name something; a weak one is kept only where a statement needs it."""

    start: int
    end: int
    label: str
    source: str
    is_weak: bool = False


def find_candidates(
    parsed: Parsed, *, speakers: Sequence[tuple[int, int]], titles: Sequence[str], is_picture: bool
) -> list[Candidate]:
    """Find what a text names, without overlaps, by position.

    :param parsed: A parsed text.
    :param speakers: Word ranges of the names that open lines of chat.
    :param titles: Names by which the document is titled; any occurrence is a candidate.
    :param is_picture: Whether the text was read off a picture: then lines that are not prose yield only well-formed
        names and the labels of rows of values.
    :returns: Candidates in order of their position.
    """
    taken = [False] * len(parsed.words)
    found: list[Candidate] = []
    prose_at = _prose_at(parsed, is_picture=is_picture)

    def take(candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            if candidate.end > candidate.start and not any(taken[candidate.start : candidate.end]):
                taken[candidate.start : candidate.end] = [True] * (candidate.end - candidate.start)
                found.append(candidate)

    take(Candidate(start, end, "PERSON", "speaker") for start, end in speakers)
    entities = repaired_names(parsed)
    take(_titles(parsed, titles, entities))
    if not is_picture:
        take(_values(parsed, entities))
        take(_quoted(parsed))
    take(_named(parsed, entities, prose_at))
    if is_picture:
        take(_row_labels(parsed))
    take(_noun_phrases(parsed, taken, prose_at))
    return sorted(found, key=lambda c: c.start)


def _prose_at(parsed: Parsed, *, is_picture: bool) -> list[bool]:
    """Tell for each word whether its sentence may be read as prose."""
    flags = [True] * len(parsed.words)
    if is_picture:
        for sentence in parsed.sentences:
            flags[sentence.start : sentence.end] = [sentence.is_prose] * (sentence.end - sentence.start)
    return flags


def _titles(parsed: Parsed, titles: Sequence[str], entities: Sequence[tuple[int, int, str]]) -> Iterator[Candidate]:
    for title in titles:
        words = re.findall(r"\w+", title)
        # Case and dashes vary, but a title of one word must look like one: "Apple" is not "apple".
        flags = re.IGNORECASE if len(words) > 1 else re.NOFLAG
        pattern = r"\W{1,3}".join(re.escape(word) for word in words)
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", parsed.text, flags):
            place = parsed.words_at(match.start(), match.end())
            if place is not None:
                inside = (e[2] for e in parsed.entities if e[0] < place[1] and place[0] < e[1])
                label = next((x for x in inside if x not in VALUE_LABELS and x != "ORDINAL"), MISC)
                if len(words) == 1 and any(e[0] <= place[0] and place[1] <= e[1] and e[1] - e[0] > 1 for e in entities):
                    continue  # "Museum" inside "Vasari Museum"
                if not any(c.isupper() for c in match.group()):
                    label = CONCEPT
                yield Candidate(*place, label, "title")


def _values(parsed: Parsed, entities: Sequence[tuple[int, int, str]]) -> Iterator[Candidate]:
    for _, born, died in life_dates(parsed.text):
        for span in (born, died):
            place = parsed.words_at(*span) if span is not None else None
            if place is not None:
                yield Candidate(*place, "DATE", "pattern")
    wider = [e for e in entities if e[2] in VALUE_LABELS and value_of(parsed.text_of(e[0], e[1]), e[2])]
    for start, end, label in find_values(parsed.text):
        place = parsed.words_at(start, end)
        if place is None and parsed.text[end : end + 1] == ".":
            place, end = parsed.words_at(start, end + 1), end + 1  # "1.2 kW." at the end of a sentence
        if place is None or any(
            e[0] <= place[0] and place[1] <= e[1] and e[1] - e[0] > place[1] - place[0] for e in wider
        ):
            continue
        if value_of(parsed.text[start:end], label):
            yield Candidate(*place, label, "pattern")


def _quoted(parsed: Parsed) -> Iterator[Candidate]:
    for match in _QUOTED.finditer(parsed.text):
        words = re.findall(r"[\w'’]+", match.group(1))
        big = sum(word[0].isupper() or word[0].isdigit() or word.lower() in _SMALL for word in words)
        if not words or len(words) > 8 or big < len(words) or match.group(1)[-1] in ".,!?;:":
            continue
        place = parsed.words_at(*match.span(1))
        if place is not None:
            yield Candidate(*place, "WORK_OF_ART", "quoted")


def _named(parsed: Parsed, entities: Sequence[tuple[int, int, str]], prose_at: Sequence[bool]) -> Iterator[Candidate]:
    for start, end, label in entities:
        last = parsed.words[end - 1]
        if label == "CARDINAL" and last.dep == "nummod" and last.head.pos == "NOUN":
            continue  # The noun it counts takes it in.
        if _is_sound_name(parsed, start, end, label, in_prose=prose_at[start]):
            end, label = with_kind(parsed, start, end, label)
            yield Candidate(start, end, label, "ner", is_weak=label == "CARDINAL")


def _is_sound_name(parsed: Parsed, start: int, end: int, label: str, *, in_prose: bool) -> bool:
    text = parsed.text_of(start, end)
    if label == "ORDINAL" or "\n\n" in text or len(text) < 2 or len(text) > 80:
        return label == "CARDINAL" and text.isdigit() and in_prose
    if label in VALUE_LABELS:
        return _is_sound_value(text, label, in_prose=in_prose)
    words = parsed.words[start:end]
    if not any(c.isalpha() for c in text) or _UNSOUND.search(text) or ("\n" in text and not in_prose):
        return False
    # "WHO" and "US" are names, "who" and "us" are not.
    if all((w.is_stop and not w.text.isupper()) or w.lower in _EMPTY_NOUNS or w.is_space for w in words):
        return False
    if not any(c.isupper() for c in text):
        return False
    # Of a label on a chart only what is plainly a name is believed.
    return in_prose or (len(text) > 2 and all(w.text.isalpha() and (w.is_stop or w.text[0].isupper()) for w in words))


def _is_sound_value(text: str, label: str, *, in_prose: bool) -> bool:
    if label == "TIME" and _DATE_WORD.search(text) and not any(c.isdigit() for c in text):
        return in_prose
    if label == "DATE":
        if re.fullmatch(r"\d+|\d{8}_[\d:]+", text) and not re.fullmatch(r"1[0-9]{3}|20[0-9]{2}", text):
            return False
        plain = _DATE_WORD.search(text) is not None or bool(value_of(text, label)) or is_relative(text)
        return plain and (in_prose or re.search(r"\d{4}", text) is not None)
    if not in_prose or "\n\n" in text:
        return False
    if label == "CARDINAL":
        return any(c.isdigit() for c in text) and bool(value_of(text, label))
    has_both = any(c.isdigit() for c in text) and any(c.isalpha() or c in "$€£¥%°" for c in text)
    return has_both or bool(value_of(text, label))


def is_relative(text: str) -> bool:
    """Tell whether a date counts from the day on which it was said."""
    return re.search(r"\b(?:today|yesterday|tomorrow|ago|last|next|this|previous)\b", text.lower()) is not None


def _row_labels(parsed: Parsed) -> Iterator[Candidate]:
    for sentence in parsed.sentences:
        start, end = parsed.words[sentence.start].start, parsed.words[sentence.end - 1].end
        match = _LABEL_ROW.match(parsed.text, start, end)
        if match:
            place = parsed.words_at(*match.span(1))
            if place and place[1] - place[0] <= _MAX_WORDS and sum(c.isalpha() for c in match.group(1)) >= 3:
                yield Candidate(*place, CONCEPT, "noun_phrase")


def _noun_phrases(parsed: Parsed, taken: Sequence[bool], prose_at: Sequence[bool]) -> Iterator[Candidate]:
    words = parsed.words
    for phrase_start, _, root in (*parsed.phrases, *_mistagged(words)):
        if not prose_at[root]:
            continue
        end = root + 1
        if taken[root]:
            # "American film director Christopher Nolan": what he is stands before his name.
            end = next((i for i in range(phrase_start, end) if taken[i] and all(taken[i:end])), phrase_start)
        start = end
        while start > phrase_start and not taken[start - 1] and _may_be_inside(words[start - 1]):
            start -= 1
        while start < end - 1 and _is_idle(words[start]):
            start += 1
        if end - start == 1 and _is_mere_title(words[start]):
            continue
        if start < end and _names_something(parsed, start, end):
            yield _phrase(parsed, start, end, phrase_start, taken)


def _is_mere_title(word: Word) -> bool:
    """Tell whether a word is a form of address, as "Lady" of "Lady Moor"; a mayor is one, but is something too."""
    if word.dep != "compound" or word.lower not in TITLES:
        return False
    return not is_person_noun(word.lower) or word.lower in ("king", "queen")


def _mistagged(words: Sequence[Word]) -> Iterator[tuple[int, int, int]]:
    """Yield the phrases whose noun the tagger takes for another word: "the oven", "a flat", "called solanone"."""
    for word in words:
        is_noun = word.tag in ("JJ", "VBG") and word.dep in ("nsubj", "nsubjpass", "dobj", "pobj") and word.child("det")
        if is_noun or (word.dep == "oprd" and word.pos == "ADJ" and word.head.lemma in ("call", "know", "name")):
            yield (
                min([word.i, *(child.i for child in word.children if child.dep in ("det", "amod", "compound"))]),
                0,
                word.i,
            )


def _phrase(parsed: Parsed, start: int, end: int, phrase_start: int, taken: Sequence[bool]) -> Candidate:
    words, root = parsed.words, parsed.words[end - 1]
    if root.pos == "PROPN" and root.text[0].isupper():
        if end - start == 1 and is_person_noun(root.lower) and root.dep == "compound":
            return Candidate(start, end, CONCEPT, "noun_phrase")  # "Curator" of "Curator Jane Abbot"
        end = _with_number(parsed, end, taken)
        return Candidate(start, end, MISC, "noun_phrase")
    if root.text[0].isupper() and _with_number(parsed, end, taken) > end:
        return Candidate(start, _with_number(parsed, end, taken), MISC, "noun_phrase")
    counted = start
    while counted > phrase_start and not taken[counted - 1] and words[counted - 1].pos == "NUM":
        counted -= 1
    is_counted = (
        counted < start
        and not (counted and words[counted - 1].pos == "PROPN")
        and words[counted].text[0].isdigit()
        and words[start - 1].dep == "nummod"
    )
    if is_counted and value_of(parsed.text_of(counted, end), "QUANTITY"):
        label = "MONEY" if root.lower in ("crowns", "francs", "pesos", "dinars", "kronor") else "QUANTITY"
        return Candidate(counted, end, label, "noun_phrase")
    return Candidate(start, end, CONCEPT, "noun_phrase")


def _with_number(parsed: Parsed, end: int, taken: Sequence[bool]) -> int:
    """Take in the number of "Version 2.1" and "Borehole B2"."""
    if end >= len(parsed.words) or taken[end] or parsed.words[end - 1].lower in _NUMBERED_PARTS:
        return end
    following = parsed.words[end]
    is_number = following.text[:1].isdigit() or re.fullmatch(r"[A-Z]{1,2}\d+", following.text) is not None
    return end + 1 if is_number and following.head is parsed.words[end - 1] else end


_NUMBERED_PARTS = word_set("figure fig table chapter section page plate article no part step box appendix equation")


def _may_be_inside(word: Word) -> bool:
    return not word.is_space and (not word.is_punct or word.text in "-–/&'’.") and word.tag != "POS"


def _stands_before_names(word: Word) -> bool:
    return (word.lower.rstrip(".") in TITLES or word.lower in BEFORE_NAMES) and word.head.pos == "PROPN"


_IDLE = frozenset({"DET", "PRON", "NUM", "PUNCT", "ADV", "CCONJ", "ADP", "PART", "SYM", "INTJ", "AUX", "SCONJ"})


def _is_idle(word: Word) -> bool:
    if word.ent == "ORDINAL":
        return False
    return (
        word.pos in _IDLE
        or (word.is_stop and word.pos != "PROPN")
        or (word.pos == "PROPN" and word.dep == "compound" and _stands_before_names(word))
        or not any(c.isalnum() for c in word.text)
    )


_NOUN_PLACES = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "oprd"})


def _names_something(parsed: Parsed, start: int, end: int) -> bool:
    root, text = parsed.words[end - 1], parsed.text_of(start, end)
    if root.lemma.lower() in _EMPTY_NOUNS or (root.is_stop and root.pos != "NOUN" and not root.text.isupper()):
        return False
    # "The oven" and "a flat" are nouns, whatever the tagger says.
    if not root.is_nominal and (root.tag not in ("JJ", "VBG") or root.dep not in _NOUN_PLACES):
        return False
    is_long = end - start > _MAX_WORDS or len(text) > _MAX_CHARACTERS
    if is_long or (sum(c.isalpha() for c in text) < 3 and not re.fullmatch(r"[A-Z]{1,2}-?\d{1,4}", text)):
        return False
    return re.search(r"[|_:=<>@~*^]|https?", text) is None and (
        sum(c.isalpha() for c in text) >= 0.6 * len(text) or any(c.isdigit() for c in root.text)
    )

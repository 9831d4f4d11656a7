"""Repair the names that the parser's recogniser found: where they begin and end.

Layer: ``kg``; the standard library only.

"Regional Court" and "Trier" become one where "of" joins them, "Selke" takes in its "River" and "Lindau" its "plant",
"Dr." and "about" stay outside, and "Oslo – Fjordline ASA" is two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kg.extraction.labels import TITLES, is_person_noun, is_title, label_by_form, label_of_kind
from kg.extraction.values import VALUE_LABELS
from kg.extraction.words import Parsed, Word
from kg.wordlists import word_set

__all__ = ["BEFORE_NAMES", "repaired_names", "with_kind"]

BEFORE_NAMES = word_set("old young little dear hello hi hey")
"""What may stand before a name of a person with a capital and is no part of it, besides titles."""

_APPROXIMATE = word_set("about around approximately roughly nearly almost some over only up under")
_PREMISES = {"office": "FAC", "branch": "ORG", "factory": "FAC", "headquarters": "FAC", "site": "FAC", "campus": "FAC"}


def repaired_names(parsed: Parsed) -> list[tuple[int, int, str]]:
    """Trim the parser's names, let them take in their last word, and join what "of" joins."""
    words = parsed.words
    found: list[tuple[int, int, str]] = []
    pieces = ((a, b, label) for start, end, label in parsed.entities for a, b in _split_at_dash(parsed, start, end))
    for start, end, label in pieces:
        start, end = _trimmed(words, start, end)
        if start >= end:
            continue
        if label in VALUE_LABELS or label == "ORDINAL":
            while end - start > 1 and words[start].lower in _APPROXIMATE:
                start += 1
        else:
            start, end = _widened(words, start, end)
            start = _without_title(words, max(start, found[-1][1] if found else 0), end, label)
        if start < end:
            _add(parsed, found, (start, end, label))
    return found


def _trimmed(words: Sequence[Word], start: int, end: int) -> tuple[int, int]:
    while start < end and (words[start].is_punct or words[start].is_space or words[start].lower in ("the", "a", "an")):
        start += 1
    while end > start and (words[end - 1].is_punct or words[end - 1].is_space or words[end - 1].tag == "POS"):
        end -= 1
    return start, end


def _add(parsed: Parsed, found: list[tuple[int, int, str]], name: tuple[int, int, str]) -> None:
    """Add a name, or let the last one take it in."""
    start, end, label = name
    if found and found[-1][1] == start and (found[-1][2], label) == ("DATE", "TIME"):
        found[-1] = (found[-1][0], end, "DATE")  # "Friday" "night"
    elif found and found[-1][1] == start and found[-1][2] == "PERSON" and _is_post_nominal(parsed.text_of(start, end)):
        found[-1] = (found[-1][0], end, "PERSON")
    elif _joins(parsed, found, start, end):
        first = found.pop()
        found.append((first[0], end, label_by_form(parsed.text_of(first[0], end)) or first[2]))
    else:
        found.append(name)


def _is_post_nominal(text: str) -> bool:
    """Tell whether ``text`` is what stands behind a name, as the "KCB" of "Edmund Farrow KCB"."""
    return text.isalpha() and text.isupper() and 2 <= len(text) <= 5


def _without_title(words: Sequence[Word], start: int, end: int, label: str) -> int:
    """Leave "Dr.", "Sociologist", "Old" and "Hello" outside of a name."""
    while end - start > 1 and words[start + 1].lower != "of":
        first = words[start].lower.rstrip(".")
        if first not in TITLES and not (label == "PERSON" and (first in BEFORE_NAMES or is_person_noun(first))):
            break
        start += 1
    return start


def _split_at_dash(parsed: Parsed, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Part "Oslo – Fjordline ASA": a dash between blanks joins no name."""
    for i in range(start + 1, end - 1):
        word = parsed.words[i]
        if word.text in "–—-" and parsed.text[word.start - 1].isspace() and parsed.text[word.end].isspace():
            yield start, i
            start = i + 1
    yield start, end


def _widened(words: Sequence[Word], start: int, end: int) -> tuple[int, int]:
    def belongs(word: Word) -> bool:
        return word.pos == "PROPN" and word.text[:1].isupper() and not word.ent and not is_title(word.lower)

    while (
        end < len(words) and belongs(words[end]) and words[end - 1].head.i >= start and words[end - 1].dep == "compound"
    ):
        end += 1
    while start > 0 and belongs(words[start - 1]) and words[start - 1].dep == "compound":
        if not start <= words[start - 1].head.i < end:
            break
        start -= 1
    return start, end


def _joins(parsed: Parsed, found: Sequence[tuple[int, int, str]], start: int, end: int) -> bool:
    """Tell whether the name at ``start`` goes on with the last one: "Regional Court" of "Trier"."""
    if not found or not _words_between(parsed, found[-1][1], start, ("of", "of the", "for")):
        return False
    first = parsed.words[found[-1][0] : found[-1][1]]
    joined = label_by_form(parsed.text_of(found[-1][0], end))
    return bool(joined) and found[-1][2] not in VALUE_LABELS and first[-1].text[:1].isupper()


def _words_between(parsed: Parsed, start: int, end: int, wanted: Sequence[str]) -> bool:
    """Tell whether exactly one of ``wanted`` stands in the words ``[start, end)``."""
    return 0 < end - start <= 2 and " ".join(word.lower for word in parsed.words[start:end]) in wanted


def with_kind(parsed: Parsed, start: int, end: int, label: str) -> tuple[int, str]:
    """Take in what a place or house has there: "the Lindau plant" is a plant, not Lindau."""
    if label in VALUE_LABELS or label == "NORP" or end >= len(parsed.words):
        return end, label
    last, following = parsed.words[end - 1], parsed.words[end]
    if label == "PERSON" and not any(c.dep == "det" and c.lower == "the" for c in following.children):
        return end, label
    kind = label_of_kind(following.lemma.lower()) or _PREMISES.get(following.lemma.lower(), "")
    if last.dep != "compound" or last.head is not following or following.pos != "NOUN" or kind in ("", label, "PERSON"):
        return end, label
    return end + 1, kind

"""Correct the labels of names by the whole document: their words, what is said of them, and their other uses.

Layer: ``kg``; the standard library only. The evidence and its order stand in ``kg.extraction.labels``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from kg.extraction.coreference import kinds_of
from kg.extraction.labels import label_by_form, label_of_kind, most_used, name_key
from kg.extraction.mentions import CONCEPT, MISC, Candidate
from kg.extraction.parentheses import life_dates
from kg.extraction.values import VALUE_LABELS
from kg.extraction.words import Parsed, Word
from kg.wordlists import word_set

__all__ = ["corrected", "labels_by_name"]

_PLACE_VERBS = word_set("live reside settle move travel fly emigrate arrive")
_LIFE_VERBS = word_set("marry bear die study graduate teach")
_WRITING = word_set("write develop implement program code publish sing speak translate teach say")
_RULED = word_set("mayor capital city town village port bishop governor coast county province state district")
_AT_HOUSES = word_set("work buy study teach order job shop intern")
_NOT_NAMES = VALUE_LABELS | {CONCEPT, "ORDINAL"}
_Text = tuple[Parsed, Sequence[Candidate]]


def corrected(texts: Sequence[_Text]) -> list[list[Candidate]]:
    """Return the candidates of each text with corrected labels.

    :param texts: The parsed chunks of one document, each with its candidates.
    :returns: The candidates of each, in the same order.
    """
    strong: list[tuple[str, str]] = []
    weak: list[tuple[str, str]] = []
    concepts: set[str] = set()
    for parsed, candidates in texts:
        born = {end for end, _, _ in life_dates(parsed.text)}
        for number, candidate in enumerate(candidates):
            key = name_key(parsed.text_of(candidate.start, candidate.end))
            if candidate.label == CONCEPT:
                concepts.add(key)
            if candidate.label in _NOT_NAMES:
                continue
            label = _evidence(parsed, candidates, number, born)
            if label:
                strong.append((key, label))
            elif candidate.label != MISC:
                weak.append((key, candidate.label))
    # "Insulin", which opens a sentence, is what "insulin" is elsewhere.
    weak = [(key, CONCEPT if key in concepts else label) for key, label in weak]
    known = {**most_used(weak), **most_used(strong)}
    known.update(_parts_of_people(known))
    known.update((key, CONCEPT) for key in concepts - known.keys())
    return [[_relabelled(parsed, candidate, known) for candidate in candidates] for parsed, candidates in texts]


def _parts_of_people(known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the last names of people who are called by their full name too."""
    for name, label in known.items():
        last = name.rsplit(" ", 1)[-1]
        if label == "PERSON" and last != name and known.get(last) not in (None, "PERSON") and len(name.split()) <= 3:
            yield last, "PERSON"


def _relabelled(parsed: Parsed, candidate: Candidate, known: dict[str, str]) -> Candidate:
    if candidate.label in _NOT_NAMES:
        return candidate
    label = known.get(name_key(parsed.text_of(candidate.start, candidate.end)), candidate.label)
    return candidate if label == candidate.label else replace(candidate, label=label)


def _evidence(parsed: Parsed, candidates: Sequence[Candidate], number: int, born: set[int]) -> str:
    candidate = candidates[number]
    root = parsed.words[candidate.end - 1]
    if root.end in born:
        return "PERSON"
    before = parsed.words[candidate.start - 1].text if candidate.start else ""
    form = label_by_form(parsed.text_of(candidate.start, candidate.end), before=before)
    if form:
        return form
    if candidate.source == "speaker":
        return "PERSON"
    if candidate.source == "quoted":
        return "WORK_OF_ART"
    kind = next((label for noun in kinds_of(root) if (label := label_of_kind(noun))), "")
    if kind and (kind != "PERSON" or candidate.label in (MISC, "PERSON", "PRODUCT", "WORK_OF_ART")):
        return kind
    is_short = candidate.end - candidate.start == 1
    doubtful = candidate.label in (MISC, "PRODUCT") or (is_short and candidate.label in ("ORG", "PERSON"))
    return _by_context(parsed, candidates, number, root) if doubtful else ""


def _by_context(parsed: Parsed, candidates: Sequence[Candidate], number: int, root: Word) -> str:
    """Judge a name that no one knows by its verb or its neighbour."""
    label = candidates[number].label
    while root.dep == "conj" and root.head.pos == "PROPN":
        root = root.head
    head = root.head
    if root.dep == "pobj" and root.child("det") is None:
        governor = head.head.lemma.lower()
        if (head.lower == "in" and governor not in _WRITING) or (head.lower == "of" and governor in _RULED):
            return "GPE"
        if label == MISC and (
            (head.lower == "at" and governor in _AT_HOUSES) or (head.lower, governor) == ("for", "work")
        ):
            return "ORG"
    if root.dep == "pobj" and head.lower in ("in", "to") and head.head.lemma.lower() in _PLACE_VERBS | {"bear"}:
        return "GPE"
    if root.dep in ("nsubj", "nsubjpass") and head.lemma.lower() in _LIFE_VERBS:
        return "PERSON"
    following = candidates[number + 1] if number + 1 < len(candidates) else None
    if following is not None and following.label == "GPE":
        gap = parsed.text[root.end : parsed.words[following.start].start]
        if gap in (", ", ",\n") and root.dep == "pobj" and parsed.words[following.end - 1].dep != "conj":
            return "GPE"
    return ""


def labels_by_name(texts: Iterable[_Text]) -> dict[str, str]:
    """Return the label that each name has in these texts, by its normalised form."""
    return dict(
        most_used(
            (name_key(parsed.text_of(candidate.start, candidate.end)), candidate.label)
            for parsed, candidates in texts
            for candidate in candidates
            if candidate.label not in (*_NOT_NAMES, MISC)
        )
    )

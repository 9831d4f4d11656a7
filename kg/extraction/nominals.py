"""What nouns state without a verb: appositions, possession, offices, measures.

Layer: ``kg``; the standard library only.

====================  ======================================  ===========================================  =====
pattern               written                                 relation                                     score
====================  ======================================  ===========================================  =====
apposition            Paul Meyer, the chairman of Siemens     (Paul Meyer, is, chairman),                  0.9
                                                              (Paul Meyer, chairman of, Siemens)
title                 film director Ann Lee                   (Ann Lee, is a, film director)               0.9
office of a house     Northwind founder Ann Lee               (Ann Lee, founder of, Northwind)             0.9
possession            Anna's brother Karl                     (Karl, is, brother), (Karl, brother of,      0.9
                                                              Anna)
                      the museum's wing                       (museum, has, wing)                          0.8
noun preposition      paintings by Vermeer                    (paintings, by, Vermeer)                     0.8
measure               a road with a length of 3 km            (road, length, 3 km)                         0.85
                      a fee of 25 euros                       (fee, of, 25 euros)                          0.8
====================  ======================================  ===========================================  =====
"""

from __future__ import annotations

from collections.abc import Iterator

from kg.extraction.clauses import (
    Statement,
    by_name,
    conjuncts,
    is_negated,
    is_other,
    names_behind,
    owners,
    prepositions,
)
from kg.extraction.labels import is_person_noun
from kg.extraction.values import VALUE_LABELS
from kg.extraction.words import Word
from kg.wordlists import word_set

__all__ = [
    "LOOSE_PREPOSITIONS",
    "MEASURES",
    "NAME_LABELS",
    "attributes_of",
    "is_a",
    "is_amount",
    "noun_statements",
    "takes_phrases",
]

MEASURES = word_set(
    "population area length height depth width weight size speed capacity flow temperature loss profit revenue "
    "turnover budget cost price value mass diameter radius volume age distance income salary rate power output range "
    "radius altitude elevation pressure density circulation membership attendance share span duration lifespan wingspan"
)
"""Nouns that an amount is the value of: "a population of 54,000"."""

_NOBLE = word_set("king queen prince princess count countess duke duchess lord lady saint uncle aunt")
_PREPOSITIONS = frozenset({"of", "in", "at", "from", "for", "by", "on", "to", "near", "with"})
_APPOSITION, _POSSESSION, _NOUN = 0.9, 0.8, 0.8


LOOSE_PREPOSITIONS = frozenset({"in", "at", "from", "to", "for", "between"})
"""Prepositions that a parser hangs on the object although they go with the verb as often."""


def is_amount(word: Word) -> bool:
    """Tell whether a word is, or ends, a number or an amount."""
    return (
        word.pos == "NUM" or word.ent in ("MONEY", "QUANTITY", "PERCENT", "CARDINAL") or word.text in ("%", "percent")
    )


NAME_LABELS = frozenset({"PERSON", "ORG", "GPE", "LOC", "FAC", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW"})
"""The labels of what has a name of its own."""
_MEETING = word_set("receive win get accept sign present meet beat defeat see play carry send bring")
"""Verbs whose place and time are told rather than those of their object."""


def takes_phrases(noun: Word) -> bool:
    """Tell whether what stands behind an object belongs to the verb rather: "opened a plant in Kiel"."""
    lemma = noun.head.lemma.lower()
    if noun.dep != "dobj" or lemma == "have":
        return False
    if lemma in _MEETING:
        return True
    return not any(c.dep == "poss" or (c.dep == "det" and c.lower == "the") for c in noun.children)


def is_a(noun: Word) -> str:
    """Return ``is a`` where ``noun`` stands for a kind, ``is`` where it stands for one thing."""
    definite = any(c.dep == "det" and c.lower in ("the", "this", "that") for c in noun.children)
    return "is" if definite or (noun.pos == "PROPN" and noun.ent) or any(True for _ in owners(noun)) else "is a"


def attributes_of(noun: Word) -> Iterator[tuple[str, Word]]:
    """Yield ``(relation, amount)`` of "a maximum flow of 30 litres": the relation is named by the noun."""
    words = [c.lower for c in noun.children if c.dep in ("amod", "compound") and c.i < noun.i and c.pos != "NUM"]
    for preposition, amount in prepositions(noun):
        if preposition == "of" and is_amount(amount):
            yield " ".join([*words, noun.lemma.lower()]), amount


def noun_statements(noun: Word) -> Iterator[Statement]:
    """Yield what is said by and around one noun or name.

    :param noun: Its last word.
    :yields: Statements; words may be pronouns.
    """
    if is_negated(noun):
        return
    appositions = [child for child in noun.children if child.dep == "appos"]
    if noun.pos == "PROPN":
        for apposition in appositions:
            yield from _of_apposition(noun, apposition)
        yield from _of_title(noun)
        yield from _of_name(noun)
    else:
        names = list(names_behind(noun))
        yield from _of_common_noun(noun, names)
        yield from (s for a in appositions if a.pos == "NOUN" for s in _of_apposition(noun, a))


def _of_apposition(name: Word, apposition: Word) -> Iterator[Statement]:
    if apposition.pos == "PROPN":
        if name.ent == apposition.ent == "GPE":
            yield Statement(name, "located in", apposition, _APPOSITION)
        return
    for noun in conjuncts(apposition):
        if noun.pos != "NOUN" or noun.ent in VALUE_LABELS or is_other(name, noun):
            continue
        if by_name(noun) is not noun:
            continue  # "his daughter, the novelist Clara": what is said is said of Clara
        yield Statement(name, is_a(noun), noun, _APPOSITION)
        yield from (
            Statement(name, f"{noun.lemma.lower()} {preposition}", tail, _APPOSITION)
            for preposition, tail in prepositions(noun)
            if not is_amount(tail)
        )
        yield from (Statement(name, f"{noun.lemma.lower()} of", owner, _APPOSITION) for owner in owners(noun))


def _of_title(name: Word) -> Iterator[Statement]:
    """Read "film director X", "Anna's brother X", "Northwind founder X" and "Mayor X"."""
    for child in name.children:
        if child.dep != "compound" or child.i > name.i:
            continue
        if child.lower in _NOBLE or child.tag == "NNS":
            continue
        if is_person_noun(child.lower) or (child.pos == "NOUN" and (not name.ent or child.ent != name.ent)):
            yield Statement(name, "is" if any(True for _ in owners(name)) else "is a", child, _APPOSITION)
            yield from (Statement(name, f"{child.lemma.lower()} of", o, _APPOSITION) for o in owners(name))
            houses = [c for c in (*child.children, *name.children) if c.dep == "compound" and c.ent in ("ORG", "GPE")]
            if name.ent == "PERSON":
                yield from (
                    Statement(name, f"{child.lemma.lower()} of", house, _APPOSITION)
                    for house in houses
                    if house.i < child.i and house.pos == "PROPN"
                )


def _of_name(name: Word) -> Iterator[Statement]:
    """Read "the Selke Bridge in Halden" and "Edith Crane of Bath": a name in or of another."""
    for preposition, tail in prepositions(name):
        tells = preposition in ("in", "by", "near") or (preposition == "of" and tail.ent != name.ent)
        if tells and tail.pos == "PROPN" and name.dep not in ("attr", "compound"):
            yield Statement(name, preposition, tail, _NOUN)


def _of_common_noun(noun: Word, names: list[Word]) -> Iterator[Statement]:
    if noun.ent in ("DATE", "TIME"):
        return
    for name in names:
        title = name.i == noun.i + 1 or not any(c.text == "," for c in noun.children)
        owned = any(True for _ in owners(noun))
        kind = "is" if owned else "is a" if title else is_a(noun)
        yield Statement(name, kind, noun, _APPOSITION)
    describes = bool(names) or noun.dep in ("attr", "oprd") or (noun.dep == "appos" and not is_other(noun.head, noun))
    names_its_owner = noun.dep == "nsubj" and noun.head.lemma == "be" and noun.head.child("attr") is not None
    for owner in owners(noun):
        if not describes and not names_its_owner:
            yield Statement(owner, "has", noun, _POSSESSION)
        yield from (Statement(name, f"{noun.lemma.lower()} of", owner, _APPOSITION) for name in names)
    for preposition, tail in prepositions(noun):
        yield from (Statement(name, f"{noun.lemma.lower()} {preposition}", tail, _APPOSITION) for name in names)
        if preposition == "with" and tail.lemma.lower() in MEASURES:
            yield from (Statement(noun, name, amount, _NOUN) for name, amount in attributes_of(tail))
        elif preposition in LOOSE_PREPOSITIONS and takes_phrases(noun):
            continue
        elif not describes and _is_telling(noun, preposition, tail):
            yield Statement(noun, preposition, tail, _NOUN)


def _is_telling(noun: Word, preposition: str, tail: Word) -> bool:
    """Tell whether "paintings by Vermeer" or "a fee of 25 euros" is worth a statement of its own."""
    if preposition not in _PREPOSITIONS or tail.ent in ("DATE", "TIME"):
        return False
    if is_amount(tail):
        return preposition == "of" and noun.lemma.lower() not in MEASURES
    return (tail.pos == "PROPN" or tail.ent in NAME_LABELS) and preposition != "with"

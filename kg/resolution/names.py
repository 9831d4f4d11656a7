"""Bring a name to the key under which it is one entity, the same in every document and at question time.

Layer: ``kg``; the standard library only.

The key is the normalised name, whatever label a model gave the mention; dates and quantities carry their label in the
key, so that the year 1984 and the book *1984* stay apart, and concepts stand in the singular. Which things of one key
are different, and which keys are one thing, is decided later (:mod:`kg.resolution.matcher`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from kg.wordlists import word_set

__all__ = [
    "COMMON_LABELS",
    "HONORIFICS",
    "VALUE_LABELS",
    "entity_key",
    "is_common_noun",
    "name_and_rest",
    "normalise_name",
    "singular",
]

VALUE_LABELS = frozenset({"DATE", "TIME", "MONEY", "QUANTITY", "PERCENT", "CARDINAL", "ORDINAL"})
"""Labels of values, which name nothing."""

COMMON_LABELS = frozenset({"CONCEPT"})
"""Labels of common nouns."""
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)")
_POSSESSIVE = re.compile(r"(?:'s|s')(?=\s|\Z)")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})
HONORIFICS = word_set(
    "mr mrs ms miss mx dr doctor prof professor sir dame lady lord president senator sen gov king queen rev reverend "
    "captain capt colonel col major maj lieutenant lt sergeant sgt hon mme mlle herr frau cllr councillor"
)
"""Words before a person's name that are no part of it."""

_KEPT = "+#&@%$€£¥"  # "C++", "C#", "AT&T" and "5 %" would be others without them.
_SAME_SINGULAR = word_set(
    "series species means news physics mathematics economics politics ethics athletics headquarters crossroads "
    "gas bus lens canvas atlas bias chaos cosmos campus census status virus bonus focus corpus genus"
)
_IRREGULAR = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "criteria": "criterion", "phenomena": "phenomenon", "analyses": "analysis",
    "crises": "crisis", "theses": "thesis", "hypotheses": "hypothesis", "lives": "life", "wives": "wife",
    "knives": "knife", "leaves": "leaf", "wolves": "wolf", "halves": "half", "shelves": "shelf", "buses": "bus",
    "gases": "gas", "viruses": "virus", "indices": "index", "matrices": "matrix", "vertices": "vertex",
}  # fmt: skip


@lru_cache(maxsize=16384)
def normalise_name(name: str) -> str:
    """Return ``name`` in the form in which names are compared.

    NFKC, case-folded, without accents' variant encodings, leading article, possessive ending, punctuation and
    surplus white space: ``"The  Beatles’"`` gives ``"beatles"``, ``"U.S."`` gives ``"us"``.

    :param name: A name as it stands in a text.
    :returns: The normalised name; never empty for a name that holds a visible character.
    """
    folded = unicodedata.normalize("NFKC", name).translate(_APOSTROPHES).casefold()
    folded = unicodedata.normalize("NFKC", folded)
    spaced = " ".join(folded.split())
    bare = _POSSESSIVE.sub(lambda match: "s" if match.group() == "s'" else "", spaced)
    bare = re.sub(r"(?<=\w)[.'](?=\w|\s|\Z)", "", bare) if not any(c.isdigit() for c in bare) else bare
    kept = "".join(c if c.isalnum() or c in _KEPT or unicodedata.category(c)[0] == "M" else " " for c in bare)
    words = " ".join(kept.split())
    return _ARTICLE.sub("", words, count=1) if _ARTICLE.match(words) else words or spaced


def entity_key(name: str, label: str) -> str:
    """Return the key under which a name is one entity.

    :param name: A name as it stands in a text.
    :param label: The entity type: dates and quantities keep theirs in the key, concepts are brought to the singular,
        and for all others the label does not matter.
    :returns: The key; :func:`kg.ids.entity_id` turns it into the entity's id.
    """
    key = normalise_name(name)
    if label in VALUE_LABELS:
        return f"{label.lower()}:{key}"
    if label in COMMON_LABELS:
        *words, last = key.split(" ")
        return " ".join([*words, singular(last)])
    return key


def is_common_noun(name: str, label: str) -> bool:
    """Tell whether a mention is a common noun: labelled as one and not written with a capital, as unknown names are."""
    return label in COMMON_LABELS and not name[:1].isupper()


def name_and_rest(text: str) -> tuple[str, str]:
    """Part a mention from what stands in parentheses at its end: ``Hugo Lind (1871-1940`` is Hugo Lind.

    :param text: A name as an extractor found it; the closing parenthesis may be lost.
    :returns: The name, and the rest from the white space before the parenthesis on, empty where there is none.
    """
    name, bracket, _ = text.partition("(")
    bare = name.rstrip()
    return (bare, text[len(bare) :]) if bracket and bare else (text, "")


def singular(word: str) -> str:
    """Return the singular of an English noun in lower case; a word that is none comes back as it is."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word in _SAME_SINGULAR or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "oes")):
        return word[:-2]
    return word[:-1]

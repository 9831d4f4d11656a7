"""Decide which mentions name the same thing.

Layer: ``kg``; the standard library only. It satisfies :class:`kg.ports.Resolver`.

Two mentions are the same entity when their *keys* are equal. The key is the normalised name, so it is the same in
every document and at question time, whatever label a model gave the mention; dates and quantities carry their label
in the key, so that the year 1984 and the book *1984* stay apart.

Inside one document, short forms are led back to the full name where exactly one fits:

- "Nolan" or "Christopher" to "Christopher Nolan", for people;
- "WHO" to "World Health Organization", where the text itself says "World Health Organization (WHO)".

Limits. Names are compared by their letters only: two people of one name in different documents are one entity, and
the same person under unrelated names is two. A short name in a document that never gives the full one keeps a key of
its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kg.ids import entity_id
from kg.types import Extraction, Mention
from kg.wordlists import word_set

__all__ = ["NameResolver", "entity_key", "normalise_name"]

_VALUE_LABELS = frozenset({"DATE", "TIME", "MONEY", "QUANTITY", "PERCENT", "CARDINAL", "ORDINAL"})
_COMMON_LABELS = frozenset({"CONCEPT"})
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)")
_POSSESSIVE = re.compile(r"(?:'s|s')(?=\s|\Z)")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})
_HONORIFICS = word_set("mr mrs ms miss dr prof sir dame lady lord president senator sen gov king queen")
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
_MAX_ACRONYM_GAP = 3  # " (" stands between the name and its acronym; a line break or a quote mark may, too.


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
    if label in _VALUE_LABELS:
        return f"{label.lower()}:{key}"
    if label in _COMMON_LABELS:
        *words, last = key.split(" ")
        return " ".join([*words, _singular(last)])
    return key


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word in _SAME_SINGULAR or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "oes")):
        return word[:-2]
    return word[:-1]


class NameResolver:
    """Gives each mention the entity its name stands for. It keeps no state: the same extraction resolves the same."""

    def resolve(self, extraction: Extraction) -> Extraction:
        """Set every mention's ``entity_id``.

        :param extraction: What an extractor found in one document.
        :returns: The same mentions and triples, in the same order.
        """
        keys = [entity_key(mention.text, mention.label) for mention in extraction.mentions]
        keys = _as_named(extraction.mentions, keys)
        aliases = _acronyms(extraction.mentions, keys)
        keys = [aliases.get(key, key) for key in keys]
        people = _short_names(extraction.mentions, keys)
        resolved = tuple(
            replace(mention, entity_id=entity_id(_full_name(mention, key, people)))
            for mention, key in zip(extraction.mentions, keys, strict=True)
        )
        return Extraction(mentions=_with_antecedents(resolved), triples=extraction.triples)


def _with_antecedents(mentions: Sequence[Mention]) -> tuple[Mention, ...]:
    """Give a mention that refers to another that one's entity."""
    by_id = {mention.mention_id: mention for mention in mentions}
    result = []
    for mention in mentions:
        named = mention
        while named.refers_to in by_id:
            named = by_id[named.refers_to]
        result.append(replace(mention, entity_id=named.entity_id) if mention.refers_to else mention)
    return tuple(result)


def _as_named(mentions: Sequence[Mention], keys: Sequence[str]) -> list[str]:
    """Give a concept the key of a name in the same document where only its singular form keeps them apart."""
    names = {key for mention, key in zip(mentions, keys, strict=True) if mention.label not in _COMMON_LABELS}
    result = []
    for mention, key in zip(mentions, keys, strict=True):
        plain = normalise_name(mention.text)
        result.append(plain if mention.label in _COMMON_LABELS and plain in names else key)
    return result


def _acronyms(mentions: Sequence[Mention], keys: Sequence[str]) -> dict[str, str]:
    """Map the key of each acronym to that of the name it stands behind in parentheses; ambiguous ones are left."""
    full_names: dict[str, set[str]] = defaultdict(set)
    order = sorted(range(len(mentions)), key=lambda i: (mentions[i].chunk_id, mentions[i].span.start))
    for i, j in zip(order, order[1:], strict=False):
        name, acronym = mentions[i], mentions[j]
        gap = acronym.span.start - name.span.end
        if name.chunk_id == acronym.chunk_id and 2 <= gap <= _MAX_ACRONYM_GAP and _spells(acronym.text, name.text):
            full_names[keys[j]].add(keys[i])
    return {short: next(iter(names)) for short, names in full_names.items() if len(names) == 1}


def _spells(acronym: str, name: str) -> bool:
    """Tell whether ``acronym`` is made of the first letters of ``name``, small words counted or not."""
    letters = acronym.replace(".", "")
    words = re.findall(r"[^\W\d_]+", name)
    if not (2 <= len(letters) <= 10 and letters.isalpha() and sum(c.isupper() for c in letters) >= 2):
        return False
    initials = "".join(word[0] for word in words).casefold()
    capitals = "".join(word[0] for word in words if word[0].isupper()).casefold()
    return len(words) >= 2 and letters.casefold() in (initials, capitals)


def _short_names(mentions: Sequence[Mention], keys: Sequence[str]) -> dict[str, str]:
    """Map first and last names to the full name of the one person in the document who bears them."""
    bearers: dict[str, set[str]] = defaultdict(set)
    for mention, key in zip(mentions, keys, strict=True):
        words = [word for word in key.split(" ") if word not in _HONORIFICS]
        if mention.label == "PERSON" and 2 <= len(words) <= 4:
            for word in {words[0], words[-1]}:
                bearers[word].add(" ".join(words))
    return {short: next(iter(names)) for short, names in bearers.items() if len(names) == 1}


def _full_name(mention: Mention, key: str, people: Mapping[str, str]) -> str:
    words = key.split(" ")
    without_title = [word for word in words if word not in _HONORIFICS] if mention.label == "PERSON" else words
    if mention.label == "PERSON" and without_title:
        key = " ".join(without_title)
    if len(without_title) == 1 and mention.label not in (*_VALUE_LABELS, *_COMMON_LABELS, "GPE", "LOC"):
        return people.get(key, key)
    return key

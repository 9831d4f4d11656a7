"""Decide which mentions of one document name the same thing.

Layer: ``kg``; the standard library only. It satisfies :class:`kg.ports.Resolver`.

Two mentions are the same entity when their keys (:func:`kg.resolution.names.entity_key`) are equal. Other forms are
led to one key where exactly one fits:

- "Nolan" or "Christopher" to "Christopher Nolan", "J. R. Hartwell" to "James Robert Hartwell", for people;
- "Skerrin Boats" to "Skerrin Boats Ltd", for organisations;
- "WHO" to "World Health Organization", where the text says "World Health Organization (WHO)" or the other way round;
- "SKERRINPOINT" and "Skerrin-Point" to "Skerrin Point", "Muller" to "Müller", to the spelling used most;
- "Hugo Lind (1871-1940)" to what stands before the parenthesis;
- "Springfield, Ohio" to "Springfield", where the document says both;
- a date or quantity to its value: "March 2021" and "2021-03";
- a pronoun or description to what it refers to.

A short name in a document that never gives the full one keeps a key of its own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kg.ids import entity_id
from kg.resolution.name_forms import LEGAL_FORMS, fold_latin, is_initials_of
from kg.resolution.names import COMMON_LABELS, HONORIFICS, VALUE_LABELS, entity_key, name_and_rest, normalise_name
from kg.types import Extraction, Mention
from kg.wordlists import word_set

__all__ = ["NameResolver"]

_MAX_ACRONYM_GAP = 3  # " (" stands between the name and its acronym; a line break or a quote mark may, too.
_MERE_FORMS = word_set("mr mrs ms miss mx dr prof herr frau mme mlle")
_PLACES = frozenset({"GPE", "LOC", "FAC"})
_NEVER_SHORT = frozenset({*VALUE_LABELS, *COMMON_LABELS, "GPE", "LOC"})


class NameResolver:
    """Gives each mention the entity its name stands for. It keeps no state: the same extraction resolves the same."""

    def resolve(self, extraction: Extraction) -> Extraction:
        """Set every mention's ``entity_id``.

        :param extraction: What an extractor found in one document.
        :returns: The same mentions and triples, in the same order.
        """
        named = [mention for mention in extraction.mentions if not mention.refers_to]
        keys = [_key(mention) for mention in named]
        keys = _as_named(named, keys)
        keys = _as_mostly_spelt(named, keys)
        keys = _without_region(named, keys)
        aliases = _acronyms(named, keys)
        keys = [aliases.get(key, key) for key in keys]
        people, companies = _short_names(named, keys), _company_names(named, keys)
        keys = [_full_name(mention, key, people, companies) for mention, key in zip(named, keys, strict=True)]
        of_mention = {mention.mention_id: entity_id(key) for mention, key in zip(named, keys, strict=True)}
        _follow_references(extraction.mentions, of_mention)
        resolved = tuple(replace(mention, entity_id=of_mention[mention.mention_id]) for mention in extraction.mentions)
        return replace(extraction, mentions=resolved)


def _key(mention: Mention) -> str:
    if mention.value and mention.label in VALUE_LABELS:
        return f"{mention.label.lower()}:{normalise_name(mention.value)}"
    is_name = mention.label not in VALUE_LABELS and mention.label not in COMMON_LABELS
    return entity_key(name_and_rest(mention.text)[0] if is_name else mention.text, mention.label)


def _follow_references(mentions: Sequence[Mention], of_mention: dict[str, str]) -> None:
    """Give each mention that refers back the entity at the end of its chain; one that leads nowhere names itself."""
    by_id = {mention.mention_id: mention for mention in mentions}
    for mention in mentions:
        chain: list[str] = []
        current = mention
        while current.mention_id not in of_mention and current.mention_id not in chain:
            chain.append(current.mention_id)
            current = by_id.get(current.refers_to, current)
        entity = of_mention.get(current.mention_id) or entity_id(_key(current))
        of_mention.update(dict.fromkeys(chain, entity))


def _as_named(mentions: Sequence[Mention], keys: Sequence[str]) -> list[str]:
    """Give a concept the key of a name in the same document where only its singular form keeps them apart."""
    names = {key for mention, key in zip(mentions, keys, strict=True) if mention.label not in COMMON_LABELS}
    result = []
    for mention, key in zip(mentions, keys, strict=True):
        plain = normalise_name(mention.text)
        result.append(plain if mention.label in COMMON_LABELS and plain in names else key)
    return result


def _as_mostly_spelt(mentions: Sequence[Mention], keys: Sequence[str]) -> list[str]:
    """Lead spellings that differ in spaces, hyphens and accents to the most frequent one (ties: more words, then a-z).

    Of common nouns only those that are written with a hyphen somewhere are taken: "black bird" is not "blackbird".
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    hyphened: set[str] = set()
    for mention, key in zip(mentions, keys, strict=True):
        if mention.label not in VALUE_LABELS:
            compact = fold_latin(key).replace(" ", "")
            spellings[compact][key] += 1
            if mention.label not in COMMON_LABELS or "-" in mention.text:
                hyphened.add(compact)
    chosen: dict[str, str] = {}
    for compact, counts in spellings.items():
        if len(counts) > 1 and compact in hyphened:
            best = min(counts, key=lambda key: (-counts[key], -key.count(" "), key))
            chosen.update(dict.fromkeys(counts, best))
    return [
        chosen.get(key, key) if mention.label not in VALUE_LABELS else key
        for mention, key in zip(mentions, keys, strict=True)
    ]


def _without_region(mentions: Sequence[Mention], keys: Sequence[str]) -> list[str]:
    """Lead a place with its region to the place alone, where the document names that too."""
    places = {key for mention, key in zip(mentions, keys, strict=True) if mention.label in _PLACES}
    result = []
    for mention, key in zip(mentions, keys, strict=True):
        place, comma, _ = mention.text.partition(", ")
        short = normalise_name(place) if comma and place and mention.label in _PLACES else key
        result.append(short if short in places else key)
    return result


def _acronyms(mentions: Sequence[Mention], keys: Sequence[str]) -> dict[str, str]:
    """Map the key of each acronym to that of the name beside it, one of the two in parentheses; ambiguous ones stay."""
    full_names: dict[str, set[str]] = defaultdict(set)
    order = sorted(range(len(mentions)), key=lambda i: (mentions[i].chunk_id, mentions[i].span.start))
    for i, j in zip(order, order[1:], strict=False):
        first, second = mentions[i], mentions[j]
        gap = second.span.start - first.span.end
        if first.chunk_id != second.chunk_id or not 2 <= gap <= _MAX_ACRONYM_GAP:
            continue
        if _spells(second.text, first.text):
            full_names[keys[j]].add(keys[i])
        elif _spells(first.text, second.text):
            full_names[keys[i]].add(keys[j])
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
    """Map first names, last names and names with initials to the full name of the one person who bears them."""
    full_names: set[tuple[str, ...]] = set()
    for mention, key in zip(mentions, keys, strict=True):
        words = tuple(word for word in key.split(" ") if word not in HONORIFICS)
        if mention.label == "PERSON" and 2 <= len(words) <= 4:
            full_names.add(words)
    initials = {
        words: {other for other in full_names if other != words and is_initials_of(words, other)}
        for words in full_names
    }
    bearers: dict[str, set[str]] = defaultdict(set)
    for words in full_names:
        fits = initials[words]
        if len(fits) == 1:
            bearers[" ".join(words)] = {" ".join(next(iter(fits)))}
        else:
            for word in {words[0], words[-1]}:
                bearers[word].add(" ".join(words))
    return {short: next(iter(names)) for short, names in bearers.items() if len(names) == 1}


def _company_names(mentions: Sequence[Mention], keys: Sequence[str]) -> dict[str, str]:
    """Map a company's name without its legal form ("Ltd", "Group") to the one full name that has it."""
    full_names: dict[str, set[str]] = defaultdict(set)
    for mention, key in zip(mentions, keys, strict=True):
        words = key.split(" ")
        while len(words) > 1 and words[-1] in LEGAL_FORMS:
            words = words[:-1]
        short = " ".join(words)
        if mention.label not in _NEVER_SHORT and short != key:
            full_names[short].add(key)
    return {short: next(iter(names)) for short, names in full_names.items() if len(names) == 1}


def _full_name(mention: Mention, key: str, people: Mapping[str, str], companies: Mapping[str, str]) -> str:
    if mention.label in _NEVER_SHORT:
        return key
    if mention.label != "PERSON":
        return companies.get(key) or (people.get(key, key) if " " not in key else key)
    words = key.split(" ")
    bare = [word for word in words if word not in HONORIFICS] or words
    name = " ".join(bare)
    if name in people:
        return people[name]
    # "Mr Watson" is Watson, but "Captain Cook" and "Queen Victoria" are no Cook and no Victoria.
    return name if len(bare) > 1 or words[0] in _MERE_FORMS else key

"""Find the few senses that one need be compared with: keys that two names share if they can be one thing.

Layer: ``kg``; the standard library only.

Each likeness of :mod:`kg.resolution.spelling` that can make an automatic link has keys that its two sides share:

- ``g:``, the letters without spaces and with the confusions of OCR undone: spaces, hyphens, accents, misread letters;
- ``h:`` and ``t:``, the first and last half of these: one letter that differs leaves one half whole;
- ``b:``, the main words sorted: word order, small words, legal forms;
- ``s:``, the rough sound: transliterations;
- ``a:``, the initials, or the acronym itself;
- ``p:``, the last word of what may be a person: initials, nicknames, middle names, last names alone;
- ``x:``, the name itself, without the region behind it, and each alias that a text states.

No single word but a last name is a key. Common nouns have only their letters without spaces (``c:``), values none.
"""

from __future__ import annotations

from collections.abc import Iterator

from kg.ports import EntityProfile
from kg.resolution.name_forms import NameForms, name_forms
from kg.resolution.names import COMMON_LABELS, VALUE_LABELS, entity_key

__all__ = ["block_keys", "may_be_person", "names_of"]

_MAX_NAMES = 6
"""The most names of one sense that are compared: 6 × 6 pairs of names bound the cost of one comparison."""

_SHORTEST_HALVED = 6
_SHORTEST_SOUND = 4
_LONGEST_KEY = 120
_MAYBE_PEOPLE = frozenset({"PERSON", "MISC"})


def names_of(profile: EntityProfile) -> list[NameForms]:
    """Return the names of a sense that count, the most used first; without those that only shorten another.

    :param profile: The sense.
    :returns: At most six names; none for dates, quantities and common nouns.
    """
    counts: dict[str, int] = {}
    for (name, label), count in profile.uses.items():
        if label not in VALUE_LABELS and label not in COMMON_LABELS:
            counts[name] = counts.get(name, 0) + count
    by_words: dict[tuple[str, ...], NameForms] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        forms = name_forms(name)
        if forms.words:
            by_words.setdefault(forms.words, forms)
    whole = [
        forms
        for words, forms in by_words.items()
        if not any(len(words) < len(other) and set(words) < set(other) for other in by_words)
    ]
    return whole[:_MAX_NAMES]


def may_be_person(profile: EntityProfile) -> bool:
    """Tell whether a sense may be a person: at least half its labels say so, or say nothing."""
    maybe = sum(count for (_, label), count in profile.uses.items() if label in _MAYBE_PEOPLE)
    return 2 * maybe >= sum(profile.uses.values())


def block_keys(profile: EntityProfile) -> frozenset[str]:
    """Return the keys under which other senses are looked for.

    :param profile: The sense.
    :returns: Keys of at most 120 characters; two senses that share none are never compared.
    """
    names = names_of(profile)
    if not names:
        return frozenset(key[:_LONGEST_KEY] for key in _of_common_nouns(profile))
    is_person = may_be_person(profile)
    aliases = [feature[4:] for feature in profile.features if feature.startswith("aka:")]
    keys = [key for forms in names for key in _of_name(forms, is_person)]
    return frozenset(key[:_LONGEST_KEY] for key in (*keys, *("x:" + alias for alias in aliases)))


def _of_common_nouns(profile: EntityProfile) -> Iterator[str]:
    for name, label in profile.uses:
        if label in COMMON_LABELS:
            yield "c:" + entity_key(name, label).replace(" ", "")


def _of_name(forms: NameForms, is_person: bool) -> Iterator[str]:
    yield "x:" + " ".join(forms.words)
    place, comma, _ = forms.text.partition(", ")
    if comma and place:
        yield "x:" + " ".join(name_forms(place).words)
    yield "g:" + forms.glyphs
    yield from _halves(forms.glyphs)
    yield "b:" + " ".join(forms.bare)
    if len(forms.sound) >= _SHORTEST_SOUND:
        yield "s:" + forms.sound
    yield from ("a:" + letters for letters in forms.initials if len(letters) >= 3)
    if forms.is_acronym and len(forms.compact) >= 3:
        yield "a:" + forms.compact
    if is_person:
        yield "p:" + forms.words[-1]


def _halves(letters: str) -> Iterator[str]:
    """Yield both halves, of either rounding: one letter more, less or other leaves a common one."""
    n = len(letters)
    if n >= _SHORTEST_HALVED:
        for half in {n // 2, n - n // 2}:
            yield "h:" + letters[:half]
            yield "t:" + letters[-half:]

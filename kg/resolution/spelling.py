"""Judge how two names may be spellings of one: what kind of likeness, and what that is worth before any context.

Layer: ``kg``; RapidFuzz (MIT) for edit distances.

A :class:`Likeness` has a weight in log-odds. The weights are set by hand by how often two *different* things have names
that are so alike: an alias that the text states, or the same letters with other spaces, leave little doubt; initials,
short forms and one changed letter are as often two people, so they need common context to become a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rapidfuzz.distance import JaroWinkler, Levenshtein

from kg.resolution.name_forms import COMMON_WORDS, LEGAL_FORMS, NameForms, are_nicknames, is_initials_of

__all__ = ["Likeness", "likeness"]

_SAME, _SAME_WORD, _SAME_ACRONYM = 3.0, 1.2, 0.6
_SPACING, _ACCENT = 3.0, 2.2
_ORDER, _LEGAL_FORM = 2.4, 1.6
_INITIALS, _ONE_INITIAL = 2.0, 0.6
_MIDDLE_NAME, _NICKNAME = 1.0, 1.0
_ACRONYM, _SHORT_ACRONYM = 0.9, 0.2
_SOUND, _SOUND_WORD = 1.2, 0.6
_OCR, _OCR_ONE_OFF = 2.4, 1.4
_TYPO_LONG, _TYPO = 1.0, 0.2
_PART = -0.6
_LONG_NAME = 12
_SHORTEST_TYPO = 6
_SHORTEST_SOUND = 4
_SHORTEST_HEARD = 5
_ALIKE = 0.86


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How two names are alike: ``weight`` in log-odds, ``kind`` for programs, ``reason`` for people."""

    kind: str
    weight: float
    reason: str


def likeness(left: NameForms, right: NameForms, *, are_people: bool, is_read_off: bool) -> Likeness | None:
    """Return the strongest way in which two names are alike.

    :param left: One name.
    :param right: The other.
    :param are_people: Whether both may be people: only then initials and short given names count.
    :param is_read_off: Whether one of the two was read off a picture: only then the errors of OCR count.
    :returns: The likeness; ``None`` where the names are not alike, or their numbers differ.
    """
    if _numbers(left, is_read_off) != _numbers(right, is_read_off):
        return None
    found = [*_equal_forms(left, right), *_spelt_alike(left, right, are_people), *_shortened(left, right)]
    if is_read_off:
        found.extend(_misread(left, right))
    if are_people:
        found.extend(_of_people(left, right))
    return max(found, key=lambda like: (like.weight, like.kind), default=None)


def _numbers(name: NameForms, is_read_off: bool) -> tuple[str, ...]:
    # Off a picture "P0INT" is no number.
    return tuple(word for word in name.words if word.isdigit()) if is_read_off else name.numbers


def _both(left: NameForms, right: NameForms) -> str:
    one, other = sorted((left.text, right.text))
    return f"{one!r} and {other!r}"


def _equal_forms(left: NameForms, right: NameForms) -> Iterator[Likeness]:
    if left.words == right.words:
        weight = _SAME if len(left.words) > 1 else _SAME_ACRONYM if left.is_acronym else _SAME_WORD
        yield Likeness(kind="same", weight=weight, reason=f"both are called {min(left.text, right.text)!r}")
    elif left.compact == right.compact:
        yield Likeness(kind="spacing", weight=_SPACING, reason=f"{_both(left, right)} differ in spaces or hyphens only")
    elif left.bare == right.bare and not set(left.bare) <= COMMON_WORDS:
        only_forms = set(left.words) ^ set(right.words) <= LEGAL_FORMS and len(left.bare) == 1
        weight = _LEGAL_FORM if only_forms else _ORDER
        yield Likeness(kind="order", weight=weight, reason=f"{_both(left, right)} have the same main words")


def _spelt_alike(left: NameForms, right: NameForms, are_people: bool) -> Iterator[Likeness]:
    if left.compact == right.compact:
        return
    n_shorter = min(len(left.compact), len(right.compact))
    sounds_alike = left.sound == right.sound and len(left.sound) >= _SHORTEST_SOUND
    is_grown = left.compact.startswith(right.compact) or right.compact.startswith(left.compact)  # German, Germany
    is_alike = sounds_alike and not is_grown and JaroWinkler.similarity(left.compact, right.compact) >= _ALIKE
    # Of single words only people's names: "Argentine" sounds like "Argentina".
    if is_alike and _may_sound_alike(left, right) and (are_people or len(left.words) > 1):
        weight = _SOUND if len(left.words) > 1 else _SOUND_WORD
        yield Likeness(kind="sound", weight=weight, reason=f"{_both(left, right)} sound alike")
    is_close = not is_grown and n_shorter >= _SHORTEST_TYPO and _distance(left.glyphs, right.glyphs) <= 1
    if is_close and _distance(left.compact, right.compact) <= 1 and _may_be_slip(left, right):
        weight = _TYPO_LONG if n_shorter >= _LONG_NAME else _TYPO
        yield Likeness(kind="typo", weight=weight, reason=f"{_both(left, right)} differ in one letter")


def _may_sound_alike(left: NameForms, right: NameForms) -> bool:
    """Tell whether the words that differ are long enough to be spellings by ear: "Jon" and "Jan" are two names."""
    if len(left.words) != len(right.words):
        return False
    changed = [(a, b) for a, b in zip(left.words, right.words, strict=True) if a != b]
    return all(min(len(a), len(b)) >= _SHORTEST_HEARD for a, b in changed)


def _distance(left: str, right: str) -> int:
    return Levenshtein.distance(left, right, score_cutoff=1)


def _may_be_slip(left: NameForms, right: NameForms) -> bool:
    """Tell whether the one word that differs is long enough for a slip: "Mary's" and "Mark's" are two names."""
    if len(left.words) != len(right.words):
        return True
    changed = [(a, b) for a, b in zip(left.words, right.words, strict=True) if a != b]
    return all(min(len(a), len(b)) >= _SHORTEST_TYPO and a[0] == b[0] for a, b in changed)


def _misread(left: NameForms, right: NameForms) -> Iterator[Likeness]:
    if left.glyphs == right.glyphs:
        yield Likeness(kind="ocr", weight=_OCR, reason=f"{_both(left, right)} look alike to a reader of pictures")
    elif min(len(left.glyphs), len(right.glyphs)) >= _SHORTEST_TYPO and _distance(left.glyphs, right.glyphs) <= 1:
        reason = f"{_both(left, right)} differ in one letter, and one was read off a picture"
        yield Likeness(kind="ocr", weight=_OCR_ONE_OFF, reason=reason)


def _shortened(left: NameForms, right: NameForms) -> Iterator[Likeness]:
    for short, full in ((left, right), (right, left)):
        if short.is_acronym and len(short.compact) >= 3 and short.compact in full.initials:
            weight = _ACRONYM if len(short.compact) >= 4 else _SHORT_ACRONYM
            yield Likeness(kind="acronym", weight=weight, reason=f"{short.text!r} are the initials of {full.text!r}")


def _of_people(left: NameForms, right: NameForms) -> Iterator[Likeness]:
    a, b = left.words, right.words
    for short, full in ((left, right), (right, left)):
        if len(short.words) == 1 and 2 <= len(full.words) <= 4 and short.words[0] == full.words[-1]:
            yield Likeness(kind="part", weight=_PART, reason=f"{short.text!r} is the last name of {full.text!r}")
    if a == b or len(a) < 2 or len(b) < 2 or a[-1] != b[-1]:
        return
    for short, full in ((left, right), (right, left)):
        if is_initials_of(short.words, full.words):
            n_initials = len(short.words) - 1 if len(short.words) > 2 else len(short.words[0])
            weight = _INITIALS if n_initials >= 2 else _ONE_INITIAL
            yield Likeness(kind="initials", weight=weight, reason=f"{short.text!r} has the initials of {full.text!r}")
    if a[0] == b[0] and len(a) != len(b) and (set(a) < set(b) or set(b) < set(a)):
        yield Likeness(kind="middle", weight=_MIDDLE_NAME, reason=f"{_both(left, right)} differ in a middle name")
    if a[0] != b[0] and are_nicknames(a[0], b[0]):
        yield Likeness(kind="nickname", weight=_NICKNAME, reason=f"{_both(left, right)} have forms of one given name")

"""What is known of one thing, and how much two such bodies of knowledge speak against their being one.

Layer: ``kg``; the standard library only.

Signs against add up; from :data:`APART` on two things are apart. Each sign's weight is set by hand so that a statement
of the text that only one of two things can satisfy (year of birth, region of a town, person and river) suffices alone,
that two softer ones are needed otherwise (trades that seldom go together, nations, no common context), and that labels
of an entity recogniser, which err most on rare names, never suffice without a lack of any common context. A name that
is split wrongly is lost to every search over more than one document, so in doubt there is one thing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from kg.ports import NameUse
from kg.resolution.kinds import LABEL_GROUPS, Kind, class_conflict, group_conflict, kinds_of
from kg.resolution.names import is_common_noun
from kg.resolution.regions import are_known_regions, can_be_one_region

__all__ = [
    "APART",
    "Evidence",
    "Sign",
    "are_apart",
    "can_be_apart",
    "evidence_of",
    "shared_context",
    "signs_against",
]

APART = 1.0
"""The sum of signs from which two things of one name are apart."""

_NATION = 0.3
_REGIONS = 0.8
_NO_CONTEXT, _LITTLE_CONTEXT = 0.4, 0.2
_PARTS = 0.4
_SHARED_COMPANION = 0.35
_SHARED_WORD = 0.1
_LABELS_AGAINST_TEXT = 0.4
_LABELS_AGAINST_LABELS = 0.6
_ENOUGH_LABELS = 5
_COMMON_NOUN, _COMMON_NOUN_AND_KIND = 0.6, 0.8
_ENOUGH_CONTEXT, _SOME_CONTEXT = 4, 2
_ENOUGH_MENTIONS = 3
_UNANIMOUS = 0.8
_MOST = 8
_SOLID = frozenset({"person", "place", "organisation", "work"})


_Raw = tuple[float, Callable[[], str]]
# A sign whose words are made only where somebody reads them: clustering weighs thousands of pairs.


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing that speaks against two being one: how much, and why in words."""

    weight: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one thing, sorted by what it can decide.

    ``kinds`` are what the text says it is, and ``groups`` their groups; where it says nothing, ``groups`` is
    ``group``: what most of its labels say, empty where they disagree. ``n_labels`` is how many say so.
    ``is_common_noun``: it is only ever written as one. ``companions`` and ``words`` are its context.
    """

    kinds: frozenset[Kind]
    groups: frozenset[str]
    group: str
    n_labels: int
    born: frozenset[int]
    made: frozenset[int]
    regions: frozenset[str]
    nations: frozenset[str]
    parts: frozenset[str]
    companions: frozenset[str]
    words: frozenset[str]
    documents: frozenset[str]
    aliases: frozenset[str]
    is_read_off: bool
    is_common_noun: bool


def evidence_of(uses: Mapping[NameUse, int], features: Mapping[str, int], *, n_documents: int = 1) -> Evidence:
    """Sort what is known of one thing.

    :param uses: Its names and labels, with their counts.
    :param features: Its features (:mod:`kg.resolution.features`), with their counts.
    :param n_documents: The documents that these are of.
    :returns: The evidence.
    """
    by_kind: dict[str, dict[str, int]] = defaultdict(dict)
    for feature, count in features.items():
        kind, _, what = feature.partition(":")
        by_kind[kind][what] = count
    group, n_labels = _label_group(uses)
    kinds = _kinds({**by_kind["is"], **by_kind["part"]})
    return Evidence(
        kinds=kinds,
        groups=frozenset(kind.group for kind in kinds) or frozenset({group} if group else ()),
        group=group,
        n_labels=n_labels,
        born=_years(_most(by_kind["born"])),
        made=_years(_most(by_kind["made"])),
        regions=frozenset(_most(by_kind["where"])),
        nations=frozenset(by_kind["of"]),
        parts=frozenset(by_kind["part"]),
        companions=frozenset(by_kind["with"]),
        words=frozenset((*by_kind["word"], *by_kind["topic"], *by_kind["is"], *by_kind["year"])),
        documents=frozenset(by_kind["within"]),
        aliases=frozenset(by_kind["aka"]),
        is_read_off=n_documents <= sum(by_kind["pic"].values()),
        is_common_noun=bool(uses) and all(is_common_noun(name, label) for name, label in uses),
    )


def signs_against(left: Evidence, right: Evidence) -> list[Sign]:
    """Return what speaks against two bodies of evidence being of one thing.

    :param left: One side.
    :param right: The other.
    :returns: The signs, heaviest first; what speaks for it is among them with a negative weight.
    """
    signs = [Sign(weight=weight, reason=say()) for weight, say in _raw_signs(left, right)]
    return sorted(signs, key=lambda sign: (-sign.weight, sign.reason))


def are_apart(left: Evidence, right: Evidence) -> bool:
    """Tell whether two bodies of evidence of one name are of two things."""
    return sum(weight for weight, _ in _raw_signs(left, right)) >= APART - 1e-9


def can_be_apart(uses: Iterable[Mapping[NameUse, int]], features: Iterable[Iterable[str]]) -> bool:
    """Tell whether any two bodies of evidence made of these could be apart, whichever way they are put together.

    A bound that is cheap: the heaviest sign of each sort that these words and labels can give is added up. ``False`` is
    certain; ``True`` says that it has to be looked at.

    :param uses: The names and labels of each.
    :param features: The features of each.
    :returns: Whether :func:`are_apart` might hold of two of them, or of two sums of some of them.
    """
    said: dict[str, set[str]] = defaultdict(set)
    for feature in set().union(*features):
        kind, _, what = feature.partition(":")
        if kind in _TELLING:
            said[kind].add(what)
    if len(said["where"]) > 1 or any(last - first > 1 for first, last in _extremes(said)):
        return True
    labels, has_common_noun = _labels_in(uses)
    kinds = {kind for word in said["is"] | said["part"] for kind in kinds_of(word)}
    signs = [
        max((class_conflict(frozenset({a}), frozenset({b})) for a in kinds for b in kinds), default=0.0),
        _most_against_labels({kind.group for kind in kinds}, labels),
        (_COMMON_NOUN_AND_KIND if kinds else _COMMON_NOUN) if has_common_noun else 0.0,
    ]
    soft = _NO_CONTEXT + _NATION * (len(said["of"]) > 1) + _PARTS * (len(said["part"]) > 1)
    return max(signs) + soft >= APART - 1e-9


def shared_context(left: Evidence, right: Evidence) -> float:
    """Return how much context two share: one for each companion, 0.3 for each word."""
    return len(left.companions & right.companions) + 0.3 * len(left.words & right.words)


def _raw_signs(left: Evidence, right: Evidence) -> list[_Raw]:
    return list(_hard_signs(left, right)) or [*_kind_signs(left, right), *_soft_signs(left, right)]


def _hard_signs(left: Evidence, right: Evidence) -> Iterator[_Raw]:
    """Yield what no one thing can satisfy."""
    if left.born and right.born and _years_differ(left.born, right.born):
        yield APART, lambda: f"born in {_list(left.born)} and in {_list(right.born)}"
    if left.made and right.made and _years_differ(left.made, right.made):
        yield APART, lambda: f"made in {_list(left.made)} and in {_list(right.made)}"
    if _regions_differ(left, right) and all(are_known_regions(a, b) for a, b in product(left.regions, right.regions)):
        yield APART, lambda: f"in {_list(left.regions)} and in {_list(right.regions)}"


def _kind_signs(left: Evidence, right: Evidence) -> Iterator[_Raw]:
    if left.kinds and right.kinds:
        weight = class_conflict(left.kinds, right.kinds)
        if weight:
            yield weight, lambda: f"{_kind_words(left)} and {_kind_words(right)}"
        return
    for side, other in ((left, right), (right, left)):
        if side.is_common_noun and (other.kinds or (other.group in _SOLID and other.n_labels > 1)):
            weight = _COMMON_NOUN_AND_KIND if other.kinds else _COMMON_NOUN
            yield weight, lambda: "the one is only written as a common noun"
            return
        if side.kinds and other.group and other.n_labels >= _ENOUGH_MENTIONS:
            if min(group_conflict(group, other.group) for group in side.groups) >= 1.0:
                yield _LABELS_AGAINST_TEXT, partial(_say_kind_and_label, side, other)
            return
    are_solid = {left.group, right.group} <= _SOLID and min(left.n_labels, right.n_labels) >= _ENOUGH_LABELS
    if are_solid and group_conflict(left.group, right.group) >= 1.0:
        yield _LABELS_AGAINST_LABELS, lambda: f"labelled {left.group} and {right.group}"


def _say_kind_and_label(told: Evidence, labelled: Evidence) -> str:
    return f"{_kind_words(told)}, and labelled {labelled.group}"


def _soft_signs(left: Evidence, right: Evidence) -> Iterator[_Raw]:
    if left.nations and right.nations and left.nations.isdisjoint(right.nations):
        yield _NATION, lambda: f"{_list(left.nations)} and {_list(right.nations)}"
    if _regions_differ(left, right):
        yield _REGIONS, lambda: f"in {_list(left.regions)} and in {_list(right.regions)}"
    if left.parts and right.parts and left.parts.isdisjoint(right.parts):
        yield _PARTS, lambda: f"({_list(left.parts)}) and ({_list(right.parts)})"
    companions, words = left.companions & right.companions, left.words & right.words
    if companions:
        weight = -_SHARED_COMPANION * min(3, len(companions))
        yield weight, lambda: f"both mentioned with {_list(companions)}"
    if words:
        yield -_SHARED_WORD * min(3, len(words)), lambda: f"the words {_list(words)} stand near both"
    n_context = min(_n_context(left), _n_context(right))
    if not companions and not words and n_context >= _SOME_CONTEXT:
        weight = _NO_CONTEXT if n_context >= _ENOUGH_CONTEXT else _LITTLE_CONTEXT
        yield weight, lambda: "nothing near the one stands near the other"


_TELLING = frozenset({"is", "part", "born", "made", "where", "of"})


def _extremes(said: Mapping[str, Iterable[str]]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last year of each sort."""
    for kind in ("born", "made"):
        years = _years(said[kind])
        if years:
            yield min(years), max(years)


def _labels_in(uses: Iterable[Mapping[NameUse, int]]) -> tuple[Counter[str], bool]:
    """Count the labels of each group, and tell whether any name is written as a common noun."""
    counts: Counter[NameUse] = Counter()
    for one in uses:
        counts.update(one)
    groups: Counter[str] = Counter()
    for (_, label), count in counts.items():
        if label in LABEL_GROUPS:
            groups[LABEL_GROUPS[label]] += count
    return groups, any(is_common_noun(name, label) for name, label in counts)


def _most_against_labels(stated: Collection[str], labels: Mapping[str, int]) -> float:
    """Return the most that labels can weigh against what is stated, or against each other."""
    enough = [group for group, count in labels.items() if count >= _ENOUGH_LABELS and group in _SOLID]
    if any(group_conflict(a, b) >= 1.0 for a in enough for b in enough):
        return _LABELS_AGAINST_LABELS
    some = [group for group, count in labels.items() if count >= _ENOUGH_MENTIONS]
    return _LABELS_AGAINST_TEXT * any(group_conflict(a, b) >= 1.0 for a in stated for b in some)


def _n_context(evidence: Evidence) -> int:
    return len(evidence.companions) + len(evidence.words)


def _label_group(uses: Mapping[NameUse, int]) -> tuple[str, int]:
    counts: Counter[str] = Counter()
    for (_, label), count in uses.items():
        if label in LABEL_GROUPS:
            counts[LABEL_GROUPS[label]] += count
    if not counts:
        return "", 0
    group = min(counts, key=lambda group: (-counts[group], group))
    return (group, counts[group]) if counts[group] >= _UNANIMOUS * counts.total() else ("", 0)


def _kinds(words: Mapping[str, int]) -> frozenset[Kind]:
    """Return the kinds that are stated at least a quarter as often as the one stated most."""
    counts: Counter[Kind] = Counter()
    for word, count in words.items():
        counts.update(dict.fromkeys(kinds_of(word), count))
    most = max(counts.values(), default=0)
    return frozenset(kind for kind, count in counts.items() if 4 * count >= most)


def _most(counts: Mapping[str, int]) -> list[str]:
    """Return what is said most often, so that the cost of comparing stays bounded."""
    return sorted(counts, key=lambda what: (-counts[what], what))[:_MOST]


def _regions_differ(left: Evidence, right: Evidence) -> bool:
    if not (left.regions and right.regions and _may_be_place(left) and _may_be_place(right)):
        return False
    return not any(can_be_one_region(a, b) for a, b in product(left.regions, right.regions))


def _may_be_place(evidence: Evidence) -> bool:
    return evidence.groups <= {"place", "institution"} if evidence.groups else True


def _years(words: Iterable[str]) -> frozenset[int]:
    return frozenset(int(word) for word in words if word.isdigit())


def _years_differ(left: frozenset[int], right: frozenset[int]) -> bool:
    """Tell whether years are more than one apart; one year off is a slip or a turn of the year."""
    return all(abs(a - b) > 1 for a in left for b in right)


def _kind_words(evidence: Evidence) -> str:
    return "/".join(sorted(f"{kind.class_} ({kind.group})" for kind in evidence.kinds)[:3])


def _list(items: Iterable[object]) -> str:
    return ", ".join(sorted(str(item) for item in items)[:3])

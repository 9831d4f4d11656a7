"""Decide which things of one name are different, and which of different names are one.

Layer: ``kg``; RapidFuzz (MIT), and NumPy where vectors are used. It satisfies :class:`kg.ports.EntityMatcher`.

The score of a pair is the logistic function of a sum of log-odds: the strongest likeness of two of its names
(:mod:`kg.resolution.spelling`), common context, equal kinds, and the nearness of their vectors, less the signs that
they are two (:mod:`kg.resolution.evidence`). The weights stand below; they are set by hand, and the thresholds are
chosen on the development half of the labelled set in ``tests/kg/resolution``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from kg.ports import EntityProfile, LinkProposal, LocalEntity
from kg.resolution.blocking import block_keys, may_be_person, names_of
from kg.resolution.evidence import Evidence, are_apart, evidence_of, signs_against
from kg.resolution.features import document_features
from kg.resolution.name_forms import NameForms
from kg.resolution.names import COMMON_LABELS, entity_key
from kg.resolution.senses import cluster_senses
from kg.resolution.spelling import Likeness, likeness
from kg.types import GraphDelta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AUTOMATIC_SCORE", "REVIEW_SCORE", "Encode", "GraphEntityMatcher"]

Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Turns texts into vectors of unit length, one row each."""

AUTOMATIC_SCORE = 0.9
"""The score from which a link needs nobody's word."""

REVIEW_SCORE = 0.5
"""The score from which a pair is worth a person's look. A last name alone never gets further."""

_AUTOMATIC_ODDS, _REVIEW_ODDS = (math.log(score / (1.0 - score)) for score in (AUTOMATIC_SCORE, REVIEW_SCORE))
_ALIAS, _ALIAS_WORD = 3.5, 2.0
_COMPANION, _MAX_COMPANIONS = 0.7, 3
_WORD, _MAX_WORDS = 0.15, 4
_KIND, _GROUP = 0.6, 0.5
_AGAINST = 2.5
_SAME_PICTURE, _SAME_FOLDER = 1.2, 0.5
_SIDE_BY_SIDE = 2.0
_VECTOR, _VECTOR_FROM = 0.8, 0.5
_REGION = 3.0
_HYPHEN = 3.5


class GraphEntityMatcher:
    """Decides senses and links by names, types and context.

    :param encode: Turns texts into unit vectors; ``None`` decides without. Vectors only support a likeness of names:
        they never make a pair alike, for "Austria" lies close to "Germany".
    :param encoder_name: Names the encoder in ``version``, so that a record is resolved again under another one.
    """

    def __init__(self, encode: Encode | None = None, *, encoder_name: str = "") -> None:
        self._nearness = None if encode is None else lru_cache(maxsize=4096)(_nearness_with(encode))
        self.version = "graph-1" + (f"+{encoder_name or 'vectors'}" if encode is not None else "")

    def features(self, delta: GraphDelta) -> Mapping[str, tuple[str, ...]]:
        """Return the words that tell what each name id of a document is; see :mod:`kg.resolution.features`."""
        return document_features(delta)

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        """Cluster the local entities of one name; see :mod:`kg.resolution.senses`."""
        return cluster_senses(locals_of_name)

    def blocks(self, profile: EntityProfile) -> frozenset[str]:
        """Return the keys under which other senses are looked for; see :mod:`kg.resolution.blocking`."""
        return block_keys(profile)

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        """Judge a pair.

        :param left: One sense.
        :param right: Another.
        :returns: The proposal, its sides in the order given; ``None`` below :data:`REVIEW_SCORE`.
        """
        one, other = sorted((left, right), key=lambda profile: profile.sense_id)
        judged = self._judge(one, other)
        if judged is None or judged[0] < REVIEW_SCORE:
            return None
        score, kind, reasons = judged
        return LinkProposal(
            left_id=left.sense_id,
            right_id=right.sense_id,
            score=score,
            reasons=reasons,
            is_automatic=score >= AUTOMATIC_SCORE and kind != "part",
        )

    def _judge(self, left: EntityProfile, right: EntityProfile) -> tuple[float, str, tuple[str, ...]] | None:
        names, others = names_of(left), names_of(right)
        if not names or not others:
            return None if names or others else _judge_common_nouns(left, right)
        known, known_other = _evidence(left), _evidence(right)
        if are_apart(known, known_other):
            return None
        people = may_be_person(left) and may_be_person(right)
        stated = _alias(names, known, others, known_other) or _regional(names, known, others, known_other)
        like = stated or _likest(
            names, others, are_people=people, is_read_off=known.is_read_off or known_other.is_read_off
        )
        if like is None:
            return None
        terms = [(like.weight, like.reason), *_context(known, known_other), *_against(known, known_other)]
        if like.kind == "ocr" or known.is_read_off != known_other.is_read_off:
            terms.extend(_same_place(known, known_other))
        if stated is None and _side_by_side(names, known, others, known_other):
            terms.append((-_SIDE_BY_SIDE, "one sentence names both"))
        log_odds = sum(weight for weight, _ in terms)
        if (
            self._nearness is not None and _REVIEW_ODDS - _VECTOR <= log_odds < _AUTOMATIC_ODDS
        ):  # else it decides nothing
            terms.append(self._nearness(_described(names, known), _described(others, known_other)))
            log_odds += terms[-1][0]
        score = _logistic(log_odds)
        return round(score, 4), like.kind, tuple(reason for weight, reason in terms if weight)


def _evidence(profile: EntityProfile) -> Evidence:
    return evidence_of(profile.uses, profile.features, n_documents=profile.n_documents)


def _logistic(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


def _judge_common_nouns(left: EntityProfile, right: EntityProfile) -> tuple[float, str, tuple[str, ...]] | None:
    """Judge two common nouns, which are one only where they differ in a hyphen: "e-mail" and "emails"."""
    keys, others = (
        {
            entity_key(name, label).replace(" ", ""): name
            for name, label in sorted(profile.uses)
            if label in COMMON_LABELS
        }
        for profile in (left, right)
    )
    for compact in sorted(keys.keys() & others.keys()):
        first, second = sorted((keys[compact], others[compact]))
        if "-" in first or "-" in second:
            return round(_logistic(_HYPHEN), 4), "hyphen", (f"{first!r} and {second!r} differ in a hyphen only",)
    return None


def _alias(
    names: Sequence[NameForms], known: Evidence, others: Sequence[NameForms], known_other: Evidence
) -> Likeness | None:
    """Return the likeness of two of which a text says that the one is also called by the other's name."""
    for forms, evidence, called in ((names, known, others), (others, known_other, names)):
        for other in called:
            if " ".join(other.words) in evidence.aliases:
                weight = _ALIAS if len(other.words) > 1 else _ALIAS_WORD
                return Likeness(
                    kind="alias", weight=weight, reason=f"a text says that {forms[0].text!r} is also {other.text!r}"
                )
    return None


def _regional(
    names: Sequence[NameForms], known: Evidence, others: Sequence[NameForms], known_other: Evidence
) -> Likeness | None:
    """Return the likeness of "Springfield, Ohio" and a Springfield of which a text says that it is in Ohio."""
    for whole, short, regions in ((names, others, known_other.regions), (others, names, known.regions)):
        for full in whole:
            for place in short:
                region = " ".join(full.words[len(place.words) :])
                if region in regions and full.words[: len(place.words)] == place.words:
                    return Likeness(
                        kind="region", weight=_REGION, reason=f"{place.text!r} is in {region}: {full.text!r}"
                    )
    return None


def _likest(
    names: Sequence[NameForms], others: Sequence[NameForms], *, are_people: bool, is_read_off: bool
) -> Likeness | None:
    found = [
        like
        for a in _telling(names, others)
        for b in _telling(others, names)
        if (like := likeness(a, b, are_people=are_people, is_read_off=is_read_off)) is not None
    ]
    return max(found, key=lambda like: (like.weight, like.kind, like.reason), default=None)


def _telling(names: Sequence[NameForms], others: Sequence[NameForms]) -> Sequence[NameForms]:
    """Leave out acronyms where both sides have a name in full: these must agree then."""
    full = [forms for forms in names if not forms.is_acronym]
    return full if full and any(not forms.is_acronym for forms in others) else names


def _context(left: Evidence, right: Evidence) -> list[tuple[float, str]]:
    terms = []
    companions, words = left.companions & right.companions, left.words & right.words
    if companions:
        weight = _COMPANION * min(_MAX_COMPANIONS, len(companions))
        terms.append((weight, f"both are mentioned with {', '.join(sorted(companions)[:3])}"))
    if words:
        terms.append((_WORD * min(_MAX_WORDS, len(words)), f"near both stands {', '.join(sorted(words)[:3])}"))
    if left.kinds & right.kinds:
        kinds = sorted(kind.class_ for kind in left.kinds & right.kinds)
        terms.append((_KIND, f"both are of the kind {', '.join(kinds[:3])}"))
    if left.groups & right.groups:
        terms.append((_GROUP, f"both are a {' or '.join(sorted(left.groups & right.groups))}"))
    return terms


def _against(left: Evidence, right: Evidence) -> list[tuple[float, str]]:
    return [(-_AGAINST * sign.weight, f"but: {sign.reason}") for sign in signs_against(left, right) if sign.weight > 0]


def _same_place(left: Evidence, right: Evidence) -> list[tuple[float, str]]:
    shared = left.documents & right.documents
    if any(not mark.startswith("/") for mark in shared):
        return [(_SAME_PICTURE, "the picture and the text are of one document")]
    return [(_SAME_FOLDER, "the picture and the text lie in one folder")] if shared else []


def _side_by_side(
    names: Sequence[NameForms], known: Evidence, others: Sequence[NameForms], known_other: Evidence
) -> bool:
    """Tell whether one sentence names both, as nobody does with two names of one thing but to say so."""
    return any(" ".join(forms.words) in known.companions for forms in others) or any(
        " ".join(forms.words) in known_other.companions for forms in names
    )


def _described(names: Sequence[NameForms], known: Evidence) -> str:
    words = sorted(kind.class_ for kind in known.kinds) + sorted(known.companions)[:4]
    return f"{names[0].text}: {', '.join(words)}" if words else names[0].text


def _nearness_with(encode: Encode) -> Callable[[str, str], tuple[float, str]]:
    def nearness(left: str, right: str) -> tuple[float, str]:
        vectors = encode([left, right])
        cosine = float(vectors[0] @ vectors[1])
        weight = _VECTOR * max(0.0, (cosine - _VECTOR_FROM) / (1.0 - _VECTOR_FROM))
        return weight, f"their vectors have a cosine of {cosine:.2f}"

    return nearness

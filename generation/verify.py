"""Check that a sentence says what the text that it cites says: its words, its numbers, its names.

Layer: ``generation``. Words and vectors together: a vector alone takes "rose to 12 %" for "fell to 21 %", words alone
refuse every paraphrase. A number or name that the evidence does not hold, a number tied to another name, an opposite
or a flipped negation caps the score below acceptance, whatever the rest says.

Shape suffixes: U units, D vector width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.lexicon import OPPOSITES, word_set
from generation.rows import rows_of, tied_otherwise
from generation.units import Unit, picture_noun, units_of
from generation.words import (
    collapse,
    content_stems,
    looks_like_instruction,
    names_in,
    negated_stems,
    numbers_in,
    stem,
    stems,
    words,
)
from retrieval.types import Evidence, TextEncoder

__all__ = ["ACCEPT", "Support", "Verifier", "opposed_words"]

ACCEPT = 0.55
"""Support from which a sentence is shown; with :data:`generation.verify._COVERAGE_WEIGHT` it takes a full paraphrase at
cosine 0.75 with a third of its words shared, and refuses a sentence of the same topic at cosine 0.5."""
_CAP = 0.3
"""What a contradiction leaves of a score."""
_COVERAGE_WEIGHT = 0.5
_COSINE_FLOOR, _COSINE_CEILING = 0.3, 0.8
"""Cosines of all-MiniLM-L6-v2 between unrelated sentences lie under the floor, between paraphrases about the
ceiling."""
_WIDTH_COST = 0.1
"""A second unit must bring more than this (coverage + cosine) to be quoted too."""
_QUOTED_SHARE = 0.6
_OPPOSITES: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(
    (frozenset(map(stem, left.split())), frozenset(map(stem, right.split()))) for left, right in OPPOSITES
)
_BY = re.compile(r"\bby (?:the |an? )?(?P<x>(?:[\w'’-]+\s+){0,2}?(?:[A-Z][\w.'’-]*\s*)+)")
_FRAME = re.compile(r"The (?P<noun>chart|table|picture|page picture) reads: [“\"](?P<quote>[^“”\"]+)[”\"]\.?")
"""How an answer says that words were read off a picture or a table (:func:`generation.extractive.write_sentence`)."""
_JOINING = frozenset(map(stem, word_set("and or but while whereas than")))
_SYMMETRIC = frozenset(map(stem, word_set("meet marry married and with between both cofounded together share")))
"""Words that say the same whichever name stands first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """How well evidence carries a sentence.

    ``score`` lies in ``[0, 1]``; ``units`` are what carries it; ``problems`` say what speaks against it.
    """

    score: float
    units: tuple[Unit, ...]
    problems: tuple[str, ...] = ()

    @property
    def is_supported(self) -> bool:
        """Tell whether the sentence may be shown."""
        return self.score >= ACCEPT


class Verifier:
    """Checks sentences against evidence, with the units and vectors of the evidence made once.

    One verifier belongs to one answer; it is not shared.

    :param evidence: The evidence that may be cited, in the order in which it is numbered.
    :param encoder: Gives the vectors.
    """

    def __init__(self, evidence: Sequence[Evidence], *, encoder: TextEncoder) -> None:
        self._evidence = tuple(evidence)
        self._encoder = encoder
        self._units = [units_of([item]) for item in evidence]
        flat = [unit.flat for units in self._units for unit in units]
        vectors_UD = encoder.encode(flat)
        self._vectors = []
        start = 0
        for units in self._units:
            self._vectors.append(vectors_UD[start : start + len(units)])
            start += len(units)

    def check(self, sentence: str, indexes: Sequence[int]) -> Support:
        """Check ``sentence`` against the evidence at ``indexes``, read together.

        :param sentence: One sentence without citation marks.
        :param indexes: Positions in the evidence, from 0, at least one.
        :returns: The support; score 0 and a problem where the evidence holds nothing to compare with.
        """
        return self._check(sentence, indexes, self._encoder.encode([collapse(sentence)])[0])

    def best(self, sentence: str) -> tuple[int, Support]:
        """Return the position of the evidence that carries ``sentence`` best, and its support.

        :param sentence: One sentence without citation marks.
        :returns: Ties go to the evidence that stands first; position -1 and score 0 where there is no evidence.
        """
        vector_D = self._encoder.encode([collapse(sentence)])[0]
        best_index, best = -1, Support(score=0.0, units=(), problems=("there is no evidence",))
        for index in range(len(self._evidence)):
            support = self._check(sentence, [index], vector_D)
            if best_index < 0 or support.score > best.score:
                best_index, best = index, support
        return best_index, best

    def _unframed(self, sentence: str, indexes: Sequence[int]) -> str:
        """Return what a sentence quotes if it is nothing but "The chart reads: “…”" of evidence that is a chart."""
        match = _FRAME.fullmatch(collapse(sentence))
        nouns = {picture_noun(self._evidence[i].chunk.modality) for i in indexes}
        return match["quote"] if match is not None and match["noun"] in nouns else sentence

    def _check(self, sentence: str, indexes: Sequence[int], vector_D: NDArray[np.float32]) -> Support:
        sentence = self._unframed(sentence, indexes)
        claim = content_stems(sentence)
        around = " ".join(f"{self._evidence[i].chunk.heading} {self._evidence[i].document.title}" for i in indexes)
        chosen: list[Unit] = []
        cosine = 0.0
        for index in indexes:
            cosines = np.asarray(self._vectors[index] @ vector_D, dtype=np.float64)
            window = _window(claim, self._units[index], cosines, frozenset(content_stems(around)))
            chosen += [self._units[index][i] for i in window]
            cosine = max([cosine, *(float(cosines[i]) for i in window)])
        if not claim or not chosen:
            return Support(score=0.0, units=(), problems=("nothing to compare with",))
        text = " ".join(unit.flat for unit in chosen)
        own, wide = set(content_stems(text)), set(content_stems(f"{text} {around}"))
        coverage = sum(found in wide for found in claim) / len(claim) if own & set(claim) else 0.0
        likeness = min(max((cosine - _COSINE_FLOOR) / (_COSINE_CEILING - _COSINE_FLOOR), 0.0), 1.0)
        score = _COVERAGE_WEIGHT * coverage + (1.0 - _COVERAGE_WEIGHT) * likeness
        problems = _problems(
            sentence,
            text,
            around,
            instructed=any(looks_like_instruction(u.text) for u in chosen),
            rows=rows_of(chosen),
        )
        return Support(score=min(score, _CAP) if problems else score, units=tuple(chosen), problems=problems)


def _window(
    claim: Sequence[str], units: Sequence[Unit], cosines: NDArray[np.float64], around: frozenset[str]
) -> list[int]:
    """Choose the unit, or two neighbouring ones, that carry most of the claim; return their positions."""
    held = [frozenset(content_stems(unit.text)) for unit in units]
    best: tuple[float, list[int]] = (-1.0, [])
    for width in (1, 2):
        for start in range(len(units) - width + 1):
            window = list(range(start, start + width))
            union = around.union(*(held[i] for i in window))
            wide = sum(found in union for found in claim) / max(len(claim), 1)
            value = wide + max(float(cosines[i]) for i in window) - _WIDTH_COST * (width - 1)
            if value > best[0]:
                best = (value, window)
    return best[1]


def _problems(sentence: str, text: str, around: str, *, instructed: bool, rows: Sequence[str]) -> tuple[str, ...]:
    wide = f"{text} {around}"
    found: list[str] = []
    missing = [number for number in numbers_in(sentence, spelled=False) if number not in numbers_in(wide)]
    if missing:
        found.append(f"number not in the cited text: {', '.join(missing)}")
    held = frozenset(stems(wide))
    absent = [name for name in names_in(sentence, known=frozenset(map(stem, names_in(wide)))) if not _held(name, held)]
    if absent:
        found.append(f"name not in the cited text: {', '.join(absent)}")
    if _flipped(sentence, text):
        found.append("negation differs from the cited text")
    if opposed_words(sentence, text):
        found.append("says the opposite of the cited text")
    if tied_otherwise(sentence, rows) if rows else _swapped(sentence, text):
        found.append("ties numbers or names together otherwise than the cited text")
    if instructed and not _is_quote(sentence, text):
        found.append("follows an instruction that stands in the evidence")
    return tuple(found)


def _held(name: str, held: frozenset[str]) -> bool:
    return all(found in held for found in stems(name.removesuffix("'s").removesuffix("’s")))


def _flipped(sentence: str, text: str) -> bool:
    claim_stems, text_stems = set(content_stems(sentence)), set(content_stems(text))
    shared = claim_stems & text_stems
    in_claim, in_text = negated_stems(sentence) & shared, negated_stems(text) & shared
    if in_claim and not in_text:
        return True
    return bool(in_text) and not in_claim and len(in_text) >= len(shared) / 3


def opposed_words(sentence: str, text: str) -> bool:
    """Tell whether ``sentence`` holds a word ("rose") of which ``text`` holds only an opposite ("fell")."""
    claim, held = frozenset(stems(sentence)), frozenset(stems(text))
    for left, right in _OPPOSITES:
        for ours, theirs in ((left, right), (right, left)):
            if claim & ours and not claim & theirs and held & theirs and not held & ours:
                return True
    return False


def _swapped(sentence: str, text: str) -> bool:
    return _swapped_numbers(sentence, text) or _swapped_names(sentence, text) or _other_agent(sentence, text)


def _swapped_numbers(sentence: str, text: str) -> bool:
    """Tell whether two numbers of the sentence stand with each other's words in the text."""
    ours, theirs = _number_neighbours(sentence), _number_neighbours(text)
    shared = [number for number in ours if number in theirs]
    for i, one in enumerate(shared):
        for other in shared[i + 1 :]:
            straight = len(ours[one] & theirs[one]) + len(ours[other] & theirs[other])
            crossed = len(ours[one] & theirs[other]) + len(ours[other] & theirs[one])
            if crossed > straight:
                return True
    return False


def _number_neighbours(text: str) -> dict[str, frozenset[str]]:
    """Return the two content words on either side of each number of ``text``."""
    kept = [word for word in words(text) if numbers_in(word.text) or content_stems(word.text)]
    near: dict[str, frozenset[str]] = {}
    for i, word in enumerate(kept):
        for number in numbers_in(word.text):
            around = kept[max(0, i - 2) : i] + kept[i + 1 : i + 3]
            own = frozenset(stem(other.text) for other in around if not numbers_in(other.text))
            near[number] = near.get(number, frozenset()) | own
    return near


def _swapped_names(sentence: str, text: str) -> bool:
    """Tell whether two names stand on opposite sides of the same verb ("Ann hired Bob", "Bob hired Ann")."""
    ours, theirs = stems(sentence), stems(text)
    if ("by" in ours) != ("by" in theirs):
        return False
    names = [stem(name) for name in names_in(sentence, known=frozenset(map(stem, names_in(text))))]
    names = [name for name in names if ours.count(name) == 1 and theirs.count(name) == 1]
    for one, other in zip(names, names[1:], strict=False):
        a, b = sorted((ours.index(one), ours.index(other)))
        c, d = sorted((theirs.index(one), theirs.index(other)))
        same_order = (ours.index(one) < ours.index(other)) == (theirs.index(one) < theirs.index(other))
        between = set(ours[a + 1 : b]) & set(theirs[c + 1 : d]) - _SYMMETRIC
        if _JOINING & (set(ours[a + 1 : b]) | set(theirs[c + 1 : d])):
            continue  # a list or two clauses: their order says nothing
        if not same_order and any(content_stems(found) for found in between):
            return True
    return False


def _other_agent(sentence: str, text: str) -> bool:
    """Tell whether the sentence says "by X" where the text says only "by Y" of named agents."""
    ours, theirs = _agents(sentence), _agents(text)
    return bool(theirs) and any(not any(agent & other for other in theirs) for agent in ours)


def _agents(text: str) -> list[frozenset[str]]:
    """Return the stems of the capitalised words that follow each "by", before the clause goes on."""
    found = []
    for match in _BY.finditer(text):
        names = [word for word in match["x"].split() if word[0].isupper()]
        if names:
            found.append(frozenset(stems(" ".join(names))))
    return found


def _is_quote(sentence: str, text: str) -> bool:
    """Tell whether the sentence repeats most of the text, so that a reader sees whose words they are."""
    held = content_stems(text)
    return sum(found in content_stems(sentence) for found in held) >= _QUOTED_SHARE * len(held)

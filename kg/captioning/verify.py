"""Score how well a statement about a picture is supported by the words on it and around it.

Layer: ``kg``; the standard library only. :class:`AgreementScorer` and :class:`CombinedScorer` satisfy
:class:`kg.ports.CaptionScorer`.
Source: the cascade with a verifier of VaLiK (arXiv:2503.12972), whose verifier is an image–text encoder. Such encoders
cannot read numbers and names; words read off the picture can, and need no model.

What supports a statement: *first hand* the lines read off the picture, its own caption and its alternative text (weight
1), *second hand* the words around it, the title and the known names (weight 0.8). What a model said supports nothing.

============================================  ==========================================================
a statement                                   its score
============================================  ==========================================================
gives a number that stands nowhere            0.2 · share of its numbers that are found, so below 0.2
gives numbers or names, all numbers found     0.1 + 0.6 · share of them found + 0.3 · share of words found
the same, but a number stands on a line with  0.3 times that
other things than the statement says
gives neither, but words that can be found    0.4 + 0.6 · share of words found
says only what is seen ("a red bar chart")    0.5: words cannot tell
============================================  ==========================================================

Where there is nothing to compare with, a statement without numbers and names gets 0.5, one with them 0.3. These are
conventions, chosen so that the grades of :class:`kg.types.EvidenceLevel` say what they mean: a statement of which every
part is found is strong, one of which nothing can be told is moderate, one that is contradicted is weak.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.ports import CaptionRequest, CaptionScorer
from kg.wordlists import word_set

__all__ = ["CONTRADICTED", "AgreementScorer", "CombinedScorer"]

CONTRADICTED = 0.2
"""Below this a number of the statement stands nowhere on or around the picture."""
_UNKNOWN = 0.5
_UNKNOWN_SPECIFIC = 0.3
_SECOND_HAND = 0.8
_MISPLACED = 0.3
_MISREAD = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("1", "l"), ("0", "o"), ("i", "l"))
"""Letters that OCR takes for each other. Nearness as such is no sign: Austria is not Australia."""
_CAPITAL_NOUNS = word_set("der das und ist sind zeigt den mit von ein eine im zum zur auf für des dem einen einer")
"""Words of German, which writes every noun with a capital: capitals tell no names there."""

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,'\u2019\u00a0\u202f]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:[,.'\u2019\u00a0\u202f]\d{3})+\Z")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_STOP = word_set(
    "the and for with from that this these those are was were has have had its their there which who whose than then "
    "into onto over under between among about around while where when also both each very more most some other such "
    "not one two three four five six seven eight nine ten can may does did been being will would "
    "der die das den dem des ein eine einen einem einer und oder mit von vom für auf aus bei ist sind war waren wird "
    "werden hat haben sich nicht auch als wie zum zur nach über unter zwischen "
    "les des une est sont dans pour avec sur par qui que aux ses ces cette "
    "los las una del con por para que son está están este esta como sus"
)
_VISUAL = word_set(
    "image picture photo photograph figure chart graph plot diagram drawing illustration map table screenshot logo "
    "icon scene view show shows shown showing depict depicts display displays displayed represent represents "
    "illustrate illustrates see seen contain contains titled labeled labelled label labels text title legend axis "
    "axes horizontal vertical line lines bar bars pie slice dot dots point points column columns row rows arrow "
    "arrows box boxes circle square left right top bottom middle center centre upper lower corner side background "
    "foreground color colors colour colours colored coloured red blue green yellow orange purple black white grey "
    "gray brown pink dark light large small big tall long short high low higher lower highest lowest increase "
    "increases decrease decreases rise rises fall falls trend value values number numbers data person people man "
    "woman men women standing sitting wearing holding looking bild zeigt diagramm foto grafik abbildung linie "
    "balken montre graphique imagen muestra gráfico foto línea"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What stands somewhere: the numbers in each reading, and the keys of its words with the words themselves."""

    numbers: frozenset[float]
    keys: frozenset[str]
    shapes: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Words:
        words = {word.casefold() for word in _WORD.findall(text)}
        return cls(
            numbers=frozenset(value for written in _NUMBER.findall(text) for value in _readings(written)),
            keys=frozenset(key for word in words for key in _keys(word)),
            shapes=frozenset(map(_shape, words)),
        )

    def has_number(self, written: str) -> bool:
        """Tell whether the number stands there, or one that it is the rounding of."""
        places = len(re.split(r"[.,]", written)[-1]) if re.search(r"[.,]", written) else 0
        near = self.numbers | {round(value, places) for value in self.numbers}
        return any(value in near for value in _readings(written))

    def has_word(self, word: str) -> bool:
        return all(key in self.keys for key in _keys(word.casefold()))

    def has_name(self, word: str) -> bool:
        return self.has_word(word) or _shape(word.casefold()) in self.shapes

    @property
    def is_empty(self) -> bool:
        return not self.numbers and not self.keys


class AgreementScorer:
    """Scores statements by the words on and around the picture; needs no model. The rule is in the module's header.

    Stateless, so it is safe between threads.
    """

    name = "agreement"

    def score(self, request: CaptionRequest, statements: Sequence[str]) -> list[float]:
        """Return the support of each statement.

        :param request: The picture with the document's words; the lines of ``draft`` that were read off it count too.
        :param statements: Sentences that say something of the picture.
        :returns: One score in ``[0, 1]`` a statement, higher is better.
        """
        evidence = _Evidence.of(request)
        return [_support(statement, evidence) for statement in statements]


class CombinedScorer:
    """Joins a scorer that compares words with one that looks at the picture.

    Where the words contradict a statement (a score below :data:`CONTRADICTED`) the lower of the two scores counts, for
    an image encoder cannot read numbers; else their mean.

    :param words: Compares words, as :class:`AgreementScorer` does.
    :param picture: Compares the picture with the words, as an image–text encoder does.
    """

    def __init__(self, words: CaptionScorer, picture: CaptionScorer) -> None:
        self.name = f"{words.name}+{picture.name}"
        self._words = words
        self._picture = picture

    def score(self, request: CaptionRequest, statements: Sequence[str]) -> list[float]:
        """Return the joint support of each statement.

        :param request: The picture with the document's words.
        :param statements: Sentences that say something of the picture.
        :returns: One score in ``[0, 1]`` a statement, higher is better.
        :raises InputError: If one of the scorers returns another number of scores.
        """
        by_words = self._words.score(request, statements)
        by_picture = self._picture.score(request, statements)
        if not len(by_words) == len(by_picture) == len(statements):
            raise InputError(
                f"CombinedScorer: {len(statements)} statements got {len(by_words)} scores of {self._words.name} and "
                f"{len(by_picture)} of {self._picture.name}. A scorer returns one score a statement."
            )
        pairs = zip(by_words, by_picture, strict=True)
        return [min(said, seen) if said < CONTRADICTED else (said + seen) / 2 for said, seen in pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What stands on the picture, what stands around it, and the lines on it that join a number with something."""

    first: _Words
    second: _Words
    rows: tuple[_Words, ...]

    @classmethod
    def of(cls, request: CaptionRequest) -> _Evidence:
        asset = request.asset
        lines = request.draft.lines if request.draft is not None else ()
        read = [line.text for line in lines if line.source in ("ocr", "table")]
        second = [request.context, asset.surrounding_text, request.document_title, *request.known_entities]
        rows = [_Words.of(" ".join([*_NUMBER.findall(line), *_content(line, ())])) for line in read]
        return cls(
            first=_Words.of("\n".join([asset.caption, asset.alt_text, *read])),
            second=_Words.of("\n".join(second)),
            rows=tuple(row for row in rows if row.numbers and len(row.numbers) + len(row.keys) > 1),
        )


def _support(statement: str, evidence: _Evidence) -> float:
    first, second = evidence.first, evidence.second
    numbers = _NUMBER.findall(statement)
    names = _names(statement)
    opening = _opening_name(statement)
    if opening and not (first.has_name(opening) or second.has_name(opening)):
        names.append(opening)
    words = _content(statement, names)
    if first.is_empty and second.is_empty:
        return _UNKNOWN_SPECIFIC if numbers or names else _UNKNOWN
    of_numbers = [_weight(first.has_number(n), second.has_number(n)) for n in numbers]
    if not all(of_numbers):
        return CONTRADICTED * sum(found > 0 for found in of_numbers) / len(of_numbers)
    specifics = of_numbers + [_weight(first.has_name(n), second.has_name(n)) for n in names]
    overlap = _mean([_weight(first.has_word(word), second.has_word(word)) for word in words])
    if not specifics:
        return 0.4 + 0.6 * overlap if words else _UNKNOWN
    score = 0.1 + 0.6 * _mean(specifics) + 0.3 * (overlap if words else _mean(specifics))
    return score * _MISPLACED if _is_misplaced(numbers, [*names, *words], evidence.rows) else score


def _is_misplaced(numbers: Sequence[str], words: Sequence[str], rows: Sequence[_Words]) -> bool:
    """Tell whether a number stands in a line with other things than those that the statement joins it with.

    That is so where no line with the number holds anything else of the statement, and another line with a number does.
    """
    for place, number in enumerate(numbers):
        own = [row for row in rows if row.has_number(number)]
        others = [other for at, other in enumerate(numbers) if at != place and other != number]
        elsewhere = [row for row in rows if row not in own and _holds_any(row, others, words)]
        if own and elsewhere and not any(_holds_any(row, others, words) for row in own):
            return True
    return False


def _holds_any(row: _Words, numbers: Sequence[str], words: Sequence[str]) -> bool:
    return any(row.has_number(number) for number in numbers) or any(row.has_name(word) for word in words)


def _weight(first_hand: bool, second_hand: bool) -> float:
    return 1.0 if first_hand else _SECOND_HAND if second_hand else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _readings(written: str) -> tuple[float, ...]:
    """Return what a number may mean: ``1,184`` is 1184 or 1.184, ``54,3`` is 54.3."""
    plain = re.sub(r"['\u2019\u00a0\u202f]", "", written)
    readings = []
    if _GROUPED.match(written):
        readings.append(float(re.sub(r"[.,]", "", plain)))
    decimal = plain.replace(",", ".")
    if decimal.count(".") <= 1:
        readings.append(float(decimal))
    elif not readings:
        head, _, tail = decimal.rpartition(".")
        readings.append(float(head.replace(".", "") + "." + tail))
    return tuple(readings)


def _shape(word: str) -> str:
    for seen, meant in _MISREAD:
        word = word.replace(seen, meant)
    return word


def _keys(word: str) -> tuple[str, ...]:
    """Return what a word is compared by: its beginning, so endings do not count; in Chinese pairs of characters."""
    word = word.replace("\u2019", "'").removesuffix("'s")
    if _is_unspaced(word):
        return tuple(word[i : i + 2] for i in range(len(word) - 1)) or (word,)
    return (word.rstrip("s")[:6] if len(word) > 3 else word,)


def _is_unspaced(word: str) -> bool:
    return any(unicodedata.name(char, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for char in word)


def _names(statement: str) -> list[str]:
    words = list(_WORD.finditer(statement))
    capitalised = [word for word in words[1:] if word[0][0].isupper()]
    if any(word[0] in _CAPITAL_NOUNS for word in words):
        capitalised = [word for word in capitalised if word[0].isupper() and len(word[0]) > 1]
    names = [word[0] for word in capitalised if word[0].casefold() not in _STOP | _VISUAL]
    if words and words[0][0].isupper() and len(words[0][0]) > 1:  # an acronym opens the sentence
        names.insert(0, words[0][0])
    return names


def _opening_name(statement: str) -> str:
    """Return the word that opens the sentence where it may be a name: only one that stands nowhere is taken for one."""
    word = _WORD.search(statement)
    if word is None or not word[0][0].isupper() or word[0].isupper() or len(word[0]) < 3:
        return ""
    if word[0].casefold() in _STOP or word[0].casefold() in _VISUAL:
        return ""
    return "" if any(found in _CAPITAL_NOUNS for found in _WORD.findall(statement)) else word[0]


def _content(statement: str, names: Sequence[str]) -> list[str]:
    known = {name.casefold() for name in names}
    words = [word.casefold() for word in _WORD.findall(statement)]
    unspaced = [pair for word in words if _is_unspaced(word) for pair in _keys(word)]
    return unspaced + [
        word
        for word in words
        if len(word) > 2 and not _is_unspaced(word) and word not in _STOP and word not in _VISUAL and word not in known
    ]

"""Read numbers as people write them: digits with separators, words, fractions, magnitudes.

Layer: ``kg``; the standard library only. All values are exact (:class:`decimal.Decimal`).

Which comma is a decimal comma? The texts are English: a comma before exactly three digits parts thousands
(``1,234``), any other one is decimal (``3,5``). A full stop is decimal, unless there are several (``1.234.567``).
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from kg.wordlists import word_list

__all__ = ["NUMBER", "format_number", "parse_number"]

_UNITS = {
    word: value
    for value, word in enumerate(
        word_list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(word_list("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_SCALES = {
    "hundred": 10**2, "dozen": 12, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "mn": 10**6, "mio": 10**6,
    "crore": 10**7, "billion": 10**9, "bn": 10**9, "trillion": 10**12, "tn": 10**12, "k": 10**3,
}  # fmt: skip
_FRACTIONS = {"½": "0.5", "¼": "0.25", "¾": "0.75", "⅓": "0.333333333333", "⅔": "0.666666666667", "⅛": "0.125"}
_WORDS = "|".join([*_UNITS, *_TENS, *sorted(_SCALES, key=len, reverse=True)][:-1])
_FIGURE = (
    r"\d{1,3}(?:[,\u2009\u202f\u00a0' ]\d{3})+(?:\.\d+)?(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?(?!\d)|\d+(?:[.,]\d+)?"
)
_SCALE = r"(?:hundred|thousand|million|billion|trillion|lakh|crore|dozen|mn|mio|bn|tn)\b"
NUMBER = (
    rf"(?:[-−]?(?:(?:{_FIGURE})[½¼¾⅓⅔⅛]?|[½¼¾⅓⅔⅛])(?:(?: |-)?{_SCALE}|k\b)*"
    rf"|(?:(?:half )?an? )?(?:(?:{_WORDS})\b(?:[ -](?:and )?)?)*(?:{_WORDS})\b)"
)
"""A pattern for what :func:`parse_number` reads, case to be ignored."""

_DIGITS = re.compile(rf"([-−]?)({_FIGURE})?([½¼¾⅓⅔⅛]?)((?:[ -]?[a-z]+)*)\Z")


def parse_number(text: str) -> Decimal | None:
    """Return the value of a number in digits or words; ``None`` where it is none, or means two things.

    :param text: ``"1,184"``, ``"2.4 million"``, ``"twenty-five"``, ``"a dozen"``, ``"3½"``, ``"half a million"``.
    :returns: The exact value.
    """
    text = " ".join(text.lower().split())
    match = _DIGITS.match(text)
    if match is not None and (match.group(2) or match.group(3)):
        figure = _parse_figure(match.group(2) or "0")
        if figure is None:
            return None
        figure += Decimal(_FRACTIONS.get(match.group(3), "0"))
        for word in re.split(r"[ -]", match.group(4)):
            if word and word not in _SCALES:
                return None
            figure *= _SCALES.get(word, 1)
        return -figure if match.group(1) else figure
    return _parse_words(text)


def _parse_figure(figure: str) -> Decimal | None:
    figure = re.sub(r"[\u2009\u202f\u00a0' ]", "", figure)
    if figure.count(".") > 1:
        figure = figure.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", figure):
        figure = figure.replace(",", "")
    else:
        figure = figure.replace(",", ".")
    try:
        return Decimal(figure)
    except InvalidOperation:
        return None


def _parse_words(text: str) -> Decimal | None:
    words = [word for word in re.split(r"[ -]", text) if word != "and"]
    half = words[:1] == ["half"]
    words = words[1:] if half else words
    if words[:1] in (["a"], ["an"]):
        words = ["one", *words[1:]]
        if len(words) < 2 or words[1] not in _SCALES:
            return None
    if not words or "k" in words:
        return None
    total, group = 0, 0
    for word in words:
        if word in _UNITS or word in _TENS:
            value = _UNITS.get(word, _TENS.get(word, 0))
            if group % 100 and not (group % 10 == 0 and group % 100 >= 20 and value < 10):
                return None  # "two three" is no number
            group += value
        elif word in ("hundred", "dozen"):
            group = max(group, 1) * _SCALES[word]
        elif word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
        else:
            return None
    return Decimal(total + group) / (2 if half else 1)


def format_number(value: Decimal) -> str:
    """Write ``value`` in one way only: plain digits, no exponent, no idle zeros, at most 12 significant digits."""
    rounded = Decimal(f"{value:.12g}")
    text = f"{rounded:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text

"""The words of a question and of the names of columns, in one form, so that they can be matched.

Layer: ``retrieval``; imports ``kg`` and the analyser's stemmer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kg.wordlists import word_set
from retrieval.analysis import Analyzer

__all__ = ["FRAME", "content_of", "cut", "is_number", "stem", "stems_of"]

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*(?:st|nd|rd|th)?|[^\W\d_]\w*(?:['’&-]\w+)*|[€$£¥₹%°]")
_ANALYZER = Analyzer(stop_words=())
_IRREGULAR = {
    "people": "person", "persons": "person", "men": "man", "women": "woman", "children": "child", "built": "build",
    "sold": "sell", "made": "make", "paid": "pay", "won": "win", "held": "hold", "led": "lead", "wrote": "write",
    "written": "write", "cities": "city", "countries": "country", "spent": "spend", "taught": "teach", "ran": "run",
    "grew": "grow", "bought": "buy", "cost": "cost", "costs": "cost", "lengths": "length",
}  # fmt: skip
FRAME = word_set(
    "a an the of in on at for to from by with and or as is are was were be been being has have had do does did "
    "there that which who whom whose what when where how many much all any every each both list name show give "
    "enumerate me us please tell count find number total sum average mean altogether combined overall highest "
    "largest biggest greatest most maximum longest tallest heaviest oldest newest youngest earliest latest first "
    "last lowest smallest least fewest minimum shortest lightest cheapest fastest slowest deepest widest hottest "
    "coldest recent recently more than less fewer over above under below before after since until exactly between "
    "up no later earlier it its their them they these those this one ones can contain contains include includes "
    "included exist according table tables column columns row rows data sheet spreadsheet document documents file "
    "files listed recorded shown given mentioned different distinct unique"
)
"""Words that make a question and say nothing of its subject."""


def cut(text: str) -> list[tuple[str, int, int]]:
    """Cut a text into words, numbers and signs of currencies, with their places."""
    return [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the stem of one word, in lower case, without a possessive ending."""
    lower = word.lower().replace("’", "'").removesuffix("'s")
    terms = _ANALYZER.terms(_IRREGULAR.get(lower, lower))
    return "".join(terms) or lower


def stems_of(text: str) -> tuple[str, ...]:
    """Return the stems of all words of a text, in order."""
    return tuple(stem(word) for word, _, _ in cut(text))


def content_of(text: str) -> frozenset[str]:
    """Return the stems of a text's words that are not :data:`FRAME`; of all words where there are no others."""
    words = [word for word, _, _ in cut(text)]
    kept = [word for word in words if word.lower() not in FRAME]
    return frozenset(stem(word) for word in kept or words)


def is_number(word: str) -> bool:
    """Tell whether a word that was cut is written in digits."""
    return word[:1].isdigit()

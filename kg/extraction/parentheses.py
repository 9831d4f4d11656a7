"""Read what stands in parentheses or between commas right behind a name: years of life, other names, places.

Layer: ``kg``; the standard library only.

- ``Ada Brandt (1815–1852)``, ``(born 5 May 1918)``, ``(d. 1852)``: born, died
- ``European Tide Institute (ETI)``, ``Harbour Estates Ltd ("the Landlord")``: another name
- ``Brest, France``: a place in another
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kg.extraction.dates import MONTHS

__all__ = ["alias_gaps", "is_acronym", "life_dates"]

_DAY = rf"(?:\d{{1,2}} (?i:{MONTHS})\.? [12]\d{{3}}|(?i:{MONTHS})\.? \d{{1,2}}, [12]\d{{3}}|[12]\d{{3}})"
_LIFE = re.compile(
    rf"(?<=\w) ?\((?:"
    rf"(?:born|b\.|\*)? ?(?:c\. ?|circa )?(?P<born>{_DAY})(?: in [A-Z][^()\d;,–-]{{1,30}})?\s?(?:–|—|-|to|;|,)\s?"
    rf"(?:died|d\.|†)? ?(?:c\. ?|circa )?(?P<died>{_DAY})?"
    rf"|(?:born|b\.|\*) ?(?P<only_born>{_DAY})|(?:died|d\.|†) ?(?P<only_died>{_DAY}))\)"
)
Place = tuple[int, int]


def life_dates(text: str) -> Iterator[tuple[int, Place | None, Place | None]]:
    """Yield where the name before it ends, and the characters of the dates of birth and of death, where given."""
    if "(" not in text:
        return
    for match in _LIFE.finditer(text):
        born = match.span("born") if match["born"] else match.span("only_born")
        died = match.span("died") if match["died"] else match.span("only_died")
        yield match.start(), born if born[0] >= 0 else None, died if died[0] >= 0 else None


_ALIAS_GAP = re.compile(
    r",? ?\((?P<open>[\"“'‘]?"
    r"(?:(?:also|formerly|previously|or|hereinafter|hereafter|abbreviated|short|in short|aka|a\.k\.a\.)"
    r"(?: called| known as| as)?:? )?[\"“'‘]?(?:the )?[\"“'‘]?)\Z",
    re.IGNORECASE,
)


def alias_gaps(gap: str) -> bool:
    """Tell whether ``gap`` is what stands between a name and another one in parentheses, up to the other."""
    return len(gap) <= 40 and _ALIAS_GAP.fullmatch(gap) is not None


def is_acronym(short: str, name: str) -> bool:
    """Tell whether ``short`` is made of the first letters of ``name``, small words counted or not."""
    letters = short.replace(".", "")
    words = re.findall(r"[^\W\d_]+", name)
    if not (2 <= len(letters) <= 10 and letters.isalpha() and sum(c.isupper() for c in letters) >= 2):
        return False
    initials = "".join(word[0] for word in words).casefold()
    capitals = "".join(word[0] for word in words if word[0].isupper()).casefold()
    return len(words) >= 2 and letters.casefold() in (initials, capitals)

"""The forms under which two spellings of one name are equal, and the word lists they need.

Layer: ``kg``; the standard library only. Each form is a pure function of a normalised name
(:func:`kg.resolution.names.normalise_name`); forms of names are cached, because a record compares each name often.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kg.resolution.names import HONORIFICS, name_and_rest, normalise_name
from kg.wordlists import word_set

__all__ = [
    "COMMON_WORDS",
    "LEGAL_FORMS",
    "SMALL_WORDS",
    "NameForms",
    "are_nicknames",
    "fold_latin",
    "is_initials_of",
    "name_forms",
]

LEGAL_FORMS = word_set(
    "inc incorporated ltd limited corp corporation co company plc llc llp gmbh ag sa nv bv ab oy spa srl pty "
    "holdings holding"
)
"""What may stand behind a company's name and be left out; also handled by name resolution within one document."""

SMALL_WORDS = word_set("of the and for in on at de la le du des der die das von van da di del y e & to a an")
"""Words that an acronym may skip and a comparison of words may ignore."""

COMMON_WORDS = SMALL_WORDS | LEGAL_FORMS | word_set(
    "north south east west northern southern eastern western new old great upper lower saint st mount mt lake river "
    "point cape port bay island islands hill park street road avenue square bridge city town county state national "
    "international royal united american british english european world first second third university college school "
    "institute museum church hospital library society association foundation bank club committee council department "
    "ministry office agency party union league team festival award prize cup war battle book film song album series "
    "central general public free high house home man men woman day year years time life love king queen lord lady sir "
    "john james mary william robert george charles thomas henry david michael peter paul anna maria"
)  # fmt: skip
"""Words that too many names share to look for candidates by one of them alone."""

_NICKNAMES = (
    "william will bill billy willy liam", "robert rob bob bobby bert", "richard rick dick richie", "john johnny jack",
    "james jim jimmy jamie", "charles charlie chuck", "edward ed eddie ted ned", "thomas tom tommy",
    "michael mike mick mickey", "joseph joe joey", "daniel dan danny", "david dave davey", "andrew andy drew",
    "anthony tony", "benjamin ben benny", "samuel sam sammy", "alexander alex sandy sasha", "nicholas nick nicky",
    "christopher chris kit", "matthew matt", "peter pete", "frederick fred freddie", "henry harry hal",
    "george georgie", "lawrence larry laurie", "gerald gerry jerry", "ronald ron ronnie", "kenneth ken kenny",
    "stephen steve steven", "patrick pat paddy", "philip phil", "timothy tim", "gregory greg", "theodore theo teddy",
    "elizabeth liz lizzie beth betty bess eliza", "margaret maggie meg peggy greta rita", "katherine kate kathy "
    "katie kitty catherine cathy", "mary molly polly", "susan sue susie", "rebecca becky", "jennifer jenny jen",
    "victoria vicky", "deborah debbie", "barbara barb babs", "dorothy dot dotty", "eleanor ellie nell nora",
    "frances fran fanny", "helen nellie", "judith judy", "patricia patty trish", "theresa tess terry",
    "abigail abby", "alice ally", "josephine josie jo", "caroline carrie", "martha marty", "sarah sally sadie",
)  # fmt: skip
"""Given names and their short forms (each line one name), as English uses them; our own selection."""

_NICKNAME_GROUPS: dict[str, frozenset[int]] = {
    word: frozenset(i for i, group in enumerate(_NICKNAMES) if word in group.split())
    for group in _NICKNAMES
    for word in group.split()
}

_WRITTEN_OUT = {"st": "saint", "mt": "mount", "ft": "fort", "&": "and", "bros": "brothers", "intl": "international"}
_ROMAN = re.compile(r"(?=[ivxl])(?:x[lc]|l?x{0,3})(?:i[xv]|v?i{0,3})\Z")
_SPECIAL_LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h", "ı": "i"}
)
_UMLAUTS = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("aa", "a"))
_SOUNDS = (
    ("tch", "c"), ("sch", "s"), ("tsch", "c"), ("ch", "c"), ("sh", "s"), ("kh", "k"), ("gh", "g"), ("ph", "f"),
    ("th", "t"), ("zh", "z"), ("ts", "c"), ("tz", "c"), ("ck", "k"), ("q", "k"), ("w", "v"), ("x", "ks"), ("j", "y"),
)  # fmt: skip
_CONFUSABLE = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_CONFUSABLE_CHARACTERS = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "8": "b", "6": "b", "2": "z"})


@dataclass(frozen=True, slots=True)
class NameForms:
    """One name in all its forms.

    ``words`` are those of the normalised name without honorifics, accents of Latin letters folded; ``compact`` are
    they without spaces; ``sound`` is ``compact`` in a rough spelling by ear without vowels; ``glyphs`` is ``compact``
    with the characters that OCR confuses made equal; ``numbers`` are its digits and Roman numerals.
    ``bare`` are the words without small words and legal forms, sorted. ``initials`` are the first letters of all
    words and of those that are not small. ``is_acronym`` says that the name looks like one as written.
    """

    text: str
    words: tuple[str, ...]
    compact: str
    sound: str
    glyphs: str
    numbers: tuple[str, ...]
    bare: tuple[str, ...]
    initials: frozenset[str]
    is_acronym: bool


def fold_latin(text: str) -> str:
    """Take accents off Latin letters, and write ``ß``, ``æ``, ``ø`` and their kin with plain ones.

    Marks of other scripts stay: in Hindi or Japanese they make another letter.
    """
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", text.translate(_SPECIAL_LATIN))
    kept: list[str] = []
    for character in decomposed:
        if unicodedata.category(character) == "Mn" and kept and kept[-1].isascii() and kept[-1].isalpha():
            continue
        kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


@lru_cache(maxsize=16384)
def name_forms(name: str) -> NameForms:
    """Return the forms of a name as it stands in a text.

    :param name: The name.
    :returns: Its forms.
    """
    key = fold_latin(normalise_name(name_and_rest(name)[0]))
    spelt = [_WRITTEN_OUT.get(word, word) for word in key.split()]
    words = tuple(word for word in spelt if word not in HONORIFICS) or tuple(spelt)
    compact = "".join(words)
    bare = tuple(sorted(w for w in words if w not in SMALL_WORDS and w not in LEGAL_FORMS)) or tuple(sorted(words))
    return NameForms(
        text=name,
        words=words,
        compact=compact,
        sound=_sound(compact),
        glyphs=_glyphs(compact),
        numbers=tuple(_numbers(words)),
        bare=bare,
        initials=_initials(words),
        is_acronym=_is_acronym(name),
    )


def are_nicknames(left: str, right: str) -> bool:
    """Tell whether two given names are forms of one: ``bill`` and ``william``."""
    return not _NICKNAME_GROUPS.get(left, frozenset()).isdisjoint(_NICKNAME_GROUPS.get(right, frozenset()))


def is_initials_of(short: Sequence[str], full: Sequence[str]) -> bool:
    """Tell whether a name with initials fits a full one: ``j r r tolkien`` or ``jrr tolkien``, and ``j tolkien`` too.

    :param short: The words of the name whose given names are initials, at least one of them.
    :param full: The words of the other; its given names may be initials in part.
    :returns: Whether the last words are equal and each initial begins the given name at its place.
    """
    if len(short) < 2 or len(full) < 2 or short[-1] != full[-1] or len(short[-1]) < 2:
        return False
    given = full[:-1]
    letters = [short[0]] if len(short) > 2 else list(short[0])
    if len(short) == 2 and len(short[0]) > 1 and (len(short[0]) != len(given) or len(short[0]) > 4):
        return False
    letters += short[1:-1]
    if len(letters) > len(given) or not any(len(letter) == 1 for letter in letters):
        return False
    return all(name == word if len(word) > 1 else name[0] == word for word, name in zip(letters, given, strict=False))


def _sound(compact: str) -> str:
    """Return ``compact`` as it sounds, roughly: the first letter, then consonants, none twice in a row."""
    text = compact
    for spelt, plain in _UMLAUTS:
        text = text.replace(spelt, plain)
    for spelt, heard in _SOUNDS:
        text = text.replace(spelt, heard)
    text = text.replace("c", "k")
    result = text[:1]
    for character in text[1:]:
        if character not in "aeiouyh" and character != result[-1]:
            result += character
    return result


def _glyphs(compact: str) -> str:
    for pair, single in _CONFUSABLE:
        compact = compact.replace(pair, single)
    return compact.translate(_CONFUSABLE_CHARACTERS)


def _numbers(words: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for position, word in enumerate(words):
        found.extend(re.findall(r"\d+", word))
        # "Henry V", "World War II"; but a single "i" or "x" in front or amid is more often an initial.
        if position and _ROMAN.match(word) and (len(word) > 1 or position == len(words) - 1):
            found.append(word)
    return found


def _initials(words: tuple[str, ...]) -> frozenset[str]:
    if len(words) < 2:
        return frozenset()
    of_all = "".join(word[0] for word in words)
    of_main = "".join(word[0] for word in words if word not in SMALL_WORDS)
    without_form = "".join(word[0] for word in words if word not in SMALL_WORDS and word not in LEGAL_FORMS)
    return frozenset(letters for letters in (of_all, of_main, without_form) if len(letters) >= 2)


def _is_acronym(name: str) -> bool:
    letters = name.replace(".", "").strip()
    return 2 <= len(letters) <= 8 and letters.isalnum() and sum(c.isupper() for c in letters) >= len(letters) - 1 >= 1

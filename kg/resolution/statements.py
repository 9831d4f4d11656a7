"""Read what the words right before and after a name say of it, by patterns.

Layer: ``kg``; the standard library only. The patterns read plain text, so they work on a caption as on prose and
whatever extractor found the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kg.resolution.kinds import NATIONS, kinds_of
from kg.resolution.name_forms import fold_latin
from kg.resolution.names import normalise_name
from kg.wordlists import word_set

__all__ = ["Statement", "aliases_after", "region_after", "region_in", "said_of", "years_of"]


class Statement(NamedTuple):
    """One feature: its kind (see :mod:`kg.resolution.features`) and what it says."""

    kind: str
    what: str


_IS_A = re.compile(
    r"(?:\s*\([^)\n]{0,80}\))?"
    r"(?:,? (?:who|which) (?:is|was)|,| –| —| -|:| (?:is|was|are|were|became|remains|remained)) "
    r"(?:also |still |now |once |originally |probably )?(?:one of )?(?:an?|the|its|his|her|their) "
    r"(?P<what>[^.;:!?()\n]{3,120})"
)
_CLOSED = re.compile(r"\s*\((?P<what>[^()\n]{3,60})\)")
_BEFORE = re.compile(r"(?P<words>(?:[^\W\d_][\w'’-]* ){1,3})(?P<link>(?:of|called|named) )?(?:the )?[\"“‘']?\Z")
_REACH = 120  # Characters before a name that are read, so that one long word costs no more than a sentence.
_NAMED_WITH_OF = frozenset({"settlement", "area", "land"})
_STOP = word_set(
    "of in on from who whom which that whose with for by at to near where when while as than under over between along "
    "beside above below before after against beneath beyond behind opposite across around through towards outside "
    "inside within during since until upon off is was are were has had born made based located situated written "
    "directed founded built known called named set owned published released recorded but because about into seen held "
    "run won led sung spoken grown found kept sold shown worn drawn lying living working standing belonging using "
    "serving"
)
_WORD = re.compile(r"[^\W\d_][\w'’-]*|,")
_LIST_GOES_ON = re.compile(r",? (?:and|or) |, [^\W\d_a-z]| ?&")
_PLACE_BEFORE = re.compile(
    r"\b(?:in|at|of|from|near|to|around|outside|for|near) (?:the (?:city|town|village) of )?\Z", re.I
)
_BORN = re.compile(
    r"\s*(?:\((?:[^()\n]{0,40}?\b)??(?:born|b\.)[^()\n]{0,30}?|"
    r"(?:,? (?:who )?(?:was|is) )?,? ?born (?:[^.;()\n]{0,40}?\b)?)"
    r"(?P<year>1[0-9]{3}|20[0-9]{2})(?!\d)"
)
_LIFE = re.compile(
    r"\s*\((?:[^()\n]{0,30}?\D)??(?P<year>1[0-9]{3}|20[0-9]{2})\s*[–—-]\s*[^()\n]{0,24}?(?:1[0-9]{3}|20[0-9]{2})\)"
)
_MADE = re.compile(
    r"(?:\s*\(|,? (?:is|was) (?:an?|the) |, (?:an?|the) )(?P<year>1[0-9]{3}|20[0-9]{2})(?:\)| [^.;()\n]{0,40}?"
    r"\b(?:film|movie|novel|album|song|book|play|series|painting|opera|game|documentary|poem|single)\b)"
)
_ALSO = re.compile(
    r"(?:,? ?\(?|,? who (?:is|was|became) |,? which (?:is|was) |,? (?:is|was|are|were|became) )"
    r"(?:(?:also|better|otherwise|formerly|previously|once|commonly|popularly|now|later|often|sometimes|"
    r"professionally|locally|generally|usually) )*"
    r"(?:known|called|referred to|nicknamed|dubbed|a\.?k\.?a\.?|alias|formerly|previously|renamed|writing|working|"
    r"performing|performed|wrote|published)"
    r"(?: (?:professionally|locally|simply|also|to friends))?(?: as| under the (?:pen |stage )?name(?: of)?)?:? "
    r"(?:the )?[\"“‘']?(?P<name>[^\W\d_a-z][\w.'’&-]*"
    r"(?: (?:(?:of|the|de|van|von|and|del|la|le) )?[^\W\d_a-z][\w.'’&-]*){0,5})"
)
_NEEDS_AS = re.compile(r"\b(?:known|referred to|writing|working|performing|performed|wrote|published)\b")
_HAS_AS = re.compile(r"\b(?:as|name(?: of)?):? (?:the )?[\"“‘']?\Z")
_OF_ANOTHER = re.compile(r" (?:known|called|referred|nicknamed|dubbed|renamed)\b")
# "A film by Ada North called The Salt Road": it is not Ada North that is called so.
_IN_CLOSED = re.compile(r"[^(),;\[\]\n]{2,80}")
_NEE = re.compile(
    r",? ?\(?(?:née|nee|né|born) (?P<name>[^\W\d_a-z][\w'’-]+(?: [^\W\d_a-z][\w'’-]+){0,2})(?=[),;]| in | on | at |\Z)"
)


def said_of(before: str, after: str) -> Iterator[Statement]:
    """Yield what a sentence says of the name that stands between two parts of it.

    :param before: The sentence up to the name.
    :param after: The sentence from the name on.
    :yields: Statements of the kinds ``is``, ``of`` and ``part``.
    """
    description = _IS_A.match(after)
    if description:
        yield from _described(description["what"])
    closed = _CLOSED.match(after)
    if closed:
        yield from _closed(closed["what"])
    title = _BEFORE.search(before[-_REACH:])
    if title:
        yield from _titled(title["words"].split(), link=(title["link"] or "").strip())


def aliases_after(name: str, after: str) -> Iterator[Statement]:
    """Yield the other names that the words after a name state for it.

    :param name: The name as it stands.
    :param after: The sentence from the name on.
    :yields: Statements of the kind ``aka``.
    """
    stated = _ALSO.match(after)
    if stated:
        lead = after[: stated.start("name")]
        says_as = not _NEEDS_AS.search(lead) or _HAS_AS.search(lead)
        if says_as and not _OF_ANOTHER.match(lead):
            # In parentheses the name goes on to their end: "(also known as Songs from the Sea)".
            closed = _IN_CLOSED.match(after, stated.start("name")) if lead.lstrip().startswith("(") else None
            yield Statement("aka", _alias(closed.group() if closed else stated["name"]))
    maiden = _NEE.match(after)
    if maiden:
        last = maiden["name"]
        given = name.split()[:-1]
        whole = last if len(last.split()) > 1 or not given else " ".join([*given, last])
        yield Statement("aka", _alias(whole))


def years_of(after: str, *, label: str) -> Iterator[Statement]:
    """Yield the year of birth or making that the words after a name state.

    :param after: The sentence from the name on.
    :param label: The label of the mention; places and organisations are not born.
    :yields: Statements of the kinds ``born`` and ``made``.
    """
    made = _MADE.match(after)
    if made:
        yield Statement("made", made["year"])
        return
    born = _BORN.match(after) or _LIFE.match(after)
    if born and label not in ("GPE", "LOC", "FAC", "ORG", "EVENT"):
        yield Statement("born", born["year"])


def region_in(name: str, *, label: str) -> Iterator[Statement]:
    """Yield the region that a place's name holds itself: "Springfield, Ohio".

    :param name: The name as it stands.
    :param label: Its label.
    :yields: Statements of the kind ``where``.
    """
    place, comma, region = name.partition(", ")
    if comma and label in ("GPE", "LOC", "FAC") and place and region[:1].isupper():
        yield Statement("where", _alias(region))


def region_after(before: str, region: str, after: str) -> Iterator[Statement]:
    """Yield the region that follows a place's name: "in Springfield, Ohio"; a list ("in Paris, London") has none.

    :param before: The sentence up to the place's name.
    :param region: The place named next, after a comma.
    :param after: The sentence from that on.
    :yields: Statements of the kind ``where``.
    """
    if not _LIST_GOES_ON.match(after) and (_PLACE_BEFORE.search(before) or not before.strip()):
        yield Statement("where", _alias(region))


def _alias(name: str) -> str:
    return fold_latin(normalise_name(name.rstrip(".")))


def _described(text: str) -> Iterator[Statement]:
    """Read a description up to its first preposition, relative or verb: "Norwegian painter and poet from …"."""
    words: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if word.lower() in _STOP or (word.endswith("ed") and len(word) > 4 and words):
            break
        words.append(word)
        if len(words) > 10:
            break
    for position, word in enumerate(words):
        lower = word.lower()
        if lower in NATIONS:
            yield Statement("of", lower)
        is_head = position + 1 == len(words) or words[position + 1] in (",", "and", "or")
        if is_head and word[0].islower() and word not in ("and", "or", ","):
            yield Statement("is", lower)


def _closed(text: str) -> Iterator[Statement]:
    words = [word for word in re.findall(r"[^\W\d_][\w'’-]*", text) if word.lower() not in _STOP]
    if not 1 <= len(words) <= 4 or not words[-1][0].islower() or words[0].lower() in ("born", "née", "nee", "formerly"):
        return
    yield Statement("part", words[-1].lower())
    yield from (Statement("of", word.lower()) for word in words if word.lower() in NATIONS)


def _titled(words: list[str], *, link: str) -> Iterator[Statement]:
    """Read "the painter NAME", "Welsh footballer NAME", "a ship called NAME", "the city of NAME"."""
    last = words[-1].lower()
    kinds = kinds_of(last) if words[-1][0].islower() else ()
    # "The city of NAME" is NAME, "the club of NAME" is not.
    if kinds and (link != "of" or {kind.class_ for kind in kinds} <= _NAMED_WITH_OF):
        yield Statement("is", last)
        yield from (Statement("of", word.lower()) for word in words[:-1] if word.lower() in NATIONS)

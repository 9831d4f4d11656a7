"""Conditions of a filter: their grammar, and the tests that they make of documents and chunks.

Layer: ``retrieval``; imports ``kg``.

Grammar: ``KEY OP VALUE`` with ``=``, ``!=``, ``>=``, ``<=``, ``>``, ``<``. ``|`` separates values of which one suffices
(``!=``: none), ``*`` and ``?`` stand for any characters; case does not matter. ``>=`` and its like compare numbers and
dates. A key is one of :data:`KEYS` or a key of the documents' metadata (``author``, ``language``, …).

A condition is made into a function once, and that is called for each document: what it is compared with is read once.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import PurePosixPath

from kg.errors import InputError
from kg.types import DocumentInfo, Modality
from retrieval.catalog import Catalog
from retrieval.understanding.times import Period, document_period, read_day

__all__ = ["CHUNK_KEYS", "KEYS", "Condition", "chunk_test", "document_test", "is_pattern", "parse_condition"]

_CONDITION = re.compile(r"\s*([\w][\w. -]*?)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.S)
_MAX_LENGTH = 1000
_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NUMBER = re.compile(r"\s*[-+]?\d{1,15}(?:\.\d{1,15})?\s*")
_DAYS = ("added", "date")
CHUNK_KEYS = ("modality", "page")
"""The keys that are of passages; all others are of whole documents."""
KEYS: Mapping[str, str] = {
    "added": "the day a document was ingested",
    "date": "when a document is from: its metadata, else a date in its name or title",
    "folder": "a folder that its source lies in",
    "id": "a document's id",
    "modality": "text, image, chart, table or page",
    "name": "a document's name",
    "page": "the page a passage is on",
    "source": "where a document came from",
    "title": "a document's title",
    "type": "its media type, or the ending of its name",
}
"""The keys that every workspace has, and what they mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition: ``operator`` is one of ``= != >= <= > <``."""

    key: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"


def is_pattern(text: str) -> bool:
    """Tell whether a name holds ``*`` or ``?`` and so stands for many."""
    return "*" in text or "?" in text


def parse_condition(text: str) -> Condition:
    """Read a condition.

    :param text: ``KEY OP VALUE``.
    :returns: The condition; whether a document has its key is told by :func:`retrieval.understanding.filters.select`.
    :raises InputError: If it is none, or holds a value that its key cannot have.
    """
    match = _CONDITION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None or not _choices(match[3]):
        raise InputError(
            f"--where: {text[:100]!r} is no condition. Write KEY=VALUE, KEY!=VALUE, KEY>=VALUE, KEY<=VALUE, KEY>VALUE "
            f"or KEY<VALUE; keys are {', '.join(KEYS)} and those of the documents' metadata."
        )
    condition = Condition(key=match[1].lower(), operator=match[2], value=match[3])
    known = [str(modality) for modality in Modality]
    choices = _choices(condition.value)
    if condition.key == "modality" and not all(is_pattern(one) or one in known for one in choices):
        raise InputError(f"--where: there is no modality {condition.value!r}; known are {', '.join(known)}.")
    if condition.key in _DAYS and any(read_day(one) is None for one in choices):
        raise InputError(f"--where: {condition.key} needs a date like 2021, 2021-03 or 2021-03-05, got {match[3]!r}.")
    if condition.key == "page" and not all(one.isdecimal() and len(one) < 10 for one in choices):
        raise InputError(f"--where: page needs a number, got {condition.value!r}.")
    is_compared = condition.operator in _ORDERS and condition.key != "page"
    if is_compared and not _NUMBER.fullmatch(condition.value) and read_day(condition.value) is None:
        raise InputError(f"--where: {condition} cannot be compared: {condition.value!r} is neither number nor date.")
    return condition


def document_test(condition: Condition) -> Callable[[DocumentInfo], bool]:
    """Make the test of a condition on documents.

    :param condition: A condition whose key is not among :data:`CHUNK_KEYS`.
    :returns: Tells whether a document fits.
    """
    if condition.key in _DAYS:
        return _day_test(condition)
    values, fits = _values(condition.key), _value_test(condition)
    if condition.operator == "!=":
        return lambda info: not any(map(fits, values(info)))
    return lambda info: any(map(fits, values(info)))


def chunk_test(condition: Condition, catalog: Catalog) -> Callable[[str], bool]:
    """Make the test of a condition on chunks.

    :param condition: A condition whose key is among :data:`CHUNK_KEYS`.
    :param catalog: The chunks.
    :returns: Tells whether the chunk of an id fits. A chunk over two pages is on both.
    """
    is_wanted = condition.operator != "!="
    if condition.key == "modality":
        fits = _value_test(condition)
        kinds = {kind: fits(str(kind)) == is_wanted for kind in Modality}
        return lambda chunk_id: kinds[catalog.modality_of[chunk_id]]
    pages = [int(one) for one in _choices(condition.value)]
    pages_of = catalog.pages_of
    if condition.operator in ("=", "!="):

        def is_on(chunk_id: str) -> bool:
            first, last = pages_of.get(chunk_id, (1, 1))
            for page in pages:  # a generator would cost more than all else here
                if first <= page <= last:
                    return is_wanted
            return not is_wanted

        return is_on
    compare, edge = _ORDERS[condition.operator], int(condition.operator in (">", ">="))
    return lambda chunk_id: compare(pages_of.get(chunk_id, (1, 1))[edge], pages[0])


def _choices(value: str) -> list[str]:
    return [one.strip().casefold() for one in value.split("|") if one.strip()]


def _values(key: str) -> Callable[[DocumentInfo], list[str]]:
    """Return what gives a document's values under a key."""
    if key == "folder":
        return _folders
    if key == "type":
        return lambda info: [info.media_type, PurePosixPath(info.name).suffix.removeprefix(".")]
    if key in ("name", "source", "title"):
        return lambda info: [str(getattr(info, key))]
    if key == "id":
        return lambda info: [info.document_id]
    return lambda info: [value for name, value in info.metadata.items() if name.lower() == key]


def _folders(info: DocumentInfo) -> list[str]:
    parents = [str(one) for one in PurePosixPath(info.source.replace("\\", "/")).parents]
    parents = [one for one in parents if one not in ("/", ".")]
    return [*parents, *(one.rsplit("/", 1)[-1] for one in parents)]


def _value_test(condition: Condition) -> Callable[[str], bool]:
    """Make the test of one value; ``!=`` is tested as ``=``."""
    if condition.operator in _ORDERS:
        return _order_test(condition)
    plain = {one for one in _choices(condition.value) if not is_pattern(one)}
    globs = [one.replace("[", "[[]") for one in _choices(condition.value) if is_pattern(one)]
    matches = re.compile("|".join(map(translate, globs))).match if globs else None

    def fits(value: str) -> bool:
        folded = value.casefold()
        return folded in plain or (matches is not None and matches(folded) is not None)

    return fits


def _order_test(condition: Condition) -> Callable[[str], bool]:
    compare, day = _ORDERS[condition.operator], read_day(condition.value)
    number = float(condition.value) if _NUMBER.fullmatch(condition.value) else None

    def fits(value: str) -> bool:
        if number is not None and _NUMBER.fullmatch(value):
            return compare(float(value), number)
        there = read_day(value) if day is not None else None
        return there is not None and day is not None and _is_ordered(there, condition.operator, day)

    return fits


def _day_test(condition: Condition) -> Callable[[DocumentInfo], bool]:
    asked = [found for one in _choices(condition.value) for found in [read_day(one)] if found is not None]
    is_equal, is_wanted = condition.operator in ("=", "!="), condition.operator != "!="

    def fits(info: DocumentInfo) -> bool:
        there = document_period(info) if condition.key == "date" else read_day(info.added_at)
        if is_equal:
            return (there is not None and any(there.meets(one) for one in asked)) == is_wanted
        return there is not None and _is_ordered(there, condition.operator, asked[0])

    return fits


def _is_ordered(there: Period, order: str, asked: Period) -> bool:
    """Compare days: ``>=2021`` begins with its first day, ``>2021`` behind its last."""
    if order in (">=", "<"):
        return there.first >= asked.first if order == ">=" else there.last < asked.first
    return there.first > asked.last if order == ">" else there.last <= asked.last

"""Filters over a workspace: which documents, pages, kinds and times a request may see.

Layer: ``retrieval``; imports ``kg``. A filter is decided per document wherever that is possible, from what the
catalogue holds in memory; only pages, kinds and mentioned dates are looked at per chunk.

Grammar of a condition: ``KEY OP VALUE`` with ``=``, ``!=``, ``>=``, ``<=``, ``>``, ``<``. All conditions must hold.
``|`` separates values of which one suffices (``!=``: none), ``*`` and ``?`` stand for any characters; case does not
matter. ``>=`` and its like compare numbers and dates. A key is one of :data:`KEYS` or a key of the documents'
metadata (``author``, ``language``, …).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kg.errors import InputError
from kg.extraction.dates import parse_date
from kg.types import DocumentInfo, Modality
from retrieval.catalog import Catalog
from retrieval.understanding.times import Period, document_period, period_of, read_day

if TYPE_CHECKING:  # named in signatures only
    from retrieval.engine import RetrievalEngine
    from retrieval.graph_search import EntityGraph

__all__ = ["KEYS", "Condition", "Filter", "FilterReader", "Selection", "is_pattern", "parse_condition", "select"]

_CONDITION = re.compile(r"\s*([\w][\w. -]*?)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.S)
_MAX_LENGTH = 1000
_SELECTIONS_KEPT = 16
"""Selections kept between requests: a dialogue asks under one filter again and again."""
_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda left, right: left >= right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    "<": lambda left, right: left < right,
}
_OF_CHUNKS = ("modality", "page")
_DAYS = ("added", "date")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a request may see; an empty one sees everything.

    ``documents`` are ids. ``period`` binds a passage's time: that of its document, or a date that it mentions.
    """

    documents: frozenset[str] | None = None
    modalities: frozenset[Modality] | None = None
    conditions: tuple[Condition, ...] = ()
    period: Period | None = None
    counts_mentions: bool = True
    """Whether a date that a passage mentions counts for ``period``, or the date of its document alone."""

    @property
    def is_empty(self) -> bool:
        """Whether everything passes."""
        return self == Filter()

    @property
    def is_of_documents(self) -> bool:
        """Whether it lets documents pass as wholes, so that what a document states as a whole can be told."""
        of_chunks = any(one.key in _OF_CHUNKS for one in self.conditions)
        return self.modalities is None and self.period is None and not of_chunks

    def __str__(self) -> str:
        said = [f"{len(self.documents)} document(s)"] if self.documents is not None else []
        said += ["|".join(sorted(self.modalities))] if self.modalities is not None else []
        said += [str(one) for one in self.conditions]
        said += [f"{self.period.first} to {self.period.last}"] if self.period is not None else []
        return ", ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a filter lets through in one version of the record."""

    document_ids: frozenset[str]
    chunk_ids: frozenset[str]


def is_pattern(text: str) -> bool:
    """Tell whether a name holds ``*`` or ``?`` and so stands for many."""
    return "*" in text or "?" in text


def parse_condition(text: str) -> Condition:
    """Read a condition.

    :param text: ``KEY OP VALUE``.
    :returns: The condition; whether its key exists is told by :func:`select`, which sees the documents.
    :raises InputError: If it is none, or holds a value that its key cannot have.
    """
    match = _CONDITION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None or not match[3]:
        raise InputError(
            f"--where: {text[:100]!r} is no condition. Write KEY=VALUE, KEY!=VALUE, KEY>=VALUE, KEY<=VALUE, KEY>VALUE "
            f"or KEY<VALUE; keys are {', '.join(KEYS)} and those of the documents' metadata."
        )
    condition = Condition(key=match[1].lower(), operator=match[2], value=match[3])
    known = [str(modality) for modality in Modality]
    if condition.key == "modality" and not all(is_pattern(one) or one in known for one in _choices(condition.value)):
        raise InputError(f"--where: there is no modality {condition.value!r}; known are {', '.join(known)}.")
    if condition.key in _DAYS and any(read_day(one) is None for one in condition.value.split("|")):
        raise InputError(f"--where: {condition.key} needs a date like 2021, 2021-03 or 2021-03-05, got {match[3]!r}.")
    if condition.key == "page" and not all(one.isdecimal() for one in _choices(condition.value)):
        raise InputError(f"--where: page needs a number, got {condition.value!r}.")
    return condition


def select(
    wanted: Filter,
    catalog: Catalog,
    graph: EntityGraph | None = None,
    periods: Mapping[int, Period] | None = None,
) -> Selection:
    """Find what a filter lets through.

    :param wanted: The filter.
    :param catalog: The documents and chunks.
    :param graph: The entities, for the dates that passages mention; needed with a period alone.
    :param periods: The days of the entities that are dates, by their columns in the graph.
    :returns: The documents and the chunks; a document of which no chunk passes is left out.
    :raises InputError: If a condition's key is known to no document, or its values cannot be compared.
    """
    _check(wanted, catalog)
    of_documents = [one for one in wanted.conditions if one.key not in _OF_CHUNKS]
    of_chunks = [one for one in wanted.conditions if one.key in _OF_CHUNKS]
    documents = [
        document_id
        for document_id, info in catalog.documents.items()
        if (wanted.documents is None or document_id in wanted.documents)
        and all(_document_fits(info, one) for one in of_documents)
    ]
    chunks = {one for document_id in documents for one in catalog.chunks_of.get(document_id, ())}
    if wanted.modalities is not None:
        chunks = {one for one in chunks if catalog.modality_of[one] in wanted.modalities}
    for condition in of_chunks:
        chunks = {one for one in chunks if _chunk_fits(one, condition, catalog)}
    if wanted.period is not None:
        chunks = _of_period(chunks, wanted.period, catalog, graph, periods or {})
    return Selection(document_ids=frozenset(catalog.document_of[one] for one in chunks), chunk_ids=frozenset(chunks))


def _check(wanted: Filter, catalog: Catalog) -> None:
    asked = {one.key for one in wanted.conditions} - KEYS.keys()
    if not asked:
        return
    known = {key.lower() for info in catalog.documents.values() for key in info.metadata}
    for key in sorted(asked - known):
        there = ", ".join(sorted(known - KEYS.keys())) or "none"
        raise InputError(
            f"--where: no document has {key!r}. Known keys are {', '.join(KEYS)}; of the documents' metadata: {there}."
        )


def _of_period(
    chunks: set[str], period: Period, catalog: Catalog, graph: EntityGraph | None, periods: Mapping[int, Period]
) -> set[str]:
    """Keep what is of a period: by its document's date, or by a date that it mentions."""
    dated = {
        document_id
        for document_id, info in catalog.documents.items()
        for found in [document_period(info)]
        if found is not None and found.meets(period)
    }
    mentioning: Collection[str] = ()
    if graph is not None:
        mentioning = graph.mentioning([column for column, found in periods.items() if found.meets(period)])
    return {one for one in chunks if catalog.document_of[one] in dated or one in mentioning}


def _choices(value: str) -> list[str]:
    return [one.strip().casefold() for one in value.split("|") if one.strip()]


def _values(condition: Condition, info: DocumentInfo) -> list[str]:
    """Return what a document has under a condition's key."""
    key = condition.key
    if key == "folder":
        parents = [
            str(one) for one in PurePosixPath(info.source.replace("\\", "/")).parents if str(one) not in ("/", ".")
        ]
        return [*parents, *(PurePosixPath(one).name for one in parents)]
    if key == "type":
        return [info.media_type, PurePosixPath(info.name).suffix.removeprefix(".")]
    if key in ("name", "source", "title"):
        return [str(getattr(info, key))]
    if key == "id":
        return [info.document_id]
    return [value for name, value in info.metadata.items() if name.lower() == key]


def _fits(values: list[str], condition: Condition) -> bool:
    if condition.operator in ("=", "!="):
        is_there = any(_is_like(value, condition) for value in values)
        return is_there == (condition.operator == "=")
    return any(_compared(value, condition) for value in values)


def _is_like(value: str, condition: Condition) -> bool:
    folded = value.casefold()
    return any(
        fnmatchcase(folded, one.replace("[", "[[]")) if is_pattern(one) else folded == one
        for one in _choices(condition.value)
    )


def _document_fits(info: DocumentInfo, condition: Condition) -> bool:
    if condition.key not in _DAYS:
        return _fits(_values(condition, info), condition)
    there = document_period(info) if condition.key == "date" else read_day(info.added_at)
    asked = [found for one in condition.value.split("|") for found in [read_day(one)] if found is not None]
    if condition.operator in ("=", "!="):
        is_there = there is not None and any(there.meets(one) for one in asked)
        return is_there == (condition.operator == "=")
    return there is not None and _is_ordered(there, condition.operator, asked[0])


def _compared(value: str, condition: Condition) -> bool:
    left, right = _number(value), _number(condition.value)
    if left is not None and right is not None:
        return _ORDERS[condition.operator](left, right)
    asked = read_day(condition.value)
    if asked is None and right is None:
        raise InputError(f"--where: {condition} cannot be compared: {condition.value!r} is neither number nor date.")
    there = read_day(value)
    return there is not None and asked is not None and _is_ordered(there, condition.operator, asked)


def _is_ordered(there: Period, operator: str, asked: Period) -> bool:
    """Compare days: ``>=2021`` begins with its first day, ``>2021`` behind its last."""
    if operator in (">=", "<"):
        return there.first >= asked.first if operator == ">=" else there.last < asked.first
    return there.first > asked.last if operator == ">" else there.last <= asked.last


def _number(text: str) -> float | None:
    try:
        return float(text) if re.fullmatch(r"\s*[-+]?\d{1,15}(?:\.\d{1,15})?\s*", text) else None
    except ValueError:  # pragma: no cover - the pattern lets numbers through only
        return None


def _chunk_fits(chunk_id: str, condition: Condition, catalog: Catalog) -> bool:
    if condition.key == "modality":
        return _fits([str(catalog.modality_of[chunk_id])], condition)
    first, last = catalog.pages_of.get(chunk_id, (1, 1))
    pages = [int(one) for one in _choices(condition.value)]
    if condition.operator in ("=", "!="):
        return any(first <= page <= last for page in pages) == (condition.operator == "=")
    edge = last if condition.operator in (">", ">=") else first
    return _ORDERS[condition.operator](edge, pages[0])


class FilterReader:
    """Evaluates filters over one engine's record, keeping the last selections; safe to share between threads.

    :param engine: The search, for the catalogue and the entities.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._periods: tuple[int, Mapping[int, Period]] | None = None
        self._kept: dict[tuple[int, Filter], Selection] = {}

    def select(self, wanted: Filter) -> Selection | None:
        """Find what a filter lets through in the record as it is now.

        :param wanted: The filter.
        :returns: The documents and chunks; ``None`` for an empty filter.
        :raises InputError: As :func:`select`.
        """
        if wanted.is_empty:
            return None
        catalog = self._engine.state.catalog()
        key = (catalog.version, wanted)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        needs_dates = wanted.period is not None and wanted.counts_mentions
        graph = self._engine.state.graph(catalog) if needs_dates else None
        found = select(wanted, catalog, graph, None if graph is None else self._dates(catalog.version, graph))
        with self._lock:
            if len(self._kept) >= _SELECTIONS_KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found

    def _dates(self, version: int, graph: EntityGraph) -> Mapping[int, Period]:
        """Return the days of the entities that are dates; those without a year are no days."""
        with self._lock:
            if self._periods is None or self._periods[0] != version:
                read = (
                    (column, period_of(parse_date(name)))
                    for column, (name, type_) in enumerate(zip(graph.names, graph.types, strict=True))
                    if type_ == "DATE"
                )
                self._periods = (version, {column: period for column, period in read if period is not None})
            return self._periods[1]

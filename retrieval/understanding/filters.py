"""Filters over a workspace: which documents, pages, kinds and times a request may see.

Layer: ``retrieval``; imports ``kg``. A filter is decided per document wherever that is possible, from what the
catalogue holds in memory; only pages, kinds and mentioned dates are looked at per chunk. A selection is kept until the
record changes. ``python tests/benchmarks/question_understanding.py`` prints what filters cost over 100,000 chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.errors import InputError
from kg.extraction.dates import parse_date
from kg.types import Modality
from retrieval.catalog import Catalog
from retrieval.understanding.conditions import CHUNK_KEYS, KEYS, Condition, chunk_test, document_test
from retrieval.understanding.times import Period, document_period, period_of

if TYPE_CHECKING:  # named in signatures only
    from retrieval.engine import RetrievalEngine
    from retrieval.graph_search import EntityGraph

__all__ = ["Filter", "FilterReader", "Selection", "select"]

_SELECTIONS_KEPT = 16
"""Selections kept between requests: a dialogue asks under one filter again and again."""


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
        of_chunks = any(one.key in CHUNK_KEYS for one in self.conditions)
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
    :raises InputError: If no document has a condition's key.
    """
    _check(wanted, catalog)
    tests = [document_test(one) for one in wanted.conditions if one.key not in CHUNK_KEYS]
    documents = [
        document_id
        for document_id, info in catalog.documents.items()
        if (wanted.documents is None or document_id in wanted.documents) and all(test(info) for test in tests)
    ]
    chunks_of = catalog.chunks_of
    chunks: Iterable[str] = (one for document_id in documents for one in chunks_of.get(document_id, ()))
    if wanted.is_of_documents:
        return Selection(
            document_ids=frozenset(document_id for document_id in documents if document_id in chunks_of),
            chunk_ids=frozenset(chunks),
        )
    if wanted.modalities is not None:
        kinds, modality_of = wanted.modalities, catalog.modality_of
        chunks = (one for one in chunks if modality_of[one] in kinds)
    for condition in wanted.conditions:
        if condition.key in CHUNK_KEYS:
            chunks = filter(chunk_test(condition, catalog), chunks)
    if wanted.period is not None:
        chunks = _of_period(chunks, wanted.period, catalog, graph, periods or {})
    kept = frozenset(chunks)
    return Selection(document_ids=frozenset(map(catalog.document_of.__getitem__, kept)), chunk_ids=kept)


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
    chunks: Iterable[str], period: Period, catalog: Catalog, graph: EntityGraph | None, periods: Mapping[int, Period]
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

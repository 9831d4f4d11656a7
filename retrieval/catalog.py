"""Which chunks a version of the record holds, kept current at the cost of what changed.

Layer: ``retrieval``; imports ``kg``. A catalogue is immutable, so a search keeps the one that it began with. The
next one shares all that has not changed with it (:class:`LayeredMap`), and remembers which chunks came and went, so
that an index that was at an older version asks for those alone instead of comparing all ids.
``python -m tests.benchmarks.additions_speed`` measures what one more document costs at 10**5 and at 10**6 chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kg.errors import InputError
from kg.ports import ChunkRow, RecordStore
from kg.types import DocumentInfo, Modality

__all__ = ["PICTURE_KINDS", "Catalog", "LayeredMap", "difference", "read_catalog"]

V = TypeVar("V")

PICTURE_KINDS = frozenset({Modality.IMAGE, Modality.CHART, Modality.PAGE})
"""Kinds of chunk that are a picture's."""

_LAYER_LEAST = 1024
_LAYER_SHARE = 0.02
"""A layer past this share of what lies under it (and past ``_LAYER_LEAST`` keys) is merged into it."""
_LOG_SHARE = 0.25
"""Past this share of changed chunks, comparing all ids costs no more than going by the list of changes."""


class LayeredMap(Mapping[str, V], Generic[V]):
    """An immutable mapping whose changed copies share what did not change.

    :param base: Most of it; never changed, nor to be changed by the caller.
    :param layer: What differs: a value, or ``None`` for a key that is gone. Values are never ``None``.
    """

    __slots__ = ("_base", "_layer", "_n_keys")

    def __init__(self, base: Mapping[str, V], layer: Mapping[str, V | None] | None = None) -> None:
        self._base = base
        self._layer = layer or {}
        gone = sum(value is None and key in base for key, value in self._layer.items())
        new = sum(value is not None and key not in base for key, value in self._layer.items())
        self._n_keys = len(base) - gone + new

    def changed(self, changes: Mapping[str, V | None]) -> LayeredMap[V]:
        """Return the mapping with other values.

        :param changes: The new values; ``None`` for a key that goes.
        :returns: Another mapping. It costs as much as the layer holds, and now and then as much as all.
        """
        layer = {**self._layer, **changes}
        if len(layer) <= max(_LAYER_LEAST, _LAYER_SHARE * len(self._base)):
            return LayeredMap(self._base, layer)
        merged = dict(self._base)
        for key, value in layer.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = value
        return LayeredMap(merged)

    def __getitem__(self, key: str) -> V:
        if key in self._layer:
            value = self._layer[key]
            if value is None:
                raise KeyError(key)
            return value
        return self._base[key]

    def __contains__(self, key: object) -> bool:
        return self._layer[key] is not None if key in self._layer else key in self._base  # type: ignore[index]

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._base if key not in self._layer)
        yield from (key for key, value in self._layer.items() if value is not None)

    def __len__(self) -> int:
        return self._n_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Which chunks one version of the record holds, and what filters ask about them."""

    version: int
    documents: Mapping[str, DocumentInfo]
    document_of: Mapping[str, str]
    modality_of: Mapping[str, Modality]
    heading_of: Mapping[str, str]
    """The headings above a chunk; chunks without any are left out."""
    pages_of: Mapping[str, tuple[int, int]]
    """A chunk's first and last page, of documents that have pages."""
    chunks_of: Mapping[str, tuple[str, ...]]
    """The ids of each document's chunks, sorted; documents without any are left out."""
    changes: tuple[tuple[int, frozenset[str]], ...] = ()
    """Versions, rising, and which chunks came or went since the one before. Those of the first are not known."""

    @property
    def chunk_ids(self) -> list[str]:
        """The ids of all chunks, sorted: made anew at each call."""
        return sorted(self.document_of)

    def __len__(self) -> int:
        return len(self.document_of)

    def is_picture(self, chunk_id: str) -> bool:
        """Tell whether a chunk is of a picture, its words read off it; ``False`` for an unknown one."""
        return self.modality_of.get(chunk_id) in PICTURE_KINDS

    def allowed(
        self,
        document_ids: Collection[str] | None,
        modalities: Collection[Modality] | None,
        chunk_ids: Collection[str] | None = None,
    ) -> frozenset[str] | None:
        """Return the chunks that a filter lets through, ``None`` where there is no filter.

        :param document_ids: Only chunks of these documents; ``None`` allows all.
        :param modalities: Only chunks of these kinds; ``None`` allows all.
        :param chunk_ids: Only these chunks, as far as they exist; ``None`` allows all.
        :returns: Chunk ids.
        """
        if document_ids is None and modalities is None and chunk_ids is None:
            return None
        kinds = None if modalities is None else frozenset(modalities)
        chunks: Iterable[str] = self.document_of if chunk_ids is None else chunk_ids
        if document_ids is not None:
            of_documents = (one for name in frozenset(document_ids) for one in self.chunks_of.get(name, ()))
            chunks = of_documents if chunk_ids is None else frozenset(chunk_ids).intersection(of_documents)
        return frozenset(
            one for one in chunks if one in self.document_of and (kinds is None or self.modality_of[one] in kinds)
        )

    def changed_since(self, version: int) -> frozenset[str] | None:
        """Return the chunks that came or went after a version of the record.

        :param version: The version at which something derived was last caught up.
        :returns: Their ids, of which some may have come and gone again; ``None`` if it is not known.
        """
        if version == self.version:
            return frozenset()
        known = [one for one, _ in self.changes]
        if version not in known:
            return None
        return frozenset().union(*(ids for one, ids in self.changes if one > version))


def read_catalog(store: RecordStore, version: int, *, before: Catalog | None) -> Catalog:
    """Read the catalogue of a record, of its changed documents alone where an older one is at hand.

    :param store: The record.
    :param version: Its version; the caller checks that it is still the same afterwards.
    :param before: An older catalogue of the same record.
    :returns: The catalogue. If the record changes meanwhile it may hold a part of that, so it must be dropped then.
    """
    if before is not None:
        try:
            named = store.changed_since(before.version).document_ids
        except InputError:  # an older copy of the record was put in its place
            before = None
        else:
            return _caught_up(store, version, before, named)
    documents = {info.document_id: info for info in store.documents()}
    parts = _Parts()
    for row in store.chunk_rows():
        parts.add(row, documents)
    return Catalog(
        version=version,
        documents=LayeredMap(documents),
        document_of=LayeredMap(parts.document_of),
        modality_of=LayeredMap(parts.modality_of),
        heading_of=LayeredMap(parts.heading_of),
        pages_of=LayeredMap(parts.pages_of),
        chunks_of=LayeredMap(parts.chunks_of()),
        changes=((version, frozenset()),),
    )


@dataclass(slots=True)
class _Parts:
    """What chunk rows say, gathered by chunk."""

    document_of: dict[str, str] = field(default_factory=dict)
    modality_of: dict[str, Modality] = field(default_factory=dict)
    heading_of: dict[str, str] = field(default_factory=dict)
    pages_of: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, row: ChunkRow, documents: Mapping[str, DocumentInfo]) -> None:
        info = documents.get(row.document_id)
        if info is None:  # it came after the documents were read: the version tells, and all is read again
            return
        self.document_of[row.chunk_id] = row.document_id
        self.modality_of[row.chunk_id] = row.modality
        if row.heading:
            self.heading_of[row.chunk_id] = row.heading
        if info.is_paged:
            self.pages_of[row.chunk_id] = (row.page_first, row.page_last)

    def chunks_of(self) -> dict[str, tuple[str, ...]]:
        chunks: dict[str, list[str]] = {}
        for chunk_id, document_id in self.document_of.items():
            chunks.setdefault(document_id, []).append(chunk_id)
        return {document_id: tuple(sorted(ids)) for document_id, ids in chunks.items()}


def _caught_up(store: RecordStore, version: int, before: Catalog, document_ids: Collection[str]) -> Catalog:
    infos, parts = dict[str, DocumentInfo](), _Parts()
    if document_ids:
        infos = {info.document_id: info for info in store.documents(document_ids=sorted(document_ids))}
        for row in store.chunk_rows(document_ids=sorted(document_ids)):
            parts.add(row, infos)
    had = [one for document_id in document_ids for one in before.chunks_of.get(document_id, ())]
    touched = frozenset(had).symmetric_difference(parts.document_of)
    log = (*before.changes, (version, touched)) if version != before.version else before.changes
    while len(log) > 1 and sum(len(ids) for _, ids in log) > max(_LAYER_LEAST, _LOG_SHARE * len(before)):
        log = ((log[1][0], frozenset()), *log[2:])
    return Catalog(
        version=version,
        documents=_changed(before.documents, document_ids, infos),
        document_of=_changed(before.document_of, had, parts.document_of),
        modality_of=_changed(before.modality_of, had, parts.modality_of),
        heading_of=_changed(before.heading_of, had, parts.heading_of),
        pages_of=_changed(before.pages_of, had, parts.pages_of),
        chunks_of=_changed(before.chunks_of, document_ids, parts.chunks_of()),
        changes=log,
    )


def _changed(mapping: Mapping[str, V], gone: Iterable[str], new: Mapping[str, V]) -> LayeredMap[V]:
    layered = mapping if isinstance(mapping, LayeredMap) else LayeredMap(mapping)
    return layered.changed({**dict.fromkeys(gone), **new})


def difference(
    indexed: Callable[[], Collection[str]], catalog: Catalog, *, since: int | None = None
) -> tuple[list[str], list[str]]:
    """Return the ids to take out of an index and those to add, both sorted.

    :param indexed: Returns the ids in the index; called only where all must be compared.
    :param catalog: What must be in it.
    :param since: The version of the record that the index was caught up with in this process; ``None`` compares all.
    :returns: Ids that are gone, and ids that are new.
    """
    changed = None if since is None else catalog.changed_since(since)
    if changed is None:
        have = frozenset(indexed())
        return sorted(one for one in have if one not in catalog.document_of), sorted(
            one for one in catalog.document_of if one not in have
        )
    new = {one for one in changed if one in catalog.document_of}
    return sorted(changed - new), sorted(new)

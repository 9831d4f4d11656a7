"""What retrieval derives from the record, each part made when it is first needed and caught up when the record changes.

Layer: ``retrieval``; imports ``kg`` and the indexes. The record is the truth: every part may be deleted, and is then
built again.

- ``vectors.index`` and ``bm25.index`` in the index folder hold the last state, checked when they are read. A missing,
  damaged or foreign file costs time, never correctness; one that is merely old is caught up by the difference in ids,
  which suffices because a chunk's id is a hash of what it holds.
- Vectors are stored in the record under the encoder's fingerprint and by what was encoded, so each text is encoded
  once. Another encoder has vectors of its own, and those of the one before stay until they are pruned: to go back costs
  nothing. Where more than
  ``RetrievalConfig.max_encoded_by_search`` are missing, a search refuses and names the command that makes them.
- ``communities.npz`` holds the communities of one version of the record; it is found anew when that changes.
- The encoder is touched by :meth:`DerivedState.dense` and :meth:`DerivedState.themes` alone, SciPy by
  :meth:`DerivedState.graph` alone.

Shape suffixes: N chunks, D vector width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.errors import EncoderError, NotFoundError, RetrievalError, VectorIndexError, VectorsMissingError
from kg.ports import MentionRow, RecordStore
from kg.types import Chunk
from retrieval.catalog import Catalog, difference, read_catalog
from retrieval.communities import ThemeIndex, load_or_build
from retrieval.config import RetrievalConfig
from retrieval.fields import fielded_text
from retrieval.graph_search import EntityGraph
from retrieval.indexes.choice import IndexChoice, StoredVectorIndex, choose_index, load_index, make_index
from retrieval.indexes.storage import read_index_kind
from retrieval.lexical import Bm25Index, Fielded
from retrieval.types import TextEncoder
from retrieval.vector_cache import encode_new

__all__ = ["Catalog", "DerivedState", "searchable_text", "vector_space"]

_LOG = logging.getLogger(__name__)
_READ_AT_ONCE = 1024
_ENCODED_AT_ONCE = 512
"""Chunks that are encoded before their vectors are written: what an interruption costs."""
_ASKED_FOR_SHARE = 0.05
_ATTEMPTS = 5
_SAVE_ALWAYS_UP_TO = 20_000
_SAVE_SHARE = 0.02
"""An index past ``_SAVE_ALWAYS_UP_TO`` chunks is written again once this share of it has changed: writing all of 10**6
vectors for each document that comes would cost more than all else, and the next start catches up by itself."""
_AMOUNTS = frozenset({"QUANTITY", "CARDINAL", "ORDINAL", "PERCENT", "MONEY", "TIME"})
_TEXT_VERSION = "t1"
"""Part of the name under which vectors are stored: raise it when :func:`searchable_text` changes."""


def searchable_text(chunk: Chunk, *, title: str, max_context_characters: int) -> str:
    """Return what is encoded and indexed of a chunk: where it stands, then its words.

    A chunk from the middle of a document often does not name what it is about; the title and the headings do.

    :param chunk: The chunk.
    :param title: Its document's title, may be empty.
    :param max_context_characters: The most characters of title and headings together.
    :returns: Title, headings and words, a line each; a title that the words begin with is not repeated.
    """
    places = [" ".join(place.split()) for place in (title, chunk.heading)]
    opening = " ".join(chunk.text[: max_context_characters + 1].split()).casefold()
    kept = [place for place in dict.fromkeys(places) if place and not opening.startswith(place.casefold())]
    context = "\n".join(kept)[:max_context_characters].strip()
    return f"{context}\n{chunk.text}" if context else chunk.text


def vector_space(encoder: TextEncoder, config: RetrievalConfig) -> str:
    """Return the name under which the record keeps an encoder's vectors of what :func:`searchable_text` returns."""
    return f"{encoder.fingerprint}/{_TEXT_VERSION}-{config.max_context_characters}"


class DerivedState:
    """The indexes of one workspace. Safe between threads: each part is caught up under its own lock.

    :param store: The record.
    :param encoder: Turns chunks into vectors.
    :param config: The constants.
    :param index_dir: Where index files are kept; made when the first one is written.
    """

    def __init__(self, store: RecordStore, encoder: TextEncoder, config: RetrievalConfig, index_dir: Path) -> None:
        self._store = store
        self._encoder = encoder
        self._config = config
        self._index_dir = index_dir
        self._locks = {part: threading.RLock() for part in ("catalog", "dense", "lexical", "graph", "themes")}
        self._catalog: Catalog | None = None
        self._dense: tuple[int, StoredVectorIndex] | None = None
        self._n_unsaved = {"bm25": 0, "vectors": 0}
        self.dense_choice: IndexChoice | None = None
        """Which kind of vector index is in use, and why; ``None`` before the first."""
        self._lexical: tuple[int, Bm25Index] | None = None
        self._graph: tuple[int, EntityGraph] | None = None
        self._themes: tuple[int, ThemeIndex] | None = None

    def catalog(self) -> Catalog:
        """Return the chunks of the record as it is now."""
        with self._locks["catalog"]:
            for _ in range(_ATTEMPTS):
                version = self._store.version()
                if self._catalog is not None and self._catalog.version == version:
                    return self._catalog
                try:
                    catalog = read_catalog(self._store, version, before=self._catalog)
                except NotFoundError:
                    continue  # another process removed a document between two reads
                if self._store.version() == version:
                    self._catalog = catalog
                    return catalog
        raise RetrievalError(
            f"Retrieval: the record changed {_ATTEMPTS} times while it was being read. Search again after the ingest."
        )

    def _serves(self, version: int, catalog: Catalog) -> bool:
        """Tell whether what is derived from a version serves a search that holds a catalogue.

        What another search has caught up with a later state is not taken back for one that began before: it leaves out
        what its catalogue does not know. A version above the latest is of a record that was put in this one's place.
        """
        latest = self._catalog
        return version == catalog.version or (latest is not None and catalog.version < version <= latest.version)

    def read(self, chunk_ids: Sequence[str]) -> Iterator[Chunk]:
        """Read chunks of the record, in this order, some at a time."""
        for start in range(0, len(chunk_ids), _READ_AT_ONCE):
            yield from self._store.chunks(chunk_ids[start : start + _READ_AT_ONCE])

    # ------------------------------------------------------------------ lexical

    def lexical(self, catalog: Catalog) -> Bm25Index:
        """Return the BM25 index of the catalogue's chunks."""
        with self._locks["lexical"]:
            if self._lexical is not None and self._serves(self._lexical[0], catalog):
                return self._lexical[1]
            since, index = self._lexical or (None, self._load_lexical())
            stale, missing = difference(lambda: index.ids, catalog, since=since)
            index.remove(stale)
            for start in range(0, len(missing), _READ_AT_ONCE):
                part = missing[start : start + _READ_AT_ONCE]
                index.add(part, self._fielded(part, catalog) if index.has_fields else self._texts(part, catalog))
            self._lexical = (catalog.version, index)
            if self._is_worth_a_file("bm25", len(stale) + len(missing), len(index)):
                self._keep("bm25.index", lambda path: index.save(path, record_version=catalog.version))
            return index

    def _is_worth_a_file(self, part: str, n_changed: int, n_items: int) -> bool:
        """Count changes, and tell whether they are enough by now to write the index again."""
        self._n_unsaved[part] += n_changed
        n_unsaved = self._n_unsaved[part]
        if not n_unsaved or (n_items > _SAVE_ALWAYS_UP_TO and n_unsaved < _SAVE_SHARE * n_items):
            return False
        self._n_unsaved[part] = 0
        return True

    def _load_lexical(self) -> Bm25Index:
        analyzer, weights = self._config.analyzer(), self._config.lexical_field_weights
        try:
            return Bm25Index.load(self._index_dir / "bm25.index", analyzer=analyzer, field_weights=weights)
        except VectorIndexError as error:
            _LOG.info("BM25 is built from the record: %s", error)
            return Bm25Index(analyzer=analyzer, field_weights=weights)

    # ------------------------------------------------------------------ dense

    @property
    def vector_space(self) -> str:
        """The name under which the record keeps this encoder's vectors of this kind of text."""
        return vector_space(self._encoder, self._config)

    def dense(self, catalog: Catalog) -> StoredVectorIndex:
        """Return the vector index of the catalogue's chunks; what has no vector yet is encoded and stored.

        Encoding takes time. A search that comes while another thread is at it gets the index as it was before, rather
        than waiting; only where there is none yet does it wait.

        :param catalog: The chunks.
        :returns: The index, shared and safe between threads.
        :raises VectorsMissingError: If more chunks must be encoded than a search may.
        :raises EncoderError: If the encoder fails.
        """
        before, lock = self._dense, self._locks["dense"]
        if before is None:
            with lock:
                return self._caught_up_dense(catalog)
        if not lock.acquire(blocking=False):
            return before[1]
        try:
            return self._caught_up_dense(catalog)
        finally:
            lock.release()

    def _caught_up_dense(self, catalog: Catalog) -> StoredVectorIndex:
        if self._dense is not None and self._serves(self._dense[0], catalog):
            return self._dense[1]
        since, index = self._dense or (None, None)
        file = self._index_dir / "vectors.index"
        choice = choose_index(
            len(catalog),
            wanted=self._config.index,
            device=self._config.device,
            current=index.name if index else read_index_kind(file),
        )
        in_use = self.dense_choice
        if index is None or in_use is None or (choice.kind, choice.on_gpu) != (in_use.kind, in_use.on_gpu):
            since, index = None, self._opened_dense(file, choice)
        stale, missing = difference(index.ids, catalog, since=since)
        self._require_few_to_encode(missing, catalog)
        index.remove(stale)
        for start in range(0, len(missing), _READ_AT_ONCE):
            part = missing[start : start + _READ_AT_ONCE]
            index.add(part, self._vectors(part, catalog))
        self._dense, self.dense_choice = (catalog.version, index), choice
        if self._is_worth_a_file("vectors", len(stale) + len(missing), len(index)):
            self._keep(
                "vectors.index",
                lambda path: index.save(path, encoder=self.vector_space, record_version=catalog.version),
            )
        return index

    def _require_few_to_encode(self, chunk_ids: Sequence[str], catalog: Catalog) -> None:
        """Refuse to encode what only another encoder can have left without vectors."""
        limit = self._config.max_encoded_by_search
        if len(chunk_ids) <= limit:
            return
        if len(chunk_ids) <= _ASKED_FOR_SHARE * len(catalog):  # the question to the record reads all of it
            parts = range(0, len(chunk_ids), _READ_AT_ONCE)
            read = (chunk_ids[start : start + _READ_AT_ONCE] for start in parts)
            lacking = sum(len(ids) - len(self._store.vectors(encoder=self.vector_space, chunk_ids=ids)) for ids in read)
        else:
            without = self._store.chunks_without_vector(encoder=self.vector_space)
            lacking = len(frozenset(chunk_ids).intersection(without))
        if lacking > limit:
            raise VectorsMissingError(
                f"Retrieval: {lacking} chunks have no vector of the encoder {self._encoder.name!r}, more than the "
                f"{limit} that a search encodes on its way (retrieval.max_encoded_by_search). Make them with "
                "`mmkg reindex --workspace NAME`; until then `--mode bm25` and `--mode local` search without vectors. "
                "Or set encoder.name back to what the vectors were made with."
            )

    def reindex(self, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Encode every chunk that has no vector of this encoder, and bring the index up to date.

        Vectors are written as they come, so an interrupted run is taken up where it ended.

        :param on_progress: Told how many of how many chunks are done, after each part and once before the first.
        :returns: How many chunks were encoded.
        :raises EncoderError: If the encoder fails; what was written before stays.
        :raises RetrievalError: If the record keeps changing under it.
        """
        n_done = 0
        for _ in range(_ATTEMPTS):
            missing = self._store.chunks_without_vector(encoder=self.vector_space)
            total = n_done + len(missing)
            on_progress(n_done, total)
            try:
                for start in range(0, len(missing), _ENCODED_AT_ONCE):
                    part = missing[start : start + _ENCODED_AT_ONCE]
                    self._encoded(part, self.catalog())
                    n_done += len(part)
                    on_progress(n_done, total)
                self.dense(self.catalog())
            except (NotFoundError, KeyError):
                continue  # a document went while its chunks were being encoded
            return n_done
        raise RetrievalError(f"Retrieval: the record changed {_ATTEMPTS} times. Run `mmkg reindex` after the ingest.")

    def forget_vectors(self) -> None:
        """Drop the vector index and its file, of which the record has no vectors any more."""
        with self._locks["dense"]:
            self._dense = None
            (self._index_dir / "vectors.index").unlink(missing_ok=True)

    def _encoded(self, chunk_ids: Sequence[str], catalog: Catalog) -> dict[str, NDArray[np.float32]]:
        """Encode chunks and write their vectors to the record."""
        texts = self._texts(chunk_ids, catalog)
        contents, vectors = encode_new(texts, self._encoder, space=self.vector_space, store=self._store)
        rows = [(chunk_id, vectors[content]) for chunk_id, content in zip(chunk_ids, contents, strict=True)]
        self._store.put_vectors(encoder=self.vector_space, rows=rows, contents=contents)
        return dict(rows)

    def stored_vectors(self, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that these chunks have; those without one are left out. *Shape:* ``(D,)`` each."""
        return self._store.vectors(encoder=self.vector_space, chunk_ids=chunk_ids)

    def _opened_dense(self, file: Path, choice: IndexChoice) -> StoredVectorIndex:
        try:
            return load_index(file, choice, encoder=self.vector_space)
        except VectorIndexError as error:
            _LOG.info("Vectors are indexed from the record: %s", error)
            return make_index(choice, self._encoder.dimension)

    def _vectors(self, chunk_ids: Sequence[str], catalog: Catalog) -> NDArray[np.float32]:
        """Return the chunks' vectors in order, encoding what the record lacks. *Shape:* ``(N, D)``."""
        stored = self._store.vectors(encoder=self.vector_space, chunk_ids=chunk_ids)
        missing = [chunk_id for chunk_id in chunk_ids if chunk_id not in stored]
        if missing:
            stored = {**stored, **self._encoded(missing, catalog)}
        widths = sorted({len(vector) for vector in stored.values()})
        if len(widths) > 1:
            raise EncoderError(
                f"Retrieval: the record holds vectors of {widths} numbers that all are said to be of the encoder "
                f"{self._encoder.name!r}: its server has another model by now. Make all of them anew with "
                "`mmkg reindex --all --workspace NAME`."
            )
        return np.stack([stored[chunk_id] for chunk_id in chunk_ids])

    # ------------------------------------------------------------------ graph

    def graph(self, catalog: Catalog) -> EntityGraph:
        """Return the graph of the catalogue's chunks and the entities they mention."""
        with self._locks["graph"]:
            if self._graph is None or not self._serves(self._graph[0], catalog):
                graph = EntityGraph(
                    catalog.chunk_ids,
                    mentions=[row for row in self._store.mention_rows() if _joins_passages(row)],
                    entities=self._store.entities(),
                    config=self._config,
                )
                self._graph = (catalog.version, graph)
            return self._graph[1]

    # ------------------------------------------------------------------ communities

    def themes(self, catalog: Catalog) -> ThemeIndex:
        """Return the communities of the graph with a vector of what each is about."""
        with self._locks["themes"]:
            if self._themes is None or self._themes[0] != catalog.version:
                index = load_or_build(
                    self._store,
                    self._encoder,
                    self._index_dir / "communities.npz",
                    version=catalog.version,
                    chunk_ids=catalog.chunk_ids,
                )
                self._themes = (catalog.version, index)
            return self._themes[1]

    # ------------------------------------------------------------------ shared

    def _texts(self, chunk_ids: Sequence[str], catalog: Catalog) -> list[str]:
        limit = self._config.max_context_characters
        return [
            searchable_text(chunk, title=catalog.documents[chunk.document_id].title, max_context_characters=limit)
            for chunk in self.read(chunk_ids)
        ]

    def _fielded(self, chunk_ids: Sequence[str], catalog: Catalog) -> list[Fielded]:
        fielded: list[Fielded] = []
        for text, chunk in zip(self._texts(chunk_ids, catalog), self.read(chunk_ids), strict=True):
            caption = None if chunk.asset_id is None else self._store.caption(chunk.asset_id)
            fielded.append(fielded_text(chunk, searchable=text, lines=caption.lines if caption else ()))
        return fielded

    def _keep(self, name: str, save: Callable[[Path], None]) -> None:
        """Write an index file; a full or read-only disk is no reason not to search."""
        try:
            self._index_dir.mkdir(parents=True, exist_ok=True)
            save(self._index_dir / name)
        except (OSError, VectorIndexError) as error:
            _LOG.warning("The index file %s was not written: %s", name, error)


def _joins_passages(row: MentionRow) -> bool:
    """Tell whether a mention is a way from one passage to another: a pronoun names nothing, an amount is no thing.

    On the HotpotQA sample, Recall@2 / @5 with them .685 / .870 and without .700 / .880; on LiHua-World the same.
    """
    return not row.is_reference and row.label not in _AMOUNTS

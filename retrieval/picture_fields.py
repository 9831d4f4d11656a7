"""A picture's evidence field by field: what is read off it, what the document says under it, and around it.

Layer: ``retrieval``; imports ``kg`` and the vector index. Part of :class:`retrieval.engine.RetrievalEngine`.

A caption is one text of several voices, and one vector of it is their average: a question that the words around a
picture answer is then far from it because of the words on it. So each field of a caption of several has a vector of its
own, and a picture is as near as the nearest of its chunks and fields: late fusion by the best field, as the best
passage stands for a document (Dai and Callan, SIGIR 2019). Titles and headings are left out of fields, which they would
make alike. ``tests/benchmarks/picture_fields.py`` has what each field contributes: on the pictures of long documents
Recall@1 rises from .280 to .366; on charts, where the words are nearly all there is, nothing changes.

Field vectors lie in the record beside those of chunks, under the picture's first chunk and a name for each field. Where
too many are missing, a process that searches without them looks for them again when the record changes.

Shape suffixes: D vector width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.errors import EncoderError, VectorIndexError
from kg.ports import EncodedChunk, PictureRow, RecordStore
from kg.types import Caption, GraphDelta
from retrieval.config import RetrievalConfig
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_kinds import choose_faiss_kind
from retrieval.types import TextEncoder
from retrieval.vector_cache import Recent, encode_new

__all__ = ["FIELDS", "PictureFields", "encoded_fields", "field_space", "field_texts"]

_LOG = logging.getLogger(__name__)

FIELDS: Mapping[str, frozenset[str]] = {
    "ocr": frozenset({"ocr"}),
    "caption": frozenset({"caption", "alt", "model"}),
    "context": frozenset({"context"}),
}
"""The fields of a picture and the sources of caption lines that each holds. The rows of its table are none: they have
chunks of their own (:mod:`kg.chunking`), and as a further field they cost charts .007 Recall@1."""
_VERSION = "f1"
_ENCODED_AT_ONCE = 512


def field_space(encoder: TextEncoder, field: str) -> str:
    """Return the name under which the record keeps an encoder's vectors of a field."""
    return f"{encoder.fingerprint}/{_VERSION}-{field}"


def field_texts(caption: Caption | None) -> dict[str, str]:
    """Return the text of each field of a caption; nothing where there is only one, which its chunks say already."""
    if caption is None:
        return {}
    texts = {
        field: "\n".join(line.text for line in caption.lines if line.source in sources)
        for field, sources in FIELDS.items()
    }
    said = {field: text for field, text in texts.items() if text.strip()}
    return said if len(said) > 1 else {}


def encoded_fields(
    deltas: Sequence[GraphDelta], encoder: TextEncoder, *, store: RecordStore | None, recent: Mapping[str, Recent]
) -> list[list[EncodedChunk]]:
    """Return the field vectors of each document's pictures, as the search would make them later.

    :param deltas: Documents with their chunks and captions.
    :param encoder: Turns texts into vectors.
    :param store: Where known vectors are.
    :param recent: Further known vectors, by field.
    :returns: For each document, the vectors of its pictures' fields, each with its space. *Shape:* ``(D,)`` each.
    :raises EncoderError: If the encoder fails.
    """
    wanted: dict[str, list[tuple[int, str, str]]] = {field: [] for field in FIELDS}
    for row, delta in enumerate(deltas):
        first: dict[str, str] = {}
        for chunk in delta.chunks:
            if chunk.asset_id is not None:
                first.setdefault(chunk.asset_id, chunk.chunk_id)
        for caption in delta.captions:
            for field, text in field_texts(caption).items() if caption.asset_id in first else ():
                wanted[field].append((row, first[caption.asset_id], text))
    made: list[list[EncodedChunk]] = [[] for _ in deltas]
    for field, rows in wanted.items():
        space = field_space(encoder, field)
        texts = [text for _, _, text in rows]
        contents, vectors = encode_new(texts, encoder, space=space, store=store, recent=recent[field])
        for (row, chunk_id, _), content in zip(rows, contents, strict=True):
            made[row].append(EncodedChunk(chunk_id=chunk_id, vector=vectors[content], content=content, space=space))
    return made


class PictureFields:
    """Finds pictures by the vectors of their fields. Safe between threads.

    :param store: The record.
    :param encoder: Turns texts into vectors.
    :param config: The constants.
    :param index_dir: A folder for the index file, which may be deleted at any time.
    """

    def __init__(self, store: RecordStore, encoder: TextEncoder, config: RetrievalConfig, index_dir: Path) -> None:
        self._store = store
        self._encoder = encoder
        self._config = config
        self._file = index_dir / "fields.index"
        self._lock = threading.RLock()
        self._version = -1
        self._index: FaissIndex | None = None
        self._ids_of: dict[str, tuple[str, ...]] = {}  # of each picture's first chunk, none where it has one field
        self._n_missing = 0

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names under which the record keeps the vectors."""
        return tuple(field_space(self._encoder, field) for field in FIELDS)

    def best(
        self,
        pairs: Sequence[tuple[str, float]],
        query_1D: NDArray[np.float32],
        *,
        version: int,
        allowed: frozenset[str] | None,
        n_pool: int,
        note: Callable[[str], None],
    ) -> list[tuple[str, float]]:
        """Give each picture the cosine of its best field, where that is nearer than its chunk.

        :param pairs: Chunks and cosines, the nearest first, at most ``n_pool``.
        :param query_1D: The question's vector. *Shape:* ``(1, D)``.
        :param version: The version of the record.
        :param allowed: Only these chunks may be found; ``None`` allows all.
        :param n_pool: The most chunks.
        :param note: Told what the user should know of the search.
        :returns: The nearest chunks, ties by id.
        """
        with self._lock:
            self._catch_up(version)
            index, ids_of, n_missing = self._index, self._ids_of, self._n_missing
        if n_missing:
            note(_missing(n_missing))
        if index is None or not len(index):
            return list(pairs)
        among = None
        if allowed is not None:
            among = frozenset(one for chunk_id in allowed for one in ids_of.get(chunk_id, ()))
        best = dict(pairs)
        floor = pairs[-1][1] if len(pairs) >= n_pool else -2.0
        (near,) = index.search(query_1D, k=n_pool, allowed=among)
        for field_id, cosine in near:
            chunk_id = field_id.partition(":")[2]
            if cosine > best.get(chunk_id, floor):
                best[chunk_id] = cosine
        return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:n_pool]

    def refresh(self, version: int) -> tuple[str, ...]:
        """Catch the index up with the record, and return why vectors are missing still."""
        with self._lock:
            try:
                self._catch_up(version)
            except EncoderError as error:
                return (str(error),)
            return (_missing(self._n_missing),) if self._n_missing else ()

    def reindex(self) -> int:
        """Encode every field that has no vector, and return how many were encoded.

        :returns: Fields that got a vector.
        :raises EncoderError: If the encoder fails.
        """
        with self._lock:
            return self._catch_up(self._store.version(), limit=None)

    def forget(self) -> None:
        """Drop the index and its file, of which the record has no vectors any more."""
        with self._lock:
            self._index, self._version, self._ids_of = None, -1, {}
            self._file.unlink(missing_ok=True)

    def _catch_up(self, version: int, *, limit: int | None = -1) -> int:
        if version == self._version and limit == -1 and self._index is not None:
            return 0
        most = self._config.max_encoded_by_search if limit == -1 else limit
        rows = self._store.picture_rows()
        index = self._index or self._load(len(rows))
        have = index.ids()
        held = {row.chunk_id for row in rows}
        by_chunk: dict[str, list[str]] = {}
        for one in have:
            by_chunk.setdefault(one.partition(":")[2], []).append(one)
        gone = [one for chunk_id, ids in by_chunk.items() if chunk_id not in held for one in ids]
        index.remove(gone)
        known = {chunk_id: tuple(ids) for chunk_id, ids in by_chunk.items() if chunk_id in held}
        known |= {chunk_id: ids for chunk_id, ids in self._ids_of.items() if chunk_id in held and not ids}
        new = [row for row in rows if row.chunk_id not in known]
        n_encoded, lacking = self._add(index, new, known, most=most)
        if gone or len(index) != len(have):
            self._save(index, version)
        self._index, self._ids_of, self._version, self._n_missing = index, known, version, lacking
        return n_encoded

    def _add(
        self, index: FaissIndex, rows: Sequence[PictureRow], known: dict[str, tuple[str, ...]], *, most: int | None
    ) -> tuple[int, int]:
        """Add the fields of pictures; return how many were encoded, and how many have no vector still."""
        wanted: dict[str, dict[str, str]] = {field: {} for field in FIELDS}
        for row in rows:
            texts = field_texts(self._store.caption(row.asset_id))
            known[row.chunk_id] = tuple(f"{field}:{row.chunk_id}" for field in texts)
            for field, text in texts.items():
                wanted[field][row.chunk_id] = text
        stored = {
            field: self._store.vectors(encoder=field_space(self._encoder, field), chunk_ids=list(of))
            for field, of in wanted.items()
        }
        n_lacking = sum(len(of) - len(stored[field]) for field, of in wanted.items())
        may_encode = most is None or n_lacking <= most
        for field, of in wanted.items():
            lacking = [chunk_id for chunk_id in of if chunk_id not in stored[field]]
            if may_encode and lacking:
                stored[field] = {**stored[field], **self._encoded(field, {one: of[one] for one in lacking})}
            if stored[field]:
                ids = [f"{field}:{chunk_id}" for chunk_id in stored[field]]
                index.add(ids, np.stack(list(stored[field].values())))
        if not may_encode:  # looked at again once they have vectors
            for field, of in wanted.items():
                for chunk_id in of.keys() - stored[field].keys():
                    known.pop(chunk_id, None)
        return (n_lacking, 0) if may_encode else (0, n_lacking)

    def _encoded(self, field: str, texts: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
        """Encode a field of pictures and write the vectors to the record. *Shape:* ``(D,)`` each."""
        space = field_space(self._encoder, field)
        found: dict[str, NDArray[np.float32]] = {}
        chunk_ids = list(texts)
        for start in range(0, len(chunk_ids), _ENCODED_AT_ONCE):
            part = chunk_ids[start : start + _ENCODED_AT_ONCE]
            contents, vectors = encode_new([texts[one] for one in part], self._encoder, space=space, store=self._store)
            rows = [(chunk_id, vectors[content]) for chunk_id, content in zip(part, contents, strict=True)]
            self._store.put_vectors(encoder=space, rows=rows, contents=contents)
            found.update(rows)
        return found

    def _load(self, n_pictures: int) -> FaissIndex:
        choice = choose_faiss_kind(n_pictures * 2, wanted=self._config.index, current=None)
        space = f"{self._encoder.fingerprint}/{_VERSION}"
        try:
            loaded = FaissIndex.load(self._file, encoder=space)
            if loaded.kind == choice.kind and loaded.dimension == self._encoder.dimension:
                return loaded
        except VectorIndexError as error:
            _LOG.info("Fields of pictures are indexed from the record: %s", error)
        return FaissIndex(self._encoder.dimension, kind=choice.kind)

    def _save(self, index: FaissIndex, version: int) -> None:
        """Write the index file; a full or read-only disk is no reason not to search."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            index.save(self._file, encoder=f"{self._encoder.fingerprint}/{_VERSION}", record_version=version)
        except (OSError, VectorIndexError) as error:
            _LOG.warning("The index file %s was not written: %s", self._file.name, error)


def _missing(n_missing: int) -> str:
    return f"{n_missing} fields of pictures have no vector and are not compared one by one. Run `mmkg reindex`."

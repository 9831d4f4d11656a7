"""The vectors of a record's pictures in one space: made once for each picture, indexed, caught up, never trusted.

Layer: ``retrieval``; imports ``kg`` and the indexes. The record is the truth, as for :mod:`retrieval.derived`: vectors
lie there by the SHA-256 of the picture's bytes, so a picture in ten documents, or in the next version of one, is
encoded once; the index file may be deleted, and is built again where it is missing, damaged or of another encoder.

Shape suffixes: N pictures, F frames of a query, D vector width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.errors import NotFoundError, VectorIndexError
from kg.ports import EncodedPicture, RecordStore
from kg.types import Asset
from retrieval.config import IndexKind
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_kinds import choose_faiss_kind
from retrieval.types import PictureVectors
from retrieval.vector_cache import Recent

__all__ = ["IngestPictureEncoder", "PictureIndex"]

_LOG = logging.getLogger(__name__)
_ENCODED_AT_ONCE = 64
"""Pictures that are read, encoded and written together: what an interruption costs, and some tens of megabytes."""


class PictureIndex:
    """Nearest pictures by one encoder. Safe between threads.

    :param store: The record.
    :param encoder: Turns pictures into vectors.
    :param file: Where the index is kept; its folder is made when it is first written.
    :param kind: The kind of vector index, as for chunks.
    :param n_on_the_way: The most pictures without a vector that a search encodes on its way, >= 0.
    """

    def __init__(
        self, store: RecordStore, encoder: PictureVectors, file: Path, *, kind: IndexKind = "auto", n_on_the_way: int
    ) -> None:
        self.encoder = encoder
        self._store = store
        self._file = file
        self._kind: IndexKind = kind
        self._n_on_the_way = n_on_the_way
        self._lock = threading.RLock()
        self._index: FaissIndex | None = None
        self._caught_up_with: Collection[str] | None = None
        """The very collection that the index was last caught up with, which its owner does not change."""
        self._nothing_to_see: set[str] = set()
        """Pictures that the encoder has no vector for, which are not tried again by this process."""

    @property
    def space(self) -> str:
        """The name under which the record keeps the vectors."""
        return self.encoder.fingerprint

    def nearest(
        self, queries_FD: NDArray[np.float32], *, k: int, among: Collection[str]
    ) -> tuple[list[tuple[str, float]], int]:
        """Find the pictures that are nearest to any of the queries.

        :param queries_FD: Unit vectors, such as those of the frames of one query. *Shape:* ``(F, D)``.
        :param k: The most pictures for each query, >= 1.
        :param among: The SHA-256 of each picture that the record holds and that may be found.
        :returns: SHA-256 and the largest cosine of each picture found, best first, ties by SHA-256; and how many of
            them have no vector yet and are too many to be made on the way.
        :raises EncoderError: If the encoder fails on those that are made on the way.
        """
        index, n_missing = self.caught_up(among)
        best: dict[str, float] = {}
        if len(index):
            is_all = len(index) == len(among) and not n_missing  # it holds all of them, so it holds nothing else
            for pairs in index.search(queries_FD, k=k, allowed=None if is_all else frozenset(among)):
                for sha256, cosine in pairs:
                    best[sha256] = max(cosine, best.get(sha256, -1.0))
        return sorted(best.items(), key=lambda pair: (-pair[1], pair[0])), n_missing

    def caught_up(self, held: Collection[str]) -> tuple[FaissIndex, int]:
        """Return the index with at least these pictures in it, and how many of them have no vector yet."""
        with self._lock:
            if self._index is not None and held is self._caught_up_with:
                return self._index, 0
            index = self._index or self._load(len(held))
            missing = sorted(frozenset(held) - index.ids() - self._nothing_to_see)
            stored = self._store.picture_vectors(encoder=self.space, sha256s=missing)
            lacking = [sha256 for sha256 in missing if sha256 not in stored]
            if 0 < len(lacking) <= self._n_on_the_way:
                stored = {**stored, **self._encode(lacking)}
                lacking = []
            if stored:
                index.add(list(stored), np.stack(list(stored.values())))
                self._save(index)
            self._index, self._caught_up_with = index, None if lacking else held
            return index, len(lacking)

    def drop(self, held: Collection[str]) -> None:
        """Take pictures out that the record no longer holds."""
        with self._lock:
            if self._index is not None and (gone := self._index.ids() - frozenset(held)):
                self._caught_up_with = None
                self._index.remove(sorted(gone))
                self._save(self._index)

    def reindex(self, on_progress: Callable[[int, int], None]) -> int:
        """Encode every picture of the record that has no vector; what was made before an interruption stays.

        :param on_progress: Told how many of how many pictures are done.
        :returns: How many pictures were encoded.
        :raises EncoderError: If the encoder fails.
        """
        missing = self._store.pictures_without_vector(encoder=self.space)
        n_encoded = 0
        for start in range(0, len(missing), _ENCODED_AT_ONCE):
            n_encoded += len(self._encode(missing[start : start + _ENCODED_AT_ONCE]))
            on_progress(min(start + _ENCODED_AT_ONCE, len(missing)), len(missing))
        return n_encoded

    def forget(self) -> None:
        """Drop the index and its file, of which the record has no vectors any more."""
        with self._lock:
            self._index = self._caught_up_with = None
            self._nothing_to_see.clear()
            self._file.unlink(missing_ok=True)

    def _encode(self, sha256s: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Encode pictures of the record and write their vectors there. *Shape:* ``(D,)`` each."""
        held: dict[str, bytes] = {}
        for sha256 in sha256s:
            try:
                held[sha256] = self._store.picture_data(sha256)
            except NotFoundError:
                continue  # its document went in the meantime
        made = dict(zip(held, self.encoder.encode_images(list(held.values())), strict=True))
        self._nothing_to_see.update(sha256 for sha256, vector in made.items() if vector is None)
        rows = {sha256: vector for sha256, vector in made.items() if vector is not None}
        self._store.put_picture_vectors(encoder=self.space, rows=list(rows.items()))
        return rows

    def _load(self, n_pictures: int) -> FaissIndex:
        choice = choose_faiss_kind(n_pictures, wanted=self._kind, current=None)
        try:
            loaded = FaissIndex.load(self._file, encoder=self.space)
            if loaded.kind == choice.kind and loaded.dimension == self.encoder.dimension:
                return loaded
            _LOG.info("Pictures are indexed anew: the index is %s, now it is to be %s", loaded.kind, choice.kind)
        except VectorIndexError as error:
            _LOG.info("Pictures are indexed from the record: %s", error)
        return FaissIndex(self.encoder.dimension, kind=choice.kind)

    def _save(self, index: FaissIndex) -> None:
        """Write the index file; a full or read-only disk is no reason not to search."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            index.save(self._file, encoder=self.space, record_version=self._store.version())
        except (OSError, VectorIndexError) as error:
            _LOG.warning("The index file %s was not written: %s", self._file.name, error)


class IngestPictureEncoder:
    """Makes the vectors of new pictures during ingest; satisfies :class:`kg.ports.PictureEncoder`.

    :param encoders: Who makes vectors.
    :param store: The record; what it has a vector of is not encoded again.
    """

    def __init__(self, encoders: Sequence[PictureVectors], store: RecordStore) -> None:
        self._encoders = tuple(encoders)
        self._store = store
        self._recent = {encoder.fingerprint: Recent() for encoder in self._encoders}

    def encode(self, assets: Sequence[Asset]) -> Mapping[str, Sequence[EncodedPicture]]:
        """Return, for each encoder, vectors of those pictures that the record has none of, each picture once.

        :param assets: The pictures of a document.
        :returns: SHA-256 and vector of each, *shape* ``(D,)``, by the encoder's fingerprint.
        :raises EncoderError: If an encoder fails.
        """
        data_of = {asset.sha256: asset.data for asset in assets}
        made: dict[str, list[EncodedPicture]] = {}
        for encoder in self._encoders:
            space, recent = encoder.fingerprint, self._recent[encoder.fingerprint]
            stored = self._store.picture_vectors(encoder=space, sha256s=list(data_of))
            known = recent.known(sha256 for sha256 in data_of if sha256 not in stored)
            new = [sha256 for sha256 in data_of if sha256 not in stored and sha256 not in known]
            vectors = encoder.encode_images([data_of[sha256] for sha256 in new])
            seen = {sha256: vector for sha256, vector in zip(new, vectors, strict=True) if vector is not None}
            recent.remember(seen)
            made[space] = [*known.items(), *seen.items()]
        return made

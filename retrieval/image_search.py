"""Search by pictures: copies of the picture asked with, pictures like it, and pictures that words describe.

Layer: ``retrieval``; imports ``kg`` and the picture indexes. Part of :class:`retrieval.engine.RetrievalEngine`, which
fuses these pools with those of words. A picture is found as the first of its chunks.

- ``copy``: the picture itself, by its bytes, or a copy of it, by :mod:`retrieval.encoders.perceptual`; needs no model.
  Copies stand before everything else that a search by picture finds.
- ``image``: pictures near the one asked with, in the space of an image encoder.
- ``image_text``: pictures near the question's words in that space. Words and pictures keep apart in such a space
  ("modality gap", Liang et al., NeurIPS 2022, arXiv:2203.02053), so these cosines are compared with each other only: a
  picture gains where it stands out among the pictures, and a passage neither gains nor loses.

The two last need an encoder (setting ``image_encoder``). Their weights are conventions: no image encoder could be
measured where this was written.

Shape suffixes: F frames of a query, D vector width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.errors import EncoderError, InputError
from kg.limits import LoadLimits
from kg.ports import PictureRow, RecordStore
from retrieval.clock import Clock
from retrieval.config import RetrievalConfig
from retrieval.derived import Catalog
from retrieval.encoders.perceptual import SAME_PICTURE, PerceptualEncoder
from retrieval.evidence import FoundChunk
from retrieval.fusion import ScoredPool
from retrieval.picture_index import PictureIndex
from retrieval.types import ImageEncoder, PictureVectors

__all__ = ["PictureSearch", "SeenPicture", "copies_first"]

COPY, IMAGE, IMAGE_TEXT = "copy", "image", "image_text"
_N_COPIES = 16
"""Pictures that are looked at for copies: more of one picture than this are told from each other by nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPicture:
    """The picture of a query as an ingest would keep it: one image file, or several frames of an animation or scan."""

    frames: tuple[bytes, ...]
    sha256s: frozenset[str]


class PictureSearch:
    """Finds pictures of one record. Nothing is loaded or built before it is needed; safe between threads.

    :param store: The record.
    :param config: The constants.
    :param index_dir: A folder for index files, which may be deleted at any time.
    :param encoder: Puts pictures and words in one space; ``None`` finds copies alone.
    :param limits: What a picture may cost to decode.
    """

    def __init__(
        self,
        store: RecordStore,
        config: RetrievalConfig,
        index_dir: Path,
        *,
        encoder: ImageEncoder | None = None,
        limits: LoadLimits | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._limits = limits or LoadLimits()
        self._encoder = encoder
        self._copies = PictureIndex(
            store,
            PerceptualEncoder(),
            index_dir / "copies.index",
            kind=config.index,
            n_on_the_way=config.max_encoded_by_search,
        )
        self._images = (
            None
            if encoder is None
            else PictureIndex(
                store,
                encoder,
                index_dir / "images.index",
                kind=config.index,
                n_on_the_way=config.max_pictures_by_search,
            )
        )
        self._rows: tuple[int, list[PictureRow]] = (-1, [])
        self._every: tuple[int, dict[str, list[str]]] = (-1, {})

    @property
    def encoders(self) -> tuple[PictureVectors, ...]:
        """Who makes the vectors of pictures."""
        return tuple(index.encoder for index in self._indexes)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names under which the record keeps the vectors of pictures."""
        return tuple(index.space for index in self._indexes)

    @property
    def _indexes(self) -> tuple[PictureIndex, ...]:
        return (self._copies,) if self._images is None else (self._copies, self._images)

    def look(self, data: bytes) -> SeenPicture:
        """Decode a picture that is asked with, as an ingest would.

        :param data: The bytes of an image file.
        :returns: Its frames.
        :raises InputError: If the bytes are not those of a picture.
        :raises LoadError: If they are empty, damaged, or hold more pixels than the limits allow.
        """
        from kg.loaders.image import ImageLoader  # questions in words need no loader
        from kg.loaders.pictures import PICTURE_TYPES
        from kg.loaders.raw import raw_from_bytes

        raw = raw_from_bytes("the picture of the query", data)
        if raw.media_type not in PICTURE_TYPES:
            raise InputError(f"The picture of the query is {raw.media_type}. Give a PNG, JPEG, WEBP, GIF, BMP or TIFF.")
        assets = ImageLoader(self._limits).load(raw).assets
        return SeenPicture(
            frames=tuple(asset.data for asset in assets), sha256s=frozenset(asset.sha256 for asset in assets)
        )

    def pools(
        self,
        seen: SeenPicture | None,
        words: str,
        *,
        catalog: Catalog,
        allowed: frozenset[str] | None,
        n_pool: int,
        clock: Clock,
    ) -> dict[str, ScoredPool]:
        """Return what each way of looking for pictures finds.

        :param seen: The picture asked with, if any.
        :param words: The words asked with, without those that stand on the picture; may be empty.
        :param catalog: The chunks of the record.
        :param allowed: Only these chunks may be found; ``None`` allows all.
        :param n_pool: The most pictures of a pool, >= 1.
        :param clock: Told how long it took, and what the user should know of the search.
        :returns: Pools by name; one that found nothing is left out.
        :raises EncoderError: If the image encoder fails.
        """
        if seen is None and (self._images is None or not words.strip()):
            return {}
        with clock.stage("pictures"):
            found = self._pools(seen, words, self._chunks_of(catalog, allowed), n_pool=n_pool, note=clock.notes.append)
        return {name: pool for name, pool in found.items() if pool.pairs}

    def _pools(
        self,
        seen: SeenPicture | None,
        words: str,
        chunks_of: Mapping[str, Sequence[str]],
        *,
        n_pool: int,
        note: Callable[[str], None],
    ) -> dict[str, ScoredPool]:
        pools: dict[str, ScoredPool] = {}
        if not chunks_of:
            return pools
        n_pool = min(n_pool, len(chunks_of))
        if seen is not None:
            copies = self._copies_of(seen, chunks_of, note)
            pools[COPY] = ScoredPool(pairs=copies, weight=self._config.copy_weight, absent_score=0.0)
        if seen is not None and self._images is not None and self._encoder is not None:
            frames = [vector for vector in self._encoder.encode_images(seen.frames) if vector is not None]
            near = self._near(self._images, np.stack(frames), chunks_of, n_pool, note) if frames else []
            pools[IMAGE] = ScoredPool(pairs=near, weight=self._config.image_weight)
        if words.strip() and self._images is not None and self._encoder is not None:
            near = self._near(self._images, self._encoder.encode_texts([words]), chunks_of, n_pool, note)
            pools[IMAGE_TEXT] = _standing_out(near, weight=self._config.image_text_weight)
        return pools

    def refresh(self) -> tuple[str, ...]:
        """Catch the indexes up with the record, and return why vectors are missing still."""
        held = {row.sha256 for row in self._read_rows(self._store.version())}
        notes: list[str] = []
        for index in self._indexes:
            index.drop(held)
            try:
                _, n_missing = index.caught_up(held)
            except EncoderError as error:
                notes.append(str(error))
                continue
            if n_missing:
                notes.append(_missing(n_missing, index))
        return tuple(notes)

    def reindex(self, on_progress: Callable[[int, int], None]) -> int:
        """Encode every picture that has no vector; see :meth:`PictureIndex.reindex`."""
        n_encoded = sum(index.reindex(on_progress) for index in self._indexes)
        self.refresh()
        return n_encoded

    def forget(self) -> None:
        """Drop the indexes, of which the record has no vectors any more."""
        for index in self._indexes:
            index.forget()

    def _read_rows(self, version: int) -> list[PictureRow]:
        known, rows = self._rows
        if known != version:
            rows = self._store.picture_rows()
            self._rows = (version, rows)
        return rows

    def _chunks_of(self, catalog: Catalog, allowed: frozenset[str] | None) -> Mapping[str, Sequence[str]]:
        """Return the chunks that stand for each picture that may be found, by the picture's SHA-256."""
        version, every = self._every
        if version != catalog.version:
            every = {}
            for row in self._read_rows(catalog.version):
                if row.chunk_id in catalog.document_of:
                    every.setdefault(row.sha256, []).append(row.chunk_id)
            self._every = (catalog.version, every)
        if allowed is None:
            return every
        chosen = {sha256: [one for one in chunks if one in allowed] for sha256, chunks in every.items()}
        return {sha256: chunks for sha256, chunks in chosen.items() if chunks}

    def _copies_of(
        self, seen: SeenPicture, chunks_of: Mapping[str, Sequence[str]], note: Callable[[str], None]
    ) -> list[tuple[str, float]]:
        likeness = dict.fromkeys(seen.sha256s & chunks_of.keys(), 1.0)
        frames = [vector for vector in self._copies.encoder.encode_images(seen.frames) if vector is not None]
        if frames:
            near, n_missing = self._copies.nearest(np.stack(frames), k=_N_COPIES, among=chunks_of)
            likeness = {**{sha256: cosine for sha256, cosine in near if cosine >= SAME_PICTURE}, **likeness}
            if n_missing:
                note(_missing(n_missing, self._copies))
        return _spread(list(likeness.items()), chunks_of)

    def _near(
        self,
        index: PictureIndex,
        queries_FD: NDArray[np.float32],
        chunks_of: Mapping[str, Sequence[str]],
        n_pool: int,
        note: Callable[[str], None],
    ) -> list[tuple[str, float]]:
        near, n_missing = index.nearest(queries_FD, k=n_pool, among=chunks_of)
        if n_missing:
            note(_missing(n_missing, index))
        return _spread(near, chunks_of)


def copies_first(found: Sequence[FoundChunk], pools: Mapping[str, ScoredPool]) -> list[FoundChunk]:
    """Put copies of the picture asked with before all else, the nearest first; the others keep their order.

    :param found: What was found, best first.
    :param pools: What each retriever found.
    :returns: The same with the copies first; their score is that of the best so far plus their likeness.
    """
    copies = pools.get(COPY)
    if copies is None:
        return list(found)
    known = {item.chunk_id: item for item in found}
    best = max((item.score for item in found), default=0.0)
    first = [
        replace(
            known.get(chunk_id) or FoundChunk(chunk_id=chunk_id, score=0.0, shares={COPY: 1.0}), score=best + likeness
        )
        for chunk_id, likeness in copies.pairs
    ]
    moved = {item.chunk_id for item in first}
    return [*first, *(item for item in found if item.chunk_id not in moved)]


def _spread(pairs: Sequence[tuple[str, float]], chunks_of: Mapping[str, Sequence[str]]) -> list[tuple[str, float]]:
    """Give each chunk the score of its picture, best first, ties by chunk id."""
    spread = [(chunk_id, score) for sha256, score in pairs for chunk_id in chunks_of[sha256]]
    return sorted(spread, key=lambda pair: (-pair[1], pair[0]))


def _standing_out(pairs: Sequence[tuple[str, float]], *, weight: float) -> ScoredPool:
    """Keep the pictures that lie nearer to the words than pictures do on average; one alone stands out from nothing."""
    scores = np.array([score for _, score in pairs], dtype=np.float64)
    if len(scores) < 2 or float(scores.std()) < 1e-9:
        return ScoredPool(pairs=())
    mean, spread = float(scores.mean()), float(scores.std())
    kept = [pair for pair in pairs if pair[1] > mean]
    return ScoredPool(pairs=kept, weight=weight, absent_score=mean, scale=(mean, spread))


def _missing(n_missing: int, index: PictureIndex) -> str:
    return (
        f"{n_missing} pictures have no vector of {index.encoder.name} and were not looked at. "
        "Make them with `mmkg reindex`."
    )

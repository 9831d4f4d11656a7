"""The vectors of a record: of chunks, by chunk and by the text that was encoded, and of pictures, by their bytes.

Layer: ``kg``; SQLAlchemy Core.

A chunk's vector goes with the chunk, by its foreign key; while it is there, its text need not be encoded again for
another chunk. A picture's vector is stored once, however many documents hold the picture, and goes with the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, Connection, Table, bindparam, delete, func, insert, select

from kg.errors import InputError, NotFoundError
from kg.ports import PictureRow
from kg.stores.queries import among, in_batches, run
from kg.stores.schema import assets, chunks, picture_vectors, vectors
from kg.stores.session import RecordSession

__all__ = ["RecordVectors", "drop_vectors_of_lost_pictures", "pictures_of"]

_V, _C, _P, _A = vectors.c, chunks.c, picture_vectors.c, assets.c
_HELD = select(_A.sha256).where(_A.document_id == bindparam("id")).distinct()
_DROP_LOST = delete(picture_vectors).where(
    among(_P.sha256), ~select(_A.asset_id).where(_A.sha256 == _P.sha256).exists()
)


def pictures_of(connection: Connection, document_id: str) -> list[str]:
    """Return the SHA-256 of each picture of a document."""
    return list(connection.execute(_HELD, {"id": document_id}).scalars())


def drop_vectors_of_lost_pictures(connection: Connection, sha256s: Sequence[str]) -> None:
    """Delete the vectors of those pictures that no document holds any more."""
    if sha256s:
        run(connection, _DROP_LOST, sha256s)


class RecordVectors(RecordSession):
    """What a record store keeps of encoders' work; ``encoder`` is the name of a vector space, a fingerprint."""

    def put_vectors(
        self, *, encoder: str, rows: Sequence[tuple[str, NDArray[np.float32]]], contents: Sequence[str] = ()
    ) -> None:
        """Store the vectors that ``encoder`` gave these chunks; unknown chunk ids are ignored.

        :param encoder: The fingerprint of the encoder.
        :param rows: Chunk ids and vectors. *Shape:* ``(D,)`` each, finite. They replace older ones of this encoder.
        :param contents: The id of the text of each row (:func:`kg.ids.content_id`); empty where it is not known.
        :raises InputError: If a vector is not one row of finite numbers, or ``contents`` are fewer or more than the
            rows; nothing is stored then.
        """
        if contents and len(contents) != len(rows):
            raise InputError(f"put_vectors: got {len(contents)} contents for {len(rows)} rows. Give one each, or none.")
        blobs = {chunk_id: to_blob(vector, of=f"chunk {chunk_id}") for chunk_id, vector in rows}
        content_of = {chunk_id: content for (chunk_id, _), content in zip(rows, contents, strict=bool(contents))}
        with self._write("store vectors") as connection:
            for batch in in_batches(list(blobs)):
                known = connection.execute(select(_C.chunk_id).where(_C.chunk_id.in_(batch))).scalars().all()
                values = [
                    {"chunk_id": one, "encoder": encoder, "content": content_of.get(one, ""), "vector": blobs[one]}
                    for one in known
                ]
                _replace(connection, vectors, _V.chunk_id, encoder=encoder, keys=known, values=values)

    def vectors(self, *, encoder: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the stored vectors of these chunks for this encoder, read-only; those that have none are left out."""
        with self._read("read vectors") as connection:
            return _vectors_of(connection, vectors, _V.chunk_id, encoder=encoder, keys=chunk_ids)

    def vectors_by_content(self, *, encoder: str, contents: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that any chunk of these texts has of this encoder, by the text's id."""
        with self._read("look texts up") as connection:
            return _vectors_of(connection, vectors, _V.content, encoder=encoder, keys=[one for one in contents if one])

    def chunks_without_vector(self, *, encoder: str) -> list[str]:
        """Return the ids of the chunks that have no vector of this encoder, sorted."""
        has_one = select(_V.chunk_id).where(_V.chunk_id == _C.chunk_id, _V.encoder == encoder).exists()
        with self._read("look for missing vectors") as connection:
            return list(connection.execute(select(_C.chunk_id).where(~has_one).order_by(_C.chunk_id)).scalars())

    def vector_counts(self) -> dict[str, int]:
        """Count the vectors of each encoder that has any, by its fingerprint."""
        with self._read("count vectors") as connection:
            return _counts(connection, vectors)

    def remove_vectors(self, *, encoder: str) -> int:
        """Delete all vectors of an encoder and return how many there were; the record's version stays.

        The file keeps its size, and what is written next takes the room that became free.
        """
        with self._write("remove vectors") as connection:
            return connection.execute(delete(vectors).where(_V.encoder == encoder)).rowcount

    # ------------------------------------------------------------------ pictures

    def picture_rows(self) -> list[PictureRow]:
        """Return each picture that has a chunk, with the first of its chunks, by asset id."""
        query = (
            select(_C.asset_id, _C.chunk_id, _A.sha256)
            .join(assets, _A.asset_id == _C.asset_id)
            .order_by(_C.asset_id, _C.ordinal, _C.chunk_id)
        )
        first: dict[str, PictureRow] = {}
        with self._read("list pictures") as connection:
            for asset_id, chunk_id, sha256 in connection.execute(query):
                if asset_id not in first:
                    first[asset_id] = PictureRow(chunk_id=chunk_id, asset_id=asset_id, sha256=sha256)
        return list(first.values())

    def picture_data(self, sha256: str) -> bytes:
        """Return the bytes of a picture by their SHA-256.

        :param sha256: 64 hexadecimal digits.
        :returns: The bytes of an image file.
        :raises NotFoundError: If no document holds it.
        """
        with self._read("read a picture") as connection:
            data = connection.execute(select(_A.data).where(_A.sha256 == sha256).limit(1)).scalar_one_or_none()
        if data is None:
            raise NotFoundError(f"No document of {self.where} holds a picture with SHA-256 {sha256}.")
        return bytes(data)

    def put_picture_vectors(self, *, encoder: str, rows: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Store the vectors that ``encoder`` gave pictures; those that no document holds are ignored.

        :param encoder: The fingerprint of the encoder.
        :param rows: SHA-256 and vector of each picture. *Shape:* ``(D,)`` each, finite. They replace older ones.
        :raises InputError: If a vector is not one row of finite numbers; nothing is stored then.
        """
        blobs = {sha256: to_blob(vector, of=f"picture {sha256}") for sha256, vector in rows}
        with self._write("store vectors of pictures") as connection:
            for batch in in_batches(list(blobs)):
                known = connection.execute(select(_A.sha256).where(_A.sha256.in_(batch)).distinct()).scalars().all()
                values = [{"sha256": one, "encoder": encoder, "vector": blobs[one]} for one in known]
                _replace(connection, picture_vectors, _P.sha256, encoder=encoder, keys=known, values=values)

    def picture_vectors(self, *, encoder: str, sha256s: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the stored vectors of these pictures for this encoder, read-only; those without are left out."""
        with self._read("read vectors of pictures") as connection:
            return _vectors_of(connection, picture_vectors, _P.sha256, encoder=encoder, keys=sha256s)

    def pictures_without_vector(self, *, encoder: str) -> list[str]:
        """Return the SHA-256 of each picture that has no vector of this encoder, sorted."""
        has_one = select(_P.sha256).where(_P.sha256 == _A.sha256, _P.encoder == encoder).exists()
        with self._read("look for pictures without a vector") as connection:
            query = select(_A.sha256).where(~has_one).distinct().order_by(_A.sha256)
            return list(connection.execute(query).scalars())

    def picture_vector_counts(self) -> dict[str, int]:
        """Count the picture vectors of each encoder that has any, by its fingerprint."""
        with self._read("count vectors of pictures") as connection:
            return _counts(connection, picture_vectors)

    def remove_picture_vectors(self, *, encoder: str) -> int:
        """Delete all picture vectors of an encoder and return how many there were; the record's version stays."""
        with self._write("remove vectors of pictures") as connection:
            return connection.execute(delete(picture_vectors).where(_P.encoder == encoder)).rowcount


def to_blob(vector: NDArray[np.float32], *, of: str) -> bytes:
    """Return the little-endian float32 bytes of a vector.

    :param vector: The vector. *Shape:* ``(D,)``.
    :param of: What it is the vector of, for the message.
    :returns: ``4 * D`` bytes.
    :raises InputError: If it is not one row of finite numbers.
    """
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise InputError(
            f"The vector of {of} must be one row of finite numbers, got shape {vector.shape}. Check the encoder."
        )
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _replace(
    connection: Connection,
    table: Table,
    key: Column[str],
    *,
    encoder: str,
    keys: Sequence[str],
    values: Sequence[Mapping[str, object]],
) -> None:
    """Write the rows of one encoder, in place of those that it gave these keys before."""
    if keys:
        connection.execute(delete(table).where(table.c.encoder == encoder, key.in_(keys)))
        connection.execute(insert(table), list(values))


def _vectors_of(
    connection: Connection, table: Table, key: Column[str], *, encoder: str, keys: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the vectors that ``encoder`` gave these keys, in the order given. *Shape:* ``(D,)`` each, float32."""
    found: dict[str, NDArray[np.float32]] = {}
    for batch in in_batches(list(dict.fromkeys(keys))):
        query = select(key, table.c.vector).where(table.c.encoder == encoder, key.in_(batch))
        for name, blob in connection.execute(query):
            found[name] = np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)
    return {name: found[name] for name in keys if name in found}


def _counts(connection: Connection, table: Table) -> dict[str, int]:
    query = select(table.c.encoder, func.count()).group_by(table.c.encoder).order_by(table.c.encoder)
    return {str(encoder): int(n) for encoder, n in connection.execute(query)}

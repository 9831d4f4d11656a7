"""The vectors that a record keeps: of chunks, by chunk and by what was encoded, and of pictures, by their bytes.

Layer: ``kg``; the standard library and NumPy's type names only. Import these from :mod:`kg.ports`.

Shape suffixes: D vector width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kg.ports.record_rows import PictureRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VectorStore"]


@runtime_checkable
class VectorStore(Protocol):
    """What a record keeps of encoders' work; ``encoder`` is the name of a vector space, a fingerprint."""

    def put_vectors(
        self, *, encoder: str, rows: Sequence[tuple[str, NDArray[np.float32]]], contents: Sequence[str] = ()
    ) -> None:
        """Store the vectors that ``encoder`` gave these chunks; unknown chunk ids are ignored.

        ``contents`` names the text of each row (:func:`kg.ids.content_id`), so that the same text is known elsewhere.
        """
        ...

    def vectors(self, *, encoder: str, chunk_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the stored vectors of these chunks for this encoder; those that have none are left out."""
        ...

    def vectors_by_content(self, *, encoder: str, contents: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that any chunk of these texts has of this encoder, by the text's id."""
        ...

    def chunks_without_vector(self, *, encoder: str) -> list[str]:
        """Return the ids of the chunks that have no vector of this encoder, sorted."""
        ...

    def vector_counts(self) -> dict[str, int]:
        """Count the vectors of each encoder that has any, by its fingerprint."""
        ...

    def remove_vectors(self, *, encoder: str) -> int:
        """Delete all vectors of an encoder and return how many there were; the record's version stays."""
        ...

    def picture_rows(self) -> list[PictureRow]:
        """Return each picture that has a chunk, with the first of its chunks, by asset id."""
        ...

    def picture_data(self, sha256: str) -> bytes:
        """Return the bytes of a picture by their SHA-256; raise ``NotFoundError`` if no document holds it."""
        ...

    def put_picture_vectors(self, *, encoder: str, rows: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Store the vectors that ``encoder`` gave pictures, by SHA-256; those that no document holds are ignored."""
        ...

    def picture_vectors(self, *, encoder: str, sha256s: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the stored vectors of these pictures for this encoder; those that have none are left out."""
        ...

    def pictures_without_vector(self, *, encoder: str) -> list[str]:
        """Return the SHA-256 of each picture that has no vector of this encoder, sorted."""
        ...

    def picture_vector_counts(self) -> dict[str, int]:
        """Count the picture vectors of each encoder that has any, by its fingerprint."""
        ...

    def remove_picture_vectors(self, *, encoder: str) -> int:
        """Delete all picture vectors of an encoder and return how many there were; the record's version stays."""
        ...

"""Identity is content: the same bytes from the same source have the same ids, in every process and on every machine.

Layer: ``kg``; the standard library only.

An id is a one-letter prefix, an underscore, and 20 hexadecimal digits (80 bits) of SHA-256 over the length-prefixed
UTF-8 of its parts, so that no two lists of parts share an encoding. Eighty bits keep the chance that any two of 10**9
ids collide below 5e-7 (birthday bound n**2 / 2**81).
"""

from __future__ import annotations

import hashlib

__all__ = [
    "asset_id",
    "chunk_id",
    "content_id",
    "document_id",
    "entity_id",
    "local_id",
    "mention_id",
    "prediction_id",
    "relation_id",
    "sense_id",
    "sha256_hex",
    "source_id",
    "table_id",
    "triple_id",
]

_DIGITS = 20


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _make(prefix: str, *parts: object) -> str:
    encoded = [str(part).encode("utf-8", "surrogatepass") for part in parts]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in encoded))
    return f"{prefix}_{digest.hexdigest()[:_DIGITS]}"


def content_id(text: str) -> str:
    """Name a text by what it says alone, wherever it stands."""
    return _make("x", text)


def document_id(source: str, sha256: str) -> str:
    """Name a document by where it came from and what its bytes are."""
    return _make("d", source, sha256)


def source_id(source: str) -> str:
    """Name where a document came from: the same for all that ever came from there, and no path can be read from it."""
    return _make("s", source)


def asset_id(document: str, ordinal: int, sha256: str) -> str:
    """Name the ``ordinal``-th asset (from 0) of a document by its place and its bytes."""
    return _make("a", document, ordinal, sha256)


def chunk_id(document: str, part: str | None, start: int, end: int) -> str:
    """Name a chunk by its document, the asset or table whose words it was cut from (if any), and its span there."""
    return _make("c", document, part or "", start, end)


def table_id(document: str, asset: str | None, ordinal: int) -> str:
    """Name the ``ordinal``-th table (from 0) of a document, or of one of its pictures."""
    return _make("b", document, asset or "", ordinal)


def mention_id(chunk: str, start: int, end: int, label: str) -> str:
    """Name a mention by its chunk, its span and its label."""
    return _make("m", chunk, start, end, label)


def entity_id(key: str) -> str:
    """Name an entity by its resolution key."""
    return _make("e", key)


def local_id(document: str, name: str) -> str:
    """Name what one document calls by one name (the id of :func:`entity_id`): the atom of resolution."""
    return _make("l", document, name)


def sense_id(name: str, local: str) -> str:
    """Name one of several things that bear the same name, by the smallest local id among its own."""
    return _make("e", name, local)


def relation_id(head: str, name: str, tail: str) -> str:
    """Name a relation by its two entities' ids and its predicate."""
    return _make("r", head, name, tail)


def prediction_id(head: str, relation: str, tail: str) -> str:
    """Name a predicted link by its ends, as they were when it was first predicted, and its relation."""
    return _make("p", head, relation, tail)


def triple_id(chunk: str, head: str, name: str, tail: str, start: int, end: int) -> str:
    """Name one statement of a relation by the chunk and span that state it."""
    return _make("t", chunk, head, name, tail, start, end)

"""Deterministic damage: the same format, good file, seed and number always give the same mutated bytes."""

from __future__ import annotations

import functools
import lzma
import random
import tarfile
import zipfile
import zlib

from tests.kg.loaders.mutate_bytes import BYTE_MUTATORS, Mutator, flip
from tests.kg.loaders.mutate_containers import (
    change_chunk,
    change_compressed,
    change_http,
    change_member,
    change_pdf,
    change_segment,
    change_tag,
)
from tests.kg.loaders.mutate_text import change_base64, change_json, change_json_line, change_lines, change_xml

__all__ = ["mutated"]

_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    ArithmeticError,
    EOFError,
    IndexError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    StopIteration,
)
_BINARY: tuple[tuple[bytes, Mutator], ...] = (
    (b"%PDF", change_pdf),
    (b"\x89PNG", change_chunk),
    (b"RIFF", change_chunk),
    (b"\xff\xd8", change_segment),
    (b"II*\x00", change_tag),
)
_STRUCTURED_SHARE, _STRICT_SHARE = 0.7, 0.9
"""How often damage follows the structure of the format, where it has one that is known here. Where one wrong byte hides
all the rest from its reader, as in a container or in XML, it mostly does."""


def _change(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes of any format once."""
    ways = _packed(data)
    share = _STRICT_SHARE if ways or data.startswith(b"<?xml") else _STRUCTURED_SHARE
    ways = ways or _structured(data)
    mutator = rng.choice(ways) if ways and rng.random() < share else rng.choice(BYTE_MUTATORS)
    try:
        return mutator(data, rng)
    except _UNPACKING_ERRORS:  # an earlier mutation broke the container
        return flip(data, rng)


def _packed(data: bytes) -> list[Mutator]:
    """Return the mutators of what holds other files; none for anything else."""
    if data.startswith(b"PK\x03\x04") or data[257:262] == b"ustar":
        return [functools.partial(change_member, inner=_change)]
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return [functools.partial(change_compressed, inner=_change)]
    return []


def _structured(data: bytes) -> list[Mutator]:
    """Return the mutators that know the structure of ``data``; none where it is binary and unknown."""
    if data.startswith(b"HTTP/"):
        return [functools.partial(change_http, inner=_change)]
    for magic, mutator in _BINARY:
        if data.startswith(magic):
            return [mutator]
    return _textual(data) if b"\x00" not in data[:1000] else []


def _textual(data: bytes) -> list[Mutator]:
    ways: list[Mutator] = [change_lines]
    if b"base64" in data:
        ways += [functools.partial(change_base64, inner=_change)] * 2
    start = data.lstrip()[:1]
    if start == b"<":
        ways += [change_xml] * 4
    elif start in (b"{", b"["):
        ways += [change_json, change_json, change_json, change_json_line]
    return ways


def mutated(data: bytes, *, name: str, number: int, seed: int = 0) -> bytes:
    """Return the ``number``-th damaged version of a good file.

    :param data: The good file.
    :param name: The name of its format.
    :param number: Which one, from 1.
    :param seed: Another seed gives other damage.
    :returns: The file after one to three mutations, drawn by seed, name and number.
    """
    rng = random.Random(f"{seed}:{name}:{number}")
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = _change(data, rng)
    return data

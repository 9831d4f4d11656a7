"""Damage that knows nothing of a format: bits, stretches, numbers, and words that mean something to some parser."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

__all__ = ["BYTE_MUTATORS", "Mutator", "flip", "piece_of", "splice"]

Mutator = Callable[[bytes, random.Random], bytes]
"""Makes damaged bytes of good ones; all that is left to chance comes from the generator."""

_MOST_BYTES = (400_000,) * 30 + (4_000_000,)
"""How far a repeated stretch may make a file grow: far enough to find what is quadratic, now and then much farther."""
_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"255",
    b"65536",
    b"2147483648",
    b"4294967295",
    b"99999999999999999999",
    b"1e309",
    b"0.0",
)
_INTEGERS = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x80",
    b"\xff\xff",
    b"\x00\x00",
    b"\x01\x00",
    b"\x00\x01",
    b"\xff" * 8,
    b"\x00" * 8,
)
_WORDS = (
    b"<!ENTITY a 'b'>",
    b"<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    b"&#0;",
    b"&#xD800;",
    b"&a;",
    b"]]>",
    b"<![CDATA[",
    b"<!--",
    b"<svg",
    b"<table>",
    b"<math>",
    b"</body>",
    b"\\begin{figure}",
    b"\\end{document}",
    b"\\input{../../etc/passwd}",
    b"\\newcommand{\\R}{\\R\\R}",
    b"$$",
    b"$",
    b"\\[",
    b"\\ud800",
    b"{" * 200,
    b"[" * 200,
    b"(" * 200,
    b"<div>" * 200,
    b"../" * 20,
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\r",
    b"\n\n",
    b"\x0c",
    b"%s%n",
    b"Content-Transfer-Encoding: base64\n",
    b"Content-Type: multipart/mixed; boundary=x\n\n--x\n",
    b"=?utf-8?q?=ff=?=",
    b"data:image/png;base64,AAAA",
    b"file:///etc/passwd",
    b"http://127.0.0.1/",
    b"|" * 100,
    b'"',
    b"'",
    b"1e400",
    b"NaN",
)


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def piece_of(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Return the start and the end of a stretch; short ones are as likely as long ones."""
    start = _place(data, rng)
    return start, min(len(data), start + int(len(data) ** rng.random()) + 1)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Turn one to 64 bits over."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.8 else data[_place(data, rng) :]


def _duplicate(data: bytes, rng: random.Random) -> bytes:
    start, end = piece_of(data, rng)
    times = rng.choice((2, 3, 20, 300))
    piece = data[start:end][: rng.choice(_MOST_BYTES) // times]
    return data[:start] + piece * times + data[end:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    start, end = piece_of(data, rng)
    return data[:start] + data[end:]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Put one stretch in the place of another."""
    (a, b), (c, d) = piece_of(data, rng), piece_of(data, rng)
    return data[:a] + data[c:d] + data[b:]


def _fill(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a stretch with one byte, mostly zero, as a lost block of a disk is."""
    start, end = piece_of(data, rng)
    return data[:start] + rng.choice((b"\x00", b"\x00", b"\xff", b" ")) * (end - start) + data[end:]


def _scramble(data: bytes, rng: random.Random) -> bytes:
    start, end = piece_of(data, rng)
    end = min(end, start + 65_536)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _blow_up_numbers(data: bytes, rng: random.Random) -> bytes:
    share = rng.choice((0.01, 0.1, 0.5))
    return re.sub(rb"\d+", lambda found: rng.choice(_NUMBERS) if rng.random() < share else found[0], data)


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    """Write integers at the limits of their width over what may be lengths and offsets, mostly near the beginning."""
    for _ in range(rng.choice((1, 1, 4))):
        place = _place(data[: rng.choice((32, 128, 1024, len(data)))], rng)
        word = rng.choice(_INTEGERS)
        data = data[:place] + word + data[place + len(word) :]
    return data


def _count_up(data: bytes, rng: random.Random) -> bytes:
    """Add a little to one byte: a length or a type that is off by one or two."""
    if not data:
        return data
    place = rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))))
    return data[:place] + bytes([(data[place] + rng.choice((-2, -1, 1, 2))) % 256]) + data[place + 1 :]


def _insert_word(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 3, 20))):
        place = _place(data, rng)
        data = data[:place] + rng.choice(_WORDS) + data[place:]
    return data


BYTE_MUTATORS: tuple[Mutator, ...] = (
    flip,
    _truncate,
    _duplicate,
    _delete,
    splice,
    _fill,
    _scramble,
    _blow_up_numbers,
    _overwrite,
    _count_up,
    _insert_word,
)
"""What can be done to any bytes."""

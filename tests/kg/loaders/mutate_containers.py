"""Damage inside containers, which are then sound again: good checksums, lengths and offsets around bad content.

Damage to the bytes of a compressed file is mostly caught by its checksum, and the parser of what is inside never sees
it.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import random
import re
import tarfile
import zipfile
import zlib

from tests.kg.loaders.mutate_bytes import BYTE_MUTATORS, Mutator, flip
from tests.kg.loaders.packing import dateless_zip, tar_bytes

__all__ = [
    "change_chunk",
    "change_compressed",
    "change_http",
    "change_member",
    "change_pdf",
    "change_segment",
    "change_tag",
]

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_CONTENT = re.compile(r"(?:document|sheet\d+|slide\d+|chart\d+|drawing\d+|comment\d+|sharedStrings)\.xml$|html$|\.opf$")
_CONTENT_SHARE = 0.6
"""How often damage goes to the parts of an Office package or a book that hold its words; most others are dressing."""
_PDF_OBJECT = re.compile(rb"(\d+) 0 obj\s(.*?)\sendobj", re.DOTALL)
_PDF_STREAM = re.compile(rb"(.*?)(?<=>>)\s*stream\r?\n(.*?)\r?\n?endstream\s*\Z", re.DOTALL)
_PDF_LENGTH = re.compile(rb"/Length \d+(?: 0 R)?")
_PDF_FILTERS = re.compile(rb"/Filter (?:\[[^\]]*\]|/\w+)")
_PDF_ROOT = re.compile(rb"/Root (\d+ 0 R)")
_PDF_INFO = re.compile(rb"/Info (\d+ 0 R)")
_MOST_PDF_OBJECTS = 1_000
_LENGTH_HEADER = re.compile(rb"(?im)^content-length: *\d+")


def change_member(data: bytes, rng: random.Random, *, inner: Mutator) -> bytes:
    """Damage, rename or drop members of a zip or tar archive and pack it again."""
    is_zip = data.startswith(b"PK")
    members = _zip_members(data) if is_zip else _tar_members(data)
    if not members:
        return flip(data, rng)
    told = [name for name in members if _CONTENT.search(name)] or list(members)
    for _ in range(rng.choice((1, 1, 3))):
        name = rng.choice(told if rng.random() < _CONTENT_SHARE else list(members))
        members[name] = inner(members[name], rng)
    if rng.random() < 0.1:
        del members[rng.choice(list(members))]
    if members and rng.random() < 0.1:
        name = rng.choice(list(members))
        members[rng.choice(("../../x", "/etc/x", "a" * 300, "x\\y:z", ".x", "con", "a/\x01", name.upper()))] = (
            members.pop(name)
        )
    return dateless_zip(members) if is_zip else tar_bytes(members)


def _zip_members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _tar_members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {member.name: content.read() for member in archive if (content := archive.extractfile(member))}


def change_compressed(data: bytes, rng: random.Random, *, inner: Mutator) -> bytes:
    """Expand a gzip, bzip2 or xz file, damage what was in it, and compress it again."""
    kind = next(kind for magic, kind in _COMPRESSIONS.items() if data.startswith(magic))
    if kind == "gzip":
        return gzip.compress(inner(gzip.decompress(data), rng), mtime=0)
    if kind == "bz2":
        return bz2.compress(inner(bz2.decompress(data), rng))
    return lzma.compress(inner(lzma.decompress(data), rng))


def change_chunk(data: bytes, rng: random.Random) -> bytes:
    """Damage chunks of a PNG or of a RIFF file (WEBP), or the pixels of a PNG, and set lengths and checksums right."""
    return _change_png(data, rng) if data.startswith(b"\x89PNG") else _change_riff(data, rng)


def _change_png(data: bytes, rng: random.Random) -> bytes:
    chunks, place = [], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    for _ in range(rng.choice((1, 1, 3))):
        number = rng.randrange(len(chunks))
        kind, content = chunks[number]
        choice = rng.randrange(10)
        if choice == 0 and len(chunks) > 1:
            del chunks[number]
        elif choice == 1:
            chunks.insert(rng.randrange(len(chunks) + 1), (kind, content))
        elif choice == 2:
            kinds = (b"tEXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"IDAT", b"IEND")
            chunks.insert(number, (rng.choice(kinds), rng.randbytes(rng.choice((0, 4, 30, 300)))))
        elif kind == b"IDAT" and rng.random() < 0.7:
            chunks[number] = (kind, zlib.compress(_some(zlib.decompress(content), rng)))
        else:
            chunks[number] = (kind, _some(content, rng))
    return data[:8] + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


def _change_riff(data: bytes, rng: random.Random) -> bytes:
    chunks, place = [], 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    number = rng.randrange(len(chunks))
    kind, content = chunks[number]
    chunks[number] = (rng.choice((kind, kind, kind, b"ANMF", b"VP8X", b"ALPH", b"EXIF")), _some(content, rng))
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[number])
    body = b"".join(
        kind + len(content).to_bytes(4, "little") + content + b"\x00" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def change_segment(data: bytes, rng: random.Random) -> bytes:
    """Damage, drop or repeat one segment of a JPEG before its pixels, and set its length right."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        segments.append((data[place : place + 2], data[place + 4 : place + 2 + size]))
        place += 2 + size
    number = rng.randrange(len(segments))
    marker, content = segments[number]
    if rng.random() < 0.2:
        segments[number : number + 1] = [(marker, content)] * rng.choice((0, 2, 20))
    else:
        segments[number] = (rng.choice((marker, marker, b"\xff\xe1", b"\xff\xc2")), _some(content, rng)[:65_533])
    head = b"".join(marker + (len(content) + 2).to_bytes(2, "big") + content for marker, content in segments)
    return data[:2] + head + data[place:]


def change_tag(data: bytes, rng: random.Random) -> bytes:
    """Change tags of a little-endian TIFF: number, type, count or value; or damage the pixels behind its header."""
    place = int.from_bytes(data[4:8], "little")
    n_tags = int.from_bytes(data[place : place + 2], "little")
    if not 8 < place < len(data) or not 0 < n_tags < 1_000:  # an earlier mutation broke the header
        return flip(data, rng)
    if rng.random() < 0.2:
        return data[:8] + _some(data[8:place], rng)[: place - 8].ljust(place - 8, b"\x00") + data[place:]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        at = place + 2 + 12 * rng.randrange(n_tags)
        first, size = rng.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 4)))
        old = int.from_bytes(data[at + first : at + first + size], "little")
        value = rng.choice((0, 1, 2, 3, 5, 17, old - 1, old + 1, old * 2, old * 256, 2 ** (8 * size) - 1, 2**31))
        changed[at + first : at + first + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(changed)


def change_pdf(data: bytes, rng: random.Random) -> bytes:
    """Damage objects of a PDF, inside its compressed streams too, and write lengths and the table of objects anew."""
    objects = {int(found[1]): found[2] for found in _PDF_OBJECT.finditer(data)}
    root, info = _PDF_ROOT.search(data), _PDF_INFO.search(data)
    if not objects or root is None or max(objects) > _MOST_PDF_OBJECTS:  # an earlier mutation blew a number up
        return flip(data, rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        number = rng.choice(list(objects))
        if rng.random() < 0.05 and len(objects) > 1:
            del objects[number]
        else:
            objects[number] = _change_pdf_object(objects[number], rng)
    trailer = b"/Root " + root[1] + (b"/Info " + info[1] if info else b"")
    return _pdf(objects, trailer)


def _change_pdf_object(content: bytes, rng: random.Random) -> bytes:
    found = _PDF_STREAM.fullmatch(content)
    if found is None:
        return _some(content, rng)
    head, stream = found[1], found[2]
    if rng.random() < 0.3:
        head = _some(head, rng)
    else:
        head, stream = _plain_stream(head, stream)
        stream = _some(stream, rng)
    length = b"/Length %d" % len(stream)
    head = _PDF_LENGTH.sub(length, head) if _PDF_LENGTH.search(head) else head
    return head + b"\nstream\n" + stream + b"\nendstream"


def _plain_stream(head: bytes, stream: bytes) -> tuple[bytes, bytes]:
    """Undo ``/FlateDecode``, so that damage is done to operators and pixels rather than to compressed bytes."""
    filters = _PDF_FILTERS.search(head)
    if filters is None or b"FlateDecode" not in filters[0] or b"ASCII85" in filters[0]:
        return head, stream
    try:
        return head.replace(filters[0], b""), zlib.decompress(stream)
    except zlib.error:
        return head, stream


def _pdf(objects: dict[int, bytes], trailer: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = {}
    for number, content in sorted(objects.items()):
        offsets[number] = len(out)
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    start, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 00001 f \n"
    out += b"trailer\n<</Size %d" % size + trailer + b">>\nstartxref\n%d\n%%%%EOF\n" % start
    return bytes(out)


def change_http(data: bytes, rng: random.Random, *, inner: Mutator) -> bytes:
    """Damage the head or the body of a server's answer; the length that it states is mostly right."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if rng.random() < 0.4:
        lines = head.split(b"\r\n")
        place = rng.randrange(len(lines))
        lines[place] = _some(lines[place], rng)
        return b"\r\n".join(lines) + gap + body
    change = functools.partial(change_compressed, inner=inner) if body.startswith(b"\x1f\x8b") else inner
    body = change(body, rng)
    if rng.random() < 0.9:
        head = _LENGTH_HEADER.sub(b"Content-Length: %d" % len(body), head)
    return head + gap + body


def _some(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(BYTE_MUTATORS)(data, rng)

"""Deterministic damage: the same format, seed file and number always give the same mutated bytes."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from lxml import etree

from tests.kg.loaders.seeds import dateless_zip

__all__ = ["mutated"]

Mutator = Callable[[bytes, random.Random], bytes]
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
_INTEGERS = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")
_WORDS = (
    b"<!ENTITY a 'b'>",
    b"<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    b"&#0;",
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
    b"{" * 200,
    b"[" * 200,
    b"(" * 200,
    b"<div>" * 200,
    b"../" * 20,
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\r",
    b"\n\n",
    b"%s%n",
    b"Content-Transfer-Encoding: base64\n",
    b"Content-Type: multipart/mixed; boundary=x\n\n--x\n",
    b"=?utf-8?q?=ff=?=",
    b"data:image/png;base64,AAAA",
    b"file:///etc/passwd",
    b"http://127.0.0.1/",
    b"|" * 100,
    b"1e400",
    b"NaN",
)


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _slice(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + int(len(data) ** rng.random()) + 1)


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.8 else data[_place(data, rng) :]


def duplicate(data: bytes, rng: random.Random) -> bytes:
    start, end = _slice(data, rng)
    times = rng.choice((2, 3, 20, 300))
    piece = data[start:end][: 400_000 // times]
    return data[:start] + piece * times + data[end:]


def delete(data: bytes, rng: random.Random) -> bytes:
    start, end = _slice(data, rng)
    return data[:start] + data[end:]


def splice(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = _slice(data, rng), _slice(data, rng)
    return data[:a] + data[c:d] + data[b:]


def blow_up_numbers(data: bytes, rng: random.Random) -> bytes:
    share = rng.choice((0.01, 0.1, 0.5))
    return re.sub(rb"\d+", lambda found: rng.choice(_NUMBERS) if rng.random() < share else found[0], data)


def overwrite(data: bytes, rng: random.Random) -> bytes:
    place, word = _place(data, rng), rng.choice(_INTEGERS)
    return data[:place] + word + data[place + len(word) :]


def insert_word(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 3, 20))):
        place = _place(data, rng)
        data = data[:place] + rng.choice(_WORDS) + data[place:]
    return data


def _change_node(root: etree._Element, rng: random.Random) -> None:
    nodes = [node for node in root.iter() if isinstance(node.tag, str)]
    node = rng.choice(nodes)
    parent = node.getparent()
    choice = rng.randrange(6)
    if choice == 0 and parent is not None:
        parent.remove(node)
    elif choice == 1 and parent is not None:
        for _ in range(rng.choice((1, 30))):
            parent.append(etree.fromstring(etree.tostring(node, with_tail=False)))
    elif choice == 2 and node.attrib:
        key = rng.choice(list(node.attrib))
        node.set(
            key, rng.choice(("", "-1", "99999999999", "NaN", "1e309", "../../x", "#" + key, "x" * 5000, "file:///x"))
        )
    elif choice == 3 and node.attrib:
        del node.attrib[rng.choice(list(node.attrib))]
    elif choice == 4:
        node.text = rng.choice(("", "x" * 20_000, "\u202e\ufeff", "0", "a|b\tc"))
    elif parent is not None:
        for _ in range(rng.choice((1, 60))):
            wrapper = etree.SubElement(parent, node.tag)
            parent = wrapper
        parent.append(node)


def change_xml(data: bytes, rng: random.Random) -> bytes:
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.LxmlError, ValueError):
        return re.sub(
            rb"<[^<>]*>", lambda found: rng.choice((b"", found[0] * 3)) if rng.random() < 0.1 else found[0], data
        )
    for _ in range(rng.choice((1, 2, 5))):
        _change_node(root, rng)
    return bytes(etree.tostring(root))


def _changed_json(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        return {**value, key: _changed_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [*value[:place], _changed_json(value[place], rng), *value[place + 1 :]]
    return rng.choice(
        (None, True, -1, 10**30, 1e308, "", "x" * 5000, [], {}, [[[[[1]]]]], {"a": {"b": []}}, [value] * 50)
    )


def change_json(data: bytes, rng: random.Random) -> bytes:
    try:
        return json.dumps(_changed_json(json.loads(data), rng)).encode()
    except ValueError:
        return splice(data, rng)


def change_member(data: bytes, rng: random.Random) -> bytes:
    """Damage one member and pack the archive again, so that the container is sound."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    for _ in range(rng.choice((1, 1, 3))):
        name = rng.choice(list(members))
        is_xml = members[name][:1] == b"<"
        members[name] = rng.choice((*_BYTES, *([change_xml] * 8 if is_xml else [])))(members[name], rng)
    if rng.random() < 0.1:
        del members[rng.choice(list(members))]
    return dateless_zip(members)


_UNPACKING_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
_BYTES: tuple[Mutator, ...] = (flip, truncate, duplicate, delete, splice, blow_up_numbers, overwrite, insert_word)


def _mutators(data: bytes) -> tuple[Mutator, ...]:
    if data.startswith(b"PK\x03\x04"):
        return (*_BYTES, *[change_member] * 16)
    if data.startswith(b"{"):
        return (*_BYTES, *[change_json] * 8)
    return (*_BYTES, *[change_xml] * 8) if data.lstrip().startswith(b"<") else _BYTES


def mutated(data: bytes, *, name: str, number: int) -> bytes:
    """Return the ``number``-th damaged version of a good file: one to three mutations, drawn by name and number."""
    rng = random.Random(f"{name}:{number}")
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            data = rng.choice(_mutators(data))(data, rng)
        except _UNPACKING_ERRORS:  # an earlier mutation broke the container
            data = flip(data, rng)
    return data

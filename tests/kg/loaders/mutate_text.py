"""Damage to the structure of a text: nodes of XML, values of JSON, lines, and what is written in base64."""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
from typing import Any

from lxml import etree

from tests.kg.loaders.mutate_bytes import Mutator, splice

__all__ = ["change_base64", "change_json", "change_json_line", "change_lines", "change_xml"]

_VALUES = ("", "-1", "0", "99999999999", "NaN", "1e309", "../../x", "x" * 5000, "file:///x", "url(#x)", "\u202e")
_TEXTS = ("", "x" * 20_000, "\u202e\ufeff", "0", "a|b\tc", "\x85\u2028", "99999999999999999999")
_TAG = re.compile(rb"<[^<>]*>")
_BASE64 = re.compile(rb"[A-Za-z0-9+/](?:[A-Za-z0-9+/]|\r?\n(?=[A-Za-z0-9+/])){40,}={0,2}")


def _change_node(root: etree._Element, rng: random.Random) -> None:
    nodes = [node for node in root.iter() if isinstance(node.tag, str)]
    node = rng.choice(nodes)
    parent = node.getparent()
    choice = rng.randrange(7)
    if choice == 0 and parent is not None:
        parent.remove(node)
    elif choice == 1 and parent is not None:
        for _ in range(rng.choice((1, 30))):
            parent.append(etree.fromstring(etree.tostring(node, with_tail=False)))
    elif choice == 2 and node.attrib:
        key = rng.choice(list(node.attrib))
        node.set(key, rng.choice((*_VALUES, "#" + str(key))))
    elif choice == 3 and node.attrib:
        del node.attrib[rng.choice(list(node.attrib))]
    elif choice == 4:
        node.text = rng.choice(_TEXTS)
    elif choice == 5 and len(node) > 1:
        children = list(node)
        rng.shuffle(children)
        node[:] = children
    elif parent is not None:
        for _ in range(rng.choice((1, 60))):
            wrapper = etree.SubElement(parent, node.tag)
            parent = wrapper
        parent.append(node)


def change_xml(data: bytes, rng: random.Random) -> bytes:
    """Remove, repeat, nest, shuffle or empty nodes; of what is not XML, drop and repeat tags."""
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.LxmlError, ValueError):
        share = rng.choice((0.02, 0.1))
        return _TAG.sub(lambda found: rng.choice((b"", found[0] * 3)) if rng.random() < share else found[0], data)
    for _ in range(rng.choice((1, 2, 5))):
        _change_node(root, rng)
    return bytes(etree.tostring(root))


def _changed_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        return {**value, key: _changed_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [*value[:place], _changed_value(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.5:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice(("\ud800", "\x00", "\u202e", "", "$$", "<p>", "\n# ")) + value[place + 1 :]
    return rng.choice(
        (None, True, -1, 10**30, 1e308, "", "x" * 5000, [], {}, [[[[[1]]]]], {"a": {"b": []}}, [value] * 50)
    )


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Put another value in the place of one, of the same type or not."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return splice(data, rng)
    for _ in range(rng.choice((1, 1, 3))):
        value = _changed_value(value, rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")


def change_json_line(data: bytes, rng: random.Random) -> bytes:
    """Change one line of a file of lines of JSON."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = change_json(lines[place], rng)
    return b"\n".join(lines)


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """Drop, repeat, swap, indent or join lines."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 2, 8))):
        place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        choice = rng.randrange(6)
        if choice == 0 and len(lines) > 1:
            del lines[place]
        elif choice == 1:
            lines[place:place] = [lines[other]] * rng.choice((1, 30))
        elif choice == 2:
            lines[place], lines[other] = lines[other], lines[place]
        elif choice == 3:
            lines[place] = rng.choice((b"    ", b"\t", b"> " * 60, b"- ", b"# ", b"  " * 100)) + lines[place]
        elif choice == 4:
            lines[place] += lines[other]
        else:
            lines[place] += b"\r"
    return b"\n".join(lines)


def change_base64(data: bytes, rng: random.Random, *, inner: Mutator) -> bytes:
    """Damage what one stretch of base64 stands for, and write it in base64 again."""
    found = list(_BASE64.finditer(data))
    if not found:
        return splice(data, rng)
    chosen = rng.choice(found)
    try:
        plain = base64.b64decode(b"".join(chosen[0].split()), validate=True)
    except binascii.Error:
        return splice(data, rng)
    changed = inner(plain, rng)
    packed = base64.encodebytes(changed).strip() if b"\n" in chosen[0] else base64.b64encode(changed)
    return data[: chosen.start()] + packed + data[chosen.end() :]

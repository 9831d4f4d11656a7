"""Office packages (Word, Excel, PowerPoint): every part expanded once, counted, before a parser sees it.

Layer: ``kg``; the standard library, and lxml for relationships. The formats forbid document type definitions, so any is
an attack or damage ("billion laughs" needs one).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kg.errors import CorruptFileError
from kg.limits import LoadLimits
from kg.loaders.archive import MemberReader

__all__ = ["Relation", "check_package", "relations_of", "relations_path"]

_MARKUP_SUFFIXES = (".xml", ".rels", ".vml")
_DTD_MARKS = tuple(
    mark.encode(encoding) for mark in ("<!DOCTYPE", "<!ENTITY") for encoding in ("utf-8", "utf-16-le", "utf-16-be")
)
_LONGEST_MARK = max(map(len, _DTD_MARKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What one part of a package refers to; ``target`` is the path of a part, or a URL where ``is_external``."""

    kind: str
    target: str
    is_external: bool


def check_package(
    data: bytes,
    *,
    name: str,
    limits: LoadLimits,
    visit: Callable[[str, bytes], None] | None = None,
    large: Mapping[str, int] | None = None,
    feed: Callable[[str, bytes], None] | None = None,
) -> None:
    """Expand every part once, counted, and refuse bombs of compression and of XML entities.

    :param data: The package.
    :param name: What to call it in messages.
    :param limits: See :class:`kg.loaders.archive.MemberReader`; XML parts may have ``max_text_bytes`` each.
    :param visit: Called with the path and the bytes of each XML part that is not large.
    :param large: Where the paths of XML parts begin that may be larger, and the most bytes of each.
    :param feed: Called with the path of a large part and each piece of it, in order.
    :raises LoadError: If a part is encrypted, damaged, passes a limit or holds a DTD.
    """
    reader = MemberReader(data, name=name, limits=limits)
    for member in reader.members:
        path = member.filename
        where = f"{name}!/{path}"
        if not path.lower().endswith(_MARKUP_SUFFIXES):
            for _ in reader.pieces(member):
                pass
        elif max_bytes := next((size for start, size in (large or {}).items() if path.startswith(start)), 0):
            before = b""
            for piece in reader.pieces(member, max_bytes=max_bytes):
                _refuse_types(before + piece, where=where)
                before = piece[-_LONGEST_MARK:]
                if feed is not None:
                    feed(path, piece)
        else:
            part = reader.read(member, max_bytes=limits.max_text_bytes)
            _refuse_types(part, where=where)
            if visit is not None:
                visit(path, part)


def _refuse_types(markup: bytes, *, where: str) -> None:
    if any(mark in markup for mark in _DTD_MARKS):
        raise CorruptFileError(
            f"{where}: holds a document type definition, which Office files never do; it may be an XML entity bomb. It "
            "was not parsed."
        )


def relations_path(part: str) -> str:
    """Return where the relationships of ``part`` stand: ``xl/_rels/workbook.xml.rels``."""
    folder, _, file = part.rpartition("/")
    return f"{folder}/_rels/{file}.rels".lstrip("/")


def relations_of(part: str, parts: Mapping[str, bytes]) -> dict[str, Relation]:
    """Return the relationships of a part by their ids; none where they are missing or damaged.

    :param part: The path of the part.
    :param parts: The XML parts of the package, by path.
    :returns: Each id and what it refers to.
    """
    found: dict[str, Relation] = {}
    for attributes in _relationships(parts.get(relations_path(part), b"")):
        target = attributes.get("Target", "")
        is_external = attributes.get("TargetMode") == "External"
        if not is_external:
            base = "" if target.startswith("/") else posixpath.dirname(part)
            target = posixpath.normpath(posixpath.join(base, target.lstrip("/")))
        kind = attributes.get("Type", "").rpartition("/")[2]
        found[attributes.get("Id", "")] = Relation(kind=kind, target=target, is_external=is_external)
    return found


def _relationships(markup: bytes) -> Iterator[dict[str, str]]:
    from lxml import etree

    if not markup:
        return
    try:
        root = etree.fromstring(markup, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.LxmlError:
        return
    for element in root:
        if isinstance(element.tag, str):
            yield {str(key): str(value) for key, value in element.attrib.items()}

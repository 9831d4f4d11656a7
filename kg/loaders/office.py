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
    large: tuple[str, ...] = (),
    visit: Callable[[str, bytes], None] | None = None,
) -> None:
    """Expand every part once, counted, and refuse bombs of compression and of XML entities.

    :param data: The package.
    :param name: What to call it in messages.
    :param limits: See :class:`kg.loaders.archive.MemberReader`; XML parts may have ``max_text_bytes`` each.
    :param large: Where the paths of XML parts begin that are read as a stream and so may have ``max_bytes``.
    :param visit: Called with the path and the bytes of each XML part.
    :raises LoadError: If a part is encrypted, damaged, passes a limit or holds a DTD.
    """
    reader = MemberReader(data, name=name, limits=limits)
    for member in reader.members:
        path = member.filename
        is_markup = path.lower().endswith(_MARKUP_SUFFIXES)
        bounded = is_markup and not path.startswith(large)
        part = reader.read(member, max_bytes=limits.max_text_bytes if bounded else None)
        if is_markup and any(mark in part for mark in _DTD_MARKS):
            raise CorruptFileError(
                f"{name}!/{path}: holds a document type definition, which Office files never do; it may be an XML "
                "entity bomb. It was not parsed."
            )
        if is_markup and visit is not None:
            visit(path, part)


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

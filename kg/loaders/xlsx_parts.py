"""What the streaming reader of workbooks does not tell: merged cells, formulas without a value, pictures of a sheet.

Layer: ``kg``; the standard library and lxml. Sheets can have hundreds of megabytes, so they are searched as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.errors import LoadError
from kg.limits import LoadLimits
from kg.loaders.archive import MemberReader
from kg.loaders.builder import DocumentBuilder
from kg.loaders.office import check_package, relations_of
from kg.loaders.pictures import open_picture
from kg.loaders.text_tools import clean
from kg.types import RawFile

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["SheetPart", "add_sheet_pictures", "sheet_parts"]

_LARGE = ("xl/worksheets/", "xl/sharedStrings")
_MAX_MERGED = 100_000
_MERGED = re.compile(rb"<(?:\w{1,9}:)?mergeCell\s[^>]{0,99}?ref=\"([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})\"")
_FORMULA_WITHOUT_VALUE = re.compile(
    rb"(?:</(?:\w{1,9}:)?f>|<(?:\w{1,9}:)?f(?:\s[^>]{0,200})?/>)\s*"
    rb"(?:</(?:\w{1,9}:)?c>|<(?:\w{1,9}:)?v\s*/>|<(?:\w{1,9}:)?v>\s*</(?:\w{1,9}:)?v>)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPart:
    """One sheet in its package; ``merged`` are ranges as (first row, first column, last row, last column), from 1."""

    path: str = ""
    merged: tuple[tuple[int, int, int, int], ...] = ()
    n_formulas_without_value: int = 0
    n_charts: int = 0
    media: tuple[tuple[str, str], ...] = ()
    """The pictures of the sheet: the path of each and its alternative text."""


def sheet_parts(raw: RawFile, *, limits: LoadLimits) -> dict[str, SheetPart]:
    """Check the package and look through it once.

    :param raw: The workbook.
    :param limits: What it may cost.
    :returns: What was found of each sheet, by its name.
    :raises LoadError: If the package is a bomb or damaged.
    """
    parts: dict[str, bytes] = {}
    found: dict[str, tuple[tuple[tuple[int, int, int, int], ...], int]] = {}

    def look(path: str, part: bytes) -> None:
        if path.startswith("xl/worksheets/") and path.endswith(".xml"):
            found[path] = tuple(_merged(part)), len(_FORMULA_WITHOUT_VALUE.findall(part))
        elif path.startswith("xl/") and not path.startswith(_LARGE) or path.endswith(".rels"):
            parts[path] = part

    check_package(raw.data, name=raw.name, limits=limits, large=_LARGE, visit=look)
    sheets: dict[str, SheetPart] = {}
    for name, path in _sheet_paths(parts):
        merged, n_formulas = found.get(path, ((), 0))
        media, n_charts = _drawn(path, parts)
        sheets[name] = SheetPart(
            path=path, merged=merged, n_formulas_without_value=n_formulas, n_charts=n_charts, media=media
        )
    return sheets


def _merged(part: bytes) -> Iterator[tuple[int, int, int, int]]:
    for count, found in enumerate(_MERGED.finditer(part)):
        if count >= _MAX_MERGED:
            return
        left, first, right, last = found.groups()
        if int(first) <= int(last) and _column(left) <= _column(right):
            yield int(first), _column(left), int(last), _column(right)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _parse(markup: bytes | None) -> _Element | None:
    from lxml import etree

    if not markup:
        return None
    try:
        return etree.fromstring(markup, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.LxmlError:
        return None


def _named(root: _Element | None, name: str) -> Iterator[_Element]:
    """Yield the elements of this local name; the strict form of the format has namespaces of its own."""
    return iter(()) if root is None else root.iter(f"{{*}}{name}")


def _sheet_paths(parts: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    relations = relations_of("xl/workbook.xml", parts)
    for sheet in _named(_parse(parts.get("xl/workbook.xml")), "sheet"):
        relation = relations.get(_relation_id(sheet, "id"))
        if relation is not None:
            yield sheet.get("name", ""), relation.target


def _relation_id(element: _Element, name: str) -> str:
    """Return the attribute of this local name that has a namespace, as references to relationships do."""
    return next((str(value) for key, value in element.attrib.items() if str(key).endswith(f"}}{name}")), "")


def _drawn(path: str, parts: Mapping[str, bytes]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the pictures of a sheet, and how many charts it has."""
    media: list[tuple[str, str]] = []
    n_charts = 0
    for relation in relations_of(path, parts).values():
        if relation.kind != "drawing" or relation.is_external:
            continue
        inside = relations_of(relation.target, parts)
        n_charts += sum(other.kind == "chart" for other in inside.values())
        for picture in _named(_parse(parts.get(relation.target)), "pic"):
            blip = next(_named(picture, "blip"), None)
            target = inside.get(_relation_id(blip, "embed")) if blip is not None else None
            properties = next(_named(picture, "cNvPr"), None)
            if target is not None and not target.is_external:
                media.append((target.target, properties.get("descr", "") if properties is not None else ""))
    return tuple(media), n_charts


def add_sheet_pictures(builder: DocumentBuilder, part: SheetPart, *, page: int) -> None:
    """Add the pictures of one sheet; one that is damaged or linked is counted, not fatal.

    :param builder: Takes the pictures.
    :param part: The sheet.
    :param page: Its number.
    """
    if not part.media:
        return
    reader = MemberReader(builder.raw.data, name=builder.raw.name, limits=builder.limits)
    members = {member.filename: member for member in reader.members}
    for path, alt_text in part.media:
        member = members.get(path)
        if member is None:
            builder.leave_out("missing from the file")
            continue
        try:
            where = f"{builder.raw.name}: picture {path}"
            picture = open_picture(reader.read(member), limits=builder.limits, where=where)
        except LoadError as error:
            builder.leave_out(error.code)
            continue
        builder.add_picture(picture, page=page, alt_text=clean(alt_text))

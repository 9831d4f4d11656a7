"""What the streaming reader of workbooks does not tell: merged cells, formulas without a value, pictures, comments.

Layer: ``kg``; the standard library and lxml. Sheets can have hundreds of megabytes, so they are searched as bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.errors import LoadError
from kg.limits import LoadLimits
from kg.loaders.archive import MemberReader
from kg.loaders.builder import DocumentBuilder
from kg.loaders.office import check_package, relations_of
from kg.loaders.pictures import open_picture
from kg.loaders.text_tools import clean, squash
from kg.types import RawFile

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["SheetPart", "add_sheet_pictures", "sheet_parts"]

_SHEETS = "xl/worksheets/sheet"
_STRINGS = "xl/sharedStrings"
_MAX_MERGED = 100_000
_MERGED = re.compile(rb"<(?:\w{1,9}:)?mergeCell\s[^>]{0,99}?ref=\"([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})\"")
_FORMULAS_WITHOUT_VALUE = (b"</f></c>", b"</f><v></v>", b"</f><v/>", b"</f><v />")
_END_OF_CELLS = b"sheetData>"
_CARRIED = 16  # bytes from one piece to the next, for what stands across them
_MAX_TAIL = 16 * 1024 * 1024  # bytes looked at behind the cells of a sheet


class _SheetScan:
    """Looks through the bytes of one sheet as they come: formulas among the cells, merged ranges behind them."""

    def __init__(self) -> None:
        self.n_formulas_without_value = 0
        self._before = b""
        self._tail: bytearray | None = None

    def feed(self, piece: bytes) -> None:
        for mark in _FORMULAS_WITHOUT_VALUE:
            # What is carried over is shorter than the mark, so no mark is counted twice.
            self.n_formulas_without_value += (self._before[1 - len(mark) :] + piece).count(mark)
        if self._tail is not None:
            self._tail += piece[: _MAX_TAIL - len(self._tail)]
        elif (end := (self._before + piece).rfind(_END_OF_CELLS)) >= 0:
            self._tail = bytearray((self._before + piece)[end:])
        self._before = (self._before + piece)[-_CARRIED:]

    def merged(self) -> tuple[tuple[int, int, int, int], ...]:
        return tuple(_merged(bytes(self._tail or b"")))


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPart:
    """One sheet in its package; ``merged`` are ranges as (first row, first column, last row, last column), from 1."""

    path: str = ""
    merged: tuple[tuple[int, int, int, int], ...] = ()
    n_formulas_without_value: int = 0
    n_charts: int = 0
    media: tuple[tuple[str, str], ...] = ()
    """The pictures of the sheet: the path of each and its alternative text."""
    notes: tuple[str, ...] = ()
    """What stands on the sheet beside its cells: comments on cells, and the words of text boxes."""


def sheet_parts(raw: RawFile, *, limits: LoadLimits) -> dict[str, SheetPart]:
    """Check the package and look through it once.

    :param raw: The workbook.
    :param limits: What it may cost.
    :returns: What was found of each sheet, by its name.
    :raises LoadError: If the package is a bomb or damaged.
    """
    parts: dict[str, bytes] = {}
    scans: dict[str, _SheetScan] = defaultdict(_SheetScan)

    def feed(path: str, piece: bytes) -> None:
        if path.startswith(_SHEETS):
            scans[path].feed(piece)

    # Sheets are parsed as a stream; the strings that they share are kept in memory, all of them.
    large = {_SHEETS: limits.max_archive_bytes, _STRINGS: limits.max_bytes}
    check_package(raw.data, name=raw.name, limits=limits, visit=parts.__setitem__, large=large, feed=feed)
    sheets: dict[str, SheetPart] = {}
    for name, path in _sheet_paths(parts):
        scan = scans[path]
        media, n_charts = _drawn(path, parts)
        sheets[name] = SheetPart(
            path=path,
            merged=scan.merged(),
            n_formulas_without_value=scan.n_formulas_without_value,
            n_charts=n_charts,
            media=media,
            notes=tuple(_notes(path, parts)),
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


def _notes(path: str, parts: Mapping[str, bytes]) -> Iterator[str]:
    for relation in relations_of(path, parts).values():
        root = _parse(parts.get(relation.target)) if not relation.is_external else None
        if relation.kind == "comments":
            for comment in _named(root, "comment"):
                if words := _words(comment):
                    yield f"Note on {comment.get('ref', '')}: {words}"
        elif relation.kind == "drawing":
            yield from filter(None, map(_words, _named(root, "txBody")))


def _words(root: _Element) -> str:
    return squash(clean(" ".join(text.text or "" for text in _named(root, "t"))))


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

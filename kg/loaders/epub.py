"""EPUB books: the items of the spine in order, with their headings, pictures, tables and equations.

Layer: ``kg``; zipfile, lxml for the package and the HTML walker for the pages. An EPUB has no pages of its own, so a
book counts as one page. Its navigation is left out: it repeats the headings.
"""

from __future__ import annotations

import posixpath
import zipfile
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kg.errors import (
    CorruptFileError,
    EncryptedFileError,
    LoadError,
    UnreadableFileError,
    UnsafePathError,
    UnsupportedFileError,
)
from kg.limits import LoadLimits
from kg.loaders.archive import MemberReader
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import decode_text
from kg.loaders.html import HtmlWalker, parse_html
from kg.loaders.references import ReadReference
from kg.loaders.sniff import EPUB
from kg.loaders.text_tools import clean, squash
from kg.loaders.xml_tools import parse_xml
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["EpubLoader"]

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "image/svg+xml"})
_METADATA = {"creator": "author", "language": "language", "date": "date", "publisher": "publisher"}
_MAX_SPINE = 5_000


def _named(root: _Element, name: str) -> list[_Element]:
    """Return all elements of a local name, whatever their namespace."""
    return list(root.iter(f"{{*}}{name}"))


class _Book:
    """The members of one EPUB, read against one budget."""

    def __init__(self, raw: RawFile, limits: LoadLimits) -> None:
        self._raw = raw
        self._limits = limits
        self._reader = MemberReader(raw.data, name=raw.name, limits=limits)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._reader.members:
            self._members.setdefault(member.filename.replace("\\", "/"), member)

    def has(self, path: str) -> bool:
        return path in self._members

    def read(self, path: str) -> bytes:
        member = self._members.get(path)
        if member is None:
            raise UnreadableFileError(f"{self._raw.name}: there is no {path[:200]!r} in the book.")
        return self._reader.read(member)

    def xml(self, path: str) -> _Element:
        return parse_xml(self.read(path), where=f"{self._raw.name}!/{path}", limits=self._limits)

    def path_of(self, reference: str, *, base: str) -> str:
        """Return the member that ``reference`` means in the member ``base``."""
        try:
            parts = urlsplit(reference.strip())
        except ValueError as error:
            raise UnreadableFileError(f"{self._raw.name}: {reference[:100]!r} is not a path ({error}).") from error
        if parts.scheme or parts.netloc:
            raise UnsupportedFileError(f"{self._raw.name}: {reference[:100]!r} is an address; nothing is fetched.")
        path = unquote(parts.path).replace("\\", "/")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(base), path) if path[:1] != "/" else path[1:])
        if path.startswith("../") or path == "..":
            raise UnsafePathError(f"{self._raw.name}: {reference[:100]!r} leads outside the book. It was not read.")
        return path

    def reference_reader(self, base: str) -> ReadReference:
        return lambda reference: self.read(self.path_of(reference, base=base))

    def require_readable(self) -> None:
        """Refuse a book whose pages are encrypted; scrambled fonts do not matter."""
        if not self.has(_ENCRYPTION):
            return
        methods = [
            element.get("Algorithm", "")
            for data in _named(self.xml(_ENCRYPTION), "EncryptedData")
            for element in _named(data, "EncryptionMethod")[:1]
        ]
        if any(method not in _FONT_SCRAMBLING for method in methods):
            raise EncryptedFileError(
                f"{self._raw.name}: the book is protected (DRM); its pages are encrypted. Use an unprotected copy."
            )


class EpubLoader:
    """Reads EPUB 2 and 3.

    :param limits: What one file may cost; those of archives apply to the book.
    """

    media_types: frozenset[str] = frozenset({EPUB})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Read the spine.

        :param raw: An EPUB file.
        :returns: A document of one page, with author, language and date where the book states them. A part that cannot
            be read is left out and counted in ``metadata["parts_left_out"]``.
        :raises EncryptedFileError: If the book is protected.
        :raises CorruptFileError: If its package cannot be read, or none of its parts.
        :raises LoadError: If it is empty, passes a limit or takes too long.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        book = _Book(raw, self._limits)
        book.require_readable()
        package_path = self._package_path(raw, book)
        package = book.xml(package_path)
        parts = _spine(book, package, base=package_path)
        failed: list[LoadError] = []
        for path in parts:
            builder.deadline.check(path)
            try:
                self._part(builder, book, path)
            except (CorruptFileError, UnreadableFileError, UnsafePathError, UnsupportedFileError) as error:
                failed.append(error)
        if failed and len(failed) == len(parts):
            raise CorruptFileError(f"{raw.name}: none of the book's {len(parts)} parts can be read: {failed[0]}")
        notes = _metadata(package)
        if failed:
            notes["parts_left_out"] = f"{len(failed)} of {len(parts)}: {failed[0]}"[:500]
        title = next((text for element in _named(package, "title") if (text := _words(element))), "")
        return builder.build(title=title, metadata=notes)

    def _package_path(self, raw: RawFile, book: _Book) -> str:
        for element in _named(book.xml(_CONTAINER), "rootfile"):
            if path := element.get("full-path"):
                return book.path_of(path, base="")
        raise CorruptFileError(f"{raw.name}: META-INF/container.xml names no package. The book is damaged.")

    def _part(self, builder: DocumentBuilder, book: _Book, path: str) -> None:
        data = book.read(path)
        if len(data) > self._limits.max_text_bytes:
            raise UnsupportedFileError(f"{path}: more than max_text_bytes = {self._limits.max_text_bytes}.")
        soup = parse_html(decode_text(data).text)
        HtmlWalker(builder, read=book.reference_reader(path)).walk(soup)


def _words(element: _Element) -> str:
    return squash(clean(" ".join(element.itertext())))


def _metadata(package: _Element) -> dict[str, str]:
    notes: dict[str, str] = {}
    for name, key in _METADATA.items():
        values = [text for element in _named(package, name)[:20] if (text := _words(element))]
        if values:
            notes[key] = "; ".join(dict.fromkeys(values))[:500] if key == "author" else values[0][:200]
    return notes


def _spine(book: _Book, package: _Element, *, base: str) -> list[str]:
    """Return the members to read, in reading order, without the navigation; each once."""
    items = {element.get("id", ""): element for element in _named(package, "item")}
    toc = {element.get("toc", "") for element in _named(package, "spine")}
    paths: dict[str, None] = {}
    for reference in _named(package, "itemref")[:_MAX_SPINE]:
        item = items.get(reference.get("idref", ""))
        if item is None or item.get("id") in toc or "nav" in (item.get("properties") or "").split():
            continue
        if item.get("media-type") in _PAGES and item.get("href"):
            try:
                paths[book.path_of(item.get("href", ""), base=base)] = None
            except LoadError:
                paths[item.get("href", "")] = None  # counted as a part that cannot be read
    return list(paths)

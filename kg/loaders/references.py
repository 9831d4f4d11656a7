"""Pictures that a page names: read from beside the page, never from outside its root, fetched only where that is set.

Layer: ``kg``. A page on disk reads below ``RawFile.root`` (its own folder where that is
empty); a page inside a zip archive reads from that archive; an upload has nothing beside it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from kg.errors import LimitExceededError, LoadError, UnreadableFileError, UnsafePathError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.expand import read_member
from kg.loaders.fetch import Fetcher, is_url
from kg.loaders.pictures import data_uri_bytes, open_picture
from kg.loaders.raw import raw_from_bytes
from kg.loaders.sniff import SVG, sniff
from kg.loaders.svg import add_drawing, may_draw, read_svg
from kg.types import RawFile

__all__ = ["ReadReference", "add_picture_bytes", "add_reference", "picture_fetcher", "read_reference"]

ReadReference = Callable[[str], bytes]
"""Gives the bytes that a reference names, or raises a :class:`kg.errors.LoadError`."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def read_reference(reference: str, *, raw: RawFile, limits: LoadLimits) -> bytes:
    """Return the bytes that ``reference`` names, as seen from ``raw``.

    :param reference: A ``data:`` URI, or a path relative to the page; one that begins with ``/`` counts from the root.
    :param raw: The page.
    :param limits: ``max_bytes`` bounds the file that is read.
    :returns: The bytes.
    :raises UnsupportedFileError: If the reference is a network address or has another scheme.
    :raises UnsafePathError: If it leads outside the root or the archive.
    :raises UnreadableFileError: If there is no such file.
    :raises LoadError: If the ``data:`` URI is broken or a limit is passed.
    """
    reference = reference.strip()
    if reference[:5].lower() == "data:":
        return data_uri_bytes(reference)
    if _SCHEME.match(reference) or reference.startswith("//"):
        raise UnsupportedFileError(f"{raw.name}: picture {reference[:200]!r} is an address; nothing is fetched.")
    try:
        path = unquote(urlsplit(reference).path).replace("\\", "/")
    except ValueError as error:
        raise UnreadableFileError(f"{raw.name}: picture {reference[:200]!r} is not a path ({error}).") from error
    if not path or "\0" in path:
        raise UnreadableFileError(f"{raw.name}: picture {reference[:200]!r} names no file.")
    if "!/" in raw.source:
        return _from_archive(path, raw=raw, limits=limits)
    return _from_folder(path, raw=raw, limits=limits)


def _from_folder(path: str, *, raw: RawFile, limits: LoadLimits) -> bytes:
    page = Path(raw.source)
    if not page.is_absolute():
        raise UnreadableFileError(f"{raw.name}: picture {path!r} cannot be read; {raw.source} stands in no folder.")
    root = Path(raw.root or page.parent).resolve()
    try:
        target = (root / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()
        if not target.is_relative_to(root):
            raise UnsafePathError(f"{raw.name}: picture {path!r} lies outside {root}. It was not read.")
        if not target.is_file():
            raise UnreadableFileError(f"{raw.name}: there is no picture {path!r} below {root}.")
        if target.stat().st_size > limits.max_bytes:
            raise LimitExceededError(f"{raw.name}: picture {path!r} is larger than max_bytes = {limits.max_bytes}.")
        return target.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, in Python 3.11 and 3.12
        raise UnreadableFileError(f"{raw.name}: picture {path!r} cannot be read ({error}).") from error


def _from_archive(path: str, *, raw: RawFile, limits: LoadLimits) -> bytes:
    """Read beside a member of an archive on disk, which is opened again, as are those that it lies in."""
    outer, *inner = raw.source.split("!/")
    base = "" if path.startswith("/") else posixpath.dirname(inner[-1])
    wanted = posixpath.normpath(posixpath.join(base, path.lstrip("/")))
    if wanted.startswith("../") or wanted == "..":
        raise UnsafePathError(f"{raw.name}: picture {path!r} lies outside the archive. It was not read.")
    try:
        data = Path(outer).read_bytes() if Path(outer).is_absolute() else b""
    except OSError as error:
        raise UnreadableFileError(f"{raw.name}: {outer} cannot be read again ({error}).") from error
    if not data:
        raise UnreadableFileError(f"{raw.name}: picture {path!r} cannot be read; {outer} is not on disk.")
    container = raw_from_bytes(outer, data, source=outer)
    for member in inner[:-1]:
        source = f"{container.source}!/{member}"
        container = raw_from_bytes(member, read_member(container, member, limits=limits), source=source)
    return read_member(container, wanted, limits=limits)


def picture_fetcher(raw: RawFile, fetcher: Fetcher) -> ReadReference | None:
    """Return what fetches the pictures of a page, counted; ``None`` where the page was not fetched itself.

    :param raw: The page.
    :param fetcher: Fetches by the rules that the page was fetched by.
    :returns: A reader of references.
    """
    if not is_url(raw.source):
        return None
    n_fetched = 0

    def read(reference: str) -> bytes:
        nonlocal n_fetched
        n_fetched += 1
        if n_fetched > fetcher.limits.max_images:
            raise LimitExceededError(f"{raw.name}: more pictures than fetch.max_images = {fetcher.limits.max_images}.")
        try:
            address = urljoin(raw.source, reference)
        except ValueError as error:
            raise UnreadableFileError(f"{raw.name}: picture {reference[:200]!r} is no address ({error}).") from error
        return fetcher.fetch(address).data

    return read


def add_reference(
    builder: DocumentBuilder,
    reference: str,
    *,
    alt_text: str = "",
    caption: str = "",
    label: str = "",
    read: ReadReference | None = None,
) -> None:
    """Add the picture that ``reference`` names; one that cannot be read is left out and counted, not raised.

    :param builder: The document that names it.
    :param reference: See :func:`read_reference`.
    :param alt_text: What the mark-up says of it.
    :param caption: Its caption.
    :param label: What the document calls it.
    :param read: Gives the bytes of a reference that is no ``data:`` URI; :func:`read_reference` by default.
    :raises LimitExceededError: If the time for the document is spent.
    """
    builder.deadline.check("the next picture")
    try:
        if read is None or reference.strip()[:5].lower() == "data:":
            data = read_reference(reference, raw=builder.raw, limits=builder.limits)
        else:
            data = read(reference.strip())
    except LoadError as error:
        builder.leave_out(error.code)
        return
    where = f"picture {reference[:80]!r}"
    add_picture_bytes(builder, data, where=where, alt_text=alt_text, caption=caption, label=label)


def add_picture_bytes(
    builder: DocumentBuilder, data: bytes, *, where: str, alt_text: str = "", caption: str = "", label: str = ""
) -> None:
    """Add a picture or a drawing (SVG) by its bytes; one that cannot be read is left out and counted, not raised.

    :param builder: The document that shows it.
    :param data: The bytes of an image file.
    :param where: What to call it in messages.
    :param alt_text: What the mark-up says of it.
    :param caption: Its caption.
    :param label: What the document calls it.
    """
    where = f"{builder.raw.name}: {where}"
    try:
        if sniff(data, name=where) == SVG:
            if may_draw(builder):
                drawing = read_svg(data, limits=builder.limits, where=where)
                add_drawing(builder, drawing, alt_text=alt_text, caption=caption, label=label)
            return
        picture = open_picture(data, limits=builder.limits, where=where)
    except LoadError as error:
        builder.leave_out(error.code)
        return
    builder.add_picture(picture, alt_text=alt_text, caption=caption, label=label)

"""What a file is, told from its bytes.

Layer: ``kg``; the standard library only. The suffix decides in two places where bytes cannot: Markdown is plain text
that happens to be Markdown, so ``.md`` and its like make a text file Markdown; and a Markdown file may open with an
HTML tag (``<p align=…>``), so under such a suffix only ``<!doctype html>`` or ``<html>`` make it HTML. A wrong suffix
never hides what else a file is. Data (JSON, CSV) is told from text in :mod:`kg.loaders.sniff_data`.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath

from kg.errors import EmptyFileError, UnsupportedFileError
from kg.loaders.decode import decode_text, looks_binary
from kg.loaders.sniff_data import data_type

__all__ = [
    "DOCX",
    "EML",
    "EPUB",
    "HTML",
    "MARKDOWN",
    "MBOX",
    "NOTEBOOK",
    "PDF",
    "PLAIN",
    "PPTX",
    "SVG",
    "TAR",
    "TEX",
    "XLSX",
    "ZIP",
    "sniff",
]

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIP = "application/zip"
HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"
SVG = "image/svg+xml"
EPUB = "application/epub+zip"
EML = "message/rfc822"
MBOX = "application/mbox"
NOTEBOOK = "application/x-ipynb+json"
TEX = "application/x-tex"
TAR = "application/x-tar"

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mkdn"})

# (offset, bytes there, media type). Types that no loader reads are named too, so that the refusal can name them.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (8, b"WEBP", "image/webp"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (257, b"ustar", TAR),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"MZ\x90", "application/x-dosexec"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "application/ogg"),
    (8, b"WAVE", "audio/wav"),
)
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_KINDS = (  # a member that only this kind has
    ("word/document.xml", DOCX),
    ("xl/workbook.xml", XLSX),
    ("ppt/presentation.xml", PPTX),
    ("META-INF/container.xml", EPUB),
    ("content.xml", "application/vnd.oasis.opendocument.text"),
)
_ZIP_LOOK = 64 * 1024  # the members that tell come first
_HTML_HEAD = re.compile(r"<!doctype\s+html|<html[\s>]", re.IGNORECASE)
_HTML_TAG = re.compile(
    r"<(?:head|body|title|meta|link|script|style|div|p|table|h[1-6]|ul|ol|article|section|main|figure|img|span|font|center|pre|"
    r"br|a|b|i|em|strong|blockquote|form|iframe)[\s>/]",
    re.IGNORECASE,
)
_HEAD_CHARACTERS = 4096
_SVG_HEAD = re.compile(r"<(?:\w{1,20}:)?svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
_HEADER_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60}):[ \t]|[ \t]+\S")
_MAIL_HEADERS = frozenset({"from", "to", "date", "subject", "received", "return-path", "message-id", "mime-version"})
_SURE_HEADERS = frozenset({"message-id", "mime-version", "received", "return-path"})
_MBOX_HEAD = re.compile(r"From \S{1,200} .{0,80}\d{4}\r?\n[A-Za-z-]{2,60}:[ \t]")
_TEX_SUFFIXES = frozenset({".tex", ".ltx", ".latex"})
_TEX_HEAD = re.compile(r"^\s*\\(?:documentclass|documentstyle|begin\{document\})", re.MULTILINE)


def _zip_type(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
        # Damaged; whoever opens it says so, and better the loader of its kind than one of archives.
        return next((media_type for member, media_type in _ZIP_KINDS if member.encode() in data[:_ZIP_LOOK]), ZIP)
    return next((media_type for member, media_type in _ZIP_KINDS if member in names), ZIP)


def _binary_type(data: bytes) -> str | None:
    if b"%PDF-" in data[:1024]:
        return PDF
    if data.startswith(_ZIP_MAGIC):
        return _zip_type(data)
    for offset, magic, media_type in _MAGIC:
        if data.startswith(magic, offset):
            return media_type
    if data.startswith(b"BM") and data[6:10] == b"\x00\x00\x00\x00":
        return "image/bmp"
    return None


def _skip_preamble(head: str) -> str:
    """Return ``head`` from its first character that is not white space, an XML declaration or a comment."""
    while True:
        head = head.lstrip()
        if head.startswith("<?"):
            _, found, head = head.partition("?>")
        elif head.startswith("<!--"):
            _, found, head = head.partition("-->")
        else:
            return head
        if not found:
            return ""


def _is_mail(head: str, suffix: str) -> bool:
    """Return whether ``head`` opens with the header of a message: lines ``Name: value`` up to an empty one."""
    names: set[str] = set()
    for line in head.splitlines():
        found = _HEADER_LINE.match(line)
        if found is None:
            break
        names.add((found[1] or "").lower())
    n_known = len(names & _MAIL_HEADERS)
    return n_known >= (1 if suffix == ".eml" else 3) and (suffix == ".eml" or bool(names & _SURE_HEADERS))


def _written_type(data: bytes, head: str, suffix: str) -> str | None:
    """Return the type of a text that is written to a format, which its words or its suffix show."""
    if head.startswith("{") and b'"nbformat"' in data and (b'"cells"' in data or b'"worksheets"' in data):
        return NOTEBOOK
    if _MBOX_HEAD.match(head):
        return MBOX
    if _is_mail(head, suffix):
        return EML
    if suffix in _TEX_SUFFIXES or (suffix not in _MARKDOWN_SUFFIXES and _TEX_HEAD.search(head)):
        return TEX
    return None


def _text_type(data: bytes, name: str) -> str:
    suffix = PurePosixPath(name.lower()).suffix
    head = _skip_preamble(decode_text(data[: 4 * _HEAD_CHARACTERS]).text[:_HEAD_CHARACTERS])
    if _SVG_HEAD.match(head):
        return SVG
    if written := _written_type(data, head, suffix):
        return written
    if _HTML_HEAD.match(head):
        return HTML
    if suffix in _MARKDOWN_SUFFIXES:
        return MARKDOWN
    if _HTML_TAG.match(head):
        return HTML
    return data_type(data, name=name) or PLAIN


def sniff(data: bytes, *, name: str) -> str:
    """Return the media type of ``data``.

    :param data: The whole file.
    :param name: Its name, for messages, and to tell Markdown from plain text.
    :returns: A media type; not necessarily one that a loader reads.
    :raises EmptyFileError: If there are no bytes, or only white space.
    :raises UnsupportedFileError: If the bytes are neither a known type nor text.
    """
    if not data or not data.strip():
        raise EmptyFileError(f"{name}: the file is empty ({len(data)} bytes, all white space). Nothing to read.")
    if media_type := _binary_type(data):
        return media_type
    if looks_binary(data):
        raise UnsupportedFileError(
            f"{name}: neither text nor a type that is known here; the file starts with the bytes "
            f"{data[:8].hex(' ')}. Convert it to PDF, text or a picture."
        )
    return _text_type(data, name)

"""Messages (``.eml``): who wrote to whom, when and about what, the words, and the pictures between them.

Layer: ``kg``; the standard library, and the HTML walker. Attachments are files of their own, which
:mod:`kg.loaders.expand` hands on; here they are only named.
"""

from __future__ import annotations

from email.message import Message

from kg.errors import UnreadableFileError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import decode_text
from kg.loaders.html import HtmlWalker, parse_html
from kg.loaders.mail_parts import Part, header_of, parse_mail, parts_of
from kg.loaders.references import ReadReference, add_picture_bytes
from kg.loaders.sniff import EML
from kg.loaders.text_tools import clean, tidy_lines
from kg.types import Document, RawFile

__all__ = ["MailLoader"]

_SHOWN = ("From", "To", "Cc", "Date")
_KEPT = {
    "from": "from",
    "to": "to",
    "cc": "cc",
    "date": "date",
    "message-id": "message_id",
    "in-reply-to": "in_reply_to",
}


def _text(part: Part) -> str:
    return decode_text(part.data, declared=part.charset or None).text if part.data else ""


def _bodies(parts: list[Part]) -> list[Part]:
    """Return the bodies to read: the plain ones, unless HTML alone has the words, a table or pictures."""
    plain = [part for part in parts if part.media_type == "text/plain" and not part.is_attachment and part.data.strip()]
    html = [part for part in parts if part.media_type == "text/html" and not part.is_attachment and part.data.strip()]
    is_richer = any(b"cid:" in part.data or b"<th" in part.data.lower() for part in html)
    return html if html and (is_richer or not plain) else plain


class MailLoader:
    """Reads messages of RFC 5322 with their MIME parts.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({EML})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Read one message.

        :param raw: A message.
        :returns: A document of one page: the subject as its heading and title, the senders, receivers and the date as
            its first lines, then the body. Quoted replies stay, each line or block behind ``>``.
        :raises LoadError: If it is empty, passes a limit or takes too long.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        message = parse_mail(raw.data, where=raw.name)
        subject = header_of(message, "subject")
        builder.add_heading(subject, level=1)
        builder.add("\n".join(f"{name}: {value}" for name in _SHOWN if (value := header_of(message, name))))
        parts = list(parts_of(message))
        used: set[str] = set()
        for body in _bodies(parts):
            self._body(builder, body, parts, used)
        for part in parts:
            is_shown = part.cid in used if part.cid else False
            if part.media_type.startswith("image/") and not part.is_attachment and not is_shown:
                add_picture_bytes(builder, part.data, where=f"picture {part.name!r}", alt_text=part.name)
        return builder.build(title=subject, metadata=_metadata(message, parts))

    def _body(self, builder: DocumentBuilder, body: Part, parts: list[Part], used: set[str]) -> None:
        if len(body.data) > self._limits.max_text_bytes:
            builder.add(f"[a body of {len(body.data)} bytes is longer than max_text_bytes and was left out]")
        elif body.media_type == "text/html":
            read = _cid_reader(builder.raw, parts, used)
            HtmlWalker(builder, read=read, mark_quotes=True).walk(parse_html(_text(body)))
        else:
            builder.add(tidy_lines(clean(_text(body))))


def _cid_reader(raw: RawFile, parts: list[Part], used: set[str]) -> ReadReference:
    by_cid = {part.cid: part for part in parts if part.cid}

    def read(reference: str) -> bytes:
        if reference[:4].lower() != "cid:":
            raise UnsupportedFileError(f"{raw.name}: picture {reference[:100]!r} is an address; nothing is fetched.")
        found = by_cid.get(reference[4:])
        if found is None:
            raise UnreadableFileError(f"{raw.name}: there is no part {reference[:100]!r} in the message.")
        used.add(found.cid)
        return found.data

    return read


def _metadata(message: Message, parts: list[Part]) -> dict[str, str]:
    notes = {key: value for name, key in _KEPT.items() if (value := header_of(message, name))}
    names = [part.name or part.media_type for part in parts if part.is_attachment]
    if names:
        notes["attachments"] = ", ".join(names)[:1000]
    return notes

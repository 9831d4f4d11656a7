"""What a message is made of: headers, bodies, pictures, attachments; and the messages of an mbox.

Layer: ``kg``; the standard library's ``email``. Structure is parsed by the old policy, which asks nothing of headers,
and the headers that are shown by the new one, which decodes them. The new one is slow (half a millisecond each time a
part is asked for its type) and raises on some damage, so each header is cut to a length, and kept as it stands where
parsing it fails.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.policy import compat32
from email.policy import default as _policy
from typing import Any

from kg.errors import CorruptFileError, LimitExceededError, LoadError
from kg.limits import LoadLimits
from kg.loaders.archive import Budget
from kg.loaders.raw import FileFailure, raw_from_bytes
from kg.loaders.text_tools import clean, squash
from kg.types import RawFile

__all__ = ["Part", "attachments_of", "header_of", "messages_of", "parse_mail", "parts_of"]

_MAX_HEADER = 4_000  # characters
_MAX_PARTS = 2_000
_MAX_BOUNDARIES = 50_000
_MAX_DEPTH = 30
_PARSE_ERRORS = (
    ArithmeticError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    RecursionError,
    email.errors.MessageError,
)
_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\r\n]{3,200}\r?\n(?=[A-Za-z][A-Za-z0-9-]*:)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"|?*]")
_SUFFIXES = {"text/plain": ".txt", "text/html": ".html", "image/jpeg": ".jpg", "message/rfc822": ".eml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One leaf of a message. ``name`` is its file name, empty where it has none; ``cid`` its Content-ID."""

    media_type: str
    charset: str
    name: str
    cid: str
    is_attachment: bool
    data: bytes


def parse_mail(data: bytes, *, where: str) -> Message:
    """Parse a message.

    :param data: The file.
    :param where: What to call it in messages.
    :returns: The message; the parser repairs most damage.
    :raises CorruptFileError: If it is nested too deeply.
    :raises LimitExceededError: If it has tens of thousands of parts.
    """
    if data.count(b"\n--") > _MAX_BOUNDARIES:
        raise LimitExceededError(f"{where}: more than {_MAX_BOUNDARIES} lines that may part it, as a bomb has.")
    try:
        return email.message_from_bytes(data, policy=compat32)
    except _PARSE_ERRORS as error:
        raise CorruptFileError(f"{where}: the message cannot be parsed ({error}). It is damaged.") from error


def header_of(message: Message, name: str) -> str:
    """Return a header, decoded, on one line; empty where there is none."""
    wanted = name.lower()
    for key, value in message.raw_items():
        if key.lower() == wanted:
            return _decoded(key, str(value))
    return ""


def _decoded(name: str, value: str) -> str:
    value = value[:_MAX_HEADER].replace("\r", "").replace("\n", "")
    try:
        text = str(_policy.header_factory(name, value))
    except _PARSE_ERRORS:
        text = value
    # Bytes that no declaration explains come as half surrogates; most of them are UTF-8.
    if any("\udc80" <= character <= "\udcff" for character in text):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return squash(clean(text))


def _attempt(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except _PARSE_ERRORS:
        return None


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts that hold content; a message inside the message is one."""
    stack: list[tuple[Message, int]] = [(message, 0)]
    n_parts = 0
    while stack:
        part, depth = stack.pop()
        n_parts += 1
        if n_parts > _MAX_PARTS:
            return
        payload = part.get_payload()
        is_message = part.get_content_maintype() == "message"
        if isinstance(payload, list) and not is_message and depth < _MAX_DEPTH:
            stack.extend((child, depth + 1) for child in reversed(payload) if isinstance(child, Message))
        else:
            yield part


def _content(part: Message) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):
        inner = [found for child in payload if isinstance(child, Message) and (found := _attempt(child.as_bytes))]
        return b"\n".join(inner)
    found = _attempt(part.get_payload, None, True)
    if isinstance(found, bytes):
        return found
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else b""


def parts_of(message: Message) -> Iterator[Part]:
    """Yield the leaves of a message in their order.

    :param message: A parsed message.
    :yields: Bodies, inline pictures and attachments.
    """
    for part in _leaves(message):
        name = _decoded("Subject", str(_attempt(part.get_filename) or ""))
        disposition = (_attempt(part.get_content_disposition) or "").lower()
        media_type = part.get_content_type()
        is_body = media_type in ("text/plain", "text/html")
        is_inline = is_body or (media_type.startswith("image/") and disposition != "attachment")
        yield Part(
            media_type=media_type,
            charset=_attempt(part.get_content_charset) or "",
            name=_file_name(str(name)),
            cid=header_of(part, "content-id").strip("<> "),
            is_attachment=disposition == "attachment" or (is_body and bool(name)) or not is_inline,
            data=_content(part),
        )


def _file_name(name: str) -> str:
    last = squash(clean(name)).replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last).strip(". ")[:150]


def attachments_of(raw: RawFile, *, limits: LoadLimits, budget: Budget) -> Iterator[RawFile | FileFailure]:
    """Yield the attachments of a message as files.

    :param raw: A message.
    :param limits: ``max_bytes`` applies to each attachment.
    :param budget: Counts all that one outermost file expands to.
    :yields: A file with ``source = "MAIL!/name"``, or its failure.
    """
    try:
        message = parse_mail(raw.data, where=raw.name)
    except LoadError:
        return  # the loader of messages meets the same error, and reports it
    seen: set[str] = set()
    for number, part in enumerate(parts_of(message), start=1):
        if not part.is_attachment or not part.data.strip():
            continue
        name = _unique(part.name or f"part-{number}{_SUFFIXES.get(part.media_type, '')}", seen)
        source = f"{raw.source}!/{name}"
        try:
            budget.add_member(where=raw.name)
            budget.add_bytes(len(part.data), where=source)
            if len(part.data) > limits.max_bytes:
                raise LimitExceededError(f"{source}: {len(part.data)} bytes, more than max_bytes = {limits.max_bytes}.")
            yield raw_from_bytes(name, part.data, source=source)
        except LoadError as error:
            yield FileFailure(source=source, name=name, error=error)


def _unique(name: str, seen: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    candidate, number = name, 1
    while candidate in seen:
        number += 1
        candidate = f"{stem or suffix}-{number}{dot}{suffix}" if stem else f"{name}-{number}"
    seen.add(candidate)
    return candidate


def messages_of(raw: RawFile, *, limits: LoadLimits, budget: Budget) -> Iterator[RawFile | FileFailure]:
    """Yield the messages of an mbox as files ``00001.eml``, ….

    :param raw: An mbox.
    :param limits: ``max_bytes`` applies to each message.
    :param budget: Counts all that one outermost file expands to.
    :yields: A message with ``source = "BOX!/00001.eml"``, or its failure.
    """
    box = raw.data.lstrip()
    starts = [(found.start(), found.end()) for found in _FROM_LINE.finditer(box)]
    if not starts:
        damaged = CorruptFileError(
            f"{raw.name}: begins like a mailbox, but no message in it can be told from the others."
        )
        yield FileFailure(source=raw.source, name=raw.name, error=damaged)
        return
    ends = [*(start for start, _ in starts[1:]), len(box)]
    for number, ((_, start), end) in enumerate(zip(starts, ends, strict=True), start=1):
        name = f"{number:05d}.eml"
        source = f"{raw.source}!/{name}"
        data = re.sub(rb"(?m)^>(>*From )", rb"\1", box[start:end])
        try:
            budget.add_member(where=raw.name)
            budget.add_bytes(len(data), where=source)
            if len(data) > limits.max_bytes:
                raise LimitExceededError(f"{source}: {len(data)} bytes, more than max_bytes = {limits.max_bytes}.")
            yield raw_from_bytes(name, data, source=source)
        except LoadError as error:
            yield FileFailure(source=source, name=name, error=error)

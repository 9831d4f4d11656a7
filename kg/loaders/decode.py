"""Text from bytes of unknown encoding, and the name of the encoding that was taken.

Layer: ``kg``; charset-normalizer. Order: byte-order mark; UTF-16 or UTF-32 without one (seen by its zero bytes);
strict UTF-8; the encoding that the file itself declares (HTML); UTF-8 with a few damaged characters; the best guess of
charset-normalizer, where Windows-1252 wins a tie, because on short Western text the others cannot be told from it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

__all__ = ["Decoded", "decode_text", "looks_binary"]

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 64 * 1024
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b") + b"\x7f"
_MAX_CONTROL_SHARE = 0.01  # random bytes have 11 %; text of any encoding has none, old text files a few
# The encodings that files are really found in. Given all that Python knows, the guess falls for those of old
# Macintoshes and mainframes on short text.
_CODE_PAGES = [f"cp125{digit}" for digit in range(9)] + ["koi8_r", "cp932", "euc_jp", "gb18030", "big5", "cp949"]
_FEW_HIGH_BYTES = 6  # fewer than this say nothing about the language, so nothing about the code page
_MAX_DAMAGED_SHARE = 0.002  # UTF-8 with one damaged character in 500 is still UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Text, and the encoding it was read in; ``n_replaced`` characters could not be read and are U+FFFD."""

    text: str
    encoding: str
    n_replaced: int = 0


def _marked(data: bytes) -> str | None:
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def _unmarked_wide(data: bytes) -> str | None:
    """Return the wide encoding that the places of the zero bytes betray, if any."""
    sample = data[: _SAMPLE_BYTES - _SAMPLE_BYTES % 4]
    quarters = [sample[i::4].count(0) / max(1, len(sample[i::4])) for i in range(4)]
    even, odd = (quarters[0] + quarters[2]) / 2, (quarters[1] + quarters[3]) / 2
    if min(quarters[1:]) > 0.6 and quarters[0] < 0.1:
        return "utf-32-le"
    if min(quarters[:3]) > 0.6 and quarters[3] < 0.1:
        return "utf-32-be"
    if odd > 0.3 and even < 0.05:
        return "utf-16-le"
    if even > 0.3 and odd < 0.05:
        return "utf-16-be"
    return None


def looks_binary(data: bytes) -> bool:
    """Return whether the first 64 KiB of ``data`` cannot be text in any encoding that this module reads."""
    if _marked(data) or _unmarked_wide(data):
        return False
    sample = data[:_SAMPLE_BYTES]
    n_controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return n_controls > _MAX_CONTROL_SHARE * len(sample)


def _decode_as(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(text=data.decode(encoding), encoding=codecs.lookup(encoding).name)
    except (LookupError, UnicodeDecodeError, ValueError):
        return None


def _damaged_utf8(data: bytes) -> Decoded | None:
    text = data.decode("utf-8", errors="replace")
    n_replaced = text.count("\ufffd")
    n_good = sum(1 for character in text[:_SAMPLE_BYTES] if character > "\x7f" and character != "\ufffd")
    if n_replaced <= _MAX_DAMAGED_SHARE * len(text) and n_good > n_replaced:
        return Decoded(text=text, encoding="utf-8", n_replaced=n_replaced)
    return None


def _guessed(data: bytes) -> Decoded:

    sample = data[:_SAMPLE_BYTES]
    n_high = sum(1 for byte in sample if byte > 0x7F)
    if n_high < _FEW_HIGH_BYTES and (western := _decode_as(data, "cp1252")):
        return western
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_CODE_PAGES).best()
    guessed = _decode_as(data, best.encoding) if best is not None else None
    western = _decode_as(data, "cp1252")
    if guessed is None or (western is not None and western.text == guessed.text):
        return western or Decoded(text=data.decode("latin-1"), encoding="iso8859-1")
    return guessed


def decode_text(data: bytes, *, declared: str | None = None) -> Decoded:
    """Decode ``data``; never fails, so ask :func:`looks_binary` first.

    :param data: The bytes of a text file.
    :param declared: The encoding that the file says it is in, tried after UTF-8.
    :returns: The text, without a byte-order mark, and the encoding.
    """
    if wide := _marked(data) or _unmarked_wide(data):
        text = data.decode(wide, errors="replace")
        return Decoded(text=text, encoding=wide.removesuffix("-sig"), n_replaced=text.count("\ufffd"))
    tried = _decode_as(data, "utf-8")
    if tried is None and declared is not None:
        tried = _decode_as(data, declared)
    return tried or _damaged_utf8(data) or _guessed(data)

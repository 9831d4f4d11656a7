r"""Clean text, once, before any span is computed, so that every span stays exact.

Layer: ``kg``; the standard library only. Everything here takes time linear in the text, whatever the length of a line:
patterns such as ``[ ]+\n`` that look again from each position are avoided on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from kg.sentences import sentence_spans

__all__ = ["clean", "is_caption", "readable_stem", "squash", "tidy_lines", "window"]

_REPLACEMENT = 0xFFFD


def _translation() -> dict[int, str | None]:
    table: dict[int, str | None] = dict.fromkeys((*range(32), *range(127, 160)))
    table |= dict.fromkeys((0x0A,), "\n") | dict.fromkeys((0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029), "\n")
    table |= dict.fromkeys((0x09, 0xA0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)), " ")
    # Soft hyphen, zero-width space, direction marks, byte-order mark, noncharacters: invisible, and they break words.
    # The zero-width joiners U+200C and U+200D stay: Persian, Indic scripts and emoji are spelled with them.
    table |= dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070)), None)
    table |= dict.fromkeys((0xFEFF, 0xFFFE, 0xFFFF, *range(0xFFF9, 0xFFFC)), None)
    table |= {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
    table |= dict.fromkeys(range(0xD800, 0xE000), chr(_REPLACEMENT))  # half a surrogate pair is not storable as UTF-8
    return table


_TABLE = _translation()

_CAPTION = re.compile(
    r"(?:fig(?:ure|\.)?|chart|graph|diagram|photo(?:graph)?|image|picture|exhibit|plate|scheme|map|table|"
    r"abb(?:ildung|\.)|tab(?:elle|leau|\.)|bild|figura|gráfico|tabla|tabella|рис(?:унок|\.)|图|圖|図|表)"
    r"\s*[A-Z]{0,2}[.-]?\d",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """Return ``text`` in NFC with Unix line ends, plain spaces, and without control or invisible characters.

    Typographic ligatures (``ﬁ``) become letters, half surrogates the replacement character.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").translate(_TABLE))


def squash(text: str) -> str:
    """Return ``text`` on one line, each run of white space as one space."""
    return " ".join(text.split())


def tidy_lines(text: str) -> str:
    """Return ``text`` without trailing spaces, with at most one empty line in a row and none at either end."""
    kept: list[str] = []
    for line in text.split("\n"):
        stripped = line.rstrip()
        if stripped or (kept and kept[-1]):
            kept.append(stripped)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept)


def is_caption(block: str) -> bool:
    """Return whether ``block`` opens as a caption does: ``"Figure 3: …"``, ``"Table B.2 …"``, ``"Abb. 4 …"``."""
    return _CAPTION.match(block.lstrip()[:40]) is not None


def readable_stem(name: str) -> str:
    """Return the file name without its suffix, ``-`` and ``_`` as spaces; ``name`` itself if nothing is left."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    return squash(clean(stem).replace("_", " ").replace("-", " ")) or name


def window(text: str, *, at: int, first: int, last: int, n_chars: int = 300) -> str:
    """Return the words around character ``at``, one sentence a line.

    :param text: The whole text.
    :param at: The character to look around.
    :param first: Nothing before this character is taken (the start of a page).
    :param last: Nothing from this character on is taken (the end of a page).
    :param n_chars: Characters to take on either side; a sentence that would be cut there is dropped, or,
        where no other stands there, a word that would be cut.
    :returns: At most ``2 * n_chars`` characters.
    """
    start, end = max(first, at - n_chars), min(last, at + n_chars)
    # Looked at with as much again on either side, to tell where the sentences that are cut began and end.
    reach, limit = max(first, start - n_chars), min(last, end + n_chars)
    spans = [(reach + span.start, reach + span.end) for span in sentence_spans(text[reach:limit])]
    whole = [squash(text[a:b]) for a, b in spans if start <= a and b <= end]
    if whole:
        return "\n".join(whole)
    piece = text[start:end]
    if start > first and not text[start - 1].isspace():
        piece = piece.partition(" ")[2] or piece
    if end < last and not text[end].isspace():
        piece = piece.rpartition(" ")[0] or piece
    return squash(piece)

"""What a document calls its figures, and the sentences that mention them.

Layer: ``kg``; the standard library only. A label is a kind and a number (``Figure 3``, read off the caption, however
the caption abbreviates it) or a name that mark-up gives (``fig:tide``). Mentions of the first kind are read with their
lists and ranges: "Figs. 2 and 3", "Figures 2–4" and "Fig. 3a" all mention Figure 3. One pass over the text finds all.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from kg.sentences import sentence_spans
from kg.types import Span

__all__ = ["label_of", "mentions_of"]

_KINDS = (  # the name that a label bears, and the words that stand for it in captions and sentences
    ("Figure", r"figures?|figs?\b\.?"),
    ("Abbildung", r"abbildung(?:en)?|abb\b\.?"),
    ("Table", r"tables?|tabs?\b\.?"),
    ("Tabelle", r"tabellen?"),
    ("Chart", r"charts?"),
    ("Graph", r"graphs?"),
    ("Diagram", r"diagrams?"),
    ("Photo", r"photo(?:graph)?s?"),
    ("Image", r"images?"),
    ("Picture", r"pictures?"),
    ("Exhibit", r"exhibits?"),
    ("Plate", r"plates?"),
    ("Scheme", r"schemes?"),
    ("Map", r"maps?"),
    ("Figura", r"figuras?"),
)
_PLURALS = frozenset({"figures", "figs", "figs.", "abbildungen", "tables", "tabs", "tabs.", "tabellen", "charts"})
_NUMBER = r"(?:[A-Z]{1,2}[.-]?)?\d{1,4}(?:\.\d{1,3}){0,2}(?:[a-z]\b)?(?:\([a-z]\))?"
_JOINT = r"\s{0,2}(?:,\s?(?:and|or|und)|,|and|or|&|und|to|through|bis|[–—-])\s{0,2}"
_REFERENCE = re.compile(
    r"(?<!\w)(?:" + "|".join(f"(?P<k{index}>{words})" for index, (_, words) in enumerate(_KINDS)) + r")"
    rf"\s{{0,2}}(?P<numbers>{_NUMBER}(?:{_JOINT}{_NUMBER}){{0,12}})",
    re.IGNORECASE,
)
_ONE = re.compile(rf"(?P<number>{_NUMBER})|(?P<range>to|through|bis|[–—-])", re.IGNORECASE)
_PART = re.compile(r"(?:(?<=\d)[a-z])?(?:\([a-z]\))?\Z", re.IGNORECASE)
_TOKEN = re.compile(r"[^\s(){}\[\],;\"'“”]+")
_CHAPTER = re.compile(r"\d{1,3}-\d{1,3}")
_MAX_RANGE = 60  # "Figures 1–2024" is a slip or a date, not two thousand figures


def _is_plural(found: re.Match[str]) -> bool:
    return found[0][: found.start("numbers") - found.start()].strip().lower() in _PLURALS


def _plain(number: str) -> str:
    """Return a number without the part it may name: ``3a`` and ``3(a)`` are parts of 3."""
    return _PART.sub("", number, count=1).upper()


def _kind(found: re.Match[str]) -> str:
    return next(name for index, (name, _) in enumerate(_KINDS) if found[f"k{index}"] is not None)


def label_of(caption: str) -> str:
    """Return what a caption calls its figure: ``"Fig. 3: Tides."`` gives ``"Figure 3"``.

    :param caption: A caption, or any block.
    :returns: The label; empty where the caption does not open with one.
    """
    found = _REFERENCE.match(caption.lstrip(" \t\n*_")[:60])
    if found is None:
        return ""
    if _CHAPTER.fullmatch(found["numbers"]) and not _is_plural(found):
        return f"{_kind(found)} {found['numbers']}"
    first = _ONE.match(found["numbers"])
    return f"{_kind(found)} {_plain(first[0])}" if first is not None else ""


def _numbers(found: re.Match[str]) -> Iterator[str]:
    """Yield each number that one reference names, ranges written out."""
    if _CHAPTER.fullmatch(found["numbers"]) and not _is_plural(found):
        yield found["numbers"]  # "Figure 2-4" is the fourth figure of chapter 2
        return
    previous, is_range = "", False
    for part in _ONE.finditer(found["numbers"]):
        if part["range"]:
            is_range = True
            continue
        number = _plain(part["number"])
        if is_range and previous.isdecimal() and number.isdecimal() and int(number) - int(previous) <= _MAX_RANGE:
            yield from (str(between) for between in range(int(previous) + 1, int(number)))
        yield number
        previous, is_range = number, False


def mentions_of(
    labels: Collection[str], text: str, *, captions: Mapping[str, Sequence[Span]] | None = None
) -> dict[str, tuple[Span, ...]]:
    """Find the sentences that mention each label.

    :param labels: Labels; empty ones are ignored.
    :param text: The text of a document.
    :param captions: For each label, the blocks that are its caption: a caption does not mention itself.
    :returns: For each label that is mentioned, its sentences in order, each once.
    """
    wanted = {label.casefold(): label for label in labels if label}
    if not wanted:
        return {}
    spans = sentence_spans(text)
    starts = [span.start for span in spans]
    found: dict[str, dict[int, Span]] = defaultdict(dict)
    for key, offset in _references(text, wanted):
        index = bisect_right(starts, offset) - 1
        label = wanted[key]
        own = (captions or {}).get(label, ())
        if index >= 0 and not any(block.start <= offset < block.end for block in own):
            found[label][index] = spans[index]
    return {label: tuple(sentences[index] for index in sorted(sentences)) for label, sentences in found.items()}


def _references(text: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield each wanted label (case-folded) that the text names, and where."""
    for reference in _REFERENCE.finditer(text):
        for number in _numbers(reference):
            key = f"{_kind(reference)} {number}".casefold()
            if key in wanted:
                yield key, reference.start()
    if all(" " in key for key in wanted):
        return
    for token in _TOKEN.finditer(text):
        key = token[0].rstrip(".:!?").casefold()
        if key in wanted:
            yield key, token.start()

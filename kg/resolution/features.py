"""Read off a document, for each name, what tells it from others of that name and what ties it to other names.

Layer: ``kg``; the standard library only. What a thing is, is read off the words beside its name and beside the pronouns
that stand for it; an extractor's statements are not used, because one wrong "is a" would part what is one.

A feature is ``kind:what``. The kinds, in the order in which they are kept where a name has more than its share:

=========  ==============================================================  =============================
``aka``    another name that the text states for it                        ``aka:nora vale``
``born``   a person's year of birth                                        ``born:1921``
``made``   the year of a work                                              ``made:1994``
``part``   what stands behind its name in parentheses                      ``part:footballer``
``where``  the region behind its name ("Springfield, Ohio")                ``where:ohio``
``is``     what the text says it is                                        ``is:painter``
``of``     a nation before what it is                                      ``of:welsh``
``pic``    it was read off a picture, and never stands in the text         ``pic:only``
``within`` the document, and the folder it comes from                      ``within:1f3a…``, ``within:/9bc0…``
``with``   a name in the same sentence, or in its chunk; no country        ``with:skerrin``
``year``   a year in the same sentence                                     ``year:1984``
``topic``  a word of the document's title                                  ``topic:harbour``
``word``   a common noun, nation or country in the same sentence           ``word:canvas``
=========  ==============================================================  =============================

A record that sums the features of many documents keeps the most frequent, and of those once said the first by the
alphabet: the names of the kinds are chosen so that context is dropped last to first in about the order above.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from kg.ids import sha256_hex
from kg.resolution.name_forms import SMALL_WORDS, fold_latin
from kg.resolution.names import VALUE_LABELS, is_common_noun, name_and_rest, normalise_name
from kg.resolution.regions import is_country
from kg.resolution.statements import Statement, aliases_after, region_after, region_in, said_of, years_of
from kg.sentences import sentence_spans
from kg.types import GraphDelta, Mention

__all__ = ["MAX_FEATURES", "document_features"]

MAX_FEATURES = 32
"""The most features of one name in one document."""

_MAX_MENTIONS = 40
"""The most mentions of one name in one document that are read; what a thing is stands where it is first spoken of."""

_ORDER = {kind: rank for rank, kind in enumerate(
    ("aka", "born", "made", "part", "where", "is", "of", "pic", "within", "with", "year", "topic", "word")
)}  # fmt: skip
_PLACES = frozenset({"GPE", "LOC", "FAC"})
_OF_COMMON_NOUNS = frozenset({"with", "topic", "word"})
_SHARE = {"aka": 4, "is": 6, "of": 2, "where": 3, "part": 2, "with": 12, "year": 4, "topic": 4, "word": 6}
_YEAR = re.compile(r"(?<!\d)(1[0-9]{3}|20[0-9]{2})(?!\d)")
_READ_OFF = frozenset({"ocr", "table"})


def document_features(delta: GraphDelta) -> dict[str, tuple[str, ...]]:
    """Return the features of each name id of a document.

    :param delta: The document's resolved change.
    :returns: For each name id of a mention, at most :data:`MAX_FEATURES` features, sorted.
    """
    reading = _Reading(delta)
    return {name: reading.features(name) for name in reading.mentions}


class _Reading:
    """One document, with what the features of all its names share."""

    def __init__(self, delta: GraphDelta) -> None:
        self._delta = delta
        self._chunks = {chunk.chunk_id: chunk for chunk in delta.chunks}
        self._sentences: dict[str, list[tuple[int, int]]] = {}
        self._read_off = _pieces_read_off(delta)
        self.mentions: dict[str, list[Mention]] = defaultdict(list)
        self._in_chunk: dict[str, list[Mention]] = defaultdict(list)
        for mention in sorted(delta.extraction.mentions, key=lambda m: (m.chunk_id, m.span.start, m.mention_id)):
            self.mentions[mention.entity_id].append(mention)
            self._in_chunk[mention.chunk_id].append(mention)
        self._names = {name: _name_of(mentions) for name, mentions in self.mentions.items()}
        self._counts = Counter(m.entity_id for m in delta.extraction.mentions)
        self._rarity = {self._names[name]: count for name, count in sorted(self._counts.items())}
        self._document = _document_marks(delta)

    def features(self, name: str) -> tuple[str, ...]:
        """Return the features of one name; none for dates and quantities, and only the context of common nouns."""
        mentions = self.mentions[name]
        naming = [mention for mention in mentions if not mention.refers_to]
        if all(mention.label in VALUE_LABELS for mention in naming):
            return ()
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for mention in mentions[:_MAX_MENTIONS]:
            for kind, what in self._of_mention(mention):
                found[kind][what] += 1
        if "with" not in found:  # a label on a chart has no neighbour in its line
            found["with"].update(self._around(name, mentions[0].chunk_id))
        if all(self._is_read_off(mention) for mention in mentions):
            found["pic"]["only"] += 1
        own = set(self._names[name].split())
        for what in self._document["within"]:
            found["within"][what] += 1
        for what in self._document["topic"]:
            if what not in own:
                found["topic"][what] += 1
        is_common = all(mention.label in VALUE_LABELS or _is_common(mention) for mention in naming)
        kept = _OF_COMMON_NOUNS if is_common else _ORDER.keys()
        return _bounded({kind: found[kind] for kind in found if kind in kept}, rarity=self._rarity)

    def _of_mention(self, mention: Mention) -> Iterator[Statement]:
        chunk = self._chunks[mention.chunk_id]
        start, end = mention.span.start - chunk.span.start, mention.span.end - chunk.span.start
        first, last = self._sentence(mention.chunk_id, start)
        name, rest = name_and_rest(mention.text)
        before, after = chunk.text[first:start], rest + chunk.text[end:last]
        if mention.label in VALUE_LABELS or _is_common(mention):
            yield from self._companions(mention, first + chunk.span.start, last + chunk.span.start)
            return
        yield from said_of(before, after)
        yield from region_in(name, label=mention.label)
        region = self._region_of(mention)
        if region is not None:
            behind = chunk.text[region.span.end - chunk.span.start : last]
            yield from region_after(before, region.text, behind)
        if not mention.refers_to:
            yield from aliases_after(name, after)
        yield from years_of(after, label=mention.label)
        for year in _YEAR.findall(chunk.text[first:last]):
            yield Statement("year", year)
        yield from self._companions(mention, first + chunk.span.start, last + chunk.span.start)

    def _companions(self, mention: Mention, first: int, last: int) -> Iterator[Statement]:
        for other in self._in_chunk[mention.chunk_id]:
            if other.entity_id == mention.entity_id or other.label in VALUE_LABELS:
                continue
            if first <= other.span.start < last:
                name = self._names[other.entity_id]
                if _is_common(other) or other.label == "NORP" or is_country(name):
                    yield Statement("word", name.rsplit(" ", 1)[-1])
                elif name:
                    yield Statement("with", name)

    def _around(self, name: str, chunk_id: str) -> list[str]:
        return [
            self._names[other.entity_id]
            for other in self._in_chunk[chunk_id]
            if other.entity_id != name and other.label not in VALUE_LABELS and not _is_common(other)
            if self._names[other.entity_id] and not is_country(self._names[other.entity_id])
        ]

    def _region_of(self, mention: Mention) -> Mention | None:
        """Return the place named right after another and a comma."""
        if mention.label not in _PLACES or is_country(self._names[mention.entity_id]):
            return None
        start = mention.span.end + len(", ")
        chunk = self._chunks[mention.chunk_id]
        if not chunk.text.startswith(", ", mention.span.end - chunk.span.start):
            return None
        return next(
            (m for m in self._in_chunk[mention.chunk_id] if m.span.start == start and m.label in ("GPE", "LOC")), None
        )

    def _sentence(self, chunk_id: str, offset: int) -> tuple[int, int]:
        spans = self._sentences.get(chunk_id)
        text = self._chunks[chunk_id].text
        if spans is None:
            spans = [(span.start, span.end) for span in sentence_spans(text)]
            self._sentences[chunk_id] = spans
        position = bisect_right(spans, (offset, len(text) + 1)) - 1
        if position < 0 or spans[position][1] < offset:
            return 0, len(text)
        return spans[position]

    def _is_read_off(self, mention: Mention) -> bool:
        asset = self._chunks[mention.chunk_id].asset_id
        if asset is None:
            return False
        pieces = self._read_off.get(asset)
        return pieces is None or any(a <= mention.span.start < b for a, b in pieces)


def _is_common(mention: Mention) -> bool:
    return is_common_noun(mention.text, mention.label)


def _name_of(mentions: Sequence[Mention]) -> str:
    """Return the longest name among the mentions, normalised; ties by spelling."""
    names = {
        normalise_name(name_and_rest(m.text)[0]) for m in mentions if not m.refers_to and m.label not in VALUE_LABELS
    }
    return fold_latin(min(names, key=lambda name: (-len(name), name))) if names else ""


def _pieces_read_off(delta: GraphDelta) -> dict[str, list[tuple[int, int]] | None]:
    """Return, for each captioned picture, the parts of its caption that were read off it (``None``: all)."""
    return {
        caption.asset_id: [(line.span.start, line.span.end) for line in caption.lines if line.source in _READ_OFF]
        if caption.lines
        else None
        for caption in delta.captions
    }


def _document_marks(delta: GraphDelta) -> dict[str, list[str]]:
    document = delta.document
    folder = document.source.rpartition("/")[0]
    marks = [sha256_hex(document.document_id.encode())[:10]]
    if folder:
        marks.append("/" + sha256_hex(folder.encode())[:9])
    words = fold_latin(normalise_name(document.title)).split()
    topic = [word for word in words if len(word) > 2 and word not in SMALL_WORDS and not word.isdigit()]
    return {"within": marks, "topic": sorted(set(topic))}


def _bounded(found: Mapping[str, Counter[str]], *, rarity: Mapping[str, int]) -> tuple[str, ...]:
    kept: list[str] = []
    for kind in sorted(found, key=lambda kind: _ORDER[kind]):
        if kind == "with":
            ranked = sorted(found[kind], key=lambda what: (rarity.get(what, 0), what))
        else:
            ranked = sorted(found[kind], key=lambda what: (-found[kind][what], what))
        kept.extend(f"{kind}:{what}" for what in ranked[: _SHARE.get(kind, 2)])
    return tuple(sorted(kept[:MAX_FEATURES]))

"""Keep of a model's extraction what its text really says: names that stand in it, statements with a place in it.

Layer: ``generation``; ``kg`` only. Pure functions.

A model that extracts may invent, translate or complete names. Nothing of that can be cited, so it does not enter the
graph: a name is looked for in the text, letter by letter but for case and white space, and a statement needs both its
names in it. What is left out is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kg.ids import mention_id, triple_id
from kg.sentences import sentence_spans
from kg.types import Chunk, Extraction, Mention, RefusedStatement, Span, Triple

__all__ = ["Said", "SaidEntity", "SaidRelation", "ground", "merge", "parse_reply"]

_MAX_NAME = 120
_MAX_RELATION = 60
_MAX_PLACES = 20  # mentions of one name in one chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidEntity:
    """An entity as a model names it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidRelation:
    """A statement as a model makes it."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """All that a model said of one text. ``is_whole`` is false where its reply broke off."""

    entities: tuple[SaidEntity, ...] = ()
    relations: tuple[SaidRelation, ...] = ()
    is_whole: bool = True


def parse_reply(reply: str) -> Said:
    """Read a reply, whole or broken off: what was finished before it broke off counts.

    :param reply: JSON as the schema wants it, perhaps inside other words (thinking, a code fence).
    :returns: What could be read; nothing where there is no JSON.
    """
    body = re.sub(r"<think>.*?(?:</think>|\Z)", "", reply, flags=re.DOTALL)
    start = body.find("{")
    if start < 0:
        return Said(is_whole=False)
    try:
        read, _ = json.JSONDecoder().raw_decode(body[start:])
    except (ValueError, RecursionError):
        return _parse_stump(body[start:])
    if not isinstance(read, Mapping):
        return Said(is_whole=False)
    return Said(
        entities=tuple(_entities(_items(read.get("entities")))),
        relations=tuple(_relations(_items(read.get("relations")))),
    )


def _parse_stump(body: str) -> Said:
    """Read the finished items of JSON that breaks off: each is an object without objects inside."""
    items: list[Any] = []
    for match in re.finditer(r"\{[^{}]*\}", body):
        try:
            items.append(json.loads(match[0]))
        except ValueError:
            continue
    return Said(
        entities=tuple(_entities(item for item in items if "name" in item)),
        relations=tuple(_relations(item for item in items if "head" in item)),
        is_whole=False,
    )


def _items(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _entities(items: Iterable[Mapping[str, Any]]) -> Iterable[SaidEntity]:
    for item in items:
        name, kind = _flat(item.get("name")), _flat(item.get("type"))
        if name and len(name) <= _MAX_NAME:
            yield SaidEntity(name=name, type=kind)


def _relations(items: Iterable[Mapping[str, Any]]) -> Iterable[SaidRelation]:
    for item in items:
        head, name, tail = (_flat(item.get(key)) for key in ("head", "relation", "tail"))
        if head and name and tail and len(name) <= _MAX_RELATION and max(len(head), len(tail)) <= _MAX_NAME:
            yield SaidRelation(head=head, relation=name.replace("_", " ").casefold(), tail=tail)


def _flat(value: object) -> str:
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def merge(first: Said, second: Said) -> Said:
    """Join two readings of one text, each thing once."""
    return Said(
        entities=tuple(dict.fromkeys((*first.entities, *second.entities))),
        relations=tuple(dict.fromkeys((*first.relations, *second.relations))),
        is_whole=first.is_whole and second.is_whole,
    )


def ground(said: Said, chunk: Chunk, *, extractor: str, score: float) -> Extraction:
    """Turn what a model said of a chunk into mentions and triples with exact places.

    :param said: The model's reading.
    :param chunk: The chunk it read.
    :param extractor: The name that the triples carry.
    :param score: The confidence that they carry, in ``[0, 1]``.
    :returns: Unresolved mentions by place, triples in the order said, and what was refused.
    """
    types = {entity.name.casefold(): entity.type for entity in said.entities}
    names = {name.casefold(): name for r in said.relations for name in (r.head, r.tail)}
    names.update((entity.name.casefold(), entity.name) for entity in said.entities)
    places: dict[str, list[Mention]] = {}
    taken: list[Span] = []
    for folded, name in sorted(names.items(), key=lambda item: (-len(item[0]), item[0])):  # "York City" before "York"
        found = _places(name, chunk, taken)
        places[folded] = [_mention(chunk, span, types.get(folded) or "MISC", extractor) for span in found]
        taken.extend(found)
    triples: dict[str, Triple] = {}
    refused: list[RefusedStatement] = []
    for relation in said.relations:
        triple = _triple(relation, chunk, places, extractor=extractor, score=score)
        if isinstance(triple, Triple):
            triples.setdefault(triple.triple_id, triple)
        else:
            refused.append(triple)
    mentions = sorted((m for found in places.values() for m in found), key=lambda m: (m.span.start, m.span.end))
    return Extraction(mentions=tuple(mentions), triples=tuple(triples.values()), refused=tuple(refused))


def _places(name: str, chunk: Chunk, taken: Sequence[Span]) -> list[Span]:
    """Find where a name stands in the chunk, as whole words, outside of longer names; in the chunk's coordinates."""
    pattern = r"\s+".join(re.escape(word) for word in name.split())
    left = r"(?<!\w)" if name[:1].isalnum() else ""
    right = r"(?!\w)" if name[-1:].isalnum() else ""
    found: list[Span] = []
    for match in re.finditer(left + pattern + right, chunk.text, re.IGNORECASE):
        span = Span(start=chunk.span.start + match.start(), end=chunk.span.start + match.end())
        if all(span.end <= other.start or span.start >= other.end for other in taken):
            found.append(span)
        if len(found) == _MAX_PLACES:
            break
    return found


def _mention(chunk: Chunk, span: Span, label: str, extractor: str) -> Mention:
    start, end = span.start - chunk.span.start, span.end - chunk.span.start
    return Mention(
        mention_id=mention_id(chunk.chunk_id, span.start, span.end, label),
        chunk_id=chunk.chunk_id,
        text=chunk.text[start:end],
        span=span,
        label=label,
        source=extractor,
    )


def _triple(
    said: SaidRelation, chunk: Chunk, places: Mapping[str, Sequence[Mention]], *, extractor: str, score: float
) -> Triple | RefusedStatement:
    heads, tails = places[said.head.casefold()], places[said.tail.casefold()]
    missing = said.head if not heads else said.tail if not tails else ""
    same = said.head.casefold() == said.tail.casefold()
    if missing or same:
        reason = "it relates a thing to itself" if same and not missing else f"{missing!r} does not stand in the text"
        return RefusedStatement(
            chunk_id=chunk.chunk_id, head=said.head, name=said.relation, tail=said.tail, reason=reason
        )
    pairs = [(_sentences(chunk, head.span, tail.span), head, tail) for head in heads for tail in tails]
    span, head, tail = min(pairs, key=lambda pair: (len(pair[0]), abs(pair[1].span.start - pair[2].span.start)))
    return Triple(
        triple_id=triple_id(chunk.chunk_id, head.mention_id, said.relation, tail.mention_id, span.start, span.end),
        chunk_id=chunk.chunk_id,
        head_mention_id=head.mention_id,
        name=said.relation,
        tail_mention_id=tail.mention_id,
        span=span,
        extractor=extractor,
        score=score,
    )


def _sentences(chunk: Chunk, first: Span, second: Span) -> Span:
    """Return the sentences from that of one mention to that of the other, in the chunk's coordinates."""
    low = min(first.start, second.start) - chunk.span.start
    high = max(first.end, second.end) - chunk.span.start
    spans = [span for span in sentence_spans(chunk.text) if span.end > low and span.start < high]
    start = min((span.start for span in spans), default=low)
    end = max((span.end for span in spans), default=high)
    return Span(start=chunk.span.start + start, end=chunk.span.start + end)

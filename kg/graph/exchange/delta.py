"""An imported graph as a document: what it states, one statement a line, so that each has an exact place to cite.

Layer: ``kg``; the standard library.

The document's source is ``import:NAME``, so it is listed, replaced and removed like any other. Each line names the two
ends; where the file quotes a sentence, the statement's span is that quotation. Everything has the origin "asserted".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kg import ids
from kg.graph.exchange.values import ImportedEntity, ImportedGraph, ImportedStatement
from kg.ports import Tokenizer
from kg.resolution import entity_key
from kg.types import Chunk, Document, Extraction, GraphDelta, Mention, Modality, Origin, Page, Span, Triple

__all__ = ["EXTRACTOR", "SOURCE_PREFIX", "import_delta"]

SOURCE_PREFIX = "import:"
EXTRACTOR = "import"

_CHUNK_CHARACTERS = 900
"""Lines are gathered into chunks of about this many characters, some 200 tokens."""


class _Named(NamedTuple):
    """An entity's name at a place of a line."""

    key: str
    start: int
    end: int


@dataclass(slots=True)
class _Line:
    """A line, the names on it, and the statements that it makes (head and tail as numbers of names)."""

    text: str
    names: list[_Named] = field(default_factory=list)
    said: tuple[str, int, int, float] | None = None
    """Relation, start and end of the words that state it, score; from the first name to the second."""


def import_delta(
    graph: ImportedGraph,
    *,
    name: str,
    media_type: str,
    sha256: str,
    n_bytes: int,
    key_of: Callable[[str, str], str] = entity_key,
    tokenizer: Tokenizer | None = None,
) -> GraphDelta:
    """Make the document and its change to the record.

    :param graph: What the file says.
    :param name: The file's name; the document's source is ``import:NAME``.
    :param media_type: The file's media type.
    :param sha256: Of the file's bytes.
    :param n_bytes: Its size.
    :param key_of: The key under which a name with its type is one entity, the same as the resolver's.
    :param tokenizer: Counts tokens; ``None`` counts words.
    :returns: The change.
    """
    source = f"{SOURCE_PREFIX}{name}"
    document_id = ids.document_id(source, sha256)
    lines = list(_lines(graph))
    text = "\n".join(line.text for line in lines) + "\n"
    document = Document(
        document_id=document_id,
        source=source,
        name=name,
        media_type=media_type,
        sha256=sha256,
        n_bytes=n_bytes,
        title=f"Graph imported from {name}",
        text=text,
        pages=(Page(number=1, span=Span(start=0, end=len(text))),),
        is_paged=False,
        metadata={"imported": str(len(graph.statements))},
    )
    entities = {entity.key: entity for entity in graph.entities}
    writer = _Writer(document_id, text, entities, key_of, tokenizer)
    for group, start in _groups(lines):
        writer.add(group, start)
    return GraphDelta(
        document=document,
        captions=(),
        chunks=tuple(writer.chunks),
        extraction=Extraction(mentions=tuple(writer.mentions), triples=tuple(writer.triples)),
    )


def _lines(graph: ImportedGraph) -> Iterator[_Line]:
    entities = {entity.key: entity for entity in graph.entities}
    for statement in graph.statements:
        yield _statement_line(statement, entities)
    related = {key for one in graph.statements for key in (one.head, one.tail)}
    for entity in graph.entities:
        if entity.key not in related:
            yield _Line(text=f"{entity.name}.", names=[_Named(entity.key, 0, len(entity.name))])
        for alias in entity.aliases:
            # The line has the name too, so that no alias is more frequent than the name and takes its place.
            text = f"{entity.name} is also called {alias}."
            first = _Named(entity.key, 0, len(entity.name))
            yield _Line(text=text, names=[first, _Named(entity.key, len(text) - 1 - len(alias), len(text) - 1)])
        if entity.aliases:
            yield _Line(text=f"{entity.name}.", names=[_Named(entity.key, 0, len(entity.name))])


def _statement_line(statement: ImportedStatement, entities: dict[str, ImportedEntity]) -> _Line:
    head, tail = entities[statement.head].name, entities[statement.tail].name
    link = f" {statement.name} "
    text = f"{head}{link}{tail}"
    names = [
        _Named(statement.head, 0, len(head)),
        _Named(statement.tail, len(head) + len(link), len(text)),
    ]
    start, end = 0, len(text)
    if statement.quote:
        start = len(text) + 3
        end = start + len(statement.quote)
        text = f"{text}: “{statement.quote}”"
    if statement.source:
        page = f", page {statement.page}" if statement.page else ""
        text = f"{text} ({statement.source}{page})"
    if not statement.quote:
        text += "."
    return _Line(text=text, names=names, said=(statement.name, start, end, statement.score))


def _groups(lines: list[_Line]) -> Iterator[tuple[list[_Line], int]]:
    group: list[_Line] = []
    start = size = at = 0
    for line in lines:
        if group and size + len(line.text) > _CHUNK_CHARACTERS:
            yield group, start
            group, start, size = [], at, 0
        group.append(line)
        size += len(line.text) + 1
        at += len(line.text) + 1
    if group:
        yield group, start


class _Writer:
    """Turns groups of lines into chunks with their mentions and statements."""

    def __init__(
        self,
        document_id: str,
        text: str,
        entities: dict[str, ImportedEntity],
        key_of: Callable[[str, str], str],
        tokenizer: Tokenizer | None,
    ) -> None:
        self._document_id = document_id
        self._text = text
        self._entities = entities
        self._entity_ids = {key: ids.entity_id(key_of(entity.name, entity.type)) for key, entity in entities.items()}
        self._tokenizer = tokenizer
        self.chunks: list[Chunk] = []
        self.mentions: list[Mention] = []
        self.triples: list[Triple] = []

    def add(self, group: list[_Line], start: int) -> None:
        end = start + sum(len(line.text) + 1 for line in group) - 1
        text = self._text[start:end]
        chunk_id = ids.chunk_id(self._document_id, None, start, end)
        n_tokens = len(text.split()) if self._tokenizer is None else len(self._tokenizer.token_spans(text))
        self.chunks.append(
            Chunk(
                chunk_id=chunk_id,
                document_id=self._document_id,
                ordinal=len(self.chunks),
                text=text,
                span=Span(start=start, end=end),
                page_first=1,
                page_last=1,
                modality=Modality.TEXT,
                n_tokens=n_tokens,
            )
        )
        for line in group:
            self._line(line, start, chunk_id)
            start += len(line.text) + 1

    def _line(self, line: _Line, start: int, chunk_id: str) -> None:
        made = [self._mention(named, start, chunk_id) for named in line.names]
        self.mentions.extend(made)
        if line.said is None:
            return
        name, first, last, score = line.said
        head, tail = made[0].mention_id, made[1].mention_id
        span = Span(start=start + first, end=start + last)
        self.triples.append(
            Triple(
                triple_id=ids.triple_id(chunk_id, head, name, tail, span.start, span.end),
                chunk_id=chunk_id,
                head_mention_id=head,
                name=name,
                tail_mention_id=tail,
                span=span,
                extractor=EXTRACTOR,
                score=score,
                origin=Origin.ASSERTED,
            )
        )

    def _mention(self, named: _Named, start: int, chunk_id: str) -> Mention:
        span = Span(start=start + named.start, end=start + named.end)
        label = self._entities[named.key].type
        return Mention(
            mention_id=ids.mention_id(chunk_id, span.start, span.end, label),
            chunk_id=chunk_id,
            text=self._text[span.start : span.end],
            span=span,
            label=label,
            source=EXTRACTOR,
            entity_id=self._entity_ids[named.key],
        )

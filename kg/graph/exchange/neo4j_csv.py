"""CSV for ``neo4j-admin database import``, the way to load a large graph at once.

The same nodes and relationships are written, keys included, that ``mmkg graph sync`` writes, so that syncs keep the
database up to date from then on.

Layer: ``kg``; the standard library only.
Source: https://neo4j.com/docs/operations-manual/current/import/
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kg.errors import CorruptFileError
from kg.graph.exchange.folder import atomic_folder
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import GraphBuilder, ImportedGraph, first_of
from kg.graph.neo4j_rows import Rows
from kg.ports import TripleRow

__all__ = ["ARRAY_DELIMITER", "read", "write"]

ARRAY_DELIMITER = "\x1f"
"""Between the values of an array: the unit separator, which no name contains, where ``;`` may be part of one."""

_ABOUT = """This folder holds a graph for Neo4j, as CSV. Load it into an empty database with

  neo4j-admin database import full DATABASE \\
    --array-delimiter=U+001F --multiline-fields=true \\
    --nodes=workspace.csv --nodes=documents.csv --nodes=chunks.csv --nodes=entities.csv --nodes=statements.csv \\
    --relationships=related.csv --relationships=mentioned_in.csv --relationships=part_of.csv \\
    --relationships=subject.csv --relationships=object.csv --relationships=stated_in.csv

`mmkg graph sync` keeps the database up to date from then on. `mmkg graph import FOLDER` reads the folder back.
"""

_HEAD_WORDS = ("head", "source", "subject", "from", "start", "head_id", "src")
_TAIL_WORDS = ("tail", "target", "object", "to", "end", "tail_id", "dst")
_RELATION_WORDS = ("relation", "predicate", "name", "label", "type", "relationship")

Row = dict[str, Any]


def write(source: ExportSource, path: Path) -> dict[str, int]:
    """Write the folder.

    :param source: What to write.
    :param path: The folder.
    :returns: The number of rows of each file.
    """
    rows = Rows(source.workspace)
    counts: dict[str, int] = {}
    with atomic_folder(path, about=_ABOUT) as folder:
        for name, label, nodes in _node_files(source, rows):
            counts[name] = _write(folder / f"{name}.csv", _node_columns(label), (node.values() for node in nodes))
        for name, (start, end), links in _link_files(source, rows):
            columns = [f":START_ID({start})", f":END_ID({end})", ":TYPE", *_LINK_COLUMNS.get(name, ())]
            kind = name.upper()
            counts[name] = _write(folder / f"{name}.csv", columns, ((*link[:2], kind, *link[2:]) for link in links))
    return counts


_NODE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Workspace": ("version:long",),
    "Document": ("document_id", "name", "source", "title", "media_type"),
    "Chunk": (
        *("chunk_id", "document_id", "ordinal:long", "page_first:long", "page_last:long", "modality"),
        "document_key",
    ),
    "Entity": (
        *("entity_id", "name", "type", "aliases:string[]", "n_mentions:long", "n_documents:long"),
        *("folded", "folded_aliases:string[]"),
    ),
    "Statement": (
        *("statement_id", "head_id", "name", "tail_id", "origin", "document_id", "document_name", "chunk_id"),
        *("page:long", "modality", "asset_id", "start:long", "end:long", "quote", "extractor", "score:double"),
        *("level", "document_key", "relation_key"),
    ),
}
_LINK_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "related": (
        *("key", "workspace", "relation_id", "head_id", "name", "tail_id", "origin"),
        *("n_statements:long", "score:double"),
    ),
    "mentioned_in": ("workspace", "entity_id", "chunk_id", "n_mentions:long"),
}
"""The properties of each kind, those of :mod:`kg.graph.neo4j_rows`, with the types of neo4j-admin."""


def _node_columns(label: str) -> list[str]:
    return [f"key:ID({label})", "workspace", *_NODE_COLUMNS[label], ":LABEL"]


def _picked(label: str, properties: Row) -> Row:
    """Put a node's properties in the order of its columns."""
    names = ("key", "workspace", *(column.partition(":")[0] for column in _NODE_COLUMNS[label]))
    return {**{name: properties[name] for name in names}, ":LABEL": label}


def _node_files(source: ExportSource, rows: Rows) -> Iterator[tuple[str, str, Iterator[Row]]]:
    workspace = {"key": source.workspace, "workspace": source.workspace, "version": source.version}
    made: tuple[tuple[str, str, Iterable[Row]], ...] = (
        ("workspace", "Workspace", [workspace]),
        ("documents", "Document", (rows.document(one)["properties"] for one in source.documents())),
        ("chunks", "Chunk", (rows.chunk(one)["properties"] for one in source.chunks())),
        ("entities", "Entity", (rows.entity(one)["properties"] for one in source.entities())),
        ("statements", "Statement", (rows.statement(one)["properties"] for one in source.statements())),
    )
    for name, label, properties in made:
        yield name, label, map(partial(_picked, label), properties)


def _link_files(source: ExportSource, rows: Rows) -> Iterator[tuple[str, tuple[str, str], Iterator[tuple[Any, ...]]]]:
    related = (rows.relation(one) for one in source.relations())
    mentions = (rows.mention(one) for one in source.mentions())
    chunks = (rows.chunk(one) for one in source.chunks())
    yield "related", ("Entity", "Entity"), (_link("related", row, "head", "tail") for row in related)
    yield "mentioned_in", ("Entity", "Chunk"), (_link("mentioned_in", row, "entity", "chunk") for row in mentions)
    yield "part_of", ("Chunk", "Document"), (_link("part_of", row, "key", "document") for row in chunks)
    for name, label, end in (
        ("subject", "Entity", "head"),
        ("object", "Entity", "tail"),
        ("stated_in", "Chunk", "chunk"),
    ):
        yield name, ("Statement", label), (_statement_end(rows, one, end) for one in source.statement_rows())


def _statement_end(rows: Rows, one: TripleRow, end: str) -> tuple[str, str]:
    identity = {"head": one.head_id, "tail": one.tail_id, "chunk": one.chunk_id}[end]
    return rows.key(one.triple_id), rows.key(identity)


def _link(name: str, row: Row, start: str, end: str) -> tuple[Any, ...]:
    columns = (column.partition(":")[0] for column in _LINK_COLUMNS.get(name, ()))
    return (row[start], row[end], *(row["properties"][column] for column in columns))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(value) for value in row])
            count += 1
    return count


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ARRAY_DELIMITER.join(str(one).replace(ARRAY_DELIMITER, " ") for one in value)
    return repr(value) if isinstance(value, float) else value


def read(path: Path) -> ImportedGraph:
    """Read a folder of ours, a folder of CSV for neo4j-admin, or one CSV file of edges.

    A file of edges has a header with two ends (``head``, ``source``, ``subject`` or ``from``; ``tail``, ``target``,
    ``object`` or ``to``) and usually a ``relation``; ``quote``, ``source_name``, ``page`` and ``score`` are read too.

    :param path: The folder or file.
    :returns: What it says.
    :raises CorruptFileError: If no file has a header that can be understood.
    """
    builder = GraphBuilder()
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    ours = {file.stem for file in files} >= {"entities", "statements", "related"}
    kinds = {file: _kind(file) for file in files if not ours or file.stem in ("entities", "statements")}
    for wanted, add in (
        ("nodes", _add_node),
        ("statements", _add_statement),
        ("links", _add_link),
        ("edges", _add_edge),
    ):
        for file, kind in kinds.items():
            if kind == wanted:
                for row in _rows(file):
                    add(builder, row)
    if not any(kinds.values()):
        raise CorruptFileError(
            f"{path.name}: no CSV file here has a header that can be understood. It needs :START_ID and :END_ID as "
            "neo4j-admin writes them, or columns like head, relation, tail."
        )
    return builder.graph(where=path.name)


def _kind(file: Path) -> str:
    """Say what a file holds, by its header: nodes, statements of ours, links, plain edges, or nothing known."""
    header = _header(file)
    tags = {column.partition(":")[2].partition("(")[0] for column in header}
    if "START_ID" in tags and "END_ID" in tags:
        return "links"
    if "ID" in tags:
        return "statements" if "statement_id" in header else "nodes"
    columns = dict.fromkeys(header, "x")
    return "edges" if first_of(columns, _HEAD_WORDS) and first_of(columns, _TAIL_WORDS) else ""


def _header(file: Path) -> list[str]:
    return next(_cells(file), [])


def _cells(file: Path) -> Iterator[list[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            sample = opened.readline()
            opened.seek(0)
            delimiter = max(",;\t", key=sample.count)
            yield from csv.reader(opened, delimiter=delimiter)
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{file.name} is not CSV in UTF-8: {error}") from error


def _rows(file: Path) -> Iterator[dict[str, str]]:
    cells = _cells(file)
    header = next(cells, [])
    for row in cells:
        if any(row):
            yield dict(zip(header, row, strict=False))


def _named(row: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    """Split a row into plain columns and those with a tag (``ID``, ``LABEL``, ``START_ID``, …)."""
    plain: dict[str, object] = {}
    tagged: dict[str, str] = {}
    for column, value in row.items():
        name, _, tag = column.partition(":")
        tag = tag.partition("(")[0]
        if tag.isupper():
            tagged[tag] = value
        if name:
            is_array = tag.endswith("[]")
            plain[name] = [one for one in _split(value) if one] if is_array else value
    return plain, tagged


def _split(value: str) -> list[str]:
    return value.split(ARRAY_DELIMITER if ARRAY_DELIMITER in value else ";")


def _add_node(builder: GraphBuilder, row: Mapping[str, str]) -> None:
    plain, tagged = _named(row)
    label = tagged.get("LABEL", "")
    builder.described(
        str(plain.get("entity_id") or tagged["ID"]), {**({"labels": label} if label != "Entity" else {}), **plain}
    )


def _add_statement(builder: GraphBuilder, row: Mapping[str, str]) -> None:
    plain, _ = _named(row)
    builder.statement(str(plain["head_id"]), str(plain["name"]), str(plain["tail_id"]), plain)


def _add_link(builder: GraphBuilder, row: Mapping[str, str]) -> None:
    plain, tagged = _named(row)
    name = str(plain.get("name") or "") or tagged.get("TYPE", "").replace("_", " ").lower()
    builder.statement(tagged["START_ID"], name, tagged["END_ID"], plain)


def _add_edge(builder: GraphBuilder, row: Mapping[str, str]) -> None:
    head, tail = first_of(row, _HEAD_WORDS), first_of(row, _TAIL_WORDS)
    more = {**row, "source": row.get("source_name", "")}
    builder.statement(head, first_of(row, _RELATION_WORDS), tail, more)

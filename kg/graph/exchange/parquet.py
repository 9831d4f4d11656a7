"""Parquet: a folder of tables, for everything that reads columns.

Layer: ``kg``; pyarrow (extra ``export``), imported when a file is written or read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from kg.errors import CorruptFileError, MissingExtraError
from kg.graph.exchange.folder import atomic_folder
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import GraphBuilder, ImportedGraph, first_of
from kg.ids import relation_id

__all__ = ["read", "write"]

_BATCH_ROWS = 10_000

_ABOUT = """This folder holds a graph as Parquet tables: documents, chunks, entities (by entity_id), relations (head_id,
name, tail_id), statements (one sentence that supports a relation, with document, page, span and quote) and mentions.
`mmkg graph import FOLDER` reads it back.
"""

_TEXT, _WHOLE, _REAL, _TEXTS = "string", "int64", "float64", "list<string>"

_TABLES: Mapping[str, Mapping[str, str]] = {
    "documents": dict.fromkeys(("document_id", "name", "source", "title", "media_type"), _TEXT),
    "chunks": {
        "chunk_id": _TEXT,
        "document_id": _TEXT,
        "ordinal": _WHOLE,
        "page_first": _WHOLE,
        "page_last": _WHOLE,
        "modality": _TEXT,
    },
    "entities": {
        "entity_id": _TEXT,
        "name": _TEXT,
        "type": _TEXT,
        "aliases": _TEXTS,
        "n_mentions": _WHOLE,
        "n_documents": _WHOLE,
    },
    "relations": {
        "relation_id": _TEXT,
        "head_id": _TEXT,
        "name": _TEXT,
        "tail_id": _TEXT,
        "origin": _TEXT,
        "n_statements": _WHOLE,
        "score": _REAL,
    },
    "statements": {
        **dict.fromkeys(("statement_id", "relation_id", "head_id", "name", "tail_id", "origin"), _TEXT),
        **dict.fromkeys(("document_id", "document_name", "chunk_id", "modality", "asset_id"), _TEXT),
        **dict.fromkeys(("page", "start", "end"), _WHOLE),
        **dict.fromkeys(("quote", "extractor", "level"), _TEXT),
        "score": _REAL,
    },
    "mentions": {"entity_id": _TEXT, "chunk_id": _TEXT, "n_mentions": _WHOLE},
}

_HEAD_WORDS = ("head_id", "head", "source", "subject")
_TAIL_WORDS = ("tail_id", "tail", "target", "object")
_RELATION_WORDS = ("name", "relation", "predicate", "label", "type")


def write(source: ExportSource, path: Path) -> dict[str, int]:
    """Write the folder.

    :param source: What to write.
    :param path: The folder.
    :returns: The number of rows of each table.
    :raises MissingExtraError: If pyarrow is not installed.
    """
    _import_pyarrow()
    parts: dict[str, Iterable[Any]] = {
        "documents": source.documents(),
        "chunks": source.chunks(),
        "entities": source.entities(),
        "relations": source.relations(),
        "statements": source.statements(),
        "mentions": source.mentions(),
    }
    with atomic_folder(path, about=_ABOUT) as folder:
        return {name: _write(folder / f"{name}.parquet", name, values) for name, values in parts.items()}


def _write(path: Path, name: str, values: Iterable[Any]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _TABLES[name]
    types = {_TEXT: pa.string(), _WHOLE: pa.int64(), _REAL: pa.float64(), _TEXTS: pa.list_(pa.string())}
    schema = pa.schema([(column, types[kind]) for column, kind in columns.items()])
    count = 0
    rows = map(_row, values)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            writer.write_table(
                pa.Table.from_pylist([{column: row[column] for column in columns} for row in batch], schema)
            )
            count += len(batch)
    return count


def _row(value: Any) -> dict[str, Any]:
    row = {key: str(one) if isinstance(one, str) else one for key, one in asdict(value).items()}
    if "statement_id" in row:
        row.update(level=str(value.level), relation_id=relation_id(*value.relation))
    return row


def _import_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow, which is not installed: pip install 'mmkgrag[export]'."
        ) from error


def read(path: Path) -> ImportedGraph:
    """Read a folder of ours, or one Parquet file of edges (``head``, ``relation``, ``tail`` or the like).

    :param path: The folder or file.
    :returns: What it says.
    :raises CorruptFileError: If it is not Parquet, or has no columns that can be understood.
    :raises MissingExtraError: If pyarrow is not installed.
    """
    _import_pyarrow()
    builder = GraphBuilder()
    if not path.is_dir():
        _read_edges(builder, path)
        return builder.graph(where=path.name)
    for name in ("entities", "statements"):
        if not (path / f"{name}.parquet").is_file():
            raise CorruptFileError(f"{path.name} has no {name}.parquet. Give a folder of `mmkg graph export`.")
    for row in _rows(path / "entities.parquet"):
        builder.described(str(row["entity_id"]), row)
    _read_edges(builder, path / "statements.parquet")
    return builder.graph(where=path.name)


def _read_edges(builder: GraphBuilder, file: Path) -> None:
    for row in _rows(file):
        head, tail = first_of(row, _HEAD_WORDS), first_of(row, _TAIL_WORDS)
        if not head or not tail:
            raise CorruptFileError(
                f"{file.name}: a row has no head or tail. It needs columns like head, relation, tail; it has "
                f"{', '.join(row)}."
            )
        builder.statement(head, first_of(row, _RELATION_WORDS), tail, {**row, "source": ""})


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFileError(f"{file.name} is not a Parquet file that can be read: {error}") from error

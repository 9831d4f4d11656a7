"""Which format a graph is written to and read from.

Layer: ``kg``; the standard library. Each format's module is imported when it is used.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kg.errors import InputError, UnreadableFileError, UnsupportedFileError
from kg.graph.exchange.delta import import_delta
from kg.graph.exchange.source import ExportSource
from kg.graph.files import atomic_path
from kg.ports import RecordStore, Tokenizer
from kg.types import GraphDelta

__all__ = ["FORMATS", "ExportReport", "Format", "export_graph", "format_of", "read_import"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format. ``is_folder`` ones are written as a folder of files, which swaps itself into place."""

    name: str
    module: str
    media_type: str
    suffixes: tuple[str, ...]
    is_folder: bool = False

    def load(self) -> Any:
        """Import the module that writes and reads it."""
        return importlib.import_module(f"kg.graph.exchange.{self.module}")


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(name="graphml", module="graphml", media_type="application/graphml+xml", suffixes=(".graphml", ".xml")),
        Format(name="jsonld", module="jsonld", media_type="application/ld+json", suffixes=(".jsonld", ".json")),
        Format(name="ntriples", module="ntriples", media_type="application/n-triples", suffixes=(".nt", ".ntriples")),
        Format(
            name="neo4j-csv",
            module="neo4j_csv",
            media_type="text/csv",
            suffixes=(".csv", ".tsv"),
            is_folder=True,
        ),
        Format(
            name="parquet",
            module="parquet",
            media_type="application/vnd.apache.parquet",
            suffixes=(".parquet",),
            is_folder=True,
        ),
    )
}
"""By the name that the command line uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written; ``counts`` are the rows, nodes or triples of each part."""

    path: Path
    format: str
    version: int
    size_bytes: int
    counts: dict[str, int]


def format_of(path: Path, name: str | None = None) -> Format:
    """Find a format by its name, else by what a path is called or, if it is a folder, holds.

    :param path: A file or folder.
    :param name: The format's name; ``None`` decides by the path.
    :returns: The format.
    :raises InputError: If there is no format of that name.
    :raises UnsupportedFileError: If the path does not tell.
    """
    if name is not None:
        if name not in FORMATS:
            raise InputError(f"There is no format {name!r}; known are {', '.join(FORMATS)}.")
        return FORMATS[name]
    suffixes = {file.suffix.lower() for file in path.iterdir()} if path.is_dir() else {path.suffix.lower()}
    for one in FORMATS.values():
        if suffixes & set(one.suffixes) and (one.is_folder or not path.is_dir()):
            return one
    raise UnsupportedFileError(
        f"{path}: its name does not say which format it is. Give --format, one of {', '.join(FORMATS)}."
    )


def export_graph(store: RecordStore, path: Path, *, workspace: str, format_name: str | None = None) -> ExportReport:
    """Write a record's graph.

    :param store: The record.
    :param path: The file or folder; an older one is replaced when the new one is whole.
    :param workspace: The workspace's name, which the keys for Neo4j begin with.
    :param format_name: The format; ``None`` takes the one that the path's suffix names.
    :returns: What was written.
    """
    chosen = format_of(path, format_name)
    source = ExportSource(store, workspace)
    version = source.version
    if chosen.is_folder:
        counts = chosen.load().write(source, path)
    else:
        if path.is_dir():
            raise InputError(f"{path} is a folder; {chosen.name} is one file. Give the file's name.")
        with atomic_path(path) as part:
            counts = chosen.load().write(source, part)
    return ExportReport(path=path, format=chosen.name, version=version, size_bytes=_size(path), counts=counts)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def read_import(path: Path, *, format_name: str | None = None, tokenizer: Tokenizer | None = None) -> GraphDelta:
    """Read a graph file or folder as a document of the record.

    :param path: The file or folder.
    :param format_name: The format; ``None`` decides by the path.
    :param tokenizer: Counts the tokens of its chunks.
    :returns: The change that it brings; nothing is written.
    :raises UnreadableFileError: If it is not there.
    :raises CorruptFileError: If it is not what its name says.
    """
    if not path.exists():
        raise UnreadableFileError(f"There is no file or folder {path}.")
    chosen = format_of(path, format_name)
    graph = chosen.load().read(path)
    digest = hashlib.sha256()
    for file in _files(path):
        data = file.read_bytes()
        digest.update(f"{file.name}\0{len(data)}\0".encode())
        digest.update(data)
    return import_delta(
        graph,
        name=path.name,
        media_type=chosen.media_type,
        sha256=digest.hexdigest(),
        n_bytes=_size(path),
        tokenizer=tokenizer,
    )

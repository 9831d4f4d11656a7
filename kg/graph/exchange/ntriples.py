"""N-Triples: one fact a line, in the terms of :mod:`kg.graph.exchange.rdf`.

Layer: ``kg``; writing needs the standard library only, reading needs rdflib (extra ``export``).
Source: https://www.w3.org/TR/n-triples/
"""

from __future__ import annotations

from pathlib import Path

from kg.errors import CorruptFileError
from kg.graph.exchange.rdf import Fact, facts, import_rdflib, read_graph
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import ImportedGraph

__all__ = ["read", "write"]

_XSD = "http://www.w3.org/2001/XMLSchema#"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_TABLE = str.maketrans({**_ESCAPES, **{chr(code): f"\\u{code:04X}" for code in range(32) if chr(code) not in _ESCAPES}})


def write(source: ExportSource, path: Path) -> dict[str, int]:
    """Write an N-Triples file.

    :param source: What to write.
    :param path: Where to.
    :returns: The number of triples.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for fact in facts(source):
            file.write(_line(fact))
            count += 1
    return {"triples": count}


def _line(fact: Fact) -> str:
    subject, predicate, value = fact
    return f"<{subject}> <{predicate}> {_term(value)} .\n"


def _term(value: str | int | float | dict[str, str]) -> str:
    if isinstance(value, dict):
        return f"<{value['@id']}>"
    if isinstance(value, str):
        return f'"{value.translate(_TABLE)}"'
    return f'"{value!r}"^^<{_XSD}{"double" if isinstance(value, float) else "integer"}>'


def read(path: Path) -> ImportedGraph:
    """Read an N-Triples file, ours or another program's.

    :param path: The file.
    :returns: What it says.
    :raises CorruptFileError: If it is not N-Triples.
    :raises MissingExtraError: If rdflib is not installed.
    """
    rdflib = import_rdflib()
    graph = rdflib.Graph()
    try:
        graph.parse(path, format="nt")
    except (rdflib.plugins.parsers.ntriples.ParseError, UnicodeDecodeError, ValueError) as error:
        raise CorruptFileError(f"{path.name} is not N-Triples: {error}") from error
    return read_graph(graph, where=path.name)

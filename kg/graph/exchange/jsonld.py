"""JSON-LD: the same facts as N-Triples, as JSON that reads well without RDF tools.

Layer: ``kg``; writing needs the standard library only, reading needs rdflib (extra ``export``).
Source: https://www.w3.org/TR/json-ld11/
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from kg.errors import CorruptFileError, InputError
from kg.graph.exchange.rdf import BASE, DCTERMS, OWN, PROV, RDF, RDFS, SKOS, Fact, facts, import_rdflib, read_graph
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import ImportedGraph

__all__ = ["CONTEXT", "read", "write"]

CONTEXT: dict[str, Any] = {
    "mmkg": BASE,
    "term": OWN,
    "relation": f"{BASE}relation:",
    "rdf": RDF,
    "prov": PROV,
    "name": f"{RDFS}label",
    "aliases": {"@id": f"{SKOS}altLabel", "@container": "@set"},
    "source": f"{DCTERMS}source",
    "title": f"{DCTERMS}title",
    "format": f"{DCTERMS}format",
    "subject": {"@id": f"{RDF}subject", "@type": "@id"},
    "predicate": {"@id": f"{RDF}predicate", "@type": "@id"},
    "object": {"@id": f"{RDF}object", "@type": "@id"},
    "derived_from": {"@id": f"{PROV}wasDerivedFrom", "@type": "@id"},
    "quote": f"{PROV}value",
    **{
        term: f"{OWN}{term}"
        for term in (
            *("type", "n_mentions", "n_documents", "page", "start", "end", "score"),
            *("level", "origin", "extractor", "modality", "chunk_id", "asset_id"),
        )
    },
}
"""The terms of the file; it stands in the file itself, so nobody has to fetch it."""

_SHORT = {
    (value["@id"] if isinstance(value, dict) else value): key
    for key, value in CONTEXT.items()
    if key not in ("mmkg", "term", "relation", "rdf", "prov")
}
_BY_ID = {key for key, value in CONTEXT.items() if isinstance(value, dict) and value.get("@type") == "@id"}


def write(source: ExportSource, path: Path) -> dict[str, int]:
    """Write a JSON-LD file, one node of ``@graph`` a line.

    :param source: What to write.
    :param path: Where to.
    :returns: The number of nodes; an entity with relations has one for its names and one for its relations.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{{"@context": {json.dumps(CONTEXT)},\n"@graph": [')
        for node in _nodes(source):
            file.write(",\n" if count else "\n")
            file.write(json.dumps(node, ensure_ascii=False))
            count += 1
        file.write("\n]}\n")
    return {"nodes": count}


def _nodes(source: ExportSource) -> Iterator[dict[str, Any]]:
    for subject, group in groupby(facts(source), key=lambda fact: fact[0]):
        yield _node(subject, list(group))


def _node(subject: str, group: list[Fact]) -> dict[str, Any]:
    found: dict[str, list[object]] = {}
    for _, predicate, value in group:
        if predicate == f"{RDF}type" and isinstance(value, dict):
            found.setdefault("@type", []).append(value["@id"])
            continue
        key = _SHORT.get(predicate, predicate)
        is_reference = isinstance(value, dict) and key in _BY_ID
        found.setdefault(key, []).append(value["@id"] if is_reference else _number(value))  # type: ignore[index]
    single = {key: values if key == "aliases" or len(values) > 1 else values[0] for key, values in found.items()}
    return {"@id": subject, **single}


def _number(value: object) -> object:
    """JSON has one kind of number, and JSON-LD reads 1.0 as an integer; a typed value says that it is none."""
    if isinstance(value, float):
        return {"@value": repr(value), "@type": "http://www.w3.org/2001/XMLSchema#double"}
    return value


def read(path: Path) -> ImportedGraph:
    """Read a JSON-LD file, ours or another program's, whose context stands in the file.

    :param path: The file.
    :returns: What it says.
    :raises CorruptFileError: If it is not JSON-LD.
    :raises InputError: If its context would have to be fetched.
    :raises MissingExtraError: If rdflib is not installed.
    """
    rdflib = import_rdflib()
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CorruptFileError(f"{path.name} is not JSON: {error}") from error
    _refuse_remote(value, path.name)
    graph = rdflib.Graph()
    try:
        with warnings.catch_warnings():
            # rdflib's own parser still makes a class that rdflib has deprecated; nothing that a caller could change.
            warnings.filterwarnings("ignore", message="ConjunctiveGraph is deprecated", category=DeprecationWarning)
            graph.parse(data=json.dumps(value), format="json-ld")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{path.name} is JSON, but not JSON-LD: {error}") from error
    return read_graph(graph, where=path.name)


def _refuse_remote(value: Any, where: str) -> None:
    """Nothing is ever downloaded, so a context that stands elsewhere cannot be used."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            context = one.get("@context")
            named = context if isinstance(context, list) else [context]
            remote = next((part for part in named if isinstance(part, str)), None)
            remote = remote or next(
                (part["@import"] for part in named if isinstance(part, dict) and "@import" in part), None
            )
            if remote is not None:
                raise InputError(
                    f"{where}: its context {remote!r} would have to be fetched, and nothing is. Expand the file with a "
                    "JSON-LD tool, or put the context into it."
                )
            waiting.extend(one.values())

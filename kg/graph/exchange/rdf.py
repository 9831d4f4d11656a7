"""The graph as RDF: which terms it is written in, and how any RDF is read.

Layer: ``kg``; rdflib (extra ``export``), imported when RDF is read.

Each relation is a triple of its own. Each statement is reified (``rdf:Statement``), which every tool reads, and says
where it comes from in terms of PROV-O (https://www.w3.org/TR/prov-o/): derived from a document
(``prov:wasDerivedFrom``) with the quoted words as ``prov:value``; page, span, score and level are terms of our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from kg.errors import MissingExtraError
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import GraphBuilder, ImportedGraph, local_name
from kg.ports import DocumentNode, Statement
from kg.types import Entity

if TYPE_CHECKING:
    from rdflib import Graph
    from rdflib.term import Node

__all__ = [
    "BASE",
    "DCTERMS",
    "OWN",
    "PROV",
    "RDF",
    "RDFS",
    "SKOS",
    "Fact",
    "facts",
    "import_rdflib",
    "read_graph",
]

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
DCTERMS = "http://purl.org/dc/terms/"
PROV = "http://www.w3.org/ns/prov#"
BASE = "urn:mmkgrag:"
OWN = "urn:mmkgrag:term:"

_NAME_TERMS = (f"{RDFS}label", f"{SKOS}prefLabel", "http://xmlns.com/foaf/0.1/name", "http://schema.org/name",
               "https://schema.org/name", f"{DCTERMS}title")  # fmt: skip
_STRUCTURE = ("subject", "predicate", "object")
_LITERAL_CHARACTERS = 200
"""Literals longer than this are descriptions, not things, and are left out of an imported graph."""

Fact = tuple[str, str, str | int | float | dict[str, str]]
"""Subject and predicate IRIs, and a literal, or ``{"@id": IRI}``."""


def facts(source: ExportSource) -> Iterator[Fact]:
    """Yield the graph as triples, those of one subject together."""
    for document in source.documents():
        yield from _document(document)
    for entity in source.entities():
        yield from _entity(entity)
    names = set()
    for relation in source.relations():
        names.add(relation.name)
        yield (_iri("entity", relation.head_id), _relation(relation.name), _to("entity", relation.tail_id))
    for name in sorted(names):
        yield (_relation(name), f"{RDF}type", {"@id": f"{RDF}Property"})
        yield (_relation(name), f"{RDFS}label", name)
    for statement in source.statements():
        yield from _statement(statement)


def _iri(kind: str, identity: str) -> str:
    return f"{BASE}{kind}:{quote(identity, safe='')}"


def _to(kind: str, identity: str) -> dict[str, str]:
    return {"@id": _iri(kind, identity)}


def _relation(name: str) -> str:
    return _iri("relation", name)


def _document(document: DocumentNode) -> Iterator[Fact]:
    subject = _iri("document", document.document_id)
    yield (subject, f"{RDF}type", {"@id": f"{OWN}Document"})
    yield (subject, f"{RDF}type", {"@id": f"{PROV}Entity"})
    yield (subject, f"{RDFS}label", document.name)
    yield (subject, f"{DCTERMS}source", document.source)
    yield (subject, f"{DCTERMS}title", document.title)
    yield (subject, f"{DCTERMS}format", document.media_type)


def _entity(entity: Entity) -> Iterator[Fact]:
    subject = _iri("entity", entity.entity_id)
    yield (subject, f"{RDF}type", {"@id": f"{OWN}Entity"})
    yield (subject, f"{RDFS}label", entity.name)
    yield (subject, f"{OWN}type", entity.type)
    for alias in entity.aliases:
        yield (subject, f"{SKOS}altLabel", alias)
    yield (subject, f"{OWN}n_mentions", entity.n_mentions)
    yield (subject, f"{OWN}n_documents", entity.n_documents)


def _statement(one: Statement) -> Iterator[Fact]:
    subject = _iri("statement", one.statement_id)
    yield (subject, f"{RDF}type", {"@id": f"{RDF}Statement"})
    yield (subject, f"{RDF}type", {"@id": f"{PROV}Entity"})
    yield (subject, f"{RDF}subject", _to("entity", one.head_id))
    yield (subject, f"{RDF}predicate", {"@id": _relation(one.name)})
    yield (subject, f"{RDF}object", _to("entity", one.tail_id))
    yield (subject, f"{PROV}wasDerivedFrom", _to("document", one.document_id))
    yield (subject, f"{PROV}value", one.quote)
    for term in ("page", "start", "end", "score"):
        yield (subject, f"{OWN}{term}", getattr(one, term))
    for term in ("level", "origin", "extractor", "modality", "chunk_id", "asset_id"):
        if value := str(getattr(one, term)):
            yield (subject, f"{OWN}{term}", value)


def import_rdflib() -> Any:
    """Return rdflib; raise ``MissingExtraError`` where it is not installed."""
    try:
        import rdflib
    except ImportError as error:
        raise MissingExtraError(
            "RDF is read with rdflib, which is not installed: pip install 'mmkgrag[export]'."
        ) from error
    return rdflib


def read_graph(graph: Graph, *, where: str) -> ImportedGraph:
    """Read any RDF graph: what has a name is an entity, what relates two is a statement.

    Where statements are reified, as ours are, those are read, and the plain triples they stand for are not counted
    again. Short literals become entities of type LITERAL, so that no fact is lost. Blank nodes without a name are left
    out: nothing could be said of them.

    :param graph: The parsed graph.
    :param where: The file's name, for messages.
    :returns: What it says.
    """
    from rdflib.term import URIRef

    builder = GraphBuilder()
    names = _names(graph)
    reified = set(graph.subjects(URIRef(f"{RDF}type"), URIRef(f"{RDF}Statement")))
    properties = set(graph.subjects(URIRef(f"{RDF}type"), URIRef(f"{RDF}Property")))
    documents = set(graph.subjects(URIRef(f"{RDF}type"), URIRef(f"{OWN}Document")))
    aside = reified | properties | documents
    for node in sorted(set(graph.subjects(URIRef(f"{OWN}type"), None)) | set(names), key=str):
        if node not in aside:
            _add_entity(builder, graph, node, names)
    said = {_add_reified(builder, graph, node, names) for node in sorted(reified, key=str)}
    for subject, predicate, target in sorted(graph, key=lambda fact: tuple(map(str, fact))):
        if subject not in aside and (subject, predicate, target) not in said:
            _add_plain(builder, graph, (subject, predicate, target), names)
    return builder.graph(where=where)


def _names(graph: Graph) -> dict[Node, str]:
    from rdflib.term import URIRef

    found: dict[Node, str] = {}
    for term in _NAME_TERMS:
        pairs = graph.subject_objects(URIRef(term))
        for subject, name in sorted(pairs, key=lambda pair: (str(pair[0]), str(pair[1]))):
            found.setdefault(subject, str(name))
    return found


def _first(graph: Graph, subject: Node, term: str) -> Any:
    from rdflib.term import URIRef

    return min(graph.objects(subject, URIRef(term)), key=str, default=None)


def _add_entity(builder: GraphBuilder, graph: Graph, node: Node, names: dict[Node, str]) -> None:
    from rdflib.term import URIRef

    own = _first(graph, node, f"{OWN}type")
    kind = _first(graph, node, f"{RDF}type")
    aliases = sorted(str(alias) for alias in graph.objects(node, URIRef(f"{SKOS}altLabel")))
    type_name = str(own) if own is not None else local_name(str(kind)) if kind is not None else ""
    builder.entity(str(node), name=names.get(node, ""), type_name=type_name, aliases=aliases)


def _predicate_name(node: Node, names: dict[Node, str]) -> str:
    if node in names:
        return names[node]
    text = str(node)
    if text.startswith(f"{BASE}relation:"):
        return unquote(text.removeprefix(f"{BASE}relation:"))
    return local_name(text)


def _add_reified(builder: GraphBuilder, graph: Graph, node: Node, names: dict[Node, str]) -> tuple[Node, ...]:
    """Add a reified statement and return the triple that it stands for."""
    parts = tuple(_first(graph, node, f"{RDF}{part}") for part in _STRUCTURE)
    if any(part is None for part in parts):
        return ()
    head, predicate, tail = parts
    document = _first(graph, node, f"{PROV}wasDerivedFrom")
    values = {
        "quote": _first(graph, node, f"{PROV}value"),
        "document_name": "" if document is None else names.get(document, local_name(str(document))),
        "page": _first(graph, node, f"{OWN}page"),
        "score": _first(graph, node, f"{OWN}score"),
    }
    _add_end(builder, tail)
    builder.statement(str(head), _predicate_name(predicate, names), str(tail), values)
    return parts


def _add_end(builder: GraphBuilder, tail: Node) -> None:
    from rdflib.term import Literal

    if isinstance(tail, Literal):
        builder.entity(str(tail), name=str(tail), type_name="LITERAL")


def _add_plain(builder: GraphBuilder, graph: Graph, fact: tuple[Node, Node, Node], names: dict[Node, str]) -> None:
    from rdflib.term import BNode, Literal

    subject, predicate, target = fact
    text = str(predicate)
    if text in _NAME_TERMS or text in (f"{RDF}type", f"{SKOS}altLabel") or text.startswith(OWN):
        return
    if isinstance(target, Literal) and (len(str(target)) > _LITERAL_CHARACTERS or not str(target).strip()):
        return
    if any(isinstance(node, BNode) and node not in names for node in (subject, target)):
        return
    for node in (subject, target):
        if not isinstance(node, Literal) and node not in names:
            _add_entity(builder, graph, node, names)
    _add_end(builder, target)
    builder.statement(str(subject), _predicate_name(predicate, names), str(target))

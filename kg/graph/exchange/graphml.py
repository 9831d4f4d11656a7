"""GraphML: a node for each entity, an edge for each statement with its provenance.

Layer: ``kg``; lxml, imported when a file is written or read. Edges are statements, not relations, so that each carries
its own document, page, span and quote; the statements of one relation share ``relation_id``.
Source: http://graphml.graphdrawing.org/specification.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kg.errors import CorruptFileError
from kg.graph.exchange.source import ExportSource
from kg.graph.exchange.values import GraphBuilder, ImportedGraph, first_of
from kg.ids import relation_id
from kg.ports import Statement
from kg.types import Entity

__all__ = ["read", "write"]

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_NODE = {"name": "string", "type": "string", "aliases": "string", "n_mentions": "int", "n_documents": "int"}
_EDGE = {
    "relation": "string",
    "relation_id": "string",
    "origin": "string",
    "score": "double",
    "level": "string",
    "extractor": "string",
    "document_id": "string",
    "document_name": "string",
    "chunk_id": "string",
    "asset_id": "string",
    "modality": "string",
    "page": "int",
    "start": "int",
    "end": "int",
    "quote": "string",
}
_ALIAS_SEPARATOR = "\n"
_RELATION_WORDS = ("relation", "label", "name", "type", "relationship", "interaction")
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def write(source: ExportSource, path: Path) -> dict[str, int]:
    """Write a GraphML file.

    :param source: What to write.
    :param path: Where to.
    :returns: The numbers of nodes and edges.
    """
    from lxml import etree

    n_nodes = n_edges = 0
    with path.open("wb") as file, etree.xmlfile(file, encoding="utf-8") as xml:
        xml.write_declaration()
        with xml.element("graphml", nsmap={None: _NAMESPACE}):
            for prefix, kind, keys in (("n", "node", _NODE), ("e", "edge", _EDGE)):
                for name, type_name in keys.items():
                    attributes = {"id": f"{prefix}_{name}", "for": kind, "attr.name": name, "attr.type": type_name}
                    xml.write(etree.Element("key", attributes))
            with xml.element("graph", {"id": _clean(source.workspace), "edgedefault": "directed"}):
                for entity in source.entities():
                    xml.write(_element(etree.Element, "node", {"id": entity.entity_id}, "n", _node_values(entity)))
                    n_nodes += 1
                for one in source.statements():
                    ends = {"id": one.statement_id, "source": one.head_id, "target": one.tail_id}
                    xml.write(_element(etree.Element, "edge", ends, "e", _edge_values(one)))
                    n_edges += 1
    return {"nodes": n_nodes, "edges": n_edges}


def _element(
    make: Callable[..., Any], tag: str, attributes: Mapping[str, str], prefix: str, values: Mapping[str, object]
) -> Any:
    element = make(tag, attributes)
    for name, value in values.items():
        if value != "":
            data = make("data", {"key": f"{prefix}_{name}"})
            data.text = _clean(str(value))
            element.append(data)
    return element


def _node_values(entity: Entity) -> dict[str, object]:
    return {
        "name": entity.name,
        "type": entity.type,
        "aliases": _ALIAS_SEPARATOR.join(entity.aliases),
        "n_mentions": entity.n_mentions,
        "n_documents": entity.n_documents,
    }


def _edge_values(one: Statement) -> dict[str, object]:
    more = {"relation": one.name, "relation_id": relation_id(*one.relation)}
    return {key: more.get(key, getattr(one, key, "")) for key in _EDGE}


def _clean(text: str) -> str:
    return _ILLEGAL.sub(" ", text)


def read(path: Path) -> ImportedGraph:
    """Read a GraphML file, ours or another program's; an undirected edge is read from source to target.

    :param path: The file.
    :returns: What it says.
    :raises CorruptFileError: If it is not GraphML.
    """
    from lxml import etree

    builder = GraphBuilder()
    names: dict[str, str] = {}
    is_graph = False
    try:
        elements = _elements(path)
        for tag, element in elements:
            is_graph = is_graph or tag == "graph"
            if tag == "key":
                names[element.get("id", "")] = element.get("attr.name") or element.get("id", "")
            elif tag == "node":
                values = _values(element, names)
                aliases = str(values.pop("aliases", "")).split(_ALIAS_SEPARATOR)
                builder.described(element.get("id", ""), {**values, "aliases": aliases})
            elif tag == "edge":
                values = _values(element, names)
                name = first_of(values, _RELATION_WORDS)
                builder.statement(element.get("source", ""), name, element.get("target", ""), values)
    except (etree.XMLSyntaxError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path.name} is not GraphML: {error}") from error
    if not is_graph:
        raise CorruptFileError(f"{path.name} is XML without a GraphML graph in it.")
    return builder.graph(where=path.name)


def _elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield finished elements; entities are not resolved, nothing is fetched, and what was read is freed."""
    from lxml import etree

    with path.open("rb") as file:
        parsing = etree.iterparse(
            file, events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
        for _, element in parsing:
            tag = etree.QName(element).localname if isinstance(element.tag, str) else ""
            if tag in ("key", "node", "edge", "graph"):
                yield tag, element
                element.clear()


def _values(element: Any, names: Mapping[str, str]) -> dict[str, object]:
    data = (child for child in element if isinstance(child.tag, str) and child.tag.endswith("data"))
    found = (
        (names.get(child.get("key", ""), child.get("key", "")), "".join(child.itertext()).strip()) for child in data
    )
    return {name: value for name, value in found if value}

"""The record as a graph of NetworkX, to look at, to export, or to run its algorithms on.

Layer: ``kg``; NetworkX is imported when a view is made, because most commands need not pay for its import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kg.ports import RecordStore

if TYPE_CHECKING:
    from networkx import MultiDiGraph

__all__ = ["networkx_view"]


def networkx_view(store: RecordStore) -> MultiDiGraph[str]:
    """Copy entities and relations into a directed multigraph.

    Nodes are entity ids with ``name``, ``type``, ``aliases``, ``n_mentions`` and ``n_documents``. Edges run from head
    to tail, have the key ``(name, origin)``, and carry ``relation_id``, ``name``, ``origin``, ``score`` (in ``[0, 1]``,
    higher is better) and ``n_statements``. Nodes come by id and edges by relation id, so the order is deterministic.
    A relation that another process writes while the copy is made is left out where its entities were not yet there.

    :param store: The record.
    :returns: A new graph; changing it does not change the record.
    """
    import networkx as nx

    graph: MultiDiGraph[str] = nx.MultiDiGraph()
    for entity in store.entities():
        graph.add_node(
            entity.entity_id,
            name=entity.name,
            type=entity.type,
            aliases=entity.aliases,
            n_mentions=entity.n_mentions,
            n_documents=entity.n_documents,
        )
    for relation in store.relations():
        if relation.head_id not in graph or relation.tail_id not in graph:
            continue
        graph.add_edge(
            relation.head_id,
            relation.tail_id,
            key=(relation.name, relation.origin.value),
            relation_id=relation.relation_id,
            name=relation.name,
            origin=relation.origin.value,
            score=relation.score,
            n_statements=relation.n_statements,
        )
    return graph

"""The graph at a glance: figures of its shape, and ways between entities with the sentences that carry them.

Layer: ``kg``; NetworkX and SciPy, imported when figures are asked for. Works on every :class:`kg.ports.GraphStore`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kg.ports import GraphPath, GraphStatistics, GraphStore, Statement
from kg.types import Entity, Relation

if TYPE_CHECKING:
    from networkx import Graph

__all__ = [
    "GraphFigures",
    "Hop",
    "Ranked",
    "RelationCount",
    "best_statement",
    "figures",
    "hops_of",
    "pagerank",
    "relation_counts",
    "undirected",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An entity and what it is ranked by; higher is better."""

    entity: Entity
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationCount:
    """How often a relation's name occurs: between how many pairs, and in how many statements."""

    name: str
    n_relations: int
    n_statements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFigures:
    """The shape of a graph.

    A degree is the number of relations that touch an entity; ``degrees`` counts entities by degree. A component is a
    set of entities that relations connect, whichever way they run; an isolated entity is one without relations, and
    is not counted among the components.
    """

    counts: GraphStatistics
    degrees: Mapping[int, int]
    n_components: int
    n_largest_component: int
    n_isolated: int
    types: Mapping[str, int]
    relations: tuple[RelationCount, ...]
    top_by_degree: tuple[Ranked, ...]
    top_by_pagerank: tuple[Ranked, ...]

    @property
    def share_isolated(self) -> float:
        """The share of entities without relations, in ``[0, 1]``."""
        return self.n_isolated / self.counts.n_entities if self.counts.n_entities else 0.0

    @property
    def mean_degree(self) -> float:
        """The mean degree over all entities."""
        n_ends = sum(degree * count for degree, count in self.degrees.items())
        return n_ends / self.counts.n_entities if self.counts.n_entities else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of a way: its best supported relation, and the best sentence that states it, if the record has one."""

    start: Entity
    relation: Relation
    end: Entity
    evidence: Statement | None

    @property
    def is_forward(self) -> bool:
        """Whether the relation runs the way that is walked."""
        return self.relation.head_id == self.start.entity_id


def undirected(relations: Iterable[Relation]) -> Graph[str]:
    """Make a simple graph whose edges weigh the statements between two entities; loops are left out.

    :param relations: The relations.
    :returns: Nodes and edges in the order of ``relations``; edge attribute ``weight``, an int from 1.
    """
    import networkx as nx

    graph: Graph[str] = nx.Graph()
    for relation in relations:
        if relation.head_id != relation.tail_id:
            known = graph.get_edge_data(relation.head_id, relation.tail_id, {"weight": 0})["weight"]
            graph.add_edge(relation.head_id, relation.tail_id, weight=known + relation.n_statements)
    return graph


def pagerank(graph: Graph[str]) -> dict[str, float]:
    """Return the PageRank of each node (damping 0.85, Brin and Page 1998), weighted; the values sum to 1."""
    import networkx as nx

    return dict(nx.pagerank(graph, alpha=0.85)) if len(graph) else {}


def figures(graph: GraphStore, *, top: int = 10) -> GraphFigures:
    """Measure a graph.

    :param graph: The graph.
    :param top: How many entities and relation names to list.
    :returns: Its figures.
    """
    import networkx as nx

    entities = {entity.entity_id: entity for entity in graph.entities()}
    relations = [one for one in graph.relations() if one.head_id in entities and one.tail_id in entities]
    degree = Counter(end for one in relations for end in {one.head_id, one.tail_id})
    connected = undirected(relations)
    sizes = [len(component) for component in nx.connected_components(connected)]
    return GraphFigures(
        counts=graph.statistics(),
        degrees=dict(sorted(Counter(degree.get(entity_id, 0) for entity_id in entities).items())),
        n_components=len(sizes),
        n_largest_component=max(sizes, default=0),
        n_isolated=sum(entity_id not in degree for entity_id in entities),
        types=dict(_most_common(Counter(entity.type for entity in entities.values()))),
        relations=relation_counts(relations)[:top],
        top_by_degree=_ranked(degree, entities, top),
        top_by_pagerank=_ranked(pagerank(connected), entities, top),
    )


def relation_counts(relations: Iterable[Relation]) -> tuple[RelationCount, ...]:
    """Count relations by name, those with the most statements first."""
    pairs: Counter[str] = Counter()
    statements: Counter[str] = Counter()
    for relation in relations:
        pairs[relation.name] += 1
        statements[relation.name] += relation.n_statements
    return tuple(
        RelationCount(name=name, n_relations=pairs[name], n_statements=count)
        for name, count in _most_common(statements)
    )


def _most_common(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _ranked(values: Mapping[str, float], entities: Mapping[str, Entity], top: int) -> tuple[Ranked, ...]:
    # Two nodes of the same place in the graph differ in the last bits; rounding lets their ids decide.
    best = sorted(values, key=lambda entity_id: (-round(values[entity_id], 9), entity_id))[:top]
    return tuple(Ranked(entity=entities[entity_id], value=values[entity_id]) for entity_id in best)


def best_statement(graph: GraphStore, relation: Relation) -> Statement | None:
    """Return the best sentence that states a relation."""
    found = graph.statements((relation.head_id, relation.name, relation.tail_id), limit=1)
    return found[0] if found else None


def hops_of(graph: GraphStore, path: GraphPath) -> tuple[Hop, ...]:
    """Read the evidence of a way, step by step.

    :param graph: The graph that it was found in.
    :param path: The way.
    :returns: One hop for each step, with its best supported relation.
    """
    return tuple(
        _hop(graph, path.entities[step], relations, path.entities[step + 1]) for step, relations in enumerate(path.hops)
    )


def _hop(graph: GraphStore, start: Entity, relations: Sequence[Relation], end: Entity) -> Hop:
    best = min(relations, key=lambda one: (-one.n_statements, -one.score, one.relation_id, one.origin))
    return Hop(start=start, relation=best, end=end, evidence=best_statement(graph, best))

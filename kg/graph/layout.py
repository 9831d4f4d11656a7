"""Where the entities of a picture stand.

Layer: ``kg``; NetworkX and SciPy, imported when something is laid out. Each component is laid out by itself, so that
its relations are about equally long, turned to lie flat, and put on shelves. Nothing is left to chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kg.graph.views import undirected
from kg.types import Entity, Relation

if TYPE_CHECKING:
    from networkx import Graph

__all__ = ["Positions", "arrange"]

Positions = dict[str, tuple[float, float]]

_MARGIN_X, _MARGIN_Y = 0.75, 0.45
"""Free space beside and over a component, in lengths of a relation: room for the names at its edge."""
_ASPECT = 1.35
"""Width to height of the picture that is aimed at."""
_EXACT_MAX = 250
"""Components of more entities than this are laid out by springs: Kamada–Kawai needs all distances."""


def arrange(entities: Sequence[Entity], relations: Sequence[Relation]) -> tuple[Positions, float, float]:
    """Give each entity a place.

    :param entities: The entities.
    :param relations: The relations between them.
    :returns: Positions by entity id in ``[0, width] × [0, height]``, the width and the height; the unit is about the
        length of a relation.
    """
    import networkx as nx

    graph = undirected(relations)
    graph.add_nodes_from(entity.entity_id for entity in entities)
    parts = sorted((sorted(part) for part in nx.connected_components(graph)), key=lambda part: (-len(part), part))
    return _shelve([_component(graph, part) for part in parts])


def _component(graph: Graph[str], nodes: Sequence[str]) -> tuple[Positions, float, float]:
    """Lay out one component with its corner at the origin; returns its width and height too."""
    import networkx as nx

    if len(nodes) == 1:
        return {nodes[0]: (_MARGIN_X, _MARGIN_Y)}, 2 * _MARGIN_X, 2 * _MARGIN_Y
    part: Graph[str] = nx.Graph()
    part.add_nodes_from(nodes)
    part.add_edges_from(sorted((min(edge), max(edge)) for edge in graph.subgraph(nodes).edges()))
    is_small = len(nodes) <= _EXACT_MAX
    found = nx.kamada_kawai_layout(part) if is_small else nx.spring_layout(part, seed=7, iterations=120)
    places = {node: (float(place[0]), float(place[1])) for node, place in found.items()}
    lengths = sorted(math.dist(places[left], places[right]) for left, right in part.edges())
    unit = lengths[len(lengths) // 2] or 1.0
    return _cornered(_flat({node: (x / unit, y / unit) for node, (x, y) in places.items()}))


def _flat(places: Mapping[str, tuple[float, float]]) -> Positions:
    """Turn a component so that its longer axis lies level."""
    n = len(places)
    mean_x = sum(x for x, _ in places.values()) / n
    mean_y = sum(y for _, y in places.values()) / n
    xx = sum((x - mean_x) ** 2 for x, _ in places.values())
    yy = sum((y - mean_y) ** 2 for _, y in places.values())
    xy = sum((x - mean_x) * (y - mean_y) for x, y in places.values())
    angle = -0.5 * math.atan2(2 * xy, xx - yy)
    cos, sin = math.cos(angle), math.sin(angle)
    return {node: (x * cos - y * sin, x * sin + y * cos) for node, (x, y) in places.items()}


def _cornered(places: Mapping[str, tuple[float, float]]) -> tuple[Positions, float, float]:
    low_x = min(x for x, _ in places.values()) - _MARGIN_X
    low_y = min(y for _, y in places.values()) - _MARGIN_Y
    moved = {node: (x - low_x, y - low_y) for node, (x, y) in places.items()}
    return (
        moved,
        max(x for x, _ in moved.values()) + _MARGIN_X,
        max(y for _, y in moved.values()) + _MARGIN_Y,
    )


def _shelve(parts: Sequence[tuple[Positions, float, float]]) -> tuple[Positions, float, float]:
    """Put the components on shelves of about the same length, the tallest first."""
    area = sum(width * height for _, width, height in parts)
    length = max(max(width for _, width, _ in parts), math.sqrt(area * _ASPECT))
    placed: Positions = {}
    left = top = shelf = widest = 0.0
    for places, width, height in sorted(parts, key=lambda part: (-round(part[2], 6), -round(part[1], 6), min(part[0]))):
        if left and left + width > length * 1.02:
            left, top, shelf = 0.0, top + shelf, 0.0
        placed.update({node: (left + x, top + y) for node, (x, y) in places.items()})
        left, shelf = left + width, max(shelf, height)
        widest = max(widest, left)
    total = top + shelf
    return {node: (x, total - y) for node, (x, y) in placed.items()}, widest, total

"""Senses joined into entities: a pure function of links, decisions and counts.

Layer: ``kg``; the standard library only.
Source: Kruskal's algorithm with forbidden pairs, the agglomerative form of constrained clustering (Wagstaff et al.
2001, "Constrained K-means Clustering with Background Knowledge": must-link and cannot-link).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Edge", "Node", "join"]


@dataclass(frozen=True, slots=True)
class Node:
    """A sense: its name, and the number of documents that mean it."""

    sense_id: str
    name_id: str
    n_documents: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A reason to join two senses. What a person confirmed comes before every score."""

    left_id: str
    right_id: str
    score: float
    is_confirmed: bool = False


def join(nodes: Mapping[str, Node], edges: Iterable[Edge], apart: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Say which entity each sense belongs to.

    Edges are taken in order: confirmed ones, then by falling score, ties by ids. One is passed over if it would bring
    together two senses that a person keeps apart or, unless a person confirmed it, two senses of one name.

    An entity bears the id of the sense that most documents mean, ties by id: a rare alias that joins a well-known name
    takes its id, and all that is stored of the well-known one stays as it is.

    :param nodes: The senses by id: whole connected components of the edges.
    :param edges: Reasons to join, between these senses.
    :param apart: Pairs of senses that a person keeps apart.
    :returns: The entity id of each sense.
    """
    group: dict[str, list[str]] = {sense_id: [sense_id] for sense_id in nodes}
    ordered = sorted(edges, key=lambda edge: (not edge.is_confirmed, -edge.score, edge.left_id, edge.right_id))
    forbidden = {frozenset(pair) for pair in apart}
    for edge in ordered:
        left, right = group[edge.left_id], group[edge.right_id]
        if left is right or any(frozenset((one, other)) in forbidden for one in left for other in right):
            continue
        names = {nodes[one].name_id for one in left} & {nodes[one].name_id for one in right}
        if names and not edge.is_confirmed:
            continue
        left.extend(right)
        group.update(dict.fromkeys(right, left))
    entity_of: dict[str, str] = {}
    for sense_id, members in group.items():
        entity_of[sense_id] = min(members, key=lambda one: (-nodes[one].n_documents, one))
    return entity_of

"""Find what a change may have joined or parted, and decide it again: from stored links and decisions to entities.

Layer: ``kg``; SQLAlchemy Core, inside a write transaction. The rule itself is :func:`kg.stores.components.join`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, or_, select, update

from kg.ports import Decision, DecisionKind
from kg.stores.components import Edge, Node, join
from kg.stores.decisions import decisions_on, mates_of, senses_meant, sides_of
from kg.stores.locals import Local
from kg.stores.naming_tables import links, senses
from kg.stores.queries import among, run

__all__ = ["rejoin"]


@dataclass(slots=True)
class _Graph:
    """The connected components that the seeds lie in, as far as they were walked."""

    nodes: dict[str, Node] = field(default_factory=dict)
    entity_of: dict[str, str] = field(default_factory=dict)
    edges: set[Edge] = field(default_factory=set)
    apart: set[tuple[str, str]] = field(default_factory=set)
    decided: set[int] = field(default_factory=set)


def rejoin(
    connection: Connection, seeds: Iterable[str], *, decided: Iterable[Decision], unsaved: Mapping[str, Local]
) -> dict[str, str]:
    """Decide again which entities the senses around ``seeds`` belong to.

    :param connection: A connection in a write transaction; senses and links are written.
    :param seeds: Senses whose links, documents or decisions changed; some may be gone.
    :param decided: Decisions on names whose senses changed: another sense may now be meant.
    :param unsaved: Locals, by id, that are not yet stored with their sense.
    :returns: The new entity of each sense whose entity changed; ``senses`` is written.
    """
    graph = _Graph()
    decided = list(decided)
    frontier = set(seeds) | mates_of(connection, {name for one in decided for name in (one.left_id, one.right_id)})
    while frontier:
        frontier = _walk(connection, graph, frontier, unsaved)
    entity_of = join(graph.nodes, graph.edges, sorted(graph.apart))
    changed = {sense_id: new for sense_id, new in entity_of.items() if graph.entity_of[sense_id] != new}
    if changed:
        connection.execute(
            _MOVE, [{"k_sense": sense_id, "entity_id": new} for sense_id, new in sorted(changed.items())]
        )
    return changed


_S, _E = senses.c, links.c
_NODES = select(_S.sense_id, _S.name_id, _S.n_documents, _S.entity_id).where(among(_S.sense_id))
_EDGES = select(_E.left_id, _E.right_id, _E.score).where(or_(among(_E.left_id), among(_E.right_id)), _E.is_automatic)
_MOVE = update(senses).where(_S.sense_id == bindparam("k_sense")).values(entity_id=bindparam("entity_id"))


def _walk(connection: Connection, graph: _Graph, frontier: set[str], unsaved: Mapping[str, Local]) -> set[str]:
    """Take the frontier into the graph; return the senses beside it that are not in yet."""
    names: set[str] = set()
    ends: set[str] = set()
    for sense_id, name_id, n_documents, entity_id in run(connection, _NODES, frontier):
        graph.nodes[sense_id] = Node(sense_id, name_id, n_documents)
        graph.entity_of[sense_id] = entity_id
        names.add(name_id)
    for left_id, right_id, score in run(connection, _EDGES, frontier):
        graph.edges.add(Edge(left_id, right_id, score))
        ends |= {left_id, right_id}
    taken = [one for one in decisions_on(connection, names) if one.kind is not DecisionKind.SPLIT]
    meant = (
        senses_meant(connection, (side for one in taken for side in sides_of(one)), unsaved=unsaved) if taken else {}
    )
    for decision in taken:
        left, right = (meant.get(side) for side in sides_of(decision))
        if left is None or right is None or left == right:
            continue
        if decision.kind is DecisionKind.SAME:
            graph.edges.add(Edge(min(left, right), max(left, right), 1.0, is_confirmed=True))
            ends |= {left, right}
        else:
            graph.apart.add((min(left, right), max(left, right)))
    return ends - set(graph.nodes)

"""Communities: groups of entities that relate to each other more than to the rest, and what each is about.

Layer: ``kg``; graspologic-native (MIT) for Leiden, imported when communities are asked for.
Source: Traag, Waltman and van Eck 2019, arXiv:1810.08473; communities larger than ``max_size`` are split again, which
gives levels. The random numbers have a fixed seed and edges come in a fixed order, so equal graphs have equal
communities.

A summary needs no model: the entities that matter most inside, the relations used most, and the sentences that say most
about those entities, each with its citation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.graph.views import Ranked, RelationCount, pagerank, relation_counts, undirected
from kg.ports import GraphStore, Statement
from kg.types import Entity, Relation

__all__ = ["Community", "CommunitySettings", "CommunitySummary", "find_communities", "summarise"]

_RELATIONS_READ = 40
"""Relations of a community whose sentences are read for its summary, the most central first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunitySettings:
    """How communities are found. ``resolution`` above 1 gives more and smaller ones (1 is plain modularity).

    Communities of more than ``max_size`` entities are split again into communities of the next level.
    """

    resolution: float = 1.0
    max_size: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resolution <= 0 or self.max_size < 2:
            raise InputError(
                f"Communities need a resolution above 0 and a max_size of at least 2, got {self.resolution} and "
                f"{self.max_size}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """A group of entities. Numbers count from 0 over all levels, larger communities of a level first.

    ``parent`` is the number of the community of the level above that it is a part of.
    """

    number: int
    level: int
    parent: int | None
    entity_ids: tuple[str, ...]
    n_relations: int
    n_relations_outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunitySummary:
    """What a community is about: ``entities`` by PageRank inside it, ``relations`` by frequency, ``sentences``."""

    community: Community
    name: str
    entities: tuple[Ranked, ...]
    relations: tuple[RelationCount, ...]
    sentences: tuple[Statement, ...]


def find_communities(relations: Sequence[Relation], settings: CommunitySettings | None = None) -> list[Community]:
    """Group entities by their relations; an entity without relations to others belongs to no community.

    :param relations: All relations of the graph, in an order that does not depend on chance.
    :param settings: How; ``None`` takes the defaults.
    :returns: Communities by level, then falling size, then smallest entity id.
    """
    import graspologic_native

    chosen = settings or CommunitySettings()
    weights: Iterable[tuple[str, str, int]] = undirected(relations).edges(data="weight")
    edges = sorted((min(left, right), max(left, right), float(weight)) for left, right, weight in weights)
    if not edges:
        return []
    found = graspologic_native.hierarchical_leiden(
        edges, resolution=chosen.resolution, max_cluster_size=chosen.max_size, seed=chosen.seed, iterations=3
    )
    members: dict[tuple[int, int], list[str]] = {}
    parents: dict[tuple[int, int], tuple[int, int] | None] = {}
    for one in found:
        place = (one.level, one.cluster)
        members.setdefault(place, []).append(one.node)
        parents[place] = None if one.parent_cluster is None else (one.level - 1, one.parent_cluster)
    ordered = sorted(members, key=lambda place: (place[0], -len(members[place]), min(members[place])))
    numbers = {place: number for number, place in enumerate(ordered)}
    return [
        _community(
            number,
            level=place[0],
            parent=None if parents[place] is None else numbers[parents[place]],  # type: ignore[index]
            members=members[place],
            relations=relations,
        )
        for place, number in numbers.items()
    ]


def _community(
    number: int, *, level: int, parent: int | None, members: list[str], relations: Iterable[Relation]
) -> Community:
    own = set(members)
    touching = [(one.head_id in own) + (one.tail_id in own) for one in relations]
    return Community(
        number=number,
        level=level,
        parent=parent,
        entity_ids=tuple(sorted(members)),
        n_relations=touching.count(2),
        n_relations_outside=touching.count(1),
    )


def summarise(
    graph: GraphStore,
    community: Community,
    *,
    relations: Iterable[Relation],
    n_entities: int = 5,
    n_sentences: int = 3,
) -> CommunitySummary:
    """Say what a community is about.

    :param graph: The graph.
    :param community: The community.
    :param relations: All relations of the graph.
    :param n_entities: The most entities and relation names to give.
    :param n_sentences: The most sentences to give.
    :returns: The summary; its name are the three entities that matter most.
    """
    own = set(community.entity_ids)
    inside = [one for one in relations if one.head_id in own and one.tail_id in own and one.head_id != one.tail_id]
    central = pagerank(undirected(inside))
    best = sorted(own, key=lambda entity_id: (-round(central.get(entity_id, 0.0), 9), entity_id))[:n_entities]
    entities = graph.entities(best)
    return CommunitySummary(
        community=community,
        name=_name(entities),
        entities=tuple(Ranked(entity=one, value=central.get(one.entity_id, 0.0)) for one in entities),
        relations=relation_counts(inside)[:n_entities],
        sentences=tuple(_sentences(graph, inside, central, n=n_sentences)),
    )


def _name(entities: Sequence[Entity]) -> str:
    return ", ".join(entity.name for entity in entities[:3])


def _sentences(
    graph: GraphStore, relations: Collection[Relation], central: Mapping[str, float], *, n: int
) -> list[Statement]:
    """Choose sentences one by one: each time the one that says most about what is not covered yet."""
    by_centre = sorted(
        relations, key=lambda one: (-round(central[one.head_id] + central[one.tail_id], 9), one.relation_id)
    )
    said: dict[tuple[str, int, int], tuple[Statement, set[str]]] = {}
    for one in by_centre[:_RELATIONS_READ]:
        for statement in graph.statements((one.head_id, one.name, one.tail_id), limit=2):
            place = (statement.chunk_id, statement.start, statement.end)
            said.setdefault(place, (statement, set()))[1].update((one.head_id, one.tail_id))
    chosen: list[Statement] = []
    covered: set[str] = set()
    while said and len(chosen) < n:
        place = min(said, key=lambda key: (-_worth(*said[key], central, covered), key))
        statement, about = said.pop(place)
        chosen.append(statement)
        covered |= about
    return chosen


def _worth(statement: Statement, about: set[str], central: Mapping[str, float], covered: set[str]) -> float:
    new = sum(central[one] for one in about - covered)
    known = sum(central[one] for one in about & covered)
    return round(statement.score * (new + 0.25 * known), 9)  # what is said again is worth a quarter

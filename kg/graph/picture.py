"""What a picture of the graph shows: which entities and relations, under which title, in which colours.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.types import Entity, Relation

__all__ = ["GREY", "Picture", "choose", "degrees", "type_colours"]

_PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08a3c", "#7b6fd0")
"""Colours for the most frequent types: Paul Tol's "bright" scheme, which colour-blind readers can tell apart, and two
more; further types are grey."""
GREY = "#999999"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is drawn. ``n_left_out`` entities that belong to it were left out; ``focus`` are drawn with a dark ring."""

    title: str
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    n_left_out: int = 0
    focus: frozenset[str] = frozenset()

    @property
    def note(self) -> str:
        """Say how much is drawn, and how much is not."""
        drawn = f"{len(self.entities)} entities, {len(self.relations)} relations"
        return f"{drawn}; {self.n_left_out} more entities are not drawn" if self.n_left_out else drawn


def choose(
    entities: Sequence[Entity],
    relations: Sequence[Relation],
    *,
    title: str,
    max_nodes: int,
    n_left_out: int = 0,
    focus: frozenset[str] = frozenset(),
) -> Picture:
    """Choose what is drawn of too large a graph: the entities with the most relations, and those between them.

    Entities without relations are drawn only where there is nothing else.

    :param entities: What could be drawn.
    :param relations: The relations between them.
    :param title: The line over the picture.
    :param max_nodes: The most entities, at least 1.
    :param n_left_out: How many were left out before.
    :param focus: Entities that the picture is about; they are kept first.
    :returns: The picture.
    :raises InputError: If ``max_nodes`` is below 1.
    """
    if max_nodes < 1:
        raise InputError(f"A picture needs at least one entity, got a bound of {max_nodes}.")
    degree = degrees(relations)
    related = [one for one in entities if one.entity_id in degree] or list(entities)
    related.sort(key=lambda one: (one.entity_id not in focus, -degree.get(one.entity_id, 0), one.entity_id))
    kept = {one.entity_id: one for one in related[:max_nodes]}
    inside = [one for one in relations if one.head_id in kept and one.tail_id in kept]
    if inside:  # whoever lost all partners to the bound would stand alone
        partners = {*degrees(inside), *focus}
        kept = {entity_id: one for entity_id, one in kept.items() if entity_id in partners}
    return Picture(
        title=title,
        entities=tuple(kept.values()),
        relations=tuple(inside),
        n_left_out=n_left_out + len(entities) - len(kept),
        focus=focus,
    )


def type_colours(entities: Sequence[Entity]) -> dict[str, str]:
    """Give each type a colour, the most frequent first; the rare ones beyond the palette share a grey."""
    counts = Counter(entity.type for entity in entities)
    ordered = sorted(counts, key=lambda one: (-counts[one], one))
    return {one: _PALETTE[i] if i < len(_PALETTE) else GREY for i, one in enumerate(ordered)}


def degrees(relations: Sequence[Relation]) -> Counter[str]:
    """Count the relations that touch each entity."""
    return Counter(end for one in relations for end in {one.head_id, one.tail_id})

"""How names are compared where a graph is looked up by name.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from kg.types import Entity

__all__ = ["fold", "name_tier", "tidy"]


def tidy(name: str) -> str:
    """Collapse white space."""
    return " ".join(name.split())


def fold(name: str) -> str:
    """Collapse white space and fold case."""
    return tidy(name).casefold()


def name_tier(entity: Entity, name: str) -> int | None:
    """Say how an entity is called ``name``: 0 exactly, 1 but for case and white space, 2 as an alias, else ``None``."""
    if entity.name == tidy(name):
        return 0
    if fold(entity.name) == fold(name):
        return 1
    return 2 if fold(name) in {fold(alias) for alias in entity.aliases} else None

"""A graph that came from a file: names, types and statements, before it becomes a document of the record.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from kg.errors import CorruptFileError, EmptyFileError

__all__ = [
    "DEFAULT_RELATION",
    "DEFAULT_TYPE",
    "GraphBuilder",
    "ImportedEntity",
    "ImportedGraph",
    "ImportedStatement",
    "first_of",
    "local_name",
]

DEFAULT_TYPE = "CONCEPT"
DEFAULT_RELATION = "related to"

_NAMES = ("name", "label", "title", "prefLabel", "id")
_TYPES = ("type", "entity_type", "labels", "category", "class")
_RELATIONS = ("relation", "predicate", "name", "label", "type", "relationship", "interaction")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEntity:
    """An entity of a file, known there as ``key``."""

    key: str
    name: str
    type: str = DEFAULT_TYPE
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedStatement:
    """A statement of a file. ``quote`` and ``source`` are what the file says of where it comes from, or empty."""

    head: str
    name: str
    tail: str
    quote: str = ""
    source: str = ""
    page: int = 0
    score: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedGraph:
    """Entities in the order of the file, and statements between them."""

    entities: tuple[ImportedEntity, ...]
    statements: tuple[ImportedStatement, ...]


class GraphBuilder:
    """Collects what a file says; an end of a statement that the file does not describe is named by its key."""

    def __init__(self) -> None:
        self._entities: dict[str, ImportedEntity] = {}
        self._statements: list[ImportedStatement] = []

    def entity(self, key: str, *, name: str = "", type_name: str = "", aliases: Iterable[str] = ()) -> None:
        """Add an entity, or what else is known of it."""
        known = self._entities.get(key)
        own_name = _tidy(name) or (known.name if known else "") or local_name(key)
        others = dict.fromkeys(_tidy(alias) for alias in (*(known.aliases if known else ()), *aliases))
        self._entities[key] = ImportedEntity(
            key=key,
            name=own_name,
            type=_type(type_name) or (known.type if known else DEFAULT_TYPE),
            aliases=tuple(alias for alias in others if alias and alias != own_name),
        )

    def described(self, key: str, values: Mapping[str, object]) -> None:
        """Add an entity of any program: its name and type stand under one of the usual words."""
        self.entity(key, name=first_of(values, _NAMES), type_name=first_of(values, _TYPES), aliases=_list(values))

    def statement(self, head: str, name: str, tail: str, values: Mapping[str, object] | None = None) -> None:
        """Add a statement between two keys, with what else the file says of it."""
        if not head or not tail:
            raise CorruptFileError(f"A relation {name!r} of the file has no {'head' if not head else 'tail'}.")
        for key in (head, tail):
            if key not in self._entities:
                self.entity(key)
        more = values or {}
        self._statements.append(
            ImportedStatement(
                head=head,
                name=_tidy(name) or first_of(more, _RELATIONS) or DEFAULT_RELATION,
                tail=tail,
                quote=_tidy(str(more.get("quote") or "")),
                source=_tidy(str(more.get("document_name") or more.get("source") or "")),
                page=int(_number(more.get("page"), default=0.0)),
                score=min(1.0, max(0.0, _number(more.get("score", more.get("confidence")), default=1.0))),
            )
        )

    def graph(self, *, where: str) -> ImportedGraph:
        """Return what was collected; raise ``EmptyFileError`` if there is nothing."""
        if not self._entities:
            raise EmptyFileError(f"{where} holds no entities and no relations that could be read.")
        return ImportedGraph(entities=tuple(self._entities.values()), statements=tuple(self._statements))


def first_of(values: Mapping[str, object], names: Iterable[str]) -> str:
    """Return the first value that is there under one of ``names``, whatever their case, as text."""
    folded = {key.casefold(): value for key, value in values.items()}
    for name in names:
        value = folded.get(name.casefold())
        if value not in (None, "", [], ()):
            return str(value[0] if isinstance(value, list | tuple) else value)
    return ""


def local_name(key: str) -> str:
    """Read a name out of an identifier: what follows the last ``#``, ``/`` or ``:`` of an IRI, spaces for ``_``."""
    if "://" not in key and not key.startswith("urn:"):
        return _tidy(key)
    last = key.rstrip("/#").replace("#", "/").rpartition("/")[2]
    if key.startswith("urn:"):
        last = last.rpartition(":")[2]
    return _tidy(unquote(last).replace("_", " ")) or key


def _list(values: Mapping[str, object]) -> tuple[str, ...]:
    found = values.get("aliases") or values.get("altLabel") or ()
    if isinstance(found, str):
        return (found,)
    return tuple(str(one) for one in found) if isinstance(found, list | tuple) else ()


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _type(text: str) -> str:
    """Write a type as ours are written: ``Person`` and ``:Person;Agent`` become ``PERSON``."""
    first = _tidy(text.replace(";", " ").replace(":", " ")).split(" ")[0] if text else ""
    return first.upper()


def _number(value: object, *, default: float) -> float:
    try:
        number = float(str(value)) if value not in (None, "") else default
    except ValueError:
        return default
    return number if math.isfinite(number) else default

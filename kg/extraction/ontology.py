"""What kinds of things and statements a graph may hold, and what is refused because of it.

Layer: ``kg``; the standard library only. It takes a mapping; reading the file is the edge's work.

An ontology is written like this (YAML; every part may be left out)::

    entities:
      PERSON: a human being
      PLACE: {description: a town, country or region, labels: [GPE, LOC, FAC]}
    relations:
      born in: {from: [PERSON], to: [PLACE], functional: true, aliases: [birthplace, be born in]}
      employ: {from: [ORG], to: [PERSON]}
    closed: false

``labels`` are the labels of an extractor that mean this type; ``from`` and ``to`` are the domain and range of a
relation (empty allows any type); ``functional`` says that one thing has one value, so two sources that give different
ones contradict each other; ``aliases`` are other names for the same relation, and ``inverse`` one that reads it
backwards. A relation or type that is not listed is kept unless ``closed`` is true. Terms as in OWL 2 (W3C 2012): class,
domain, range, functional property, inverse property.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kg.errors import ConfigError
from kg.ids import triple_id
from kg.types import Extraction, Mention, RefusedStatement, Triple

__all__ = ["EntityType", "Ontology", "RelationType"]

_ENTITY_KEYS = frozenset({"description", "labels"})
_RELATION_KEYS = frozenset({"description", "from", "to", "functional", "aliases", "inverse"})
_TOP_KEYS = frozenset({"entities", "relations", "closed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityType:
    """A kind of thing. ``labels`` are an extractor's names for it."""

    name: str
    description: str = ""
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationType:
    """A kind of statement. An empty domain or range allows any type."""

    name: str
    description: str = ""
    domain: frozenset[str] = frozenset()
    range: frozenset[str] = frozenset()
    is_functional: bool = False
    aliases: frozenset[str] = frozenset()
    inverse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ontology:
    """Types and relations, by name. Make it with :meth:`from_mapping`.

    :raises ConfigError: If a name is defined twice or a relation speaks of a type that is not there.
    """

    entities: Mapping[str, EntityType] = field(default_factory=dict)
    relations: Mapping[str, RelationType] = field(default_factory=dict)
    is_closed: bool = False

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any], *, where: str = "ontology") -> Ontology:
        """Read what a file holds.

        :param given: The mapping, as in the header of this module.
        :param where: The file's name, for messages.
        :returns: The ontology.
        :raises ConfigError: If a key is unknown, a value has another form, or a name clashes or is missing.
        """
        _known_keys(given, _TOP_KEYS, where=where)
        entities = {
            name: _entity(name, value, where=f"{where}: entities.{name}")
            for name, value in _section(given, "entities", where=where).items()
        }
        relations = {
            name: _relation(name, value, entities, where=f"{where}: relations.{name}")
            for name, value in _section(given, "relations", where=where).items()
        }
        _refuse_clashes(relations, where=where)
        closed = given.get("closed", False)
        if not isinstance(closed, bool):
            raise ConfigError(f"{where}: closed must be true or false, got {closed!r}.")
        return cls(entities=entities, relations=relations, is_closed=closed)

    @property
    def functional(self) -> frozenset[str]:
        """The relations of which one thing has one value."""
        return frozenset(name for name, relation in self.relations.items() if relation.is_functional)

    def type_of(self, label: str) -> str:
        """Return the type that an extractor's label means; the label itself where the ontology does not say."""
        if label in self.entities:
            return label
        return next((name for name, entity in self.entities.items() if label in entity.labels), label)

    def apply(self, extraction: Extraction) -> Extraction:
        """Rename what has another name here, and refuse statements that the ontology does not allow.

        Mentions keep their place; only their labels change. A mention whose type a closed ontology does not list stays,
        for retrieval finds passages by it, but takes part in no statement.

        :param extraction: What an extractor found.
        :returns: The same with canonical names; ``refused`` says what was left out, and why.
        """
        mentions = tuple(_relabelled(mention, self.type_of(mention.label)) for mention in extraction.mentions)
        by_id = {mention.mention_id: mention for mention in mentions}
        kept: dict[str, Triple] = {}
        refused = list(extraction.refused)
        for triple in extraction.triples:
            turned = self._canonical(triple)
            head, tail = by_id[turned.head_mention_id], by_id[turned.tail_mention_id]
            reason = self._objection(turned.name, head, tail)
            if reason:
                refused.append(
                    RefusedStatement(
                        chunk_id=triple.chunk_id, head=head.text, name=triple.name, tail=tail.text, reason=reason
                    )
                )
            else:
                kept.setdefault(turned.triple_id, turned)
        return Extraction(mentions=mentions, triples=tuple(kept.values()), refused=tuple(refused))

    def _canonical(self, triple: Triple) -> Triple:
        for relation in self.relations.values():
            if triple.name in relation.aliases:
                return _renamed(triple, relation.name)
            if relation.inverse and triple.name == relation.inverse:
                return _renamed(triple, relation.name, backwards=True)
        return triple

    def _objection(self, name: str, head: Mention, tail: Mention) -> str:
        relation = self.relations.get(name)
        if relation is None:
            return f"the ontology has no relation {name!r}" if self.is_closed and self.relations else ""
        for mention, allowed, side in ((head, relation.domain, "starts"), (tail, relation.range, "ends")):
            if allowed and mention.label not in allowed:
                return (
                    f"{name!r} {side} at {' or '.join(sorted(allowed))}, and {mention.text!r} is "
                    f"{mention.label or 'of no type'}"
                )
            if self.is_closed and self.entities and mention.label not in self.entities:
                return f"the ontology has no type {mention.label!r} ({mention.text!r})"
        return ""


def _relabelled(mention: Mention, label: str) -> Mention:
    # The id is not made anew: it names the place, and triples refer to it.
    return mention if label == mention.label else replace(mention, label=label)


def _renamed(triple: Triple, name: str, *, backwards: bool = False) -> Triple:
    head, tail = triple.head_mention_id, triple.tail_mention_id
    if backwards:
        head, tail = tail, head
    identity = triple_id(triple.chunk_id, head, name, tail, triple.span.start, triple.span.end)
    return replace(triple, triple_id=identity, name=name, head_mention_id=head, tail_mention_id=tail)


def _known_keys(given: object, known: frozenset[str], *, where: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: must be a mapping, got {type(given).__name__}.")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(sorted(known))}."
            raise ConfigError(f"{where}: there is no {key!r}. {hint}")


def _section(given: Mapping[str, Any], key: str, *, where: str) -> Mapping[str, Any]:
    section = given.get(key) or {}
    if isinstance(section, Sequence) and not isinstance(section, str):
        section = dict.fromkeys(map(str, section))
    if not isinstance(section, Mapping) or not all(isinstance(name, str) and name.strip() for name in section):
        raise ConfigError(f"{where}: {key} must be a mapping of names, got {section!r:.80}.")
    return section


def _names(value: object, *, where: str) -> frozenset[str]:
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{where}: must be a name or a list of names, got {value!r:.80}.")
    return frozenset(names)


def _entity(name: str, value: object, *, where: str) -> EntityType:
    if value is None or isinstance(value, str):
        return EntityType(name=name, description=value or "")
    _known_keys(value, _ENTITY_KEYS, where=where)
    settings: Mapping[str, Any] = value  # type: ignore[assignment]  # a mapping, or it had been refused
    return EntityType(
        name=name,
        description=str(settings.get("description") or ""),
        labels=_names(settings.get("labels"), where=f"{where}.labels"),
    )


def _relation(name: str, value: object, entities: Mapping[str, EntityType], *, where: str) -> RelationType:
    if value is None or isinstance(value, str):
        return RelationType(name=name, description=value or "")
    _known_keys(value, _RELATION_KEYS, where=where)
    settings: Mapping[str, Any] = value  # type: ignore[assignment]  # a mapping, or it had been refused
    ends = {side: _names(settings.get(side), where=f"{where}.{side}") for side in ("from", "to")}
    for side, names in ends.items():
        unknown = sorted(names - entities.keys()) if entities else []
        if unknown:
            raise ConfigError(f"{where}.{side}: there is no type {unknown[0]!r}; known are {', '.join(entities)}.")
    functional = settings.get("functional", False)
    if not isinstance(functional, bool):
        raise ConfigError(f"{where}.functional: must be true or false, got {functional!r}.")
    return RelationType(
        name=name,
        description=str(settings.get("description") or ""),
        domain=ends["from"],
        range=ends["to"],
        is_functional=functional,
        aliases=_names(settings.get("aliases"), where=f"{where}.aliases"),
        inverse=str(settings.get("inverse") or ""),
    )


def _refuse_clashes(relations: Mapping[str, RelationType], *, where: str) -> None:
    owner: dict[str, str] = {}
    for relation in relations.values():
        inverse = [relation.inverse] if relation.inverse else []
        for name in (relation.name, *sorted(relation.aliases), *inverse):
            if owner.setdefault(name, relation.name) != relation.name:
                raise ConfigError(
                    f"{where}: {name!r} stands for both {owner[name]!r} and {relation.name!r}. Leave it at one."
                )

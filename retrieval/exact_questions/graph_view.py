"""What exact questions ask of the graph: whom a question names, and what kind of thing an entity is said to be.

Layer: ``retrieval``; imports ``kg``. Whether a thing is of a kind has three answers: it is said to be, it is said or
known to be something else, or nothing tells. The third stops an exact answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kg.extraction.labels import label_of_kind
from kg.extraction.values import VALUE_LABELS
from kg.ports import RecordStore
from kg.resolution.names import singular
from kg.types import Entity, Relation
from retrieval.exact_questions.types import AskedExactly, UnclearQuestionError
from retrieval.exact_questions.words import stem, stems_of

__all__ = ["IS_A", "GraphView"]

IS_A = frozenset({"is", "is a"})
_NO_NAMES = VALUE_LABELS | {"CONCEPT", "ORDINAL"}
_CLASSES: dict[str, frozenset[str]] = {
    stem(word): frozenset(labels.split())
    for words, labels in {
        "person people": "PERSON",
        "organisation organization": "ORG",
        "company firm business": "ORG",
        "place location": "GPE LOC FAC",
        "event": "EVENT",
    }.items()
    for word in words.split()
}
"""Nouns that a label alone decides."""
_BROAD = frozenset(map(stem, ("company", "firm", "business")))
"""Of these, those that a label decides only where nothing else is said of the thing: a school is an ORG too."""


@dataclass(slots=True, kw_only=True)
class GraphView:
    """The graph of some documents, indexed for one question."""

    entities: dict[str, Entity]
    relations: list[Relation]
    _names: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    _kinds: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: RecordStore, document_ids: Sequence[str] | None) -> GraphView:
        """Read the graph.

        :param store: The record.
        :param document_ids: Only what these documents say; ``None`` allows all.
        :returns: The view.
        """
        entities = {one.entity_id: one for one in store.entities()}
        if document_ids is not None:  # what a thing is called and is, all documents say
            said = {one.entity_id for one in store.entities(document_ids=document_ids)}
            entities = {entity_id: one for entity_id, one in entities.items() if entity_id in said}
        relations = [
            one
            for one in store.relations(document_ids=document_ids)
            if one.head_id in entities and one.tail_id in entities
        ]
        names: dict[tuple[str, ...], set[str]] = defaultdict(set)
        kinds: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for entity in entities.values():
            if entity.type not in _NO_NAMES:
                for name in (entity.name, *entity.aliases):
                    key = stems_of(name)
                    names[key[1:] if key[:1] == ("the",) and len(key) > 1 else key].add(entity.entity_id)
                words = stems_of(entity.name)
                if len(words) > 1:
                    kinds[entity.entity_id].add(words[-1:])
        for one in relations:
            if one.name in IS_A and entities[one.tail_id].type not in VALUE_LABELS:
                kinds[one.head_id].add(stems_of(entities[one.tail_id].name))
        return cls(entities=entities, relations=relations, _names=dict(names), _kinds=dict(kinds))

    def named(self, asked: AskedExactly) -> list[tuple[range, Entity]]:
        """Find the entities that a question names in capitals or digits, the longest names first.

        :param asked: The question.
        :returns: The places of each name, and its entity.
        :raises UnclearQuestionError: If several things are called so.
        """
        found: list[tuple[range, Entity]] = []
        place = 1
        longest = max(map(len, self._names), default=0)
        while place < len(asked.words):
            size = next(
                (
                    n
                    for n in range(min(longest, len(asked.words) - place), 0, -1)
                    if not asked.words[place].islower() and asked.stems[place : place + n] in self._names
                ),
                0,
            )
            if size:
                ids = self._names[asked.stems[place : place + size]]
                name = " ".join(asked.words[place : place + size])
                if len(ids) > 1:
                    raise UnclearQuestionError(f"{len(ids)} things are called {name!r}")
                found.append((range(place, place + size), self.entities[next(iter(ids))]))
            place += max(size, 1)
        return found

    def is_kind(self, entity: Entity, noun: Sequence[str]) -> bool | None:
        """Tell whether an entity is what a noun says.

        :param entity: The entity.
        :param noun: The noun's words, in order.
        :returns: ``None`` where nothing tells.
        """
        stems = tuple(map(stem, noun))
        kinds = self._kinds.get(entity.entity_id, set())
        if any(kind[-len(stems) :] == stems for kind in kinds):
            return True
        if entity.type in VALUE_LABELS:
            return stems[-1] in ("year", "date", "day") and entity.type == "DATE"
        if entity.type == "CONCEPT":
            # "twelve ships" is no one thing, and "a bakery" may be a company: neither is counted nor left out.
            own = label_of_kind(singular(entity.name.split()[-1].lower()))
            asked = label_of_kind(singular(noun[-1].lower())) or next(iter(_CLASSES.get(stems[-1], ())), "")
            return False if own and asked and own != asked else None
        labels = _CLASSES.get(stems[-1]) if len(stems) == 1 else None
        if labels is not None:
            is_other = stems[-1] in _BROAD and self._said_otherwise(kinds)
            return (entity.type in labels) if not is_other else None if entity.type in labels else False
        label = label_of_kind(singular(noun[-1].lower()))
        return False if label and entity.type not in (label, "MISC") else None

    @staticmethod
    def _said_otherwise(kinds: Collection[tuple[str, ...]]) -> bool:
        return any(label_of_kind(kind[-1]) == "ORG" and kind[-1] not in _BROAD for kind in kinds if kind)

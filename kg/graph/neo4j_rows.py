"""Rows and properties of the graph database, from our values and back.

Layer: ``kg``; the standard library only. The shape is that of :mod:`kg.graph.cypher`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from kg.graph.names import fold
from kg.ids import relation_id
from kg.ports import ChunkNode, DocumentNode, MentionLink, RelationKey, Statement
from kg.types import Entity, Modality, Origin, Relation

__all__ = ["Rows"]

Row = dict[str, Any]

_EMPTY = dict.fromkeys(("asset_id", "document_name", "extractor", "quote"), "")
"""What a statement may lack in a database that was loaded in bulk, which keeps no empty texts."""


class Rows:
    """Values of one workspace as rows of the graph database.

    :param workspace: The workspace's name; every key begins with it.
    """

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace

    def key(self, identity: str) -> str:
        """Return the key of a node: unique in a database that several workspaces share."""
        return f"{self._workspace}/{identity}"

    def relation_key(self, relation: RelationKey) -> str:
        """Return what the statements of one relation share, whatever their origin."""
        return self.key(relation_id(*relation))

    def removed(self, identity: str) -> Row:
        """Return the row that removes a node."""
        return {"key": self.key(identity)}

    def document(self, node: DocumentNode) -> Row:
        """Return the row of a document."""
        return self._node(node.document_id, asdict(node))

    def chunk(self, node: ChunkNode) -> Row:
        """Return the row of a chunk."""
        document = self.key(node.document_id)
        properties = {**asdict(node), "modality": str(node.modality), "document_key": document}
        return {**self._node(node.chunk_id, properties), "document": document}

    def entity(self, entity: Entity) -> Row:
        """Return the row of an entity."""
        names = {
            "aliases": list(entity.aliases),
            "folded": fold(entity.name),
            "folded_aliases": sorted({fold(alias) for alias in entity.aliases}),
        }
        return self._node(entity.entity_id, {**asdict(entity), **names})

    def mention(self, link: MentionLink) -> Row:
        """Return the row of a mention."""
        properties = {**asdict(link), "workspace": self._workspace}
        return {"entity": self.key(link.entity_id), "chunk": self.key(link.chunk_id), "properties": properties}

    def relation(self, relation: Relation) -> Row:
        """Return the row of a relation; one that several origins state has one for each."""
        row = self._node(
            f"{relation.relation_id}/{relation.origin}", {**asdict(relation), "origin": str(relation.origin)}
        )
        return {**row, "head": self.key(relation.head_id), "tail": self.key(relation.tail_id)}

    def statement(self, statement: Statement) -> Row:
        """Return the row of a statement."""
        properties = {
            **asdict(statement),
            "origin": str(statement.origin),
            "modality": str(statement.modality),
            "level": str(statement.level),
            "document_key": self.key(statement.document_id),
            "relation_key": self.relation_key(statement.relation),
        }
        return {
            **self._node(statement.statement_id, properties),
            "head": self.key(statement.head_id),
            "tail": self.key(statement.tail_id),
            "chunk": self.key(statement.chunk_id),
        }

    def _node(self, identity: str, properties: Mapping[str, Any]) -> Row:
        key = self.key(identity)
        return {"key": key, "properties": {**properties, "key": key, "workspace": self._workspace}}

    @staticmethod
    def to_entity(found: Mapping[str, Any]) -> Entity:
        """Read an entity's properties."""
        return Entity(**{**_fields(Entity, found), "aliases": tuple(found.get("aliases") or ())})

    @staticmethod
    def to_relation(found: Mapping[str, Any]) -> Relation:
        """Read a relation's properties."""
        return Relation(**{**_fields(Relation, found), "origin": Origin(found["origin"])})

    @staticmethod
    def to_mention(found: Mapping[str, Any]) -> MentionLink:
        """Read a mention's properties."""
        return MentionLink(**_fields(MentionLink, found))

    @staticmethod
    def to_statement(found: Mapping[str, Any]) -> Statement:
        """Read a statement's properties."""
        kinds = {"origin": Origin(found["origin"]), "modality": Modality(found["modality"])}
        return Statement(**{**_EMPTY, **_fields(Statement, found), **kinds})


def _fields(cls: type[Any], found: Mapping[str, Any]) -> Row:
    return {field.name: found[field.name] for field in fields(cls) if field.name in found}

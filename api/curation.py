"""Look at the entities of a workspace, say which are the same, and see what sources disagree about.

Layer: ``api``. The work behind ``mmkg entities``, ``mmkg contradictions`` and their routes. Everything is asked of
:class:`kg.ports.RecordStore`. A decision changes the record alone; the indexes catch up at the next search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.quotes import Names, Quote, Quotes
from api.workspaces import Workspaces
from kg.errors import InputError, NotFoundError
from kg.ids import entity_id
from kg.ports import Contribution, Decision, DecisionKind, EntityLink, LinkStatus, RecordStore, Sense
from kg.resolution import entity_key
from kg.types import DocumentInfo, Entity

__all__ = ["ContradictionView", "Curation", "EntityView", "LinkView", "SideView", "Source", "find_entity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideView:
    """One side of a link or of a contradiction. ``value`` is a date or quantity, where the side is one."""

    id: str
    entity_id: str
    name: str
    type: str
    names: tuple[str, ...] = ()
    value: str = ""
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """Two senses that may be one thing, with what speaks for it, and a sentence of each side."""

    link: EntityLink
    left: SideView
    right: SideView


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one document says of an entity."""

    document: DocumentInfo
    contribution: Contribution
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityView:
    """An entity with the senses it is made of, each source's share apart, and its links."""

    entity: Entity
    senses: tuple[Sense, ...]
    sources: tuple[Source, ...]
    links: tuple[EntityLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionView:
    """What sources contradict each other about: both sides, with document, page and sentence."""

    entity_id: str
    name: str
    relation: str
    fixed: str
    sides: tuple[SideView, ...]


class Curation:
    """Entities, decisions and contradictions of any workspace.

    :param workspaces: The open workspaces.
    """

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    def _store(self, workspace: str) -> RecordStore:
        return self._workspaces.get(workspace, create=False).store

    # ------------------------------------------------------------------ looking

    def entities(self, workspace: str, *, name: str | None = None, limit: int = 50) -> list[Entity]:
        """List entities: those called ``name`` or nearly so, best first, or else the most mentioned.

        :param workspace: Its name.
        :param name: What to look for; ``None`` for all.
        :param limit: The most to return, at least 1.
        :returns: Entities.
        :raises InputError: If ``limit`` is below 1.
        """
        store = self._store(workspace)
        if name is not None:
            return store.find_entities(name, limit=limit)
        if limit < 1:
            raise InputError(f"limit must be at least 1, got {limit}.")
        return sorted(store.entities(), key=lambda one: (-one.n_mentions, one.name, one.entity_id))[:limit]

    def find(self, workspace: str, reference: str) -> Entity:
        """Return the one entity of that id or name.

        :param workspace: Its name.
        :param reference: An entity's id, or a name that one entity bears.
        :returns: The entity.
        :raises NotFoundError: If there is none.
        :raises InputError: If several bear the name.
        """
        return find_entity(self._store(workspace), reference)

    def show(self, workspace: str, reference: str) -> EntityView:
        """Return an entity with each source's contribution apart; raises as :meth:`find` does."""
        store = self._store(workspace)
        entity = find_entity(store, reference)
        infos = {info.document_id: info for info in store.documents()}
        names = Names(store)
        sources = [
            Source(
                document=infos[one.document_id],
                contribution=one,
                statements=tuple(dict.fromkeys(names.statement(row) for row in one.statements)),
            )
            for one in store.contributions(entity.entity_id)
            if one.document_id in infos
        ]
        return EntityView(
            entity=entity,
            senses=tuple(store.senses(entity_id=entity.entity_id)),
            sources=tuple(sources),
            links=tuple(store.links(entity_id=entity.entity_id)),
        )

    def links(
        self, workspace: str, *, status: LinkStatus | None = LinkStatus.REVIEW, limit: int = 50
    ) -> list[LinkView]:
        """Return links with a sentence of evidence for each side, by falling score.

        :param workspace: Its name.
        :param status: Only those of this status; by default those that wait for a person's word.
        :param limit: The most to return, at least 1.
        :returns: Links.
        :raises InputError: If ``limit`` is below 1.
        """
        if limit < 1:
            raise InputError(f"limit must be at least 1, got {limit}.")
        store = self._store(workspace)
        quotes = Quotes(store)
        return [
            LinkView(
                link=link,
                left=_side_of_link(store, quotes, link.left_id, link.left_entity_id),
                right=_side_of_link(store, quotes, link.right_id, link.right_entity_id),
            )
            for link in store.links(status=status)[:limit]
        ]

    def history(self, workspace: str) -> list[Decision]:
        """Return every decision ever taken, in order."""
        return self._store(workspace).decisions()

    def contradictions(self, workspace: str, *, reference: str | None = None) -> list[ContradictionView]:
        """Return what sources contradict each other about.

        :param workspace: Its name.
        :param reference: Only about this entity (id or name).
        :returns: Contradictions, each with its sides and their sentences.
        """
        store = self._store(workspace)
        quotes, names = Quotes(store), Names(store)
        about = None if reference is None else find_entity(store, reference).entity_id
        return [
            ContradictionView(
                entity_id=one.entity_id,
                name=names.of(one.entity_id),
                relation=one.relation,
                fixed=one.fixed,
                sides=tuple(
                    SideView(
                        id=side.entity_id,
                        entity_id=side.entity_id,
                        name=names.of(side.entity_id),
                        type=names.entity(side.entity_id).type,
                        value=side.value,
                        quotes=tuple(quotes.of_statement(row) for row in side.statements),
                    )
                    for side in one.sides
                ),
            )
            for one in store.contradictions(about)
        ]

    # ------------------------------------------------------------------ deciding

    def merge(
        self, workspace: str, left: str, right: str, *, by: str = "", note: str = "", force: bool = False
    ) -> Decision:
        """Say that two entities are one thing.

        :param workspace: Its name.
        :param left: An entity's id or name.
        :param right: Another's.
        :param by: Who says so.
        :param note: Why.
        :param force: End the decisions that contradict it.
        :returns: The decision.
        """
        store = self._store(workspace)
        ids = [find_entity(store, one).entity_id for one in (left, right)]
        return store.decide(DecisionKind.SAME, *ids, by=by, note=note, force=force)

    def split(
        self,
        workspace: str,
        reference: str,
        *,
        names: Sequence[str] = (),
        documents: Sequence[str] = (),
        by: str = "",
        note: str = "",
        force: bool = False,
    ) -> list[Decision]:
        """Part an entity: some of its names are another thing, or it is another thing in some documents.

        :param workspace: Its name.
        :param reference: The entity's id or name.
        :param names: Names (or senses' ids) of it that mean something else.
        :param documents: Ids, names or sources of documents in which its names mean something else.
        :param by: Who says so.
        :param note: Why.
        :param force: End the decisions that contradict it.
        :returns: The decisions taken.
        :raises InputError: Unless exactly one of ``names`` and ``documents`` is given, or if nothing would be parted.
        :raises NotFoundError: If a name or document is not one of the entity's.
        """
        if bool(names) == bool(documents):
            raise InputError("Say what to set apart: names of the entity, or documents (--document), one of the two.")
        store = self._store(workspace)
        entity = find_entity(store, reference)

        def decide(kind: DecisionKind, left: str, right: str = "", ids: Sequence[str] = ()) -> Decision:
            return store.decide(kind, left, right, document_ids=ids, by=by, note=note, force=force)

        if names:
            return _part_names(store, entity, names, decide)
        return _part_documents(store, entity, documents, decide)

    def confirm(self, workspace: str, left_id: str, right_id: str, *, by: str = "", note: str = "") -> Decision:
        """Say that both sides of a link (ids of senses) are one thing."""
        return self._store(workspace).decide(DecisionKind.SAME, left_id, right_id, by=by, note=note)

    def reject(self, workspace: str, left_id: str, right_id: str, *, by: str = "", note: str = "") -> Decision:
        """Say that the sides of a link (ids of senses) are different things."""
        return self._store(workspace).decide(DecisionKind.DIFFERENT, left_id, right_id, by=by, note=note)

    def undo(self, workspace: str, decision_id: int) -> Decision:
        """Take a decision back; raises ``NotFoundError`` for an unknown number, ``InputError`` if it was undone."""
        return self._store(workspace).undo(decision_id)


def find_entity(store: RecordStore, reference: str) -> Entity:
    """Return the one entity of that id or name; raises as :meth:`Curation.find` does."""
    try:
        return store.entities([reference])[0]
    except NotFoundError:
        found = store.find_entities(reference)
    wanted = " ".join(reference.split()).casefold()
    called = [one for one in found if wanted in {name.casefold() for name in (one.name, *one.aliases)}]
    exact = [one for one in called if one.name == reference]
    if len(exact) == 1 or len(called) == 1:
        return (exact if len(exact) == 1 else called)[0]
    if called:
        named = ", ".join(f"{one.entity_id} ({one.name}, {one.type}, {one.n_mentions} mentions)" for one in called)
        raise InputError(f"Several entities are called {reference!r}: {named}. Give the id of one.")
    near = ", ".join(one.name for one in found[:5])
    raise NotFoundError(
        f"There is no entity {reference!r} in this workspace{f'; near it are {near}' if near else ''}. "
        "`mmkg entities list` shows what there is."
    )


def _part_names(
    store: RecordStore, entity: Entity, names: Sequence[str], decide: Callable[..., Decision]
) -> list[Decision]:
    senses = store.senses(entity_id=entity.entity_id)
    chosen: set[str] = set()
    for name in names:
        keys = {name} | {entity_id(entity_key(name, label)) for label in ("", entity.type, "CONCEPT")}
        folded = " ".join(name.split()).casefold()
        meant = {
            one.sense_id
            for one in senses
            if {one.sense_id, one.name_id} & keys or folded in {other.casefold() for other in one.names}
        }
        if not meant:
            known = ", ".join(one.names[0] for one in senses)
            raise NotFoundError(f"{entity.name} ({entity.entity_id}) has no name {name!r}; it has {known}.")
        chosen |= meant
    kept = [one.sense_id for one in senses if one.sense_id not in chosen]
    if not kept:
        raise InputError(f"{entity.name} has no other name that would be left. Part it by documents instead.")
    return [decide(DecisionKind.DIFFERENT, one, other) for one in sorted(chosen) for other in kept]


def _part_documents(
    store: RecordStore, entity: Entity, documents: Sequence[str], decide: Callable[..., Decision]
) -> list[Decision]:
    ids = [_document(store, reference) for reference in documents]
    taken: list[Decision] = []
    refused: InputError | None = None
    for sense in store.senses(entity_id=entity.entity_id):
        try:
            taken.append(decide(DecisionKind.SPLIT, sense.sense_id, ids=ids))
        except InputError as error:
            refused = error
    if not taken and refused is not None:
        raise refused
    return taken


def _document(store: RecordStore, reference: str) -> str:
    for key in ("document_id", "source", "name"):
        found = [info for info in store.documents() if getattr(info, key) == reference]
        if len(found) == 1:
            return found[0].document_id
    raise NotFoundError(f"There is no one document {reference!r}. `mmkg info --documents` lists them with their ids.")


def _side_of_link(store: RecordStore, quotes: Quotes, sense_id: str, entity: str) -> SideView:
    found = store.entities([entity])[0]
    own = {one.sense_id: one for one in store.senses(entity_id=entity)}[sense_id]
    quote = quotes.of_entity(entity, own.names)
    return SideView(
        id=sense_id,
        entity_id=entity,
        name=own.names[0],
        type=found.type,
        names=own.names,
        quotes=() if quote is None else (quote,),
    )

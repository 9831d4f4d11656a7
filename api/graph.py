"""The graph of a workspace, for every edge: looking, walking, drawing, exporting, importing, and its copy elsewhere.

Layer: ``api``. Part of :class:`api.service.Service`, as ``service.graph``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api.graph_results import CommunityList, CopyStatus, Found, Neighbourhood, PathList
from api.workspaces import Workspace, Workspaces
from kg.errors import ConfigError, InputError, MmkgError, NotFoundError
from kg.ports import Direction, GraphStore, Tokenizer, WritableGraphStore
from kg.types import FileOutcome, IngestStatus

if TYPE_CHECKING:
    from api.settings import Settings
    from kg.graph.communities import CommunitySettings
    from kg.graph.exchange.registry import ExportReport
    from kg.graph.mirror import SyncReport
    from kg.graph.plot import PlotReport
    from kg.graph.views import GraphFigures

__all__ = ["STORES", "GraphParts", "GraphService"]

STORES = ("record", "neo4j")
"""Where the graph is read: the record itself, or its copy in the graph database."""

_log = logging.getLogger(__name__)


class GraphParts(Protocol):
    """What the graph's service is made of; :class:`api.wiring.Wiring` supplies it."""

    settings: Settings

    def graph_copy(self, workspace: str) -> WritableGraphStore | None:
        """Connect to the copy of a workspace's graph; ``None`` where no graph database is configured."""
        ...

    def tokenizer(self) -> Tokenizer:
        """Return what counts the tokens of chunks."""
        ...


class GraphService:
    """Everything about the graph of a workspace.

    :param workspaces: The open workspaces.
    :param parts: The composition root.
    """

    def __init__(self, workspaces: Workspaces, parts: GraphParts) -> None:
        self._workspaces = workspaces
        self._parts = parts

    # ------------------------------------------------------------------ looking

    def figures(self, workspace: str, *, top: int = 10, store: str = "record") -> GraphFigures:
        """Measure the graph.

        :param workspace: Its name.
        :param top: How many entities and relation names to list.
        :param store: One of :data:`STORES`.
        :returns: Its figures.
        """
        from kg.graph.views import figures

        with self._reading(workspace, store) as graph:
            return figures(graph, top=top)

    def neighbours(
        self,
        workspace: str,
        entity: str,
        *,
        names: Sequence[str] = (),
        direction: str = "both",
        limit: int = 20,
        store: str = "record",
        with_evidence: bool = True,
    ) -> Neighbourhood:
        """Return what an entity is related to.

        :param workspace: Its name.
        :param entity: The entity's name or id.
        :param names: Keep these relations only.
        :param direction: ``out``, ``in`` or ``both``.
        :param limit: The most relations.
        :param store: One of :data:`STORES`.
        :param with_evidence: Read the best sentence of each.
        :returns: Its neighbours, the best supported first.
        """
        from kg.graph.views import Hop, best_statement

        if direction not in set(Direction):
            raise InputError(f"A direction is one of {', '.join(Direction)}, got {direction!r}.")
        found = self.find(workspace, entity)
        with self._reading(workspace, store) as graph:
            near = graph.neighbours(found.entity.entity_id, names=names, direction=Direction(direction), limit=limit)
            hops = tuple(
                Hop(
                    start=found.entity,
                    relation=one.relation,
                    end=one.entity,
                    evidence=best_statement(graph, one.relation) if with_evidence else None,
                )
                for one in near
            )
        return Neighbourhood(found=found, neighbours=tuple(near), hops=hops)

    def path(
        self, workspace: str, start: str, end: str, *, max_hops: int = 4, limit: int = 3, store: str = "record"
    ) -> PathList:
        """Find the shortest ways between two entities.

        :param workspace: Its name.
        :param start: Name or id of the one.
        :param end: Name or id of the other.
        :param max_hops: The most relations of a way.
        :param limit: The most ways.
        :param store: One of :data:`STORES`.
        :returns: The ways, the best supported first; none where there is no way.
        """
        from kg.graph.views import hops_of

        first, last = self.find(workspace, start), self.find(workspace, end)
        with self._reading(workspace, store) as graph:
            found = graph.shortest_paths(first.entity.entity_id, last.entity.entity_id, max_hops=max_hops, limit=limit)
            return PathList(start=first, end=last, paths=tuple(hops_of(graph, one) for one in found))

    def communities(
        self,
        workspace: str,
        *,
        settings: CommunitySettings | None = None,
        min_size: int = 3,
        limit: int = 20,
        number: int | None = None,
    ) -> CommunityList:
        """Find communities and say what each is about.

        :param workspace: Its name.
        :param settings: How they are found.
        :param min_size: The fewest entities of a community that is listed.
        :param limit: The most communities that are listed.
        :param number: Only this one.
        :returns: Communities by level and falling size.
        :raises NotFoundError: If there is no community of that number.
        """
        from kg.graph.communities import find_communities, summarise

        graph = self._workspaces.get(workspace, create=False).graph
        relations = graph.relations()
        found = find_communities(relations, settings)
        if number is not None and not 0 <= number < len(found):
            raise NotFoundError(f"There is no community {number} in workspace {workspace!r}; it has {len(found)}.")
        listed = (
            [one for one in found if len(one.entity_ids) >= min_size][:limit] if number is None else [found[number]]
        )
        grouped = {entity_id for one in found for entity_id in one.entity_ids}
        n_entities = graph.statistics().n_entities
        return CommunityList(
            communities=tuple(summarise(graph, one, relations=relations) for one in listed),
            n_found=len(found),
            n_entities=n_entities,
            n_outside=n_entities - len(grouped),
        )

    def plot(
        self,
        workspace: str,
        out: Path,
        *,
        entity: str | None = None,
        hops: int = 2,
        community: int | None = None,
        max_nodes: int = 80,
    ) -> PlotReport:
        """Draw a part of the graph.

        :param workspace: Its name.
        :param out: Where to: ``.png``, ``.svg``, ``.pdf`` or ``.html``.
        :param entity: What the picture is about; ``None`` draws the best related entities of the whole graph.
        :param hops: How far around the entity.
        :param community: A community's number, instead of an entity.
        :param max_nodes: The most entities to draw.
        :returns: What was drawn.
        :raises InputError: If both an entity and a community are given, or there is nothing to draw.
        """
        from kg.graph.picture import choose
        from kg.graph.plot import plot

        if entity is not None and community is not None:
            raise InputError("Draw either an entity or a community, not both.")
        graph = self._workspaces.get(workspace, create=False).graph
        if entity is not None:
            found = self.find(workspace, entity).entity
            near = graph.subgraph([found.entity_id], hops=hops, max_nodes=max_nodes)
            return plot(
                choose(
                    near.entities,
                    near.relations,
                    title=f"{found.name}, {hops} hop{'s' if hops > 1 else ''}",
                    max_nodes=max_nodes,
                    n_left_out=near.n_left_out,
                    focus=frozenset({found.entity_id}),
                ),
                out,
            )
        title = f"Workspace {workspace}"
        entities, relations = graph.entities(), graph.relations()
        if community is not None:
            (summary,) = self.communities(workspace, number=community).communities
            own = set(summary.community.entity_ids)
            entities = [one for one in entities if one.entity_id in own]
            relations = [one for one in relations if one.head_id in own and one.tail_id in own]
            title = f"Community {community}: {summary.name}"
        return plot(choose(entities, relations, title=title, max_nodes=max_nodes), out)

    def find(self, workspace: str, name: str) -> Found:
        """Return the entity of an id or name; a name is taken for the entity that is called so most often.

        :param workspace: The workspace's name.
        :param name: The entity's id or name.
        :returns: The entity, and others of nearly that name.
        :raises NotFoundError: If there is none.
        """
        graph = self._workspaces.get(workspace, create=False).store
        if name.startswith("e_"):
            try:
                return Found(entity=graph.entities([name])[0], others=())
            except NotFoundError:
                _log.debug("%r is not the id of an entity; looked up as a name", name)
        found = graph.find_entities(name, limit=4)
        if not found:
            raise NotFoundError(
                f"No entity of workspace {workspace!r} is called {name!r} or nearly so. `mmkg graph stats` lists the "
                "best related ones."
            )
        return Found(entity=found[0], others=tuple(found[1:]))

    @contextmanager
    def _reading(self, workspace: str, store: str) -> Iterator[GraphStore]:
        opened = self._workspaces.get(workspace, create=False)
        if store not in STORES:
            raise InputError(f"The graph is read from {' or '.join(STORES)}, got {store!r}.")
        if store == "record":
            yield opened.graph
            return
        with self._copy(opened) as copy:
            yield copy

    # ------------------------------------------------------------------ files

    def export(self, workspace: str, out: Path, *, format_name: str | None = None) -> ExportReport:
        """Write the graph to a file or folder.

        :param workspace: Its name.
        :param out: Where to.
        :param format_name: One of :data:`kg.graph.exchange.registry.FORMATS`; ``None`` decides by the suffix.
        :returns: What was written.
        """
        from kg.graph.exchange.registry import export_graph

        opened = self._workspaces.get(workspace, create=False)
        return export_graph(opened.store, out, workspace=workspace, format_name=format_name)

    def import_file(self, workspace: str, path: Path, *, format_name: str | None = None) -> FileOutcome:
        """Read a graph file into the workspace, as a document ``import:NAME`` that can be removed like any other.

        :param workspace: Its name; it is made if it does not exist.
        :param path: The file or folder.
        :param format_name: Its format; ``None`` decides by what it is called.
        :returns: What came in.
        """
        from kg.graph.exchange.registry import read_import

        started = time.perf_counter()
        delta = read_import(path, format_name=format_name, tokenizer=self._parts.tokenizer())
        opened = self._workspaces.get(workspace, create=True)
        status: IngestStatus = opened.store.apply(delta)
        warnings = (*opened.engine.refresh(), *self.follow(opened))
        return FileOutcome(
            source=delta.document.source,
            name=delta.document.name,
            status=status,
            seconds=time.perf_counter() - started,
            document_id=delta.document.document_id,
            n_pages=1,
            n_chunks=len(delta.chunks),
            n_mentions=len(delta.extraction.mentions),
            n_triples=len(delta.extraction.triples),
            message=" ".join(warnings),
        )

    # ------------------------------------------------------------------ the copy

    def sync(
        self, workspace: str, *, fresh: bool = False, on_part: Callable[[int, int], None] = lambda _parts, _rows: None
    ) -> SyncReport:
        """Bring the copy in the graph database up to the record.

        :param workspace: Its name.
        :param fresh: Make the copy anew.
        :param on_part: Told the numbers of parts and rows sent so far.
        :returns: What was done.
        :raises ConfigError: If no graph database is configured.
        :raises GraphUnreachableError: If it does not answer.
        """
        from kg.graph.mirror import sync

        opened = self._workspaces.get(workspace, create=False)
        with self._copy(opened) as copy:
            return sync(opened.store, copy, fresh=fresh, on_part=on_part)

    def status(self, workspace: str) -> CopyStatus:
        """Say how the copy stands; a database that does not answer is a part of the answer.

        :param workspace: Its name.
        :returns: Versions and counts.
        :raises ConfigError: If no graph database is configured.
        """
        opened = self._workspaces.get(workspace, create=False)
        uri, version = self._parts.settings.neo4j.uri, opened.store.version()
        try:
            with self._copy(opened) as copy:
                return CopyStatus(
                    uri=uri, record_version=version, copy_version=copy.version(), counts=copy.statistics()
                )
        except MmkgError as error:
            if not uri:
                raise
            return CopyStatus(uri=uri, record_version=version, error=str(error))

    def follow(self, opened: Workspace) -> tuple[str, ...]:
        """Bring the copy, if there is one, up to a record that has changed; what goes wrong is a warning.

        :param opened: The workspace.
        :returns: Warnings, none if all is well.
        """
        server = self._parts.settings.neo4j
        if not server.uri or not server.sync_after_ingest:
            return ()
        try:
            self.sync(opened.name)
        except MmkgError as error:
            _log.warning("the graph database did not follow: %s", error)
            return (str(error),)
        return ()

    @contextmanager
    def _copy(self, opened: Workspace) -> Iterator[WritableGraphStore]:
        copy = self._parts.graph_copy(opened.name)
        if copy is None:
            raise ConfigError(
                "No graph database is configured. Set MMKG_NEO4J__URI (bolt://HOST:7687), MMKG_NEO4J__USER and "
                "MMKG_NEO4J__PASSWORD, or the section neo4j of the settings file."
            )
        try:
            yield copy
        finally:
            copy.close()

"""Answer a query with evidence: dense, lexical and graph search over one workspace, fused and explained.

Layer: ``retrieval``; imports ``kg``. No request state: one engine serves all threads of a process.

Modes
- ``naive``: nearest chunks by vector alone.
- ``bm25``: lexical search alone; needs no encoder.
- ``hybrid``: both, fused by standard scores.
- ``local``: a walk through the graph from the entities that the query names; where it names none that are known, from
  the best lexical hits. Needs no encoder. ``graph`` is another name for it.
- ``global``: for questions about the whole ("what are the main themes?"): the communities of the graph, ranked by what
  they are about (by size where the question names no subject), and of the best ones the chunks that support each, the
  nearest first. Where the graph has no communities it is ``hybrid``.
- ``mix``: the fused list of ``hybrid``, carried through the graph: the walk starts at its best chunks and at the
  query's entities, and the share of the walk that a chunk gets is its score. The pages of long documents are then
  ranked by all that was found on them (:mod:`retrieval.two_level`), and the first five hold together what the question
  names (:mod:`retrieval.coverage`).
- ``auto``: the mode that measured best on multi-hop, chat, chart and long-document questions alike: ``mix``. Whether a
  question is for ``global`` or for its parts is decided before, by :mod:`retrieval.understanding`.

Every mode returns how each retriever saw each piece of evidence. A filter (documents, modalities) holds inside each
search, and a walk under a filter sees no mention outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kg.errors import ConfigError, EncoderError, InputError, NotFoundError, VectorsMissingError
from kg.ports import RecordStore
from kg.types import Modality
from retrieval.clock import Clock
from retrieval.config import RetrievalConfig
from retrieval.coverage import order_by_coverage, standard_logs
from retrieval.derived import Catalog, DerivedState
from retrieval.evidence import EvidenceReader, FoundChunk
from retrieval.fusion import FusedItem, ScoredPool, fuse_standard_scores
from retrieval.image_search import PictureSearch, SeenPicture, copies_first
from retrieval.modes import BY_WORDS, LOCAL, MODES, RETRIEVERS
from retrieval.picture_fields import PictureFields
from retrieval.routing import Router, RuleRouter, filled_up, route_of, within
from retrieval.shares import found_of, known, start_weights, walk_shares
from retrieval.theme_search import ThemeSearch
from retrieval.two_level import PageLevel
from retrieval.types import Evidence, Query, TextEncoder, Trace

__all__ = ["MODES", "RetrievalEngine"]

_ATTEMPTS = 3
"""Searches of one request over a record that changes under it; the last one leaves out what went meanwhile."""
_COVERING = frozenset({"auto", "mix"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    text: str
    k: int
    mode: str
    document_ids: frozenset[str] | None
    modalities: frozenset[Modality] | None
    chunk_ids: frozenset[str] | None
    first: frozenset[Modality] | None = None
    words: str = ""
    seen: SeenPicture | None = None
    leaves_out_gone: bool = False


class RetrievalEngine:
    """Retrieval over one record. Nothing is loaded or built before it is needed.

    :param store: The record.
    :param encoder: Turns texts into vectors; loaded with the first search or refresh that needs it.
    :param config: The constants.
    :param index_dir: A folder for index files, which may be deleted at any time.
    :param describe_image: Reads the words on a picture (the bytes of an image file) that is asked with.
    :param pictures: Searches pictures by a picture, and by words where it has an encoder for that.
    """

    def __init__(
        self,
        store: RecordStore,
        encoder: TextEncoder,
        config: RetrievalConfig,
        index_dir: Path,
        *,
        describe_image: Callable[[bytes], str] | None = None,
        pictures: PictureSearch | None = None,
    ) -> None:
        self.config = config
        self._store = store
        self._encoder = encoder
        self._derived = DerivedState(store, encoder, config, index_dir)
        self._describe_image = describe_image
        self.pictures = pictures
        self.routers: dict[str, Router] = {"rules": RuleRouter()}
        """Who may choose the part of the workspace that a question is put to; more may be added."""
        self._reader = EvidenceReader(store)
        self._pages = PageLevel(store, config)
        self._themes = ThemeSearch(self._derived, encoder, config)
        self.fields = PictureFields(store, encoder, config, index_dir)

    def refresh(self) -> tuple[str, ...]:
        """Catch every index up with the record, encoding chunks that have no vector yet. Nothing to do is cheap.

        :returns: Why vectors are missing still, in words for the user: there are too many to make on the way, or the
            encoder failed. Empty where everything is up to date.
        """
        try:
            return self._catch_up()
        except NotFoundError:  # a document went while its chunks were being read: what is left is caught up again
            return self._catch_up()

    def _catch_up(self) -> tuple[str, ...]:
        catalog = self._derived.catalog()
        self._derived.lexical(catalog)
        self._derived.graph(catalog)
        try:
            self._derived.dense(catalog)
        except (ConfigError, EncoderError, VectorsMissingError) as error:  # a server may refuse its key by now
            return (str(error),)
        notes = self.fields.refresh(catalog.version)
        return notes if self.pictures is None else notes + self.pictures.refresh()

    @property
    def state(self) -> DerivedState:
        """What is derived from the record: for the steps around a search."""
        return self._derived

    @property
    def encoder(self) -> TextEncoder:
        """What turns texts into vectors."""
        return self._encoder

    def read(self, chunk_ids: Sequence[str]) -> list[Evidence]:
        """Read chunks as evidence that no retriever of this engine found; those that are there no more are left out."""
        catalog = self._derived.catalog()
        found = [FoundChunk(chunk_id=one, score=0.0, shares={}) for one in chunk_ids if one in catalog.document_of]
        return self._reader.read(found, {}, catalog, leaves_out_gone=True)

    @property
    def vector_space(self) -> str:
        """The name under which the record keeps the vectors of this encoder."""
        return self._derived.vector_space

    def forget_vectors(self) -> None:
        """Drop the vector index, of which the record has no vectors any more."""
        self._derived.forget_vectors()
        self.fields.forget()
        if self.pictures is not None:
            self.pictures.forget()

    def reindex(self, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Encode every chunk that has no vector of this encoder; see :meth:`DerivedState.reindex`.

        :param on_progress: Told how many of how many chunks are done.
        :returns: How many chunks were encoded.
        """
        return self._derived.reindex(on_progress)

    def warm(self) -> None:
        """Load the encoder and every index now rather than with the first question."""
        self.refresh()
        self._encoder.encode_queries(["warm"])

    def search(
        self,
        query: Query,
        *,
        k: int,
        mode: str = "auto",
        document_ids: Collection[str] | None = None,
        modalities: Collection[Modality] | None = None,
        chunk_ids: Collection[str] | None = None,
        route: str = "off",
    ) -> tuple[list[Evidence], Trace]:
        """Find evidence for a query in the record as it is now.

        :param query: Words, a picture, or both. A picture is searched by itself and by the words on it.
        :param k: The most pieces of evidence, >= 1.
        :param mode: One of :data:`MODES`.
        :param document_ids: Only evidence from these documents; ``None`` allows all.
        :param modalities: Only evidence of these kinds; ``None`` allows all.
        :param chunk_ids: Only these chunks; ``None`` allows all.
        :param route: Who chooses the kinds that are searched first (:mod:`retrieval.routing`); the others fill up.
        :returns: Evidence, best first, ties by chunk id, ranks from 1; and how long each stage took, in seconds.
        :raises InputError: If ``k`` is below 1, the mode is unknown, or what is asked with is not a picture.
        :raises LoadError: If a picture is asked with that is damaged or too large.
        :raises NotFoundError: If the record keeps changing under the search.
        :raises VectorsMissingError: If the mode needs vectors and many chunks have none of this encoder.
        :raises EncoderError: If the mode needs vectors and the encoder fails.
        """
        if k < 1:
            raise InputError(f"search: k must be at least 1, got {k}.")
        if mode not in MODES:
            raise InputError(f"search: there is no mode {mode!r}. Use one of {', '.join(MODES)}.")
        clock = Clock()
        seen = None
        if query.image is not None and self.pictures is not None:
            with clock.stage("look"):
                seen = self.pictures.look(query.image)
        request = _Request(
            text=self._words(query, clock),
            k=k,
            mode=mode,
            document_ids=None if document_ids is None else frozenset(document_ids),
            modalities=None if modalities is None else frozenset(modalities),
            chunk_ids=None if chunk_ids is None else frozenset(chunk_ids),
            words=query.text,
            seen=seen,
        )
        if not request.text.strip():
            clock.notes.append("no words were found on the picture")
            if seen is None:
                return [], clock.trace()
        request = self._routed(request, route, clock)
        for _ in range(_ATTEMPTS):
            try:
                return self._filled_up(request, clock), clock.trace()
            except NotFoundError:  # a document went between the search and the reading of its chunks: look again
                clock.notes.append("the record changed; searched again")
        return self._filled_up(replace(request, leaves_out_gone=True), clock), clock.trace()

    def entities_of(self, text: str) -> list[str]:
        """Return the ids of the entities that a text names, as graph search recognises them, in their order there."""
        graph = self._derived.graph(self._derived.catalog())
        return [graph.entity_ids[column] for column in graph.recognise(text)]

    def _words(self, query: Query, clock: Clock) -> str:
        if query.image is None:
            return query.text
        if self._describe_image is None and self.pictures is not None:
            return query.text
        if self._describe_image is None:
            raise InputError("search: this engine cannot read pictures. Ask in words, or configure a captioner.")
        with clock.stage("describe_image"):
            described = self._describe_image(query.image)
        return f"{query.text}\n{described}" if query.text.strip() else described

    def _routed(self, request: _Request, route: str, clock: Clock) -> _Request:
        chosen = route_of(route, self.routers, request.words or request.text)
        if not chosen.corpora:
            return request
        clock.notes.append(f"routed to {', '.join(chosen.corpora)}: {chosen.reason}")
        return replace(request, first=chosen.modalities, mode=chosen.mode or request.mode)

    def _filled_up(self, request: _Request, clock: Clock) -> list[Evidence]:
        """Search what the route says first, and fill up from the rest."""
        found = self._search(request, clock)
        if request.first is None or len(found) >= request.k:
            return found
        return filled_up(found, self._search(replace(request, first=None), clock), k=request.k)

    def _search(self, request: _Request, clock: Clock) -> list[Evidence]:
        with clock.stage("catalog"):
            catalog = self._derived.catalog()
            allowed = catalog.allowed(request.document_ids, request.modalities, request.chunk_ids)
            allowed = within(allowed, catalog.allowed(None, request.first))
        n_items = len(catalog) if allowed is None else len(allowed)
        if n_items == 0:
            return []
        used = RETRIEVERS[request.mode] - (frozenset() if request.text.strip() else BY_WORDS)
        n_pool = min(n_items, max(self.config.pool_size, request.k))
        pools: dict[str, ScoredPool] = {}
        is_global = request.mode == "global" and "dense" in used
        themed: list[FoundChunk] = []
        if is_global:
            themed = self._themes.find(request.text, k=request.k, catalog=catalog, allowed=allowed, clock=clock)
        used = frozenset() if themed else used
        if "dense" in used:
            pools["dense"] = self._dense_pool(request.text, catalog, allowed, n_pool, clock)
        if "bm25" in used:
            pools["bm25"] = self._lexical_pool(request.text, catalog, allowed, n_pool, clock)
        if self.pictures is not None and not themed:
            words = request.words if used >= BY_WORDS else ""  # they find pictures where they find passages both ways
            pools |= self.pictures.pools(
                request.seen, words, catalog=catalog, allowed=allowed, n_pool=n_pool, clock=clock
            )
        if themed:
            found = themed
        elif "graph" in used:
            found = self._walk(request, catalog, allowed, pools, n_items, clock)
        elif len(pools) == 1:
            ((name, pool),) = pools.items()
            found = [FoundChunk(chunk_id=item, score=score, shares={name: 1.0}) for item, score in pool.pairs]
        else:
            with clock.stage("fuse"):
                found = [found_of(item) for item in self._fuse(pools, n_items, catalog)]
        if not themed and len(pools) > 1:
            found = self._ordered(request, found, catalog, clock, are_shares="graph" in used)
        found = copies_first(found, pools)
        with clock.stage("read"):
            return self._reader.read(found[: request.k], pools, catalog, leaves_out_gone=request.leaves_out_gone)

    def _ordered(
        self, request: _Request, found: list[FoundChunk], catalog: Catalog, clock: Clock, *, are_shares: bool
    ) -> list[FoundChunk]:
        """Order the best anew: by their pages, then so that the first hold together what the question names."""
        with clock.stage("pages"):
            found = self._pages.order(request.text, found, catalog, are_shares=are_shares)
        if request.mode not in _COVERING or self.config.coverage == 0.0 or len(found) < 3:
            return found
        with clock.stage("cover"):
            return self._covering(request.text, found, catalog)

    def _dense_pool(
        self, text: str, catalog: Catalog, allowed: frozenset[str] | None, n_pool: int, clock: Clock
    ) -> ScoredPool:
        with clock.stage("open_dense"):
            index = self._derived.dense(catalog)
        choice = self._derived.dense_choice
        if choice is not None and not choice.is_exact:
            clock.notes.append(f"the vector index is approximate: {choice.kind} ({choice.reason})")
        with clock.stage("encode"):
            query_1D = self._encoder.encode_queries([text])
        with clock.stage("dense"):
            (pairs,) = index.search(query_1D, k=n_pool, allowed=allowed)
            pairs = self.fields.best(
                pairs, query_1D, version=catalog.version, allowed=allowed, n_pool=n_pool, note=clock.notes.append
            )
        return ScoredPool(pairs=known(pairs, catalog), weight=self.config.dense_weight)

    def _lexical_pool(
        self, text: str, catalog: Catalog, allowed: frozenset[str] | None, n_pool: int, clock: Clock
    ) -> ScoredPool:
        with clock.stage("open_bm25"):
            index = self._derived.lexical(catalog)
        with clock.stage("bm25"):
            pairs = index.search(text, n_pool, allowed)
        return ScoredPool(pairs=known(pairs, catalog), weight=self.config.lexical_weight, absent_score=0.0)

    def _fuse(self, pools: Mapping[str, ScoredPool], n_items: int, catalog: Catalog) -> list[FusedItem]:
        def trust(item_id: str, retriever: str) -> float:
            return self.config.trust(retriever, is_read_off=catalog.is_picture(item_id))

        return fuse_standard_scores(pools, pool_size=min(self.config.pool_size, n_items), trust=trust)

    def _covering(self, text: str, found: list[FoundChunk], catalog: Catalog) -> list[FoundChunk]:
        """Let the first pages hold together what the question names; see :mod:`retrieval.coverage`."""
        head = [item for item in found[: self.config.n_covering] if item.score > 0.0]
        ids = [item.chunk_id for item in head]
        order = order_by_coverage(
            standard_logs([item.score for item in head]),
            self._derived.lexical(catalog).holds(text, ids),
            groups=[(catalog.document_of[chunk_id], catalog.pages_of.get(chunk_id)) for chunk_id in ids],
            strength=self.config.coverage,
            n_groups=self.config.n_covered,
        )
        covering = [
            replace(head[place], shares={**head[place].shares, "coverage": share}) if share else head[place]
            for place, share in order
        ]
        return covering + found[len(head) :]

    def _walk(
        self,
        request: _Request,
        catalog: Catalog,
        allowed: frozenset[str] | None,
        pools: Mapping[str, ScoredPool],
        n_items: int,
        clock: Clock,
    ) -> list[FoundChunk]:
        with clock.stage("open_graph"):
            graph = self._derived.graph(catalog)
        with clock.stage("graph"):
            named = graph.recognise(request.text, allowed=allowed)
            fused = self._fuse(pools, n_items, catalog)
            starts = [] if named and request.mode in LOCAL else fused[: self.config.n_seed_chunks]
            seeds = start_weights(starts, sharpness=self.config.seed_sharpness)
            n_best = max(request.k, self.config.n_levelled, self.config.n_covering)  # what comes after it orders anew
            walk = graph.walk(
                seeds, named, allowed=allowed, n_explained=max(request.k, self.config.n_covering), n_best=n_best
            )
        if named:
            names = sorted({graph.names[column] for column in named})
            clock.notes.append(f"entities of the query: {', '.join(names)}")
        parts = {item.item_id: item.parts for item in starts}
        found = [
            FoundChunk(
                chunk_id=chunk_id,
                score=score,
                shares=walk_shares(score, walk.restarts[chunk_id], parts.get(chunk_id, {})),
                entities=walk.entities.get(chunk_id, ()),
            )
            for chunk_id, score in walk.scores.items()
            if chunk_id in catalog.document_of
        ]
        reached = walk.scores.keys()  # if the best alone fill the list, what follows is cut off
        rest = [] if starts == [] else [item for item in fused if item.item_id not in reached]
        return found + [FoundChunk(chunk_id=item.item_id, score=0.0, shares={}) for item in rest]

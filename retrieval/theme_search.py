"""Find evidence for a question about the whole: the best communities of the graph, and the chunks that support each.

Layer: ``retrieval``; imports ``kg``. Part of :class:`retrieval.engine.RetrievalEngine`.
"""

from __future__ import annotations

from retrieval.catalog import Catalog
from retrieval.clock import Clock
from retrieval.communities import Theme, rank_themes
from retrieval.config import RetrievalConfig
from retrieval.derived import DerivedState
from retrieval.evidence import FoundChunk
from retrieval.shares import known
from retrieval.types import TextEncoder

__all__ = ["ThemeSearch"]

_N_THEMES = 5
"""The most communities whose chunks are evidence for a global question."""


class ThemeSearch:
    """Global search over one record's communities.

    :param derived: The communities and the vector index.
    :param encoder: Encodes the question.
    :param config: The constants.
    """

    def __init__(self, derived: DerivedState, encoder: TextEncoder, config: RetrievalConfig) -> None:
        self._derived = derived
        self._encoder = encoder
        self._config = config

    def find(
        self, text: str, *, k: int, catalog: Catalog, allowed: frozenset[str] | None, clock: Clock
    ) -> list[FoundChunk]:
        """Return chunks of the best communities, an equal number of each.

        :param text: The question.
        :param k: The most chunks, >= 1.
        :param catalog: The chunks of the record.
        :param allowed: Only these chunks; ``None`` allows all.
        :param clock: Told the stages, and which communities were best.
        :returns: Chunks, best first; none where the graph has no communities.
        """
        with clock.stage("open_communities"):
            themes = self._derived.themes(catalog)
        best: list[tuple[Theme, float]] = []
        if themes.themes:
            with clock.stage("encode"):
                query_1D = self._encoder.encode_queries([text])
            with clock.stage("communities"):
                ranked, by_size = rank_themes(text, themes, query_1D[0], allowed=allowed)
            best = ranked[: min(_N_THEMES, k)]
        if not best:
            clock.notes.append("the graph has no communities: searched as hybrid")
            return []
        with clock.stage("open_dense"):
            index = self._derived.dense(catalog)
        with clock.stage("dense"):
            found: dict[str, FoundChunk] = {}
            for place, (theme, score) in enumerate(best):
                own = frozenset(theme.chunk_ids).intersection(catalog.document_of).difference(found)
                own = own if allowed is None else own & allowed
                named = theme.entities if allowed is None else self._derived.graph(catalog).seen(theme.entities, own)
                n_wanted = -(-(k - len(found)) // (len(best) - place))
                (pairs,) = index.search(query_1D, k=n_wanted, allowed=own) if own and n_wanted > 0 else ([],)
                for chunk_id, likeness in known(pairs, catalog):
                    found[chunk_id] = FoundChunk(
                        chunk_id=chunk_id,
                        score=(score + likeness) / 2,
                        shares={"community": 1.0},
                        entities=named[: self._config.n_explaining_entities],
                        community=theme.name if allowed is None else ", ".join(named[:3]),
                    )
        how = "by size" if by_size else "by likeness to the question"
        if allowed is None:  # under a filter a community's name may tell what the filter hides
            named_themes = "; ".join(f"{theme.name} ({score:.3f})" for theme, score in best)
            clock.notes.append(f"communities {how}: {named_themes}")
        return sorted(found.values(), key=lambda item: (-item.score, item.chunk_id))

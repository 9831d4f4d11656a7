"""Turn fused candidates into found chunks, and say what part of each score every retriever gave.

Layer: ``retrieval``. Part of :class:`retrieval.engine.RetrievalEngine`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from retrieval.catalog import Catalog
from retrieval.evidence import FoundChunk
from retrieval.fusion import FusedItem

__all__ = ["found_of", "known", "start_weights", "walk_shares"]


def known(pairs: Sequence[tuple[str, float]], catalog: Catalog) -> list[tuple[str, float]]:
    """Drop what an index has caught up with and this search's view of the record has not."""
    return [pair for pair in pairs if pair[0] in catalog.document_of]


def start_weights(items: Sequence[FusedItem], *, sharpness: float) -> dict[str, float]:
    """Turn fused scores into start weights, the best chunk's being 1."""
    return {item.item_id: math.exp(sharpness * (item.score - items[0].score)) for item in items}


def found_of(item: FusedItem) -> FoundChunk:
    """Return a fused candidate as a found chunk, its score shared among those who spoke for it."""
    return FoundChunk(chunk_id=item.item_id, score=item.score, shares=_positive_shares(item.parts))


def _positive_shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Split 1 among the retrievers that spoke for an item, in proportion to how far above average they put it."""
    positive = {name: max(part, 0.0) for name, part in parts.items()}
    total = sum(positive.values())
    return {name: part / total for name, part in positive.items()} if total > 0.0 else dict.fromkeys(parts, 0.0)


def walk_shares(score: float, restart: float, parts: Mapping[str, float]) -> dict[str, float]:
    """Split a walk's score: what starting there gave goes to those who proposed it, the rest to the graph."""
    started = min(restart / score, 1.0)
    shares = {name: share * started for name, share in _positive_shares(parts).items()}
    shares["graph"] = 1.0 - started
    return shares

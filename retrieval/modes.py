"""The modes of search, and which retrievers each of them asks; :mod:`retrieval.engine` says what they are.

Layer: ``retrieval``; imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BY_WORDS", "LOCAL", "MODES", "RETRIEVERS"]

MODES: tuple[str, ...] = ("auto", "bm25", "global", "graph", "hybrid", "local", "mix", "naive")
"""The modes of :meth:`retrieval.engine.RetrievalEngine.search`, sorted."""

RETRIEVERS: Mapping[str, frozenset[str]] = {
    "auto": frozenset({"dense", "bm25", "graph"}),
    "bm25": frozenset({"bm25"}),
    "global": frozenset({"dense", "bm25"}),
    "graph": frozenset({"bm25", "graph"}),
    "hybrid": frozenset({"dense", "bm25"}),
    "local": frozenset({"bm25", "graph"}),
    "mix": frozenset({"dense", "bm25", "graph"}),
    "naive": frozenset({"dense"}),
}
LOCAL = frozenset({"graph", "local"})
"""Modes that walk from the entities of the question alone, where it names some."""
BY_WORDS = frozenset({"dense", "bm25"})
"""Retrievers that need words."""

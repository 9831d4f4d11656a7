"""The vectors of a workspace's chunks: made anew for another encoder, counted, pruned.

Layer: ``api``. :class:`api.service.Service` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.workspaces import Workspace

__all__ = ["Reindexed", "describe_vectors", "reindex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexed:
    """How many chunks were encoded, how many vectors there are now, and of other encoders: deleted, and kept."""

    n_encoded: int
    n_vectors: int
    n_pruned: int
    n_others: int


def reindex(opened: Workspace, *, everything: bool, prune: bool, on_progress: Callable[[int, int], None]) -> Reindexed:
    """Make the vectors that the encoder in use has not made yet.

    :param opened: The workspace.
    :param everything: Make those anew that are there, too.
    :param prune: Then delete the vectors of all other encoders.
    :param on_progress: Told how many of how many chunks are done.
    :returns: What was done.
    :raises EncoderError: If the encoder fails; nothing is pruned then.
    """
    engine, store = opened.engine, opened.store
    space = engine.vector_space
    if everything:
        store.remove_vectors(encoder=space)
        engine.forget_vectors()
    n_encoded = engine.reindex(on_progress)
    others = [name for name in store.vector_counts() if name != space] if prune else []
    n_pruned = sum(store.remove_vectors(encoder=name) for name in others)
    counts = store.vector_counts()
    n_vectors = counts.pop(space, 0)
    return Reindexed(n_encoded=n_encoded, n_vectors=n_vectors, n_pruned=n_pruned, n_others=sum(counts.values()))


def describe_vectors(opened: Workspace, encoder: tuple[str, str]) -> dict[str, Any]:
    """Say which encoder is in use and how many vectors are its own, without loading it.

    :param opened: The workspace.
    :param encoder: Its state and description, as ``mmkg doctor`` has them.
    :returns: What ``mmkg info`` shows.
    """
    state, about = encoder
    counts = opened.store.vector_counts()
    n_vectors = counts.pop(opened.engine.vector_space, 0) if state == "ok" else 0
    return {
        "encoder": about if state == "ok" else f"{state}: {about}",
        "vectors": n_vectors,
        "vectors_of_other_encoders": sum(counts.values()),
    }

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
    """How many chunks and pictures were encoded, how many vectors there are now, and of others: deleted, and kept.

    A picture counts once for each encoder that sees it: one finds its copies, another, if it is set, pictures like it.
    """

    n_encoded: int
    n_vectors: int
    n_pruned: int
    n_others: int
    n_pictures_encoded: int = 0
    n_picture_vectors: int = 0


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
    ours = (space, *engine.fields.spaces)
    pictures = engine.pictures
    seen = () if pictures is None else pictures.spaces
    if everything:
        for one in ours:
            store.remove_vectors(encoder=one)
        for one in seen:
            store.remove_picture_vectors(encoder=one)
        engine.forget_vectors()
    n_encoded = engine.reindex(on_progress)
    engine.fields.reindex()
    n_pictures = 0 if pictures is None else pictures.reindex(on_progress)
    others = [name for name in store.vector_counts() if name not in ours] if prune else []
    blind = [name for name in store.picture_vector_counts() if name not in seen] if prune else []
    n_pruned = sum(store.remove_vectors(encoder=name) for name in others)
    n_pruned += sum(store.remove_picture_vectors(encoder=name) for name in blind)
    counts, of_pictures = store.vector_counts(), store.picture_vector_counts()
    n_vectors = counts.pop(space, 0)
    for one in engine.fields.spaces:
        counts.pop(one, 0)
    n_picture_vectors = sum(of_pictures.pop(name, 0) for name in seen)
    return Reindexed(
        n_encoded=n_encoded,
        n_vectors=n_vectors,
        n_pruned=n_pruned,
        n_others=sum(counts.values()) + sum(of_pictures.values()),
        n_pictures_encoded=n_pictures,
        n_picture_vectors=n_picture_vectors,
    )


def describe_vectors(opened: Workspace, encoder: tuple[str, str]) -> dict[str, Any]:
    """Say which encoder is in use and how many vectors are its own, without loading it.

    :param opened: The workspace.
    :param encoder: Its state and description, as ``mmkg doctor`` has them.
    :returns: What ``mmkg info`` shows.
    """
    state, about = encoder
    counts = opened.store.vector_counts()
    n_vectors = counts.pop(opened.engine.vector_space, 0) if state == "ok" else 0
    for one in opened.engine.fields.spaces if state == "ok" else ():
        counts.pop(one, 0)
    return {
        "encoder": about if state == "ok" else f"{state}: {about}",
        "vectors": n_vectors,
        "vectors_of_other_encoders": sum(counts.values()),
        "picture_vectors": sum(opened.store.picture_vector_counts().values()),
    }

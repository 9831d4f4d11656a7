"""Say which entities have which modality, from what a folder holds, without reading the vectors themselves.

Layer: ``generation``; safetensors with NumPy.

===============================  =====================================================================================
``text``                         the third column of ``entities.tsv``
``image``                        ``rows`` of ``image-vectors.safetensors``: places in ``entities.tsv``, from 0
``number``                       the ids in the first column of ``numbers.tsv``
===============================  =====================================================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["SIDE_FILES", "modality_masks"]

SIDE_FILES = ("image-vectors.safetensors", "numbers.tsv", "types.tsv")
"""What a folder may hold besides triples, entities and relations."""


def modality_masks(graph: TripleSet, folder: Path | None = None) -> dict[str, NDArray[np.bool_]]:
    """Say of each entity which modalities it has.

    :param graph: The graph.
    :param folder: The folder it was read from; ``None`` for a graph without one.
    :returns: A mask for each modality that any entity has. *Shape:* ``(n_entities,)`` each.
    :raises CompletionError: If a file cannot be read or speaks of rows that the graph does not have.
    """
    masks = {"text": np.array([bool(text) for text in graph.entity_texts], dtype=np.bool_)}
    if folder is not None:
        masks["image"] = _with_image(graph, folder / SIDE_FILES[0])
        masks["number"] = _with_number(graph, folder / SIDE_FILES[1])
    return {name: mask for name, mask in masks.items() if mask.any()}


def _with_image(graph: TripleSet, path: Path) -> NDArray[np.bool_]:
    mask = np.zeros(graph.n_entities, dtype=np.bool_)
    if not path.is_file():
        return mask
    try:
        with safe_open(path, framework="numpy") as tensors:
            rows = np.asarray(tensors.get_tensor("rows"))
    except (OSError, SafetensorError) as error:
        raise CompletionError(
            f"{path}: cannot be read ({error}). It must hold vectors (M, D) and rows (M,)."
        ) from error
    if rows.size and (rows.min() < 0 or rows.max() >= graph.n_entities):
        raise CompletionError(f"{path}: rows speak of entities outside 0..{graph.n_entities - 1}.")
    mask[rows] = True
    return mask


def _with_number(graph: TripleSet, path: Path) -> NDArray[np.bool_]:
    if not path.is_file():
        return np.zeros(graph.n_entities, dtype=np.bool_)
    try:
        with path.open("rb") as stream:
            ids = {line.split(b"\t", 1)[0].removeprefix(b"\xef\xbb\xbf").strip() for line in stream}
    except OSError as error:
        raise CompletionError(f"{path}: cannot be read ({error.strerror}).") from error
    return np.array([entity_id.encode("utf-8") in ids for entity_id in graph.entity_ids], dtype=np.bool_)

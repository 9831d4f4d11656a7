"""Cases that were answered right, found by FAISS, for re-routing a mixture of experts at test time.

Layer: ``generation``; imports ``retrieval.indexes``, ``moe_backbone`` and torch (both when called).
Satisfies :class:`moe_backbone.decoding.rerouting.NeighbourIndex`. A folder holds the FAISS index of the questions'
embeddings and the routing weights of each case; it is written whole or not at all, and one that was made by another
language model or another encoder is refused: its weights mean nothing there.

Shape suffixes: N cases, D embedding width, L layers, E experts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from kg.errors import InputError, VectorIndexError
from retrieval.indexes.faiss_cpu import FaissIndex

if TYPE_CHECKING:
    from moe_backbone.decoding.rerouting import Neighbours

__all__ = ["ReferenceCases"]

_KIND, _VERSION = "reference-cases", 1
_INDEX, _WEIGHTS, _IDS = "cases.index", "cases.safetensors", "cases.json"


class ReferenceCases:
    """Embeddings and routing weights of questions that were answered right. Add from one thread, ask from any.

    :param model: A hash of the language model whose routing this is, such as
        :func:`moe_backbone.checkpoint.source_sha256`.
    :param encoder: The fingerprint of the encoder of the questions.
    :param dimension: Width D of its embeddings.
    :param shape: Layers L and experts E of the routing weights.
    """

    def __init__(self, *, model: str, encoder: str, dimension: int, shape: tuple[int, int]) -> None:
        self.model, self.encoder, self.dimension, self.shape = model, encoder, dimension, shape
        self._index = FaissIndex(dimension)
        self._weights: dict[str, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._weights)

    def add(self, case_id: str, embedding_D: Sequence[float], weights_LE: NDArray[np.float32]) -> None:
        """Add a case; one of the same id is replaced.

        :param case_id: Its id.
        :param embedding_D: A unit vector. *Shape:* ``(D,)``.
        :param weights_LE: The routing under which it was answered right. *Shape:* ``(L, E)``.
        :raises InputError: If the weights are of another shape, negative or not finite.
        :raises EncoderError: If the embedding is of another width or not finite.
        """
        weights_LE = np.asarray(weights_LE, dtype=np.float32)
        if weights_LE.shape != self.shape or not np.isfinite(weights_LE).all() or (weights_LE < 0).any():
            raise InputError(
                f"case {case_id!r}: routing weights must be finite, not negative and of shape {self.shape}, got shape "
                f"{weights_LE.shape}."
            )
        self._index.add([case_id], np.asarray(embedding_D, dtype=np.float32)[None])
        self._weights[case_id] = weights_LE

    def nearest(self, query_vector: Sequence[float], k: int) -> Neighbours:
        """Return the cases whose questions are most alike, nearest first.

        :param query_vector: The embedding of the request, a unit vector. *Shape:* ``(D,)``.
        :param k: The most cases, at least 1.
        :returns: At most ``k`` cases; none if there is none.
        :raises InputError: If ``k`` is below 1.
        :raises EncoderError: If the embedding is of another width or not finite.
        """
        import torch

        from moe_backbone.decoding.rerouting import Neighbours

        (found,) = self._index.search(np.asarray(query_vector, dtype=np.float32)[None], k=k)
        rows = [self._weights[case_id] for case_id, _ in found]
        weights_NLE = np.stack(rows) if rows else np.zeros((0, *self.shape), dtype=np.float32)
        return Neighbours(
            ids=tuple(case_id for case_id, _ in found),
            weights=torch.from_numpy(weights_NLE),
            similarity=torch.tensor([score for _, score in found], dtype=torch.float32),
        )

    def save(self, folder: Path) -> Path:
        """Write the cases to a folder, whole or not at all; an older one is replaced.

        :param folder: The folder.
        :returns: ``folder``.
        :raises VectorIndexError: If it cannot be written.
        """
        from safetensors.numpy import save_file

        from moe_backbone.checkpoint import CheckpointError, checkpoint_folder

        ids = sorted(self._weights)
        rows = [self._weights[case_id] for case_id in ids]
        weights_NLE = np.stack(rows) if rows else np.zeros((0, *self.shape), dtype=np.float32)
        about = {"ids": ids, "dimension": self.dimension, "shape": list(self.shape)}
        # The name of this save keeps a folder of other cases from being taken for what is written now.
        recipe = {"kind": _KIND, "version": _VERSION, "model": self.model, "encoder": self.encoder, "save": uuid4().hex}
        try:
            with checkpoint_folder(folder, recipe=recipe, size_bytes=2 * weights_NLE.nbytes) as part:
                self._index.save(part / _INDEX, encoder=self.encoder, record_version=0)
                save_file({"weights": weights_NLE}, part / _WEIGHTS)
                (part / _IDS).write_text(json.dumps(about), encoding="utf-8")
        except (CheckpointError, OSError) as error:
            raise VectorIndexError(f"reference cases cannot be written to {folder}: {error}") from error
        return folder

    @classmethod
    def load(cls, folder: Path, *, model: str, encoder: str) -> Self:
        """Read the cases of a folder.

        :param folder: What :meth:`save` wrote.
        :param model: The hash of the language model that is to be re-routed.
        :param encoder: The fingerprint of the encoder of its questions.
        :returns: The cases.
        :raises VectorIndexError: If the folder is missing or damaged, or is of another model or encoder.
        """
        from safetensors.numpy import load_file

        from moe_backbone.checkpoint import read_manifest, verify

        manifest = read_manifest(folder)
        if manifest is None or manifest["recipe"].get("kind") != _KIND or manifest["recipe"].get("version") != _VERSION:
            raise VectorIndexError(f"{folder} holds no reference cases of this version. Collect them again.")
        for what, given in (("model", model), ("encoder", encoder)):
            if manifest["recipe"][what] != given:
                raise VectorIndexError(
                    f"{folder} holds cases of another {what} ({manifest['recipe'][what]!r}, now {given!r}): its "
                    "routing means nothing here. Collect them again."
                )
        if damaged := verify(folder):
            raise VectorIndexError(f"{folder} is damaged ({', '.join(damaged)}). Collect the cases again.")
        about = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        n_layers, n_experts = about["shape"]
        cases = cls(model=model, encoder=encoder, dimension=about["dimension"], shape=(n_layers, n_experts))
        cases._index = FaissIndex.load(folder / _INDEX, encoder=encoder)
        cases._weights = dict(zip(about["ids"], load_file(folder / _WEIGHTS)["weights"], strict=True))
        return cases

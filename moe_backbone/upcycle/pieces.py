"""Make the matrices of single experts: slices of a feed-forward network, permuted, partly drawn anew, or with noise.

Layer: ``moe_backbone``; imports torch.
An inner neuron is a row of the gate and up projections and the same column of the down projection; neurons may stand in
any order, and any split of them into slices adds up to the whole network.
Sources: arXiv:2410.07524, section 4 (slices in groups); arXiv:2502.19261, section 3 (what is drawn anew).

Shape suffixes: H model width, I inner width, N neurons of one expert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle.recipe import UpcycleRecipe
from moe_backbone.upcycle.sources import DenseSource

__all__ = ["Pieces", "seeded"]

_HALF = (torch.bfloat16, torch.float16)


def seeded(*parts: object) -> torch.Generator:
    """Return a generator whose seed is a hash of ``parts``, so that what is drawn does not depend on the order."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Pieces:
    """Makes the experts of every layer, one matrix at a time.

    :param sources: The dense model of each group; one model may stand there several times.
    :param recipe: How it is cut and changed.
    :raises CheckpointError: If the inner width cannot be cut evenly, or the scale would round the stored weights.
    """

    def __init__(self, sources: Sequence[DenseSource], recipe: UpcycleRecipe) -> None:
        self._sources = sources
        self._recipe = recipe
        self._last: tuple[tuple[int, str], Tensor] | None = None
        first = sources[0]
        if first.inner_width % recipe.slices:
            raise CheckpointError(
                f"{first.folder}: the inner width {first.inner_width} cannot be cut into {recipe.slices} equal slices. "
                "Choose a divisor."
            )
        self.neurons = first.inner_width // recipe.slices
        self._scale = 1 if recipe.n_shared else recipe.routed_slices
        _, dtype = first.reader.planned("model.layers.0.mlp.down_proj.weight")
        if dtype in _HALF and self._scale & (self._scale - 1):
            raise CheckpointError(
                f"{first.folder} is stored as {dtype}; scaling it by {self._scale} slices would round. "
                "Choose a power of two, or convert the checkpoint to float32 first."
            )

    @property
    def n_groups(self) -> int:
        """Groups that experts are made for."""
        return len(self._sources)

    def planned(self, layer: int, part: str) -> tuple[tuple[int, int], torch.dtype]:
        """Return the shape and dtype of one expert's ``part``."""
        shape, dtype = self._sources[0].reader.planned(_name(layer, part))
        return ((shape[0], self.neurons) if part == "down_proj" else (self.neurons, shape[1])), dtype

    def expert(self, layer: int, part: str, *, group: int, piece: int) -> Tensor:
        """Return the ``gate_proj``, ``up_proj`` or ``down_proj`` of one routed expert.

        :param layer: Layer, from 0.
        :param part: Which projection.
        :param group: Group of the expert, from 0.
        :param piece: Its slice within the group, from 0.
        :returns: The matrix, in the dtype of the source. *Shape:* ``(N, H)``, and ``(H, N)`` of the down projection.
        """
        across = part == "down_proj"
        weights = self._cut(layer, part, group=group, piece=piece)
        if self._recipe.drop:
            weights = self._redrawn(weights.T if across else weights, layer, part, group=group, piece=piece)
            weights = weights.T.contiguous() if across else weights
        if self._recipe.noise:
            draw = seeded(self._recipe.seed, "noise", layer, part, group, piece)
            deviation = self._recipe.noise * weights.float().std(correction=0)
            noise = torch.randn(weights.shape, generator=draw) * deviation
            weights = (weights.float() + noise).to(weights.dtype)
        return weights * self._scale if across and self._scale != 1 else weights

    def shared(self, layer: int, part: str, *, group: int = 0) -> Tensor:
        """Return a projection of the shared expert: the last slice, which no permutation moves."""
        return self._span(self._sources[group], layer, part, slice(-self.neurons, None))

    def _cut(self, layer: int, part: str, *, group: int, piece: int) -> Tensor:
        source = self._sources[group]
        span = slice(piece * self.neurons, (piece + 1) * self.neurons)
        if not self._recipe.permute or group == 0:
            return self._span(source, layer, part, span)
        routed = self._recipe.routed_slices * self.neurons
        order = torch.randperm(routed, generator=seeded(self._recipe.seed, "order", layer, group))
        whole = self._whole(source, _name(layer, part))
        return whole.index_select(1 if part == "down_proj" else 0, order[span])

    def _span(self, source: DenseSource, layer: int, part: str, span: slice) -> Tensor:
        if span.start < 0:
            span = slice(source.inner_width + span.start, source.inner_width)
        if part == "down_proj":
            return source.reader.read(_name(layer, part), columns=span)
        return source.reader.read(_name(layer, part), rows=span)

    def _whole(self, source: DenseSource, name: str) -> Tensor:
        """Keep the matrix that was read last: all experts of a layer are cut from it, one after the other."""
        key = (id(source), name)
        if self._last is None or self._last[0] != key:
            self._last = (key, source.reader.read(name))
        return self._last[1]

    def _redrawn(self, rows_NH: Tensor, layer: int, part: str, *, group: int, piece: int) -> Tensor:
        """Draw a share of the neurons anew, the same ones in all three projections of an expert."""
        seed = self._recipe.seed
        count = max(1, round(self._recipe.drop * self.neurons))
        chosen = torch.randperm(self.neurons, generator=seeded(seed, "drop", layer, group, piece))[:count]
        old = rows_NH[chosen].float()
        fresh = torch.randn(old.shape, generator=seeded(seed, "fresh", layer, part, group, piece))
        out = rows_NH.clone()
        out[chosen] = (old.mean() + old.std(correction=0) * fresh).to(rows_NH.dtype)
        return out


def _name(layer: int, part: str) -> str:
    return f"model.layers.{layer}.mlp.{part}.weight"

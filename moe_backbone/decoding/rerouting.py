"""Re-route at test time: move a request's routing towards that of similar cases which were answered right.

Layer: ``moe_backbone``; imports torch only. Where the neighbours come from is the caller's
(:class:`NeighbourIndex`); ``generation`` has one over FAISS.
Source: R2-T2, arXiv:2502.20395, section 3 (kernel regression, mode finding, neighbourhood gradient descent). The
paper's router has one weight vector for the whole input; here there is one per layer, taken at the prompt's last token
and applied to the last token of each forward pass, as C3PO, arXiv:2504.07964, section 4, does for language models.

Shape suffixes: N neighbours, L layers, E experts, T tokens, H model width, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing, find_blocks

__all__ = [
    "NeighbourIndex",
    "Neighbours",
    "follow_gradient",
    "kernel_weights",
    "record_routing",
    "rerouted",
    "seek_mode",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Cases that were answered right, nearest first.

    :param ids: Their ids.
    :param weights: Their routing weights; each row over E sums to 1 (or to 0: no expert). *Shape:* ``(N, L, E)``.
    :param similarity: Cosine to the request, larger is nearer. *Shape:* ``(N,)``.
    """

    ids: tuple[str, ...]
    weights: Tensor
    similarity: Tensor


class NeighbourIndex(Protocol):
    """Finds cases like a request."""

    def nearest(self, query_vector: Sequence[float], k: int) -> Neighbours:
        """Return at most ``k`` cases for an embedding of the request."""
        ...


def kernel_weights(neighbours: Neighbours, *, bandwidth: float = 0.5) -> Tensor:
    """Return the neighbours' mean routing, each weighed by a Gaussian of its distance.

    :param neighbours: At least one.
    :param bandwidth: Width of the Gaussian in the Euclidean distance of unit vectors, > 0.
    :returns: The target routing. *Shape:* ``(L, E)``.
    :raises ValueError: If there is no neighbour, or ``bandwidth`` is not positive.
    """
    _require(neighbours, bandwidth)
    squared_N = (2 - 2 * neighbours.similarity.double()).clamp(min=0)  # of unit vectors
    share_N = (-squared_N / (2 * bandwidth**2)).softmax(dim=0)
    return torch.einsum("n,nle->le", share_N, neighbours.weights.double()).to(neighbours.weights.dtype)


def seek_mode(start_LE: Tensor, neighbours: Neighbours, *, bandwidth: float = 0.5, n_steps: int = 10) -> Tensor:
    """Return the densest routing near ``start_LE`` among the neighbours, by mean shift in the space of routings.

    :param start_LE: The request's own routing. *Shape:* ``(L, E)``.
    :param neighbours: At least one.
    :param bandwidth: Width of the Gaussian kernel over one layer's weights, > 0.
    :param n_steps: Steps of mean shift, each layer by itself.
    :returns: The target routing. *Shape:* ``(L, E)``.
    :raises ValueError: If there is no neighbour, or ``bandwidth`` is not positive.
    """
    _require(neighbours, bandwidth)
    weights_NLE = neighbours.weights.double()
    point_LE = start_LE.double()
    for _ in range(n_steps):
        squared_NL = (weights_NLE - point_LE).square().sum(dim=-1)
        share_NL = (-squared_NL / (2 * bandwidth**2)).softmax(dim=0)
        point_LE = torch.einsum("nl,nle->le", share_NL, weights_NLE)
    return point_LE.to(start_LE.dtype)


def follow_gradient(
    start_LE: Tensor,
    neighbours: Neighbours,
    loss: Callable[[str, Tensor], Tensor],
    *,
    bandwidth: float = 0.5,
    rate: float = 0.1,
    n_steps: int = 5,
) -> Tensor:
    """Return a routing under which the neighbours' own answers become more likely, by gradient descent.

    :param start_LE: The request's own routing. *Shape:* ``(L, E)``.
    :param neighbours: At least one.
    :param loss: Called as ``loss(id, weights_LE)``; the loss of that case's known answer under a routing, with its
        gradient (run the model inside :func:`rerouted` with ``share=1``).
    :param bandwidth: Width of the Gaussian that weighs the neighbours, as in :func:`kernel_weights`.
    :param rate: Step size on the logarithms of the weights, > 0.
    :param n_steps: Steps.
    :returns: The target routing; each layer keeps its sum. *Shape:* ``(L, E)``.
    :raises ValueError: If there is no neighbour, or ``bandwidth`` is not positive.
    """
    _require(neighbours, bandwidth)
    squared_N = (2 - 2 * neighbours.similarity.double()).clamp(min=0)
    share_N = (-squared_N / (2 * bandwidth**2)).softmax(dim=0)
    sums_L1 = start_LE.sum(dim=-1, keepdim=True)
    logits_LE = start_LE.detach().clamp(min=1e-6).log()
    for _ in range(n_steps):
        logits_LE = logits_LE.detach().requires_grad_()
        with torch.enable_grad():
            weights_LE = logits_LE.softmax(dim=-1) * sums_L1
            losses = [
                share * loss(case, weights_LE) for share, case in zip(share_N.tolist(), neighbours.ids, strict=True)
            ]
            (slope_LE,) = torch.autograd.grad(torch.stack(losses).sum(), logits_LE)
        logits_LE = logits_LE.detach() - rate * slope_LE
    return logits_LE.softmax(dim=-1) * sums_L1


@contextmanager
def record_routing(model: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Record the routing weights of the last token of the newest forward pass of this thread.

    :param model: A model with blocks.
    :yields: A function that returns them, ``(L, E)``, float32; blocks with fewer experts are padded with zeros. Run one
        sequence at a time: the last token is the last row.
    :raises ValueError: If the model has no block.
    """
    blocks = find_blocks(model)
    found: dict[int, Tensor] = {}

    def watch(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        found[block.layer] = _spread(block, index_TK[-1:], weights_TK[-1:])[0].detach().float()
        return index_TK, weights_TK

    def read() -> Tensor:
        if len(found) < len(blocks):
            raise ValueError("no forward pass has gone through every block yet: run the model inside the with block.")
        rows_LE = torch.zeros(len(blocks), max(block.n_experts for block in blocks))
        for layer, row_E in found.items():
            rows_LE[layer, : len(row_E)] = row_E.cpu()
        return rows_LE

    with edit_routing(model, watch):
        yield read


@contextmanager
def rerouted(
    model: nn.Module,
    target_LE: Tensor,
    *,
    share: float = 0.5,
    layers: Sequence[int] | None = None,
    last_tokens: int = 1,
) -> Iterator[None]:
    """Move the routing of the last tokens of each forward pass of this thread towards ``target_LE``.

    A token's weights, spread over all E experts, become ``(1 - share) · own + share · target`` (the target scaled to
    the own sum); the K largest are kept and scaled back to that sum. One sequence at a time.

    :param model: The model; it is not changed.
    :param target_LE: The routing to move to. *Shape:* ``(L, E)``.
    :param share: How far, in [0, 1]. 0 is the model's own routing, to the bit.
    :param layers: Blocks to move; ``None`` is all of them. R2-T2's successor moves the last five only.
    :param last_tokens: How many tokens at the end of a pass are moved: 1 while generating; in a pass over a prompt and
        its known answer, the answer's.
    :yields: Nothing.
    :raises ValueError: If the target does not fit the model, or a number is out of its range.
    """
    blocks = find_blocks(model)
    needed = max((block.n_experts for block in blocks), default=0)
    if tuple(target_LE.shape) != (len(blocks), needed):
        raise ValueError(f"target_LE must have shape {(len(blocks), needed)}, got {tuple(target_LE.shape)}.")
    if not 0 <= share <= 1 or last_tokens < 1:
        raise ValueError(f"share must be between 0 and 1 and last_tokens at least 1, got {share} and {last_tokens}.")
    moved = frozenset(range(len(blocks)) if layers is None else layers)

    def edit(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        if share == 0 or block.layer not in moved:
            return index_TK, weights_TK
        n_before = max(0, len(index_TK) - last_tokens)
        index_NK, weights_NK = index_TK[n_before:], weights_TK[n_before:]
        sum_N1 = weights_NK.sum(dim=-1, keepdim=True)
        own_NE = _spread(block, index_NK, weights_NK)
        target_E = target_LE[block.layer, : block.n_experts].to(own_NE)
        target_NE = target_E / target_E.sum().clamp(min=1e-9) * sum_N1
        mixed_NE = (1 - share) * own_NE + share * target_NE
        kept_NK, chosen_NK = mixed_NE.topk(index_TK.shape[-1], dim=-1)
        kept_NK = kept_NK / kept_NK.sum(dim=-1, keepdim=True).clamp(min=1e-9) * sum_N1
        chosen_NK = chosen_NK.to(index_TK.dtype)
        return torch.cat((index_TK[:n_before], chosen_NK)), torch.cat((weights_TK[:n_before], kept_NK))

    with edit_routing(model, edit):
        yield


def _spread(block: MoEBlock, index_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """Return the weights over all experts, zero where an expert was not chosen. *Shape:* ``(T, E)``."""
    place_TK = index_TK.clamp(min=0, max=block.n_experts).long()
    room = weights_TK.new_zeros(len(index_TK), block.n_experts + 1)
    return room.scatter_add(-1, place_TK, weights_TK)[:, : block.n_experts]


def _require(neighbours: Neighbours, bandwidth: float) -> None:
    if not neighbours.ids:
        raise ValueError("there is no neighbour to follow; keep the model's own routing.")
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be above 0, got {bandwidth}.")

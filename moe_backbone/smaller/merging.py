"""Merge experts that do alike: cluster them by their outputs, line up their inner units, average them.

Layer: ``moe_backbone``; imports torch and numpy.
Sources: HC-SMoE, arXiv:2410.08589 (hierarchical clustering on outputs, averages weighted by use); M-SMoE,
arXiv:2310.01334 (permutation alignment before averaging). Clusters are joined by Ward's rule with experts weighted by
the square of their gates: joining two costs what it changes of the block's output, were the merged outputs averages.
The average of the weights often does not give the average of the outputs, so where the most used member alone comes
closer on the sampled tokens, it stands for its group. As in both papers, the router keeps all its rows and the ids it
chooses are mapped to the merged experts; the weights of two that became one are added, so merging identical experts
changes nothing. A stock checkpoint has no such map: there the rows of merged experts are averaged too (``stock=True``),
which is exact only where those rows were equal, and its quality is measured like any other.

Shape suffixes: T tokens, H model width, E experts, K experts per token, N sampled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock
from moe_backbone.smaller.calibration import Calibration, LayerCalibration
from moe_backbone.smaller.sentinels import mark_no_expert, understands_no_expert
from moe_backbone.smaller.surgery import (
    ShrinkError,
    experts_per_token,
    keep_experts,
    replaced,
    require_blocks,
    shared_copy,
)
from moe_backbone.smaller.units import aligned, expert_tensors, run_dense, run_slots

__all__ = [
    "MAP_BUFFER",
    "Groups",
    "cluster_experts",
    "install_map",
    "map_slots",
    "merge",
    "merge_costs",
    "random_groups",
    "squared_gates",
]

Groups = tuple[tuple[int, ...], ...]
"""The experts of one layer, each in one group, groups by their least member."""

MAP_BUFFER = "mmkg_expert_map"
_MOST_SAMPLED = 512


def merge_costs(block: MoEBlock, layer: LayerCalibration) -> Tensor:
    """Return what joining each two experts of a block costs.

    :param block: Which block.
    :param layer: Its calibration, with sampled tokens (outputs are compared on the first 512).
    :returns: Relative squared error of the block's output when both experts are replaced by the mean of their outputs,
        weighted by their squared gates: ``u v / (u + v)`` times their mean squared distance. 0 for experts that do the
        same, and for one that is never used. *Shape:* ``(E, E)``, float64.
    :raises ShrinkError: If nothing was sampled.
    """
    if not len(layer.label):
        raise ShrinkError(f"{layer.name}: the calibration kept no states; set n_sampled above 0.")
    parameter = next(block.experts.parameters())
    hidden_NH = layer.hidden[:_MOST_SAMPLED].to(device=parameter.device, dtype=parameter.dtype)
    outputs = [
        run_slots(block, hidden_NH, torch.full((len(hidden_NH),), expert, device=parameter.device)).double().cpu()
        for expert in range(block.n_experts)
    ]
    used_E = squared_gates(layer, block.n_experts) + 1e-9
    top_k = layer.index.shape[1]
    picked = layer.index[: len(hidden_NH)]
    gates = layer.weights[: len(hidden_NH)].double()
    stacked_ENH = torch.stack(outputs)
    places = torch.arange(len(hidden_NH))
    y_NH = sum(gates[:, slot, None] * stacked_ENH[picked[:, slot], places] for slot in range(top_k))
    energy = float(torch.as_tensor(y_NH).pow(2).sum(1).mean()) or 1.0
    costs = torch.zeros(block.n_experts, block.n_experts, dtype=torch.float64)
    for one in range(block.n_experts):
        for other in range(one):
            gap = float((outputs[one] - outputs[other]).pow(2).sum(1).mean())
            shared = float(used_E[one] * used_E[other] / (used_E[one] + used_E[other]))
            costs[one, other] = costs[other, one] = shared * gap / energy
    return costs


def squared_gates(layer: LayerCalibration, n_experts: int) -> Tensor:
    """Return the mean over sampled tokens of each expert's squared gate weight. *Shape:* ``(E,)``, float64."""
    sums = torch.zeros(n_experts + 1, dtype=torch.float64)
    slots = layer.index.reshape(-1).clamp(0, n_experts)
    sums.index_add_(0, slots, layer.weights.reshape(-1).double().pow(2))
    return sums[:n_experts] / max(len(layer.label), 1)


def cluster_experts(
    costs: Sequence[Tensor],
    used: Sequence[Tensor],
    *,
    share: float,
    per_layer: bool = False,
    floors: Sequence[int] | None = None,
) -> list[Groups]:
    """Join experts by Ward's rule until only a share of all is left; the cheapest merges of all layers come first.

    :param costs: What joining each two experts costs, of each layer (:func:`merge_costs`). *Shape:* ``(E, E)`` each.
    :param used: How much each expert is used (:func:`squared_gates`). *Shape:* ``(E,)`` each.
    :param share: Groups to leave over experts, in (0, 1].
    :param per_layer: Leave the same share in each layer instead; a stock checkpoint needs that.
    :param floors: The fewest groups of each layer; ``None`` for 1.
    :returns: Groups of each layer.
    :raises ShrinkError: If the share is out of range or cannot be reached.
    """
    if not 0 < share <= 1:
        raise ShrinkError(f"the share of experts to leave must be in (0, 1], got {share}.")
    floors = floors if floors is not None else [1] * len(costs)
    trees = [_ward(matrix, weights) for matrix, weights in zip(costs, used, strict=True)]
    sizes = [len(matrix) for matrix in costs]
    if per_layer:
        counts = [max(floor, round(share * size)) for size, floor in zip(sizes, floors, strict=True)]
        return [_cut(tree, size, size - count) for tree, size, count in zip(trees, sizes, counts, strict=True)]
    merges = sorted(
        (cost, layer, step)
        for layer, tree in enumerate(trees)
        for step, (_, _, cost) in enumerate(tree[: sizes[layer] - floors[layer]])
    )
    wanted = sum(sizes) - max(1, round(share * sum(sizes)))
    if wanted > len(merges):
        raise ShrinkError(
            f"leaving {share:g} of {sum(sizes)} experts needs {wanted} merges, and {len(merges)} are possible."
        )
    steps = [0] * len(sizes)
    for _, layer, _ in merges[:wanted]:  # Ward's costs rise: a layer's merges come in their order
        steps[layer] += 1
    return [_cut(tree, size, step) for tree, size, step in zip(trees, sizes, steps, strict=True)]


_Merges = list[tuple[int, int, float]]


def _ward(costs: Tensor, used: Tensor) -> _Merges:
    """Return the merges in order: two clusters (a new one is named E, E + 1, …) and what joining them costs.

    Costs to a joined cluster follow from those to its parts (Lance and Williams 1967, Ward's rule with weights).
    """
    matrix = costs.numpy().astype(float).copy()
    np.fill_diagonal(matrix, np.inf)
    weight = used.numpy().astype(float) + 1e-9
    names, merges = list(range(len(matrix))), []
    for step in range(len(matrix) - 1):
        one, other = sorted(int(place) for place in np.unravel_index(int(matrix.argmin()), matrix.shape))
        cost = float(matrix[one, other])
        merges.append((names[one], names[other], cost))
        sums = (weight[one] + weight) * matrix[one] + (weight[other] + weight) * matrix[other] - weight * cost
        row = np.maximum(sums / (weight[one] + weight[other] + weight), cost)
        matrix[one], matrix[:, one] = row, row
        matrix[one, one] = np.inf
        matrix[other], matrix[:, other] = np.inf, np.inf
        weight[one] += weight[other]
        names[one] = len(matrix) + step
    return merges


def _cut(merges: _Merges, n_experts: int, n_merges: int) -> Groups:
    members: dict[int, tuple[int, ...]] = {expert: (expert,) for expert in range(n_experts)}
    for step, (one, other, _) in enumerate(merges[:n_merges]):
        members[n_experts + step] = members.pop(one) + members.pop(other)
    return tuple(sorted(tuple(sorted(group)) for group in members.values()))


def random_groups(counts: Sequence[tuple[int, int]], *, seed: int) -> list[Groups]:
    """Draw groups: the baseline that clustering has to beat.

    :param counts: Experts and groups of each layer.
    :param seed: Seed of the draw.
    :returns: Groups of each layer.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Groups] = []
    for n_experts, n_groups in counts:
        order = torch.randperm(n_experts, generator=generator).tolist()
        groups = [[expert] for expert in order[:n_groups]]
        for expert in order[n_groups:]:
            groups[int(torch.randint(n_groups, (1,), generator=generator))].append(expert)
        drawn.append(tuple(sorted(tuple(sorted(group)) for group in groups)))
    return drawn


@torch.no_grad()
def merge(
    model: nn.Module,
    groups: Sequence[Groups],
    calibration: Calibration | None = None,
    *,
    align: bool = True,
    stock: bool = False,
) -> Any:
    """Return a model whose experts are the groups' averages.

    :param model: The model; it is not changed.
    :param groups: Groups of each layer (:func:`cluster_experts`).
    :param calibration: Weighs the members by how often they were chosen; ``None`` weighs them alike.
    :param align: Line up the members' inner units with those of the most used one first.
    :param stock: Average the router's rows too, so that the result is a stock model; needs at least as many groups as
        experts per token.
    :returns: A model of the same class, which shares with ``model`` all that did not change.
    :raises ShrinkError: If the groups do not fit the model.
    """
    blocks = require_blocks(model)
    if len(groups) != len(blocks):
        raise ShrinkError(f"groups of {len(groups)} layers for {len(blocks)} blocks.")
    merged = shared_copy(model)
    for block, parts in zip(require_blocks(merged), groups, strict=True):
        if sorted(expert for group in parts for expert in group) != list(range(block.n_experts)):
            raise ShrinkError(f"{block.name}: {parts} do not hold each of {block.n_experts} experts once.")
        layer = None if calibration is None else calibration.layers[block.layer]
        if len(parts) < block.n_experts:
            _merge_block(block, parts, layer, align=align, stock=stock)
    return merged


def _merge_block(block: MoEBlock, parts: Groups, layer: LayerCalibration | None, *, align: bool, stock: bool) -> None:
    counts_E = torch.ones(block.n_experts, dtype=torch.float64)
    if layer is not None:
        counts_E = layer.counts.sum(0) + 1e-6
    anchors = [max(group, key=lambda expert: (float(counts_E[expert]), -expert)) for group in parts]
    fused: dict[str, Tensor] = {
        name: tensor.detach().clone() for name, tensor in block.experts._parameters.items() if tensor is not None
    }
    for anchor, group in zip(anchors, parts, strict=True):
        merged = _average(block.experts, anchor, group, counts_E, align=align)
        if layer is not None and len(group) > 1 and len(layer.label):
            alone = expert_tensors(block.experts, anchor)
            merged = min(merged, alone, key=lambda tensors: _error(block, layer, group, tensors))
        for name, tensor in merged.items():
            fused[name][anchor] = tensor
    replaced(block.experts, fused)
    if stock:
        if len(parts) < experts_per_token(block):
            raise ShrinkError(f"{block.name}: {len(parts)} groups are fewer than the experts a token visits.")
        _average_rows(block, anchors, parts, counts_E)
        keep_experts(block, anchors)
        return
    map_E = torch.zeros(block.n_experts, dtype=torch.long)
    for place, group in enumerate(parts):
        map_E[list(group)] = place
    keep_experts(block, anchors, router=False)
    install_map(block.experts, map_E)


def _average(
    experts: nn.Module, anchor: int, group: Sequence[int], counts_E: Tensor, *, align: bool
) -> dict[str, Tensor]:
    base = expert_tensors(experts, anchor)
    total = float(counts_E[list(group)].sum())
    # The anchor plus weighted differences: identical members leave it bit for bit as it is.
    sums = {name: tensor.float().clone() for name, tensor in base.items()}
    for expert in group:
        if expert == anchor:
            continue
        member = expert_tensors(experts, expert)
        if align:
            member = aligned(experts, base, member)
        for name, tensor in member.items():
            sums[name] += float(counts_E[expert]) / total * (tensor.float() - base[name].float())
    return {name: tensor.to(base[name].dtype) for name, tensor in sums.items()}


def _error(block: MoEBlock, layer: LayerCalibration, group: Sequence[int], merged: dict[str, Tensor]) -> float:
    """Return the squared change of the weighted outputs of a group's experts on the sampled tokens that chose them."""
    total = 0.0
    for expert in group:
        chosen_NK = layer.index == expert
        gate_N = (layer.weights * chosen_NK).sum(1)[chosen_NK.any(1)]
        parameter = next(block.experts.parameters())
        x_NH = layer.hidden[chosen_NK.any(1)].to(device=parameter.device, dtype=parameter.dtype)
        exact_NH = run_dense(block.experts, expert_tensors(block.experts, expert), x_NH)
        change_N = (run_dense(block.experts, merged, x_NH) - exact_NH).double().pow(2).sum(1).cpu()
        total += float((gate_N.double().pow(2) * change_N).sum())
    return total


def _average_rows(block: MoEBlock, anchors: Sequence[int], parts: Groups, counts_E: Tensor) -> None:
    for module in block.router.modules() if block.router is not None else ():
        for name, tensor in {**module._parameters, **module._buffers}.items():
            if tensor is None or not tensor.ndim or tensor.shape[0] != block.n_experts:
                continue
            rows = tensor.detach().clone()
            for anchor, group in zip(anchors, parts, strict=True):
                weight = (counts_E[list(group)] / counts_E[list(group)].sum()).to(rows.device)
                shift = rows[list(group)].double() - rows[anchor].double()
                shape = (-1, *[1] * (shift.ndim - 1))
                rows[anchor] = (rows[anchor].double() + (weight.view(shape) * shift).sum(0)).to(rows.dtype)
            replaced(module, {name: rows})


def install_map(experts: nn.Module, map_E: Tensor) -> None:
    """Map the ids that a router chooses to merged experts, in every call of ``experts`` from now on.

    :param experts: A module of C fused experts.
    :param map_E: The merged expert of each id that the router knows. *Shape:* ``(E,)``, in 0 … C-1.
    """
    mark_no_expert(experts)
    experts.register_buffer(MAP_BUFFER, map_E)
    experts.register_forward_pre_hook(_MapHook(), with_kwargs=True)


class _MapHook:
    """A hook that holds no reference to its module, so that a copied model maps with its own buffers."""

    def __call__(self, experts: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("hidden_states", "top_k_index", "top_k_weights")
        named = dict(zip(names, args, strict=False)) | kwargs
        hidden, n_merged = named.pop("hidden_states"), len(experts.get_parameter("down_proj"))
        index, weights = map_slots(
            named.pop("top_k_index"), named.pop("top_k_weights"), experts.get_buffer(MAP_BUFFER), n_merged=n_merged
        )
        if not _understood(experts, n_experts=n_merged, width=hidden.shape[-1]):
            lost = index >= n_merged
            index, weights = index.masked_fill(lost, 0), weights.masked_fill(lost, 0.0)
        return (hidden, index, weights), named


def _understood(experts: nn.Module, *, n_experts: int, width: int) -> bool:
    """Ask once per implementation: it can be changed while the model lives."""
    implementation = getattr(getattr(experts, "config", None), "_experts_implementation", None)
    known: dict[Any, bool] = vars(experts).setdefault("_mmkg_understood", {})
    if implementation not in known:
        known[implementation] = understands_no_expert(experts, n_experts=n_experts, width=width)
    return known[implementation]


def map_slots(index_TK: Tensor, weights_TK: Tensor, map_E: Tensor, *, n_merged: int) -> tuple[Tensor, Tensor]:
    """Map chosen ids to merged experts; a token that chose two which became one runs it once, with both weights.

    :param index_TK: Ids that the router chose; E or more is *no expert*. *Shape:* ``(T, K)``.
    :param weights_TK: Their weights. *Shape:* ``(T, K)``.
    :param map_E: The merged expert of each id. *Shape:* ``(E,)``.
    :param n_merged: Merged experts C; the result uses it for *no expert*.
    :returns: Index and weights. *Shape:* ``(T, K)`` both.
    """
    none_TK = (index_TK < 0) | (index_TK >= len(map_E))
    mapped_TK = map_E[index_TK.masked_fill(none_TK, 0)].masked_fill(none_TK, n_merged)
    first_TK = (mapped_TK[:, :, None] == mapped_TK[:, None, :]).int().argmax(-1)
    weights_TK = torch.zeros_like(weights_TK).scatter_add(1, first_TK, weights_TK.masked_fill(none_TK, 0.0))
    again_TK = first_TK != torch.arange(index_TK.shape[1], device=index_TK.device)
    return mapped_TK.masked_fill(again_TK, n_merged), weights_TK

"""Give each expert as many bits as it is worth: an integer program over calibrated errors.

Layer: ``moe_backbone``; imports torch, numpy and scipy.
Source: MC-MoE, arXiv:2410.06270, section 3.2 (integer programming over importance and quantisation error). The cost of
an expert in b bits is measured where it counts: the squared change of its weighted outputs on the sampled tokens that
chose it, over the squared output of its block, times what such an error of its layer does to the next token: the KL
divergence measured with all experts of the layer in 3 bits, per unit of error. 0 bits is to prune it; its cost is the
error when its tokens are routed anew.

Shape suffixes: E experts, L choices of bits, N sampled tokens, H model width, I inner width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock
from moe_backbone.smaller.calibration import Calibration, LayerCalibration
from moe_backbone.smaller.criteria import leave_one_out_errors
from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.masking import routed_output
from moe_backbone.smaller.packed_experts import MATRICES, pack_experts
from moe_backbone.smaller.packing import packed_bytes, quantise
from moe_backbone.smaller.pruning import prune
from moe_backbone.smaller.quality import kl_divergence, next_tokens
from moe_backbone.smaller.surgery import ShrinkError, experts_per_token, require_blocks, shared_copy
from moe_backbone.smaller.units import expert_tensors, inner_states, run_dense

_PROBED_BITS = 3

__all__ = ["BitCosts", "choose_bits", "expert_sizes", "measure_bit_costs", "mix_precision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BitCosts:
    """What each expert costs in each number of bits.

    :param bits: The choices, rising; 0 is to prune.
    :param cost: Relative squared error of each expert of each layer; infinity where a choice is not allowed.
    :param size: Stored bytes.
    :param n_weights: Weights of one expert, for each layer.
    :param spare: The most experts of each layer that may be pruned.
    """

    bits: tuple[int, ...]
    cost: tuple[Tensor, ...]
    size: tuple[Tensor, ...]
    n_weights: tuple[int, ...]
    spare: tuple[int, ...]


def expert_sizes(block: MoEBlock, bits: Sequence[int]) -> list[int]:
    """Return the stored bytes of one expert of ``block`` in each number of bits."""
    return [
        sum(packed_bytes(*_rows_columns(block.experts, name), width) for name in _matrices(block.experts))
        if width
        else 0
        for width in bits
    ]


def _matrices(experts: nn.Module) -> list[str]:
    return [name for name in MATRICES if isinstance(getattr(experts, name, None), Tensor)]


def _rows_columns(experts: nn.Module, name: str) -> tuple[int, int]:
    rows, columns = experts.get_parameter(name).shape[1:]
    return (columns, rows) if getattr(experts, "is_transposed", False) else (rows, columns)


@torch.no_grad()
def measure_bit_costs(
    model: nn.Module,
    calibration: Calibration,
    *,
    bits: Sequence[int] = (2, 3, 4, 8),
    probe: LabelledTokens | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> BitCosts:
    """Measure what each expert loses in each number of bits.

    :param model: The model.
    :param calibration: Of the same model, with sampled tokens.
    :param bits: Choices, of 0, 2, 3, 4 and 8.
    :param probe: A batch to measure on how much an error of each layer matters; ``None`` takes all layers alike.
    :param on_progress: Called with the layers done and their number.
    :returns: The costs.
    :raises ShrinkError: If the calibration does not fit the model.
    """
    blocks = require_blocks(model)
    if [layer.name for layer in calibration.layers] != [block.name for block in blocks]:
        raise ShrinkError("the calibration was made with a model of other layers. Calibrate this model.")
    choices = tuple(sorted(set(bits)))
    plain_NV = None if probe is None else next_tokens(model, probe)
    costs, sizes = [], []
    for block, layer in zip(blocks, calibration.layers, strict=True):
        cost_EL = _layer_costs(block, layer, choices)
        if probe is not None and plain_NV is not None:
            cost_EL = cost_EL * _sensitivity(model, block, layer, probe, plain_NV)
        costs.append(cost_EL)
        sizes.append(torch.tensor([expert_sizes(block, choices)] * block.n_experts))
        if on_progress is not None:
            on_progress(block.layer + 1, len(blocks))
    return BitCosts(
        bits=choices,
        cost=tuple(costs),
        size=tuple(sizes),
        n_weights=tuple(
            sum(block.experts.get_parameter(name)[0].numel() for name in _matrices(block.experts)) for block in blocks
        ),
        spare=tuple(block.n_experts - experts_per_token(block) for block in blocks),
    )


def _layer_costs(block: MoEBlock, layer: LayerCalibration, choices: tuple[int, ...]) -> Tensor:
    parameter = next(block.experts.parameters())
    hidden_NH = layer.hidden.to(device=parameter.device, dtype=parameter.dtype)
    index_NK = layer.index.to(parameter.device)
    full_NH = routed_output(block, hidden_NH, index_NK, layer.weights.to(parameter.device))
    energy = float(full_NH.double().pow(2).sum()) or 1.0
    costs = torch.zeros(block.n_experts, len(choices), dtype=torch.float64)
    if 0 in choices:
        costs[:, choices.index(0)] = leave_one_out_errors(block, layer)
    for expert in range(block.n_experts):
        chosen_NK = layer.index == expert
        gate_N = (layer.weights * chosen_NK).sum(1)[chosen_NK.any(1)]
        x_NH = hidden_NH[chosen_NK.any(1).to(hidden_NH.device)]
        exact = expert_tensors(block.experts, expert)
        plain_NH = run_dense(block.experts, exact, x_NH)
        for place, width in enumerate(choices):
            if width == 0:
                continue
            changed_NH = run_dense(block.experts, _rounded(block.experts, exact, width), x_NH)
            error_N = (changed_NH - plain_NH).double().pow(2).sum(1).cpu()
            costs[expert, place] = float((gate_N.double().pow(2) * error_N).sum()) / energy
    return costs


def _sensitivity(
    model: Any, block: MoEBlock, layer: LayerCalibration, probe: LabelledTokens, plain_NV: Tensor
) -> float:
    """Return the divergence of the next token per unit of relative squared error of one layer's experts."""
    error = float(_layer_costs(block, layer, (_PROBED_BITS,)).sum())
    changed = shared_copy(model)
    holder = require_blocks(changed)[block.layer].block
    holder.experts = pack_experts(block.experts, [_PROBED_BITS] * block.n_experts)
    divergence = kl_divergence(plain_NV, next_tokens(changed, probe))
    return max(divergence, 1e-12) / error if error > 0 else 1.0


def _rounded(experts: nn.Module, tensors: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    transposed = bool(getattr(experts, "is_transposed", False))
    rounded = dict(tensors)
    for name in _matrices(experts):
        weight_RC = tensors[name].T if transposed else tensors[name]
        values = quantise(weight_RC, width).values(weight_RC.shape[1]).to(weight_RC)
        rounded[name] = values.T if transposed else values
    return rounded


def choose_bits(costs: BitCosts, *, average_bits: float) -> list[tuple[int, ...]]:
    """Choose the bits of each expert: least total cost within an average, scales counted; solved exactly (HiGHS).

    :param costs: What each choice costs (:func:`measure_bit_costs`).
    :param average_bits: Stored bits per weight of all experts at most, scales counted.
    :returns: Bits of each expert, for each layer.
    :raises ShrinkError: If the cheapest choice is larger than the budget.
    """
    cost = torch.cat(list(costs.cost)).numpy()
    size = torch.cat(list(costs.size)).double().numpy()
    counts = [len(layer) for layer in costs.cost]
    n_experts, n_choices = cost.shape
    budget = average_bits / 8 * sum(n * weights for n, weights in zip(counts, costs.n_weights, strict=True))
    least = float(size.min(1).sum()) if 0 not in costs.bits else 0.0
    if least > budget:
        total = sum(n * weights for n, weights in zip(counts, costs.n_weights, strict=True))
        raise ShrinkError(
            f"{average_bits:g} bits per weight are too few: with scales, {costs.bits[0]}-bit weights take "
            f"{8 * least / total:.2f}. Ask for that or more, or allow 0 bits."
        )
    one_each = lil_matrix((n_experts, n_experts * n_choices))
    for expert in range(n_experts):
        one_each[expert, expert * n_choices : (expert + 1) * n_choices] = 1
    constraints = [LinearConstraint(one_each.tocsr(), 1, 1), LinearConstraint(size.reshape(1, -1), 0, budget)]
    if 0 in costs.bits:
        constraints.append(_pruned_at_most(counts, n_choices, costs))
    scale = float(np.max(cost[np.isfinite(cost)], initial=0.0)) or 1.0
    result = milp(
        cost.reshape(-1) / scale,
        constraints=constraints,
        integrality=np.ones(n_experts * n_choices),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        raise ShrinkError(f"no choice of bits fits {average_bits:g} bits per weight: {result.message}")
    chosen = result.x.reshape(n_experts, n_choices).argmax(1).tolist()
    bits = [costs.bits[place] for place in chosen]
    starts = [sum(counts[:layer]) for layer in range(len(counts))]
    return [tuple(bits[start : start + count]) for start, count in zip(starts, counts, strict=True)]


def _pruned_at_most(counts: list[int], n_choices: int, costs: BitCosts) -> LinearConstraint:
    rows = lil_matrix((len(counts), sum(counts) * n_choices))
    start = 0
    for layer, count in enumerate(counts):
        for expert in range(start, start + count):
            rows[layer, expert * n_choices + costs.bits.index(0)] = 1
        start += count
    return LinearConstraint(rows.tocsr(), 0, np.array(costs.spare, dtype=float))


@torch.no_grad()
def mix_precision(
    model: nn.Module,
    bits: Sequence[Sequence[int]],
    calibration: Calibration | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Return a model whose experts are stored in few bits and made dense while they are used.

    :param model: The model; it is not changed.
    :param bits: Bits of each expert, for each layer (:func:`choose_bits`); 0 prunes the expert.
    :param calibration: Of the same model, for error compensation (GPTQ); ``None`` rounds to nearest.
    :param on_progress: Called with the layers done and their number.
    :returns: A model of the same class.
    :raises ShrinkError: If the bits do not fit the model, or its experts are quantised already.
    """
    blocks = require_blocks(model)
    if [len(own) for own in bits] != [block.n_experts for block in blocks]:
        raise ShrinkError(f"bits for {[len(own) for own in bits]} experts, and the model has other numbers.")
    kept = [tuple(expert for expert, width in enumerate(own) if width) for own in bits]
    changed = prune(model, kept)
    for block, ids, own in zip(require_blocks(changed), kept, bits, strict=True):
        inputs = None
        if calibration is not None:
            inputs = [_inputs(block, calibration.layers[block.layer], expert, old) for expert, old in enumerate(ids)]
        block.block.experts = pack_experts(block.experts, [own[expert] for expert in ids], inputs=inputs)
        if on_progress is not None:
            on_progress(block.layer + 1, len(blocks))
    return changed


def _inputs(block: MoEBlock, layer: LayerCalibration, expert: int, old: int) -> dict[str, Tensor]:
    """Return what the matrices of one expert receive, weighted by its gate: errors count where its output does."""
    chosen_NK = layer.index == old
    gate_N1 = (layer.weights * chosen_NK).sum(1)[chosen_NK.any(1), None]
    parameter = next(block.experts.parameters())
    x_NH = layer.hidden[chosen_NK.any(1)].to(device=parameter.device, dtype=parameter.dtype)
    if not len(x_NH):
        return {}
    inner_NI = inner_states(block.experts, expert_tensors(block.experts, expert), x_NH)
    name = "gate_up_proj" if hasattr(block.experts, "gate_up_proj") else "up_proj"
    return {name: x_NH.float().cpu() * gate_N1, "down_proj": inner_NI.float().cpu() * gate_N1}

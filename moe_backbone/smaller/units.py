"""The inner units of fused experts: permute them, line them up, and run single experts, in any layout.

Layer: ``moe_backbone``; imports torch and scipy.
Layouts as transformers states them on the experts module: ``is_transposed`` (inputs before outputs) and
``is_concatenated`` (gate above up, or interleaved). Permuting the I
inner units of an expert changes nothing of its function.
Source of the alignment: Git Re-Basin, arXiv:2209.04836 (weight matching), as M-SMoE, arXiv:2310.01334, uses it.

Shape suffixes: T tokens, H model width, E experts, I inner width, N slots.
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock

__all__ = ["aligned", "expert_tensors", "inner_states", "permuted", "run_dense", "run_slots"]


def expert_tensors(experts: nn.Module, expert: int) -> dict[str, Tensor]:
    """Return the tensors of one expert by the names of the fused ones."""
    return {name: tensor.detach()[expert] for name, tensor in experts._parameters.items() if tensor is not None}


def permuted(experts: Any, tensors: dict[str, Tensor], order_I: Tensor) -> dict[str, Tensor]:
    """Put the inner units of one expert in another order; its function stays the same.

    :param experts: The module the tensors are of, which states the layout.
    :param tensors: One expert, as :func:`expert_tensors` returns it.
    :param order_I: Unit ``i`` of the result is unit ``order_I[i]`` of the input. *Shape:* ``(I,)``.
    :returns: The expert, reordered.
    """
    transposed = bool(getattr(experts, "is_transposed", False))
    fused = _fused_order(experts, order_I)
    moved: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "down_proj":
            moved[name] = tensor[order_I] if transposed else tensor[:, order_I]
        elif name in ("gate_up_proj", "up_proj"):
            order = fused if name == "gate_up_proj" else order_I
            moved[name] = tensor[:, order] if transposed else tensor[order]
        elif name in ("gate_up_proj_bias", "up_proj_bias"):
            moved[name] = tensor[fused if name == "gate_up_proj_bias" else order_I]
        else:
            moved[name] = tensor
    return moved


def _fused_order(experts: Any, order_I: Tensor) -> Tensor:
    if getattr(experts, "is_concatenated", True):
        return torch.cat([order_I, order_I + order_I.numel()])
    return torch.stack([2 * order_I, 2 * order_I + 1], dim=1).reshape(-1)


def aligned(experts: Any, anchor: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the inner units of one expert in the order in which its weights are most like those of ``anchor``.

    :param experts: The module both are of.
    :param anchor: The expert to line up with.
    :param tensors: The expert to reorder.
    :returns: ``tensors`` reordered; the assignment is optimal (Hungarian method, O(I³)).
    """
    likeness_II = _unit_rows(experts, anchor) @ _unit_rows(experts, tensors).T
    _, order = linear_sum_assignment(likeness_II.numpy(), maximize=True)
    return permuted(experts, tensors, torch.from_numpy(order).to(tensors["down_proj"].device))


def _unit_rows(experts: Any, tensors: dict[str, Tensor]) -> Tensor:
    """Lay out all that belongs to one inner unit as a row, each matrix scaled to norm 1: ``(I, …)``."""
    transposed = bool(getattr(experts, "is_transposed", False))
    down = tensors["down_proj"].float().cpu()
    n_units = down.shape[0] if transposed else down.shape[1]
    parts = [down if transposed else down.T]
    for name in ("gate_up_proj", "up_proj"):
        if name in tensors:
            rows = tensors[name].float().cpu()
            rows = rows.T if transposed else rows
            n_parts = rows.shape[0] // n_units
            split = rows.view(n_parts, n_units, -1) if getattr(experts, "is_concatenated", True) else None
            pieces = split if split is not None else rows.view(n_units, n_parts, -1).transpose(0, 1)
            parts.extend(pieces.unbind(0))
    return torch.cat([part / part.norm().clamp_min(1e-12) for part in parts], dim=1)


@torch.no_grad()
def run_slots(block: MoEBlock, hidden_NH: Tensor, expert_N: Tensor) -> Tensor:
    """Run one expert for each row, unweighted, through the model's own experts module.

    :param block: Whose experts.
    :param hidden_NH: Inputs. *Shape:* ``(N, H)``.
    :param expert_N: Expert of each row. *Shape:* ``(N,)``.
    :returns: Outputs. *Shape:* ``(N, H)``.
    """
    weights = hidden_NH.new_ones(len(hidden_NH), 1)
    out: Tensor = block.experts.forward(hidden_NH, expert_N[:, None], weights)  # not __call__: no hook fires
    return out


def run_dense(experts: Any, tensors: dict[str, Tensor], x_NH: Tensor) -> Tensor:
    """Run one expert, given by its tensors, on every row: the module's own gate between two products.

    :param experts: The module the tensors are of.
    :param tensors: One expert (:func:`expert_tensors`).
    :param x_NH: Inputs. *Shape:* ``(N, H)``.
    :returns: Outputs. *Shape:* ``(N, H)``.
    """
    inner_NI = inner_states(experts, tensors, x_NH)
    down = tensors["down_proj"] if getattr(experts, "is_transposed", False) else tensors["down_proj"].T
    out = inner_NI @ down
    return out + tensors["down_proj_bias"] if "down_proj_bias" in tensors else out


def inner_states(experts: Any, tensors: dict[str, Tensor], x_NH: Tensor) -> Tensor:
    """Return what one expert's ``down_proj`` receives. *Shape:* ``(N, I)``."""
    name = "gate_up_proj" if "gate_up_proj" in tensors else "up_proj"
    up = tensors[name] if getattr(experts, "is_transposed", False) else tensors[name].T
    both = x_NH @ up
    if f"{name}_bias" in tensors:
        both = both + tensors[f"{name}_bias"]
    activation = getattr(experts, "act_fn", getattr(experts, "_activation", None))
    if name == "up_proj":
        return activation(both)  # type: ignore[misc,no-any-return]
    if hasattr(experts, "_apply_gate"):
        return experts._apply_gate(both)  # type: ignore[no-any-return]
    gate, states = both.chunk(2, dim=-1)
    return activation(gate) * states  # type: ignore[misc,no-any-return]

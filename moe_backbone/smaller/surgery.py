"""Change the experts of a stock model without its modelling code: copies that share weights, and kept experts.

Layer: ``moe_backbone``; imports torch only.
Whatever has one row per expert (fused weights, biases, router rows, correction biases) is found by its first dimension
and sliced; the attributes that state the number of experts are set. So one function serves every family that
:func:`~moe_backbone.blocks.find_blocks` finds. Weights are replaced, never written into, so a changed copy may share
all that did not change with its source.

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks

__all__ = [
    "ShrinkError",
    "expert_bytes",
    "experts_per_token",
    "keep_experts",
    "replaced",
    "require_blocks",
    "shared_copy",
]

_COUNTS = ("num_experts", "n_routed_experts", "num_local_experts", "n_experts")
_TOP_K = ("top_k", "num_experts_per_tok", "moe_topk")
_GROUPS = ("num_group", "n_group")
_QUANTISED_HINTS = ("qweight", "gate_up_proj_blocks", "gate_up_proj_scale_inv", "gate_up_proj_scales", "is_packed")


class ShrinkError(ValueError):
    """A model cannot be made smaller as asked; the message says why and what to do."""


def require_blocks(model: nn.Module) -> tuple[MoEBlock, ...]:
    """Return the blocks of a model that can be made smaller.

    :param model: Any model.
    :returns: Its blocks, at least one.
    :raises ShrinkError: If there is none, its experts are quantised already, a router holds NaN or infinity, experts
        and router disagree, or the router asks for more experts than there are.
    """
    quantised = [name for name, module in model.named_modules() if _is_quantised(module)]
    if quantised or getattr(model, "hf_quantizer", None) is not None:
        raise ShrinkError(
            f"the experts of {type(model).__name__} are quantised already ({quantised[0] if quantised else 'all'}). "
            "Start from the unquantised checkpoint."
        )
    blocks = find_blocks(model)
    if not blocks:
        kinds = sorted({type(child).__name__ for name, child in model.named_modules() if name.endswith("mlp")})
        raise ShrinkError(
            f"{type(model).__name__} has no mixture-of-experts block: looked for modules with `experts` that hold "
            f"fused `gate_up_proj` or `up_proj` and `down_proj`; found {', '.join(kinds) or 'no mlp'}. "
            "A dense model is upcycled first."
        )
    for block in blocks:
        _check_block(block)
    return blocks


def _is_quantised(module: nn.Module) -> bool:
    if any(hasattr(module, hint) for hint in _QUANTISED_HINTS):
        return True
    down = getattr(module, "down_proj", None)
    return isinstance(down, Tensor) and not (down.is_floating_point() and down.element_size() >= 2)


def _check_block(block: MoEBlock) -> None:
    where = block.name or type(block.block).__name__
    if block.n_experts == 0:
        raise ShrinkError(f"{where} has no experts.")
    if block.router is None:
        raise ShrinkError(f"{where} has no child `gate` or `router`; its routing cannot be changed from outside.")
    for name, tensor in block.router.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise ShrinkError(f"{where}: the router's {name} holds NaN or infinity. The checkpoint is damaged.")
    if not any(tensor.shape[:1] == (block.n_experts,) for tensor in block.router.parameters()):
        shapes = {name: tuple(tensor.shape) for name, tensor in block.router.named_parameters()}
        raise ShrinkError(f"{where} has {block.n_experts} experts and its router has rows {shapes}: they disagree.")
    if experts_per_token(block) > block.n_experts:
        raise ShrinkError(f"{where} routes each token to {experts_per_token(block)} experts and has {block.n_experts}.")


def experts_per_token(block: MoEBlock) -> int:
    """Return K, the experts that ``block`` runs for each token, as its router or block states it."""
    for module in (block.router, block.block):
        for name in _TOP_K:
            value = getattr(module, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        value = getattr(getattr(module, "config", None), "top_k", None)
        if isinstance(value, int):
            return value
    raise ShrinkError(f"{block.name} does not say how many experts a token visits (looked for {', '.join(_TOP_K)}).")


def expert_bytes(model: nn.Module) -> int:
    """Return the bytes of all routed experts of ``model``, packed ones included."""
    seen: dict[int, int] = {}
    for module in model.modules():
        experts = getattr(module, "experts", None)
        if not isinstance(experts, nn.Module):
            continue
        for tensor in (*experts.parameters(), *experts.buffers()):
            seen[id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def shared_copy(model: nn.Module) -> Any:
    """Copy the modules of ``model`` but none of its weights: both models hold the same tensors.

    :param model: Any model.
    :returns: A model of the same class. Change its weights by replacing parameters, not by writing into them.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def replaced(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters or buffers of ``module`` itself by name, keeping their kind and ``requires_grad``."""
    for name, tensor in tensors.items():
        if name in module._parameters:
            old = module._parameters[name]
            trained = bool(old is not None and old.requires_grad and tensor.is_floating_point())
            module._parameters[name] = nn.Parameter(tensor.contiguous(), requires_grad=trained)
        else:
            module._buffers[name] = tensor.contiguous()


def keep_experts(block: MoEBlock, kept: Sequence[int], *, router: bool = True) -> None:
    """Keep some experts of ``block`` in place, and drop the others with their router rows.

    A router that lost rows chooses among the rest, exactly as if the lost logits were minus infinity.

    :param block: A block of a model that may be changed (see :func:`shared_copy`).
    :param kept: Ids of the experts to keep, in their new order; at least as many as a token visits.
    :param router: Drop the router's rows too; ``False`` where ids are mapped before the experts instead.
    :raises ShrinkError: If too few are kept, ids repeat or do not exist, or the router chooses in groups.
    """
    top_k = experts_per_token(block)
    if len(set(kept)) != len(kept) or any(not 0 <= expert < block.n_experts for expert in kept):
        raise ShrinkError(f"{block.name}: {list(kept)} are not different experts of 0 … {block.n_experts - 1}.")
    if router and len(kept) < top_k:
        raise ShrinkError(f"{block.name} needs at least {top_k} experts, as many as a token visits; got {len(kept)}.")
    ids = torch.tensor(kept, dtype=torch.long)
    if list(kept) == list(range(block.n_experts)):
        return
    replaced(block.experts, _rows(block.experts, ids, n_experts=block.n_experts))
    _set_counts(block.experts, old=block.n_experts, new=len(kept))
    if not router or block.router is None:
        return
    _check_groups(block)
    for module in block.router.modules():
        replaced(module, _rows(module, ids, n_experts=block.n_experts))
        _set_counts(module, old=block.n_experts, new=len(kept))
        if isinstance(module, nn.Linear) and module.out_features == block.n_experts:
            module.out_features = len(kept)
    replaced(block.block, _rows(block.block, ids, n_experts=block.n_experts))  # a bias that lives in the block
    _set_counts(block.block, old=block.n_experts, new=len(kept))


def _rows(module: nn.Module, ids: Tensor, *, n_experts: int) -> dict[str, Tensor]:
    own = {**module._parameters, **module._buffers}
    return {
        name: tensor.detach()[ids.to(tensor.device)]
        for name, tensor in own.items()
        if tensor is not None and tensor.ndim and tensor.shape[0] == n_experts
    }


def _set_counts(module: nn.Module, *, old: int, new: int) -> None:
    for name in _COUNTS:
        if vars(module).get(name) == old:
            setattr(module, name, new)


def _check_groups(block: MoEBlock) -> None:
    for module in (block.router, block.block):
        for name in _GROUPS:
            n_groups = getattr(module, name, None)
            if isinstance(n_groups, int) and n_groups > 1:
                raise ShrinkError(
                    f"{block.name} routes in {n_groups} groups of equal size, which pruning would break. "
                    "Merge its experts or store them in fewer bits instead."
                )

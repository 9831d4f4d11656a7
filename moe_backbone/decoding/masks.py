"""Ban experts for one call: a request says which experts, or which skills, may serve it.

Layer: ``moe_backbone``; imports torch only.
Nothing in the model is changed and only the calling thread is masked, so requests that share a model do not see each
other. Three meanings of a mask are kept apart (:class:`Masking`); *rechoose* is exactly the model whose masked experts
and router rows were cut out, as the router that chooses is the model's own, cut to the rows that are left.

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing, find_blocks
from moe_backbone.experts import Experts
from moe_backbone.routers.base import Router
from moe_backbone.routers.sigmoid import SigmoidConfig
from moe_backbone.routers.top_k import TopKConfig

__all__ = ["ExpertMask", "MaskError", "Masking", "masked_experts"]


class MaskError(ValueError):
    """A mask does not fit the model; the message says which layer or expert."""


class Masking(StrEnum):
    """What happens to a token that would have gone to a masked expert.

    ``RECHOOSE``: the router chooses among the others, as if the masked ones had been pruned. ``DROP``: it goes to the
    rest of its experts with the weights they had. ``RENORMALISE``: the rest, with weights scaled to the old sum.
    A token that loses all its experts passes the block by its shared expert and the residual stream only. With one of
    our dispatches (``experts_implementation="mmkg_…"``) a masked slot costs no matrix product; with a stock one it has
    the weight zero.
    """

    RECHOOSE = "rechoose"
    DROP = "drop"
    RENORMALISE = "renormalise"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertMask:
    """Which experts may serve a request.

    :param allowed: For each block that is masked, by its place in the model from 0, the experts that may be used.
    """

    allowed: Mapping[int, frozenset[int]]

    @classmethod
    def banning(cls, model: nn.Module, banned: Mapping[int, Sequence[int]]) -> ExpertMask:
        """Make a mask that allows all experts of ``model`` but the ``banned`` ones.

        :param model: The model.
        :param banned: Banned experts by block.
        :returns: The mask.
        :raises MaskError: If there is no such block or expert.
        """
        blocks = {block.layer: block for block in find_blocks(model)}
        allowed = {}
        for layer, experts in banned.items():
            _check(blocks, layer, experts)
            allowed[layer] = frozenset(range(blocks[layer].n_experts)) - frozenset(experts)
        return cls(allowed=allowed)

    @classmethod
    def for_skills(cls, skills: Mapping[str, Mapping[int, Sequence[int]]], wanted: Sequence[str]) -> ExpertMask:
        """Make a mask that allows the experts of some skills.

        :param skills: The experts of each skill, by block; a block that no wanted skill names stays open.
        :param wanted: The skills of the request, at least one.
        :returns: The mask: the union of their experts.
        :raises MaskError: If a skill is unknown, or none is given.
        """
        unknown = [name for name in wanted if name not in skills]
        if unknown or not wanted:
            raise MaskError(
                f"skills {unknown or list(wanted)} are not known. Choose among {', '.join(sorted(skills))}."
            )
        allowed: dict[int, frozenset[int]] = {}
        for name in wanted:
            for layer, experts in skills[name].items():
                allowed[layer] = allowed.get(layer, frozenset()) | frozenset(experts)
        return cls(allowed=allowed)


@contextmanager
def masked_experts(
    model: nn.Module, mask: ExpertMask, *, masking: Masking = Masking.RECHOOSE
) -> Iterator[tuple[MoEBlock, ...]]:
    """Let the calls of this thread use the allowed experts only, inside the ``with`` block.

    :param model: The model; it is not changed.
    :param mask: What is allowed.
    :param masking: What a mask means.
    :yields: The masked blocks.
    :raises MaskError: If the mask names a block or expert that is not there, leaves a block without any, or asks to
        rechoose where the router cannot be cut (routers that choose among groups of experts).
    """
    blocks = {block.layer: block for block in find_blocks(model)}
    for layer, experts in mask.allowed.items():
        _check(blocks, layer, experts)
        if not experts and masking is Masking.RECHOOSE:
            raise MaskError(f"block {layer}: no expert is left to choose. Allow at least one, or use 'drop'.")
    masked = {layer: blocks[layer] for layer in sorted(mask.allowed)}
    if masking is Masking.RECHOOSE:
        edit = _rechoosing(masked, mask)
    else:
        edit = _dropping(masked, mask, renormalise=masking is Masking.RENORMALISE)
    with edit_routing(model, edit):
        yield tuple(masked.values())


def _check(blocks: Mapping[int, MoEBlock], layer: int, experts: Sequence[int] | frozenset[int]) -> None:
    if layer not in blocks:
        raise MaskError(f"there is no block {layer}: the model has {len(blocks)}, counted from 0.")
    strange = sorted(expert for expert in experts if not 0 <= expert < blocks[layer].n_experts)
    if strange:
        raise MaskError(f"block {layer} has no experts {strange}: it has {blocks[layer].n_experts}, counted from 0.")


def _rechoosing(blocks: Mapping[int, MoEBlock], mask: ExpertMask) -> Any:
    cut = {layer: _cut_router(block, sorted(mask.allowed[layer])) for layer, block in blocks.items()}

    def edit(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        if block.layer not in cut:
            return index_TK, weights_TK
        router, ids_E = cut[block.layer]
        output = router(hidden_TH)
        index = next(item for item in output if not item.is_floating_point())
        weights = [item for item in output if item.is_floating_point() and item.shape == index.shape][-1]
        return ids_E.to(index.device)[index], weights.to(weights_TK.dtype)

    return edit


def _cut_router(block: MoEBlock, allowed: list[int]) -> tuple[nn.Module, Tensor]:
    """Return a router that shares nothing that can be written with the model's, and has the allowed rows only."""
    router = block.router
    where = f"block {block.layer} ({block.name})"
    if router is None:
        raise MaskError(f"{where} has no router to choose again with. Use 'drop' or 'renormalise'.")
    config: Any = getattr(router, "config", None)
    ours = isinstance(router, Router)
    groups = config.n_groups if isinstance(config, SigmoidConfig) else getattr(router, "num_group", None)
    if int(groups or getattr(router, "n_group", None) or 1) > 1:
        raise MaskError(f"{where} chooses among groups of experts, which cannot be cut. Use 'drop' or 'renormalise'.")
    if not isinstance(config, (TopKConfig, SigmoidConfig)) if ours else not hasattr(router, "top_k"):
        raise MaskError(f"{where}: a {type(router).__name__} cannot be cut. Use 'drop' or 'renormalise'.")
    ids_E = torch.tensor(allowed)
    cut: Any = copy.copy(router)
    cut.__dict__["_parameters"] = {name: _rows(value, block, ids_E) for name, value in router._parameters.items()}
    cut.__dict__["_buffers"] = {name: _rows(value, block, ids_E) for name, value in router._buffers.items()}
    if ours:
        cut.config = replace(config, n_experts=len(allowed), top_k=min(config.top_k, len(allowed)))
    else:
        cut.top_k = min(cut.top_k, len(allowed))
    for count in ("num_experts", "n_routed_experts", "n_experts"):
        if hasattr(cut, count):
            setattr(cut, count, len(allowed))
    return cut, ids_E


def _rows(value: Any, block: MoEBlock, ids_E: Tensor) -> Any:
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == block.n_experts:
        return value.detach()[ids_E.to(value.device)]
    return value


def _dropping(blocks: Mapping[int, MoEBlock], mask: ExpertMask, *, renormalise: bool) -> Any:
    usable = {}
    for layer, block in blocks.items():
        usable_E = torch.zeros(block.n_experts + 1, dtype=torch.bool)  # the last place is "no expert"
        usable_E[sorted(mask.allowed[layer])] = True
        usable[layer] = usable_E
    known = {layer for layer, block in blocks.items() if _knows_no_expert(block)}

    def edit(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        if block.layer not in usable:
            return index_TK, weights_TK
        place_TK = index_TK.clamp(min=0, max=block.n_experts)
        kept_TK = usable[block.layer].to(index_TK.device)[place_TK]
        kept_weights_TK = weights_TK * kept_TK
        if renormalise:
            before_T1, after_T1 = weights_TK.sum(-1, keepdim=True), kept_weights_TK.sum(-1, keepdim=True)
            scale_T1 = torch.where(after_T1 > 0, before_T1 / after_T1, torch.ones_like(after_T1))
            # A token that keeps all its experts keeps its weights to the bit.
            kept_weights_TK = torch.where(kept_TK.all(-1, keepdim=True), weights_TK, kept_weights_TK * scale_T1)
        if block.layer in known:
            index_TK = torch.where(kept_TK, index_TK, block.n_experts)
        return index_TK, kept_weights_TK

    return edit


def _knows_no_expert(block: MoEBlock) -> bool:
    """Tell whether the block's experts skip the index E; stock ones may read past their weights or leave NaN there."""
    running = getattr(getattr(block.experts, "config", None), "_experts_implementation", "") or ""
    return isinstance(block.experts, Experts) or running.startswith("mmkg_")

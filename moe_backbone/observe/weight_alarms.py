"""Alarms that weights and configuration raise, without running the model.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from moe_backbone.blocks import MoEBlock
from moe_backbone.loading import StoredTensor
from moe_backbone.observe.alarms import Alarm, Severity, VirtualGroups, equal_rows, router_weight

__all__ = ["configuration_alarms", "stored_alarms", "weight_alarms"]

_FLOATING_CODES = ("F32", "F16", "BF16", "F64")


def weight_alarms(
    blocks: Sequence[MoEBlock],
    copies: Mapping[str, Sequence[Sequence[int]]],
    groups: Mapping[str, VirtualGroups],
) -> list[Alarm]:
    """Look at the numbers of routers and experts.

    :param blocks: Blocks with real weights.
    :param copies: Equal experts by block.
    :param groups: Blocks whose copies are virtual groups.
    :returns: The alarms.
    """
    found = [_not_finite(blocks), _silent(blocks), _duplicates(blocks, copies, groups), _tied_rows(blocks, groups)]
    if groups:
        one = next(iter(groups.values()))
        found.append(
            Alarm(
                code="virtual_groups",
                severity=Severity.NOTE,
                where=tuple(groups),
                evidence=f"{one.n_groups} copies of the same {one.n_slices} slices, one router row per copy",
                advice=(
                    "By design of a function-preserving upcycling: the copies are equal until they are trained, so "
                    "which of them a token visits changes nothing yet."
                ),
                numbers={"n_groups": one.n_groups, "n_slices": one.n_slices},
            )
        )
    return [alarm for alarm in found if alarm is not None]


def _not_finite(blocks: Sequence[MoEBlock]) -> Alarm | None:
    bad: dict[str, str] = {}
    count = 0
    for block in blocks:
        for part, module in (("router", block.router), ("experts", block.experts)):
            wrong = 0 if module is None else sum(int((~one.isfinite()).sum()) for one in module.parameters())
            if wrong:
                count += wrong
                bad[block.name] = f"{bad.get(block.name, '')}{wrong:,} in the {part} "
    if not bad:
        return None
    first = next(iter(bad))
    return Alarm(
        code="not_finite_weights",
        severity=Severity.ERROR,
        where=tuple(bad),
        evidence=f"{count:,} NaN or infinite weights; {first}: {bad[first].strip()}",
        advice="The checkpoint is damaged or training diverged: go back to an earlier one.",
        numbers={"n_not_finite": count},
    )


def _silent(blocks: Sequence[MoEBlock]) -> Alarm | None:
    found: dict[str, list[int]] = {}
    for block in blocks:
        down = getattr(block.experts, "down_proj", None)
        if isinstance(down, torch.Tensor) and down.is_floating_point():
            zero_E = (down.detach() == 0).flatten(1).all(dim=1)
            if bool(zero_E.any()):
                found[block.name] = zero_E.nonzero().flatten().tolist()
    if not found:
        return None
    n = sum(map(len, found.values()))
    return Alarm(
        code="silent_experts",
        severity=Severity.WARNING,
        where=tuple(found),
        evidence=f"{n} experts put out zero whatever they read; {_example(found)}",
        advice="Prune them, or mark their slots as no expert: they cost a product and add nothing.",
        numbers={"n_experts": n},
    )


def _duplicates(
    blocks: Sequence[MoEBlock],
    copies: Mapping[str, Sequence[Sequence[int]]],
    groups: Mapping[str, VirtualGroups],
) -> Alarm | None:
    found = {
        block.name: [expert for one in copies[block.name] if len(one) > 1 for expert in one]
        for block in blocks
        if block.name not in groups and any(len(one) > 1 for one in copies[block.name])
    }
    if not found:
        return None
    n = sum(len(one) - 1 for name in found for one in copies[name])
    return Alarm(
        code="duplicated_experts",
        severity=Severity.WARNING,
        where=tuple(found),
        evidence=f"{n} experts are bit-equal copies of another of their layer; {_example(found)}",
        advice=(
            "They hold memory and no function of their own. Merge them and their router rows; or, if the model was "
            "upcycled by plain copies, know that its router has no gradient until they are made to differ."
        ),
        numbers={"n_copies": n},
    )


def _tied_rows(blocks: Sequence[MoEBlock], groups: Mapping[str, VirtualGroups]) -> Alarm | None:
    found: dict[str, list[int]] = {}
    for block in blocks:
        weight = router_weight(block)
        if weight is not None and block.name not in groups:
            tied = [expert for one in equal_rows(weight) if len(one) > 1 for expert in one]
            if tied:
                found[block.name] = tied
    if not found:
        return None
    n = sum(map(len, found.values()))
    return Alarm(
        code="tied_router_rows",
        severity=Severity.WARNING,
        where=tuple(found),
        evidence=f"{n} experts share their router row with another one; {_example(found)}",
        advice="Which of them a token visits is decided by their order alone. Initialise the router, or train it.",
        numbers={"n_experts": n},
    )


def configuration_alarms(model: nn.Module, config: Any, blocks: Sequence[MoEBlock]) -> list[Alarm]:
    """Look at settings that switch something off, and at a quantiser that passed the experts by.

    :param model: The model.
    :param config: Its configuration, or ``None``.
    :param blocks: Its blocks.
    :returns: The alarms.
    """
    found = []
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    weight = getattr(text, "router_aux_loss_coef", 0) or 0
    if getattr(text, "output_router_logits", None) is False and weight > 0:
        found.append(
            Alarm(
                code="balance_loss_off",
                severity=Severity.NOTE,
                where=(),
                evidence=f"output_router_logits is False and router_aux_loss_coef is {weight}",
                advice=(
                    "The stock classes add no balance loss in training, whatever its weight, until "
                    "output_router_logits=True. Nothing to do for inference."
                ),
                numbers={"router_aux_loss_coef": float(weight)},
            )
        )
    experts = {id(one) for block in blocks for one in block.experts.parameters() if one.is_floating_point()}
    n_experts = sum(one.numel() for block in blocks for one in block.experts.parameters() if id(one) in experts)
    n_packed = sum(_n_packed(module) for module in model.modules())
    if n_packed and n_experts:
        share = n_experts / (n_experts + n_packed)
        found.append(_skipped(share, f"{n_packed:,} weights are quantised and {n_experts:,} of the experts are not"))
    return found


def stored_alarms(stored: Sequence[StoredTensor]) -> list[Alarm]:
    """Find experts in full precision in the files of a quantised checkpoint.

    :param stored: What the files hold (:func:`moe_backbone.loading.stored_tensors`).
    :returns: The alarm, if experts of two or more dimensions are floating beside packed weights.
    """
    weights = [tensor for tensor in stored if len(tensor.shape) >= 2]
    packed = sum(tensor.size_bytes for tensor in weights if tensor.dtype not in _FLOATING_CODES)
    experts = sum(
        tensor.size_bytes
        for tensor in weights
        if tensor.dtype in _FLOATING_CODES and ".experts." in tensor.name and "scale" not in tensor.name
    )
    if not packed or not experts:
        return []
    share = experts / sum(tensor.size_bytes for tensor in stored)
    return [
        _skipped(
            share, f"{experts / 1e6:.1f} MB of experts stand in full precision beside {packed / 1e6:.1f} MB packed"
        )
    ]


def _skipped(share: float, evidence: str) -> Alarm:
    return Alarm(
        code="experts_not_quantised",
        severity=Severity.WARNING,
        where=(),
        evidence=f"{evidence}: {100 * share:.0f} % was passed by",
        advice="Most quantisers look for Linear modules and skip fused experts in silence. Use one that reads them.",
        numbers={"share": share},
    )


def _n_packed(module: nn.Module) -> int:
    """Count the quantised weights of one module itself: matrices of one-byte numbers."""
    own = [one for one in (*module._parameters.values(), *module._buffers.values()) if one is not None]
    return sum(one.numel() for one in own if one.ndim >= 2 and one.element_size() == 1 and one.dtype != torch.bool)


def _example(found: Mapping[str, Sequence[int]]) -> str:
    name, experts = next(iter(found.items()))
    shown = ", ".join(map(str, experts[:8])) + (" …" if len(experts) > 8 else "")
    return f"{name}: {shown}"

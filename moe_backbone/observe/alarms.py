"""What an alarm is, and where experts are copies by design.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: E experts, H model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from moe_backbone.blocks import MoEBlock

__all__ = ["Alarm", "Severity", "VirtualGroups", "equal_experts", "equal_rows", "router_weight", "virtual_groups"]

_SAMPLES = 64  # numbers of an expert that are compared before all of them are


class Severity(StrEnum):
    """How bad: an ``ERROR`` spoils the model or wastes most of it, a ``WARNING`` some of it, a ``NOTE`` nothing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One finding.

    :param code: Its stable name, lower_snake_case.
    :param severity: How bad it is.
    :param where: Names of the blocks or routers it concerns; empty for the whole model.
    :param evidence: What was measured, with the numbers.
    :param advice: What to do.
    :param numbers: The same numbers for programs.
    """

    code: str
    severity: Severity
    where: tuple[str, ...]
    evidence: str
    advice: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualGroups:
    """Experts of a model upcycled into virtual groups (arXiv:2410.07524) and not trained since.

    :param n_groups: Copies R of every slice.
    :param n_slices: Slices S; R · S = E.
    """

    n_groups: int
    n_slices: int


def router_weight(block: MoEBlock) -> Tensor | None:
    """Return the router's matrix, ``(E, H)``, or ``None`` where there is none of that shape."""
    if block.router is None:
        return None
    shape = (block.n_experts, block.width)
    return next((one for one in block.router.parameters() if tuple(one.shape) == shape), None)


def equal_rows(rows_EH: Tensor) -> list[list[int]]:
    """Put the indices of bit-equal rows together, in the order of their first."""
    _, group_E = torch.unique(rows_EH.detach().float(), dim=0, return_inverse=True)
    return _classes(group_E.tolist())


def equal_experts(block: MoEBlock) -> list[list[int]]:
    """Put the experts of a block whose weights are all bit-equal together, in the order of their first."""
    weights = [one.detach() for one in block.experts.parameters() if one.ndim >= 2 and one.shape[0] == block.n_experts]
    classes: list[list[int]] = []
    seen: dict[tuple[float, ...], list[list[int]]] = {}
    for expert in range(block.n_experts):
        flats = [one[expert].reshape(-1) for one in weights]
        key = tuple(x for flat in flats for x in flat[:: max(1, flat.numel() // _SAMPLES)].float().tolist())
        for known in seen.setdefault(key, []):
            if all(torch.equal(one[expert], one[known[0]]) for one in weights):
                known.append(expert)
                break
        else:
            classes.append([expert])
            seen[key].append(classes[-1])
    return classes


def virtual_groups(block: MoEBlock, copies: Sequence[Sequence[int]]) -> VirtualGroups | None:
    """Tell copies by design: R copies of S slices, where each group of equal router rows holds every slice once.

    :param block: The block.
    :param copies: Its equal experts (:func:`equal_experts`).
    :returns: The groups, or ``None`` if the copies have no such reason.
    """
    weight_EH = router_weight(block)
    n_groups = len(copies[0]) if copies else 0
    if weight_EH is None or n_groups < 2 or any(len(one) != n_groups for one in copies):
        return None
    groups = equal_rows(weight_EH)
    slice_of = {expert: number for number, one in enumerate(copies) for expert in one}
    whole = set(range(len(copies)))
    if len(groups) != n_groups or any({slice_of[expert] for expert in group} != whole for group in groups):
        return None
    return VirtualGroups(n_groups=n_groups, n_slices=len(copies))


def _classes(groups: Sequence[int]) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return sorted(found.values())

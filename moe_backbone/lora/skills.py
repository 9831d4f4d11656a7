"""A frozen module with named sets of low-rank adapters, one of which is active per call.

Layer: ``moe_backbone``; imports torch only.
Source: task-level routing, Kudugunta et al. 2021, arXiv:2110.03742: a request names its skill, and what belongs to
other skills is not read, nor need it be there.

Shape suffixes: O output width, I input width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from moe_backbone.lora.low_rank import LoRAConfig, LowRank
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext

__all__ = ["BASE", "DEFAULT", "SkillAdapter"]

BASE = "base"
"""The skill that uses no adapter."""

DEFAULT = "default"
"""Name of the set of an adapter without skills."""


class SkillAdapter(nn.Module, ABC):
    """Holds ``base``, which it freezes, and ``sets``, of which each call uses one.

    The set is that of the skill in the context; :attr:`skill` stands in where the context names none, as in training,
    whose backward pass may run calls again outside of any context. A single set called :data:`DEFAULT` is used always.

    :param base: What is adapted. Its parameters are frozen.
    :param config: Rank and scale.
    :param skills: Names of fresh sets.
    :param name: Name of the layer, for errors.
    """

    def __init__(self, base: nn.Module, config: LoRAConfig, *, skills: Iterable[str], name: str) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.base = base.requires_grad_(requires_grad=False)
        self.sets = nn.ModuleDict()
        self.skill: str | None = None
        self.merged: str | None = None
        for skill in skills:
            self.add_set(skill)

    @abstractmethod
    def fresh_set(self) -> nn.Module:
        """Return a set of adapters that adds zero."""

    @abstractmethod
    def pairs(self, skill: str) -> Iterator[tuple[Tensor, LowRank, int]]:
        """Yield each frozen matrix with its adapter.

        :param skill: A set.
        :yields: A view of the matrix, ``(O, I)``, the low-rank matrices, and which of them is the matrix's.
        """

    def add_set(self, skill: str) -> None:
        """Make a fresh set, which adds zero until it is trained.

        :param skill: Its name; :data:`BASE` is taken.
        :raises ValueError: If there is such a set.
        """
        if skill in self.sets or skill == BASE:
            raise ValueError(f"{self.name} has a set {skill!r} already.")
        self.sets[skill] = self.fresh_set()

    def active_set(self, context: RoutingContext) -> nn.Module | None:
        """Return the set that a call uses.

        :param context: What is known of the call.
        :returns: The set, or ``None`` for no adapter (:data:`BASE`, or the set that is merged).
        :raises RouterError: If no skill is named, or its set is not here.
        """
        skill = self.skill if context.skill is None else context.skill
        if skill != BASE and list(self.sets) == [DEFAULT]:
            skill = DEFAULT
        if self.merged is not None:
            if skill in (self.merged, None):
                return None
            raise RouterError(f"{self.name}: the set {self.merged!r} is merged; unmerge it before {skill!r} is used.")
        if skill == BASE:
            return None
        if skill is None or skill not in self.sets:
            asked = "no skill is named" if skill is None else f"the skill {skill!r} is not loaded"
            raise RouterError(
                f"{self.name}: {asked}; there are {', '.join((BASE, *self.sets))} (routing_context(skill=...))."
            )
        return self.sets[skill]

    def merge(self, skill: str = DEFAULT) -> None:
        """Add one set to the frozen weights, one matrix at a time, so that calls cost nothing more.

        In float32, :meth:`unmerge` restores the weights to rounding (1e-6 of their size); in half precision both round.

        :param skill: The set.
        :raises ValueError: If a set is merged already, or there is no such set.
        """
        if self.merged is not None or skill not in self.sets:
            raise ValueError(f"{self.name} cannot merge {skill!r}: merged is {self.merged!r}, sets {list(self.sets)}.")
        self._add(skill, sign=1.0)
        self.merged = skill

    def unmerge(self) -> None:
        """Take the merged set out of the weights again.

        :raises ValueError: If none is merged.
        """
        if self.merged is None:
            raise ValueError(f"{self.name} has no merged set to take out.")
        self._add(self.merged, sign=-1.0)
        self.merged = None

    @torch.no_grad()
    def _add(self, skill: str, *, sign: float) -> None:
        for weight_OI, pair, expert in self.pairs(skill):
            wide_OI = weight_OI.to(torch.promote_types(weight_OI.dtype, torch.float32))
            weight_OI.copy_(wide_OI + sign * pair.delta(expert))

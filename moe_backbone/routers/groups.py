"""Experts in named groups and a shared pool: a token chooses among its own group's and the pool's.

Layer: ``moe_backbone``; imports torch only.
The base of routing by modality (``modality.py``) and by skill (``task.py``).

The pool comes first (ids 0 … S-1), then the groups in the order of the configuration. Logits are computed apart for
each group, and the choice is made on the group's and the pool's logits alone, so that a group appended later changes
not one bit of what the others compute; ``-inf`` marks an expert that the token may not use.

Shape suffixes: T tokens, N tokens of one group, H model width, E experts, S experts of the pool, A experts allowed to a
token (pool and group), K experts per token.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_backbone.config import MoEConfigError, SoftmaxOrder, require_count
from moe_backbone.routers.base import Router, float32_linear
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.top_k import TopKConfig, choose_top_k

__all__ = ["GroupedConfig", "GroupedRouter", "reference_grouped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedConfig(TopKConfig):
    """What a grouped router is told, besides what the top-k router is.

    :param groups: Name and number of experts of each group, in the order of their ids.
    :param n_shared: Experts of the pool that every token may choose, at least 0.
    :raises MoEConfigError: If a name stands twice, the sizes do not sum to ``n_experts``, or a token of some group
        could not choose ``top_k`` experts.
    """

    groups: tuple[tuple[str, int], ...]
    n_shared: int = 0

    def __post_init__(self) -> None:
        TopKConfig.__post_init__(self)
        require_count("n_shared", self.n_shared, minimum=0)
        if not self.groups or len({name for name, _ in self.groups}) != len(self.groups):
            raise MoEConfigError(f"groups must name each group once, got {self.groups!r}.")
        for name, size in self.groups:
            require_count(f"the size of group {name!r}", size, minimum=0)
            if self.n_shared + size < self.top_k:
                raise MoEConfigError(
                    f"a token of group {name!r} may choose {size} experts of its own and {self.n_shared} shared ones, "
                    f"fewer than top_k={self.top_k}. Give the group or the pool more."
                )
        total = self.n_shared + sum(size for _, size in self.groups)
        if total != self.n_experts:
            raise MoEConfigError(f"groups and pool hold {total} experts, but n_experts={self.n_experts}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, in order."""
        return tuple(name for name, _ in self.groups)

    def allowed(self, group: str) -> list[int]:
        """Return the ids that a token of ``group`` may choose: the pool's, then the group's own."""
        return [*range(self.n_shared), *self.own(group)]

    def own(self, group: str) -> range:
        """Return the ids of the experts of ``group`` alone.

        :param group: One of :attr:`names`.
        :returns: Consecutive ids.
        :raises MoEConfigError: If there is no such group.
        """
        start = self.n_shared
        for name, size in self.groups:
            if name == group:
                return range(start, start + size)
            start += size
        raise MoEConfigError(f"there is no group {group!r}; choose one of {', '.join(self.names)}.")


class GroupedRouter(Router):
    """A linear router with one weight for the pool and one for each group; a subclass says who belongs where.

    :param config: Settings; see :class:`GroupedConfig`.
    """

    def __init__(self, config: GroupedConfig) -> None:
        super().__init__(config)
        self.config = config
        sizes = {"shared": config.n_shared, **{f"group_{name}": size for name, size in config.groups}}
        for name, size in sizes.items():
            weight = nn.Parameter(torch.empty(size, config.width))
            nn.init.normal_(weight, std=config.init_std)
            self.register_parameter(f"weight_{name}", weight)

    @abstractmethod
    def members(self, n_tokens: int, context: RoutingContext) -> Iterator[tuple[str, Tensor | None]]:
        """Yield each group that has tokens with their positions, int64; ``None`` stands for all of them.

        :param n_tokens: T.
        :param context: What is known of the tokens.
        :yields: Name and positions ``(N,)``; each token in exactly one group.
        """

    def logits(self, x_TH: Tensor, context: RoutingContext) -> Tensor:
        """Return ``x · w_e`` for the experts that each token may use, ``-inf`` for the others. *Shape:* ``(T, E)``."""
        logits_TE = x_TH.new_full((len(x_TH), self.n_experts), -math.inf)
        for name, rows_N in self.members(len(x_TH), context):
            x_NH = x_TH if rows_N is None else x_TH[rows_N]
            shared_NS = float32_linear(x_NH, self.get_parameter("weight_shared"))
            own_N = float32_linear(x_NH, self.get_parameter(f"weight_group_{name}"))
            allowed_NA = torch.cat([shared_NS, own_N], dim=-1)
            rows_N = torch.arange(len(x_TH), device=x_TH.device) if rows_N is None else rows_N
            columns_A = torch.tensor(self.config.allowed(name), device=x_TH.device)
            logits_TE = logits_TE.index_put((rows_N[:, None], columns_A[None, :]), allowed_NA)
        return logits_TE

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose the top k of what each token may use, on those logits alone."""
        weights_TK = logits_TE.new_zeros(len(logits_TE), self.config.top_k)
        index_TK = torch.full_like(weights_TK, self.n_experts, dtype=torch.int64)
        for name, rows_N in self.members(len(logits_TE), context):
            rows_N = torch.arange(len(logits_TE), device=logits_TE.device) if rows_N is None else rows_N
            columns_A = torch.tensor(self.config.allowed(name), device=logits_TE.device)
            weights_NK, local_NK = choose_top_k(
                logits_TE[rows_N[:, None], columns_A[None, :]], top_k=self.config.top_k, softmax=self.config.softmax
            )
            weights_TK = weights_TK.index_put((rows_N,), weights_NK)
            index_TK[rows_N] = columns_A[local_NK]
        return weights_TK, index_TK


def reference_grouped(
    x_TH: Tensor, group_T: list[str], weight_EH: Tensor, config: GroupedConfig
) -> list[dict[int, float]]:
    """Choose as :class:`GroupedRouter` does, one token at a time.

    :param x_TH: Token states. *Shape:* ``(T, H)``.
    :param group_T: Group of each token.
    :param weight_EH: Router rows in the order of the ids. *Shape:* ``(E, H)``.
    :param config: Settings.
    :returns: The weight of each chosen expert, one mapping per token.
    """
    chosen = []
    for x_H, group in zip(x_TH.double(), group_T, strict=True):
        logits = {expert: float(weight_EH[expert].double() @ x_H) for expert in config.allowed(group)}
        kept = sorted(logits, key=lambda expert, given=logits: -given[expert])[: config.top_k]  # type: ignore[misc]
        among = kept if config.softmax is SoftmaxOrder.AFTER_TOP_K else list(logits)
        total = sum(math.exp(logits[expert]) for expert in among)
        chosen.append({expert: math.exp(logits[expert]) / total for expert in kept})
    return chosen

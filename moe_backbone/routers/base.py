"""What every router shares: its contract, arithmetic in float32, and the refusal of logits that are no numbers.

Layer: ``moe_backbone``; imports torch only.
Source: Switch Transformers, arXiv:2101.03961, section 2.4 (routing in float32 inside a half-precision model: bfloat16
logits tie, and a tie routes to the wrong expert).

A router returns the triple of the stock routers of transformers, so hooks and statistics written for those work here.
An id of E (the number of experts) is *no expert*: the slot adds nothing and costs no matrix product.

Shape suffixes: T tokens, H model width, E experts, K slots per token.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import MoEConfigError, require_count
from moe_backbone.routers.context import RoutingContext, current_context

__all__ = [
    "LinearRouter",
    "Router",
    "RouterConfig",
    "RouterError",
    "Routing",
    "float32_linear",
    "full_precision",
    "keep_slots",
    "refuse_bad_logits",
]


class RouterError(ValueError):
    """A router was asked for what it cannot do; the message says which layer, what was given and what to do."""


class Routing(NamedTuple):
    """What a router decided, in the order of transformers.

    ``logits`` ``(T, E)`` and ``weights`` ``(T, K)`` are float32 (float64 for float64 states); a logit of ``-inf``
    is an expert that the token may not use. ``experts`` ``(T, K)`` holds int64 ids; E is *no expert*.
    """

    logits: Tensor
    weights: Tensor
    experts: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """What every router is told.

    :param width: Model width H, at least 1.
    :param n_experts: Experts E, at least 1.
    :param top_k: Experts per token K, between 1 and ``n_experts``; the most or the mean where a router varies it.
    :param init_std: Standard deviation of fresh weights, >= 0. 0.02 is the value of the Llama family.
    :raises MoEConfigError: If a number is out of its range.
    """

    width: int
    n_experts: int
    top_k: int
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for field in ("width", "n_experts", "top_k"):
            require_count(field, getattr(self, field), minimum=1)
        if self.top_k > self.most_slots:
            raise MoEConfigError(
                f"top_k={self.top_k} asks for more experts per token than there are (n_experts={self.n_experts}). "
                "Lower top_k or add experts."
            )
        if not (math.isfinite(self.init_std) and self.init_std >= 0):
            raise MoEConfigError(f"init_std must be finite and >= 0, got {self.init_std!r}.")

    @property
    def most_slots(self) -> int:
        """How many choices a token has at most: E, and more where there are null experts."""
        return self.n_experts


class Router(nn.Module, ABC):
    """Chooses experts for tokens; a router overrides :meth:`logits` and :meth:`choose`.

    ``is_causal`` tells whether the choice for a token depends on that token alone, so that it is the same while a text
    grows. ``name`` stands in errors; :class:`~moe_backbone.layer.MoELayer` sets it.

    :param config: What the router is told; each router has its own class.
    """

    is_causal: ClassVar[bool] = True

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.width = config.width
        self.n_experts = config.n_experts
        self.name = type(self).__name__

    @abstractmethod
    def logits(self, x_TH: Tensor, context: RoutingContext) -> Tensor:
        """Score every expert for every token.

        :param x_TH: Token states, float32 or float64. *Shape:* ``(T, H)``.
        :param context: What else is known of the tokens.
        :returns: Logits in the dtype of ``x_TH``. *Shape:* ``(T, E)``.
        """

    @abstractmethod
    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose by the logits.

        :param logits_TE: What :meth:`logits` returned. *Shape:* ``(T, E)``.
        :param context: What else is known of the tokens.
        :returns: Weights and ids. *Shape:* both ``(T, K)``.
        """

    def forward(self, x_TH: Tensor, context: RoutingContext | None = None) -> Routing:
        """Route tokens.

        :param x_TH: Token states, floating point. *Shape:* ``(T, H)``.
        :param context: What else is known of the tokens; ``None`` takes the one that
            :func:`~moe_backbone.routers.context.routing_context` set.
        :returns: Logits, weights and expert ids.
        :raises ValueError: If ``x_TH`` is not of shape ``(T, H)``, or a logit is NaN or infinite
            (:class:`RouterError`).
        """
        if x_TH.ndim != 2 or x_TH.shape[1] != self.width:
            raise ValueError(f"{self.name}: x_TH must have shape (T, {self.width}), got {tuple(x_TH.shape)}.")
        context = current_context() if context is None else context
        with full_precision(x_TH):
            logits_TE = self.logits(x_TH.to(torch.promote_types(x_TH.dtype, torch.float32)), context)
            refuse_bad_logits(logits_TE, name=self.name)
            weights_TK, index_TK = self.choose(logits_TE, context)
        return Routing(logits_TE, weights_TK, index_TK)


class LinearRouter(Router):
    """Scores experts by one matrix, named and shaped as in transformers (``weight[E, H]``); null experts have rows too.

    :param config: What the router is told; each router has its own class.
    """

    def __init__(self, config: RouterConfig) -> None:
        super().__init__(config)
        self.weight = nn.Parameter(torch.empty(config.most_slots, config.width))
        nn.init.normal_(self.weight, std=config.init_std)

    def logits(self, x_TH: Tensor, context: RoutingContext) -> Tensor:
        """Return ``x · w_e`` for every row of the matrix. *Shape:* ``(T, E)``."""
        return float32_linear(x_TH, self.weight)


def keep_slots(
    best_TK: Tensor, index_TK: Tensor, kept_TK: Tensor, *, n_experts: int, renormalise: bool
) -> tuple[Tensor, Tensor]:
    """Empty the slots that are not kept: id E, weight 0.

    :param best_TK: Weights of the best experts. *Shape:* ``(T, K)``.
    :param index_TK: Their ids. *Shape:* ``(T, K)``.
    :param kept_TK: True where a slot stays; at least one in each row. *Shape:* ``(T, K)``.
    :param n_experts: E.
    :param renormalise: Whether the weights that stay are scaled to sum to 1.
    :returns: Weights and ids. *Shape:* both ``(T, K)``.
    """
    weights_TK = torch.where(kept_TK, best_TK, 0.0)
    if renormalise:
        weights_TK = weights_TK / weights_TK.sum(dim=-1, keepdim=True)
    return weights_TK, torch.where(kept_TK, index_TK, n_experts)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast on the device of ``x``; ``meta`` has none to switch off."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def float32_linear(x_TH: Tensor, weight_EH: Tensor) -> Tensor:
    """Return ``x @ weightᵀ`` in the dtype of ``x_TH``, whatever the weight's is. *Shape:* ``(T, E)``."""
    return functional.linear(x_TH, weight_EH.to(x_TH.dtype))


def refuse_bad_logits(logits_TE: Tensor, *, name: str) -> None:
    """Refuse logits of which a row holds NaN, +inf, or nothing but -inf. The cost is one maximum over K·T numbers.

    Skipped where nothing can be read back: under ``torch.compile`` and on the ``meta`` device.

    :param logits_TE: Router logits. *Shape:* ``(T, E)``.
    :param name: The layer, for the message.
    :raises RouterError: If there is such a row.
    """
    if logits_TE.numel() == 0 or torch.compiler.is_compiling() or logits_TE.is_meta:
        return
    best_T = logits_TE.detach().amax(dim=-1)  # NaN and +inf survive a maximum; -inf does only where all are
    bad_T = ~best_T.isfinite()
    if bool(bad_T.any()):
        first = int(bad_T.nonzero()[0])
        raise RouterError(
            f"{name}: the router's logits are NaN or infinite for {int(bad_T.sum())} of {len(bad_T)} tokens (first: "
            f"token {first}). Look for NaN in the states that enter this layer or in its router's weights; a smaller "
            "learning rate or a z-loss keeps logits small."
        )

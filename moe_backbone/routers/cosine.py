"""Route by the angle between a token and its experts, so that no expert wins by the length of its router row.

Layer: ``moe_backbone``; imports torch only.
Source: Chi et al. 2022, On the Representation Collapse of Sparse Mixture of Experts (X-MoE), arXiv:2204.09179, section
3.2 (a low-dimensional projection, L2-normalised tokens and experts, a learned temperature). Start and floor of the
temperature are those of Tutel's cosine gate, the one of Swin-MoE.

Shape suffixes: T tokens, H model width, P projection width, E experts, K experts per token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import MoEConfigError, SoftmaxOrder, require_count
from moe_backbone.routers.base import Router, float32_linear
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.top_k import TopKConfig, choose_top_k

__all__ = ["CosineConfig", "CosineRouter", "reference_cosine_logits"]

_LEAST_TEMPERATURE = 0.01  # Tutel: cosines then reach logits of at most 100
_LEAST_NORM = 1e-12  # a zero vector has no direction; it scores 0 with every expert


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineConfig(TopKConfig):
    """What the cosine router is told, besides what the top-k router is.

    :param projection_width: Width P in which angles are taken, at least 1. X-MoE uses E/2, its public code 16.
    :param temperature: Start of the learned temperature, at least 0.01; logits are cosines divided by it.
    :param softmax: Where the softmax stands. X-MoE gates by the probability among all experts, hence the default.
    :raises MoEConfigError: If a setting is out of its range.
    """

    projection_width: int = 16
    temperature: float = 0.5
    softmax: SoftmaxOrder = SoftmaxOrder.BEFORE_TOP_K

    def __post_init__(self) -> None:
        TopKConfig.__post_init__(self)
        require_count("projection_width", self.projection_width, minimum=1)
        if not (math.isfinite(self.temperature) and self.temperature >= _LEAST_TEMPERATURE):
            raise MoEConfigError(f"temperature must be finite and >= {_LEAST_TEMPERATURE}, got {self.temperature!r}.")


class CosineRouter(Router):
    """Cosine logits, then the choice of the top-k router. ``weight[E, P]``, ``projection[P, H]``, ``log_temperature``.

    :param config: Settings; see :class:`CosineConfig`.
    """

    def __init__(self, config: CosineConfig) -> None:
        super().__init__(config)
        self.config = config
        self.projection = nn.Parameter(torch.empty(config.projection_width, config.width))
        self.weight = nn.Parameter(torch.empty(config.n_experts, config.projection_width))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        nn.init.normal_(self.projection, std=config.init_std)
        nn.init.normal_(self.weight, std=config.init_std)

    def logits(self, x_TH: Tensor, context: RoutingContext) -> Tensor:
        """Return ``cos(P x, w_e) / temperature`` for every expert. *Shape:* ``(T, E)``."""
        low_TP = functional.normalize(float32_linear(x_TH, self.projection), dim=-1, eps=_LEAST_NORM)
        rows_EP = functional.normalize(self.weight.to(x_TH.dtype), dim=-1, eps=_LEAST_NORM)
        temperature = self.log_temperature.to(x_TH.dtype).exp().clamp(min=_LEAST_TEMPERATURE)
        return functional.linear(low_TP, rows_EP) / temperature

    def choose(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """Choose the top k; see :func:`~moe_backbone.routers.top_k.choose_top_k`."""
        return choose_top_k(logits_TE, top_k=self.config.top_k, softmax=self.config.softmax)


def reference_cosine_logits(x_TH: Tensor, projection_PH: Tensor, weight_EP: Tensor, temperature: float) -> Tensor:
    """Return the logits of :class:`CosineRouter`, one cosine at a time.

    :param x_TH: Token states. *Shape:* ``(T, H)``.
    :param projection_PH: Projection. *Shape:* ``(P, H)``.
    :param weight_EP: Router rows. *Shape:* ``(E, P)``.
    :param temperature: Divisor of the cosines.
    :returns: Logits, float64. *Shape:* ``(T, E)``.
    """
    rows = []
    for x_H in x_TH.double():
        low_P = [float(row @ x_H) for row in projection_PH.double()]
        cosines = []
        for weight_P in weight_EP.double().tolist():
            dot = sum(a * b for a, b in zip(low_P, weight_P, strict=True))
            norms = math.sqrt(sum(a * a for a in low_P)) * math.sqrt(sum(b * b for b in weight_P))
            cosines.append(dot / norms / temperature if norms else 0.0)
        rows.append(cosines)
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(weight_EP))

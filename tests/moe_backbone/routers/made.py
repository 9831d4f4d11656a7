"""One router of each kind, small, and the context that each needs."""

from typing import Any

import torch
from torch import Tensor

from moe_backbone.routers.base import Router
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.registry import build_router, router_config

H, E = 8, 6
SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"top_k": 2, "projection_width": 4},
    "expert_choice": {"top_k": 2},
    "margin": {"top_k": 2, "margin": 0.1},
    "modality": {"top_k": 2, "groups": (("text", 2), ("image", 2), ("graph", 1)), "n_shared": 1},
    "null": {"top_k": 3, "n_null": 4},
    "sigmoid": {"top_k": 2, "scale": 2.5},
    "task": {"top_k": 2, "groups": (("answer", 2), ("verify", 3)), "n_shared": 1},
    "top_k": {"top_k": 2},
    "top_p": {"top_k": 4, "threshold": 0.6},
}


def make_router(name: str, *, seed: int = 0, **changes: Any) -> Router:
    torch.manual_seed(seed)
    settings = {"width": H, "n_experts": E, "init_std": 0.6} | SETTINGS[name] | changes
    router = build_router(router_config(name, **settings))
    if name == "sigmoid":
        router.e_score_correction_bias.copy_(torch.linspace(-0.2, 0.2, E))
    return router


def context_for(name: str, n_tokens: int) -> RoutingContext:
    modality = torch.arange(n_tokens) % 3 if name == "modality" else None
    return RoutingContext(modality=modality, skill="verify" if name == "task" else None)


def as_mappings(weights: Tensor, index: Tensor, n_experts: int = E) -> list[dict[int, float]]:
    """Each token's experts with their weights, the slots without expert left out."""
    return [
        {expert: weight for expert, weight in zip(ids, row, strict=True) if expert < n_experts}
        for ids, row in zip(index.tolist(), weights.tolist(), strict=True)
    ]

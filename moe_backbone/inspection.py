"""Say what a mixture-of-experts model is made of: experts, routers, layouts, parameters.

Layer: ``moe_backbone``; imports torch only.
Nothing is looked up by a model's name. Blocks are found by their shape (:mod:`moe_backbone.blocks`), and what a router
does is found by running a small copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from moe_backbone.blocks import find_blocks

__all__ = ["LayerReport", "ModelReport", "inspect_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One block of experts.

    :param name: Name of the block in the model.
    :param n_experts: Routed experts E.
    :param width: Model width H.
    :param expert_width: Inner width I of one routed expert.
    """

    name: str
    n_experts: int
    width: int
    expert_width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """A model.

    :param architecture: Class of the model.
    :param layers: Its blocks of experts, in order.
    """

    architecture: str
    layers: tuple[LayerReport, ...]


def inspect_model(model: nn.Module) -> ModelReport:
    """Describe a model; a structure on the ``meta`` device is enough."""
    return ModelReport(
        architecture=type(model).__name__,
        layers=tuple(
            LayerReport(name=block.name, n_experts=block.n_experts, width=block.width, expert_width=block.expert_width)
            for block in find_blocks(model)
        ),
    )

"""A whole mixture-of-experts layer: router, routed experts, and an optional expert that every token visits.

Layer: ``moe_backbone``; imports torch only.
Module names follow transformers (``gate``, ``experts``, ``shared_expert``), so hooks, statistics and dispatches written
for a stock model work on this layer too.

Shape suffixes: T tokens, H model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from moe_backbone.config import MoEConfig
from moe_backbone.experts import Experts, GatedFeedForward
from moe_backbone.routers import TopKRouter

__all__ = ["MoELayer"]


class MoELayer(nn.Module):
    """Replace a feed-forward network by routed experts.

    :param config: Shape of the layer.
    :param dispatch: How to run the experts, one of :func:`~moe_backbone.dispatch.registry.dispatch_names`.
    """

    def __init__(self, config: MoEConfig, *, dispatch: str = "grouped") -> None:
        super().__init__()
        self.config = config
        self.gate = TopKRouter(config)
        self.experts = Experts(config, dispatch=dispatch)
        self.shared_expert = (
            GatedFeedForward(
                width=config.width,
                inner_width=config.shared_width,
                activation=config.activation,
                init_std=config.init_std,
            )
            if config.shared_width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Route and run every token.

        :param x: States, with any leading dimensions. *Shape:* ``(…, H)``.
        :returns: States of the same shape and dtype. Router logits are read by a hook on ``gate``, as in stock models
            (:class:`~moe_backbone.stats.RoutingRecorder`).
        """
        x_TH = x.reshape(-1, x.shape[-1])
        _, weights_TK, index_TK = self.gate(x_TH)
        y_TH: Tensor = self.experts(x_TH, index_TK, weights_TK)
        if self.shared_expert is not None:
            y_TH = y_TH + self.shared_expert(x_TH)
        return y_TH.reshape(x.shape)

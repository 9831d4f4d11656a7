"""A whole mixture-of-experts layer: any router, routed experts, and an optional expert that every token visits.

Layer: ``moe_backbone``; imports torch only.
Module names follow transformers (``gate``, ``experts``, ``shared_expert``), so hooks, statistics and dispatches written
for a stock model work on this layer too.

Shape suffixes: T tokens, H model width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from moe_backbone.config import MoEConfig, MoEConfigError
from moe_backbone.experts import Experts, GatedFeedForward
from moe_backbone.routers.base import Router, RouterConfig
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.registry import build_router, get_router, router_config
from moe_backbone.routers.top_k import TopKConfig

__all__ = ["MoELayer", "name_layers"]


class MoELayer(nn.Module):
    """Replace a feed-forward network by routed experts.

    .. code-block:: python

        MoELayer(config)                                    # top k, with config.top_k and config.softmax
        MoELayer(config, router="sigmoid")                  # by name, with that router's defaults
        MoELayer(config, router=ModalityConfig(...))        # by its settings
        MoELayer(config, router=my_router)                  # any Router

    :param config: Shape of the layer.
    :param router: A name of :func:`~moe_backbone.routers.registry.router_names`, a router's configuration, or a router.
        By name it takes width, experts, top k and deviation from ``config``; otherwise its own ``top_k`` counts.
    :param dispatch: How to run the experts, one of :func:`~moe_backbone.dispatch.registry.dispatch_names`.
    :param name: Name of the layer, for errors; :func:`name_layers` sets it from the model.
    :raises MoEConfigError: If the router does not fit the layer.
    """

    def __init__(
        self,
        config: MoEConfig,
        *,
        router: str | RouterConfig | Router = "top_k",
        dispatch: str = "auto",
        name: str = "MoELayer",
    ) -> None:
        super().__init__()
        self.config = config
        self.gate = _make_router(config, router)
        self.gate.name = name
        if (self.gate.width, self.gate.n_experts) != (config.width, config.n_experts):
            raise MoEConfigError(
                f"{name}: the router is for width {self.gate.width} and {self.gate.n_experts} experts, the layer has "
                f"width {config.width} and {config.n_experts}."
            )
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

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """Route and run every token.

        :param x: States, with any leading dimensions. *Shape:* ``(…, H)``.
        :param context: What routing may depend on besides the states; ``None`` takes the one that
            :func:`~moe_backbone.routers.context.routing_context` set.
        :returns: States of the same shape and dtype. Router logits are read by a hook on ``gate``, as in stock models
            (:class:`~moe_backbone.observe.recorder.RoutingRecorder`).
        """
        x_TH = x.reshape(-1, x.shape[-1])
        _, weights_TK, index_TK = self.gate(x_TH, context)
        y_TH: Tensor = self.experts(x_TH, index_TK, weights_TK)
        if self.shared_expert is not None:
            y_TH = y_TH + self.shared_expert(x_TH)
        return y_TH.reshape(x.shape)


def name_layers(model: nn.Module) -> tuple[str, ...]:
    """Give every :class:`MoELayer` of ``model`` its name in it, so that errors say which layer.

    :param model: A model; its layers are changed in place.
    :returns: The names, in the order of the model's modules.
    """
    names = []
    for name, module in model.named_modules():
        if isinstance(module, MoELayer):
            module.gate.name = name or type(module).__name__
            names.append(module.gate.name)
    return tuple(names)


def _make_router(config: MoEConfig, router: str | RouterConfig | Router) -> Router:
    if isinstance(router, Router):
        return router
    if isinstance(router, RouterConfig):
        return build_router(router)
    kind = get_router(router).config
    shared = ("width", "n_experts", "top_k", "init_std")
    settings: dict[str, Any] = {name: getattr(config, name) for name in shared}
    if kind is TopKConfig:  # other routers have defaults of their own for the place of the softmax
        settings["softmax"] = config.softmax
    return build_router(router_config(router, **settings))

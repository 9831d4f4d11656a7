"""A layer's routed experts, with their weights fused as transformers fuses them.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_backbone.config import Activation, MoEConfig
from moe_backbone.dispatch.registry import get_dispatch

__all__ = ["Experts", "GatedFeedForward", "activation_function"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.SILU: functional.silu,
    Activation.GELU: functional.gelu,
    Activation.RELU: functional.relu,
}


def activation_function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """Return the function that ``activation`` names."""
    return _ACTIVATIONS[activation]


class Experts(nn.Module):
    """E gated feed-forward networks: ``gate_up_proj[E, 2 I, H]`` and ``down_proj[E, H, I]``.

    :param config: Shape of the layer.
    :param dispatch: How to run them, one of :func:`~moe_backbone.dispatch.registry.dispatch_names`.
    """

    def __init__(self, config: MoEConfig, *, dispatch: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.dispatch = dispatch
        self._run = get_dispatch(dispatch)
        self.act_fn = activation_function(config.activation)  # named as in transformers
        self.gate_up_proj = nn.Parameter(torch.empty(config.n_experts, 2 * config.expert_width, config.width))
        self.down_proj = nn.Parameter(torch.empty(config.n_experts, config.width, config.expert_width))
        nn.init.normal_(self.gate_up_proj, std=config.init_std)
        nn.init.normal_(self.down_proj, std=config.init_std)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen experts; the names of the parameters are those that transformers calls with.

        :param hidden_states: Token states. *Shape:* ``(T, H)``.
        :param top_k_index: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
        :param top_k_weights: Their weights. *Shape:* ``(T, K)``.
        :returns: The weighted sum of their outputs. *Shape:* ``(T, H)``.
        :raises ValueError: If the shapes do not fit each other, or the ids are no whole numbers.
        """
        n_tokens, given = hidden_states.shape[0], tuple(hidden_states.shape)
        if given != (n_tokens, self.config.width):
            raise ValueError(f"hidden_states must have shape (T, {self.config.width}), got {given}.")
        if top_k_index.shape != top_k_weights.shape or top_k_index.ndim != 2 or len(top_k_index) != n_tokens:
            raise ValueError(
                f"top_k_index and top_k_weights must both have shape ({n_tokens}, K), got "
                f"{tuple(top_k_index.shape)} and {tuple(top_k_weights.shape)}."
            )
        if top_k_index.is_floating_point():
            raise ValueError(f"top_k_index must hold whole numbers, got {top_k_index.dtype}.")
        return self._run(hidden_states, self.gate_up_proj, self.down_proj, top_k_index, top_k_weights, self.act_fn)


class GatedFeedForward(nn.Module):
    """One dense gated feed-forward network, as in the Llama family: ``down(act(gate(x)) ⊙ up(x))``.

    :param width: Model width H.
    :param inner_width: Inner width I.
    :param activation: Non-linearity of the gate.
    :param init_std: Standard deviation of fresh weights.
    """

    def __init__(self, *, width: int, inner_width: int, activation: Activation, init_std: float) -> None:
        super().__init__()
        self._activation = activation_function(activation)
        self.gate_proj = nn.Linear(width, inner_width, bias=False)
        self.up_proj = nn.Linear(width, inner_width, bias=False)
        self.down_proj = nn.Linear(inner_width, width, bias=False)
        for projection in (self.gate_proj, self.up_proj, self.down_proj):
            nn.init.normal_(projection.weight, std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to the last dimension.

        :param x: States. *Shape:* ``(…, H)``.
        :returns: States of the same shape.
        """
        hidden: Tensor = self._activation(self.gate_proj(x)) * self.up_proj(x)
        out: Tensor = self.down_proj(hidden)
        return out

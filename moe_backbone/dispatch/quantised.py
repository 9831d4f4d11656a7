"""Replace a model's experts by int8 ones, and free the float weights.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks
from moe_backbone.dispatch.int8 import run_int8
from moe_backbone.dispatch.int8_matrices import Int8Kind, Int8Matrices
from moe_backbone.dispatch.modules import activation_of, first_weight_name, layout_of, oddities, weights_of
from moe_backbone.dispatch.processor import has_int8_products

__all__ = ["QuantisationReport", "QuantisedExperts", "quantise_experts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationReport:
    """What :func:`quantise_experts` did.

    :param kind: What is rounded.
    :param n_layers: Blocks of experts that were replaced.
    :param bytes_before: Bytes of their weights before.
    :param bytes_after: Bytes of their packed weights.
    :param model_bytes_before: Bytes of all weights of the model before.
    :param model_bytes_after: The same, after.
    """

    kind: Int8Kind
    n_layers: int
    bytes_before: int
    bytes_after: int
    model_bytes_before: int
    model_bytes_after: int


class QuantisedExperts(nn.Module):
    """Experts of int8 weights in the place of float ones, called in the same way; for inference on the CPU.

    Both kinds run from the same packed weights: set :attr:`kind` to change between them.

    :param experts: The float experts. Their two weights are freed; biases, norms and the gate are used from them.
    :param kind: What is rounded.
    :raises ValueError: If they are not floating-point weights on the CPU.
    """

    def __init__(self, experts: nn.Module, kind: Int8Kind) -> None:
        super().__init__()
        if odd := oddities(experts):
            raise ValueError(f"{type(experts).__name__} cannot be quantised: {', '.join(odd)}.")
        gate_up, down = weights_of(experts)
        if gate_up.device.type != "cpu":
            raise ValueError(f"int8 experts run on the CPU, and these are on {gate_up.device}. Move the model first.")
        self.kind = kind
        self.gate_up = Int8Matrices(gate_up.detach().unbind(0))
        self.down = Int8Matrices(down.detach().unbind(0))
        self.is_transposed = False
        self.num_experts = len(self.down)
        self.bytes_after = sum(Int8Matrices.size_bytes(*weight.shape) for weight in (gate_up, down))
        self._shapes = {"gate_up_proj": gate_up.shape, "down_proj": down.shape}
        self._operations = experts  # what is left of it
        for name in (first_weight_name(experts), "down_proj"):
            setattr(experts, name, None)

    @property
    def gate_up_proj(self) -> Tensor:
        """A tensor without data, so that what reads shapes (:func:`~moe_backbone.blocks.find_blocks`) still does."""
        return torch.empty(self._shapes["gate_up_proj"], dtype=torch.int8, device="meta")

    @property
    def down_proj(self) -> Tensor:
        """The same for the down projections."""
        return torch.empty(self._shapes["down_proj"], dtype=torch.int8, device="meta")

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen experts.

        :param hidden_states: Token states. *Shape:* ``(T, H)``.
        :param top_k_index: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
        :param top_k_weights: Their weights. *Shape:* ``(T, K)``.
        :returns: The weighted sum of their outputs. *Shape:* ``(T, H)``.
        :raises ValueError: If a gradient is asked for, or the states are not on the CPU.
        """
        if torch.is_grad_enabled() and (hidden_states.requires_grad or top_k_weights.requires_grad):
            raise ValueError(
                "quantised experts have no gradient, and one is asked for. Call the model under "
                "torch.inference_mode(), or train it before it is quantised."
            )
        if hidden_states.device.type != "cpu":
            raise ValueError(f"quantised experts run on the CPU, and the states are on {hidden_states.device}.")
        return run_int8(
            hidden_states,
            self.gate_up,
            self.down,
            top_k_index,
            top_k_weights,
            activation_of(self._operations),
            layout=layout_of(self._operations),
            kind=self.kind,
        )

    def _save_to_state_dict(self, *_: Any) -> None:
        raise RuntimeError(
            "quantised experts live in memory only: no stock class could load them. Keep the checkpoint they came "
            "from, and call quantise_experts after loading it."
        )

    def extra_repr(self) -> str:
        """Return kind and shapes for ``print(model)``."""
        return f"{self.kind}, {self.num_experts} experts, gate_up {tuple(self._shapes['gate_up_proj'][1:])}"


def quantise_experts(
    model: nn.Module,
    kind: Int8Kind | str = Int8Kind.W8,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> QuantisationReport:
    """Replace every block's experts by int8 ones, layer by layer, so that at most one layer is held twice.

    :param model: A model with blocks of experts, on the CPU. Changed in place.
    :param kind: ``"w8"`` (weights alone) or ``"w8a8"`` (weights and token states).
    :param progress: Called after each layer with the number of layers done and of all.
    :returns: Sizes before and after.
    :raises ValueError: If the model has no experts, or some are quantised already, or are not on the CPU; it is then
        unchanged.
    :raises RuntimeError: If this machine has no int8 product.
    """
    kind = Int8Kind(kind)
    if not has_int8_products():
        raise RuntimeError(
            f"this torch has no int8 matrix product here (quantized engine {torch.backends.quantized.engine!r}); "
            "the model is unchanged."
        )
    blocks = find_blocks(model)
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no mixture-of-experts block to quantise.")
    for block in blocks:
        _check(block)
    model_before = _size_bytes(model)
    before = after = 0
    for done, block in enumerate(blocks, start=1):
        before += sum(weight.numel() * weight.element_size() for weight in weights_of(block.experts))
        quantised = QuantisedExperts(block.experts, kind).train(block.experts.training)
        after += quantised.bytes_after
        block.block.experts = quantised
        if progress is not None:
            progress(done, len(blocks))
    return QuantisationReport(
        kind=kind,
        n_layers=len(blocks),
        bytes_before=before,
        bytes_after=after,
        model_bytes_before=model_before,
        model_bytes_after=model_before - before + after,
    )


def _check(block: MoEBlock) -> None:
    if isinstance(block.experts, QuantisedExperts):
        raise ValueError(
            f"the experts of {block.name or 'the model'} are quantised already ({block.experts.kind}). "
            "Load the float checkpoint to quantise it anew; to change only what is rounded, set their kind."
        )
    if odd := oddities(block.experts):
        raise ValueError(
            f"the experts of {block.name or 'the model'} are no plain floating-point weights ({', '.join(odd)}): "
            "they seem quantised by another method. Load the float checkpoint."
        )
    for name, weight in zip(("first projection", "down_proj"), weights_of(block.experts), strict=True):
        if weight.device.type != "cpu":
            raise ValueError(f"{name} of {block.name or 'the model'} is on {weight.device}; move the model to the CPU.")
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{name} of {block.name or 'the model'} holds weights that are not finite.")


def _size_bytes(model: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())

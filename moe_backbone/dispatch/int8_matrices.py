"""Matrices of int8 weights on the CPU, and the two ways to multiply by them.

Layer: ``moe_backbone``; imports torch only.
Weights are quantised once, symmetrically, with one scale per output channel. Token states are quantised at each call
with one scale per token, never per batch, so that a token's result does not depend on its neighbours:

* ``w8a8`` rounds a row to one 8-bit number per state (Dettmers et al. 2022, arXiv:2208.07339, section 2: vector-wise);
* ``w8`` (weight-only) takes the rounding error as a second 8-bit row, on a 2 · 127 times finer grid, through the same
  product. Two rows at 8 bits cost little more than one where memory is the bound, and leave only the weights' error.

The product is FBGEMM's with a given scale of the input. Without VNNI its sums saturate at 16 bits, so rows then use 63
levels on each side instead of 127 (torch calls this ``reduce_range``).

Shape suffixes: E experts, O output channels, I input channels, N rows.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from moe_backbone.dispatch.processor import has_int8_products, has_vnni

__all__ = ["Int8Kind", "Int8Matrices", "activation_levels", "quantise_rows"]

_WEIGHT_LEVELS = 127  # -128 is left out: the grid is symmetric
_TINY = torch.finfo(torch.float32).tiny
_BYTES_PER_CHANNEL = 12  # FBGEMM keeps a float scale, an int zero point and an int column sum for each output channel


class Int8Kind(enum.StrEnum):
    """What is rounded: weights and token states (``w8a8``), or weights alone (``w8``)."""

    W8A8 = "w8a8"
    W8 = "w8"


def activation_levels() -> int:
    """Return the number of levels on each side of zero that a token state is rounded to on this processor."""
    return 127 if has_vnni() else 63


def quantise_rows(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to 127 levels on each side of zero.

    :param weight_OI: Weights, floating point. *Shape:* ``(O, I)``.
    :returns: Whole numbers, int8, and the scale of each row, float32. *Shape:* ``(O, I)`` and ``(O,)``.
    :raises ValueError: If a weight is not finite.
    """
    weight_OI = weight_OI.detach().float()
    scale_O = weight_OI.abs().amax(dim=1).div(_WEIGHT_LEVELS).clamp_min(_TINY)
    if not bool(torch.isfinite(scale_O).all()):
        raise ValueError("the experts hold weights that are not finite; int8 has no number for them.")
    rounded = (weight_OI / scale_O[:, None]).round_().clamp_(-_WEIGHT_LEVELS, _WEIGHT_LEVELS)
    return rounded.to(torch.int8), scale_O


class Int8Matrices:
    """E matrices ``(O, I)`` of int8 weights, packed for the processor; the float weights are not kept.

    :param weights: The float matrices, one per expert, read one after the other.
    :raises RuntimeError: If this machine or this build of torch has no int8 product.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        if not has_int8_products():
            raise RuntimeError(
                "this machine's torch has no int8 matrix product "
                f"(torch.backends.quantized.engine is {torch.backends.quantized.engine!r}; 'x86' or 'fbgemm' has one)."
            )
        self._packed = [_pack(weight_OI) for weight_OI in weights]
        self._levels = activation_levels()

    def __len__(self) -> int:
        return len(self._packed)

    def product(self, expert: int, x_NI: Tensor, kind: Int8Kind) -> Tensor:
        """Multiply rows by one expert's matrix.

        :param expert: Its number.
        :param x_NI: Rows, float32. *Shape:* ``(N, I)``.
        :param kind: What is rounded.
        :returns: ``x · Wᵀ``, float32. *Shape:* ``(N, O)``.
        """
        levels = self._levels
        step_N1 = x_NI.abs().amax(dim=1, keepdim=True).clamp_min_(_TINY).div_(levels)
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        if kind is Int8Kind.W8A8:
            y: Tensor = multiply(x_NI / step_N1, 1.0, levels + 1, self._packed[expert])
            return y.mul_(step_N1)
        exact_NI = x_NI / step_N1
        coarse_NI = exact_NI.round()
        fine_NI = exact_NI.sub_(coarse_NI).mul_(2 * levels)  # the error is at most half a step: fills the levels again
        both = multiply(torch.cat((coarse_NI, fine_NI)), 1.0, levels + 1, self._packed[expert])
        coarse_NO, fine_NO = both.chunk(2)
        out: Tensor = coarse_NO.add_(fine_NO, alpha=1 / (2 * levels)).mul_(step_N1)
        return out

    def unpacked(self, expert: int) -> tuple[Tensor, Tensor]:
        """Return one expert's whole numbers, int8 ``(O, I)``, and scales, float32 ``(O,)``."""
        weight, _ = torch.ops.quantized.linear_unpack(self._packed[expert])
        return weight.int_repr(), weight.q_per_channel_scales().float()

    @staticmethod
    def size_bytes(n_experts: int, rows: int, columns: int) -> int:
        """Return the bytes that ``n_experts`` packed matrices of that shape take."""
        return n_experts * rows * (columns + _BYTES_PER_CHANNEL)


def _pack(weight_OI: Tensor) -> Any:
    rounded_OI, scale_O = quantise_rows(weight_OI)
    with warnings.catch_warnings():  # torch 2.13 announces the end of quantised tensors; FBGEMM still packs from them
        warnings.simplefilter("ignore", UserWarning)
        quantised = torch._make_per_channel_quantized_tensor(
            rounded_OI, scale_O.double(), torch.zeros(len(scale_O), dtype=torch.int64), 0
        )
        return torch.ops.quantized.linear_prepack(quantised, None)

"""Matrices of int8 weights on the CPU, and the two ways to multiply by them.

Layer: ``moe_backbone``; imports torch only.
Weights are quantised once, symmetrically, with one scale per output channel. Token states are quantised at each call
with one scale per token, never per batch, so that a token's result does not depend on its neighbours:

* ``w8a8`` rounds a row to one 8-bit number per state (Dettmers et al. 2022, arXiv:2208.07339, section 2: vector-wise);
* ``w8`` (weight-only) takes the rounding error as a second 8-bit row, on a 2 · 127 times finer grid, through the same
  product. Two rows at 8 bits cost little more than one where memory is the bound, and leave only the weights' error.

The product is FBGEMM's with a given scale of the input. Without VNNI its sums saturate at 16 bits, so rows then use 63
levels on each side instead of 127 (torch calls this ``reduce_range``).

Shape suffixes: E experts, O output channels, I input channels, S rows, P parts of a row.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from moe_backbone.dispatch.processor import has_int8_products, has_vnni

__all__ = ["EncodedRows", "Int8Kind", "Int8Matrices", "activation_levels", "encode_rows", "quantise_rows"]

_WEIGHT_LEVELS = 127  # -128 is left out: the grid is symmetric
_TINY = torch.finfo(torch.float32).tiny
_BYTES_PER_CHANNEL = 12  # FBGEMM keeps a float scale, an int zero point and an int column sum for each output channel


class Int8Kind(enum.StrEnum):
    """What is rounded: weights and token states (``w8a8``), or weights alone (``w8``)."""

    W8A8 = "w8a8"
    W8 = "w8"


@cache
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


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Token states as whole numbers of steps.

    :param parts: Whole numbers of at most :func:`activation_levels`, as float32; the second part, if there is one,
        counts in ``1 / (2 · levels)`` of the first one's steps. *Shape:* ``(S, P, I)``, P = 1 or 2.
    :param step: What one step of the first part is worth in each row. *Shape:* ``(S, 1)``.
    """

    parts: Tensor
    step: Tensor

    def take(self, rows: Tensor) -> EncodedRows:
        """Return the rows of these numbers, *shape* ``(S',)``."""
        return EncodedRows(self.parts[rows], self.step[rows])


def encode_rows(x_SI: Tensor, kind: Int8Kind) -> EncodedRows:
    """Round each row for an int8 product.

    :param x_SI: Token states, float32. *Shape:* ``(S, I)``.
    :param kind: What is rounded: ``w8a8`` keeps one part, ``w8`` two.
    :returns: The encoded rows.
    """
    levels = activation_levels()
    step_S1 = torch.linalg.vector_norm(x_SI, float("inf"), dim=1, keepdim=True).clamp_min_(_TINY).div_(levels)
    if kind is Int8Kind.W8A8:
        return EncodedRows((x_SI / step_S1).unsqueeze(1), step_S1)  # the product itself rounds
    exact_SI = x_SI / step_S1
    parts_SPI = exact_SI.new_empty(len(exact_SI), 2, exact_SI.shape[1])
    torch.round(exact_SI, out=parts_SPI[:, 0])
    # The rounding error is at most half a step; times 2 · levels it fills the levels again.
    torch.mul(exact_SI.sub_(parts_SPI[:, 0]), 2 * levels, out=parts_SPI[:, 1])
    return EncodedRows(parts_SPI, step_S1)


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

    def __len__(self) -> int:
        return len(self._packed)

    def multiply(self, rows: EncodedRows, experts: Sequence[int], counts: Sequence[int]) -> Tensor:
        """Multiply each group of rows by its expert's matrix.

        :param rows: S encoded rows, those of one expert together.
        :param experts: The experts of the groups.
        :param counts: The rows of each group; their sum is S.
        :returns: ``x · Wᵀ``, float32. *Shape:* ``(S, O)``.
        """
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        zero = activation_levels() + 1
        n_parts, width = rows.parts.shape[1:]
        groups = torch.split(rows.parts, list(counts))
        outputs = [
            product(group.reshape(-1, width), 1.0, zero, self._packed[expert])
            for expert, group in zip(experts, groups, strict=True)
        ]
        y_SO = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
        if n_parts == 2:
            y_SPO = y_SO.view(-1, 2, y_SO.shape[1])
            y_SO = torch.add(y_SPO[:, 0], y_SPO[:, 1], alpha=1 / (2 * activation_levels()))
        return y_SO.mul_(rows.step)

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

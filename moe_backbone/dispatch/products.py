"""The matrix product of a few rows, by whichever library of torch does it fastest on the CPU.

Layer: ``moe_backbone``; imports torch only.
torch multiplies float32 by MKL. For the 2 to some hundred rows that an expert gets, oneDNN (which torch ships, and
whose product its compiler calls by the same operator) took 0.5 to 0.9 of MKL's time for matrices of 2048 x 2048 on an
AVX512 processor, also when held to AVX2. One row is a product with a vector, and a small matrix is read from memory
faster by MKL.

Shape suffixes: N rows, O output channels, I input channels.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["multiply", "multiply_in_float32"]

_LARGE = 2**20  # weights; oneDNN compiles each new number of rows once, in about 1 ms, which large matrices pay back
_VECTORS = 3  # up to so many rows, half precision without hardware is no slower than float32: it reads half the bytes


@cache
def _has_onednn() -> bool:
    return bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def multiply(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    """Return ``x · Wᵀ`` as :func:`torch.nn.functional.linear` does, with its gradients.

    :param x_NI: Rows. *Shape:* ``(N, I)``.
    :param weight_OI: Matrix, contiguous or transposed. *Shape:* ``(O, I)``.
    :returns: *Shape:* ``(N, O)``.
    """
    if (
        x_NI.shape[0] > 1
        and weight_OI.numel() >= _LARGE
        and weight_OI.device.type == "cpu"
        and weight_OI.dtype == x_NI.dtype == torch.float32
        and not (torch.is_grad_enabled() and (x_NI.requires_grad or weight_OI.requires_grad))
        and weight_OI.is_contiguous()
        and _has_onednn()
        and torch.backends.mkldnn.enabled
    ):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, None, "none", [], "")
        return product
    return functional.linear(x_NI, weight_OI)


def multiply_in_float32(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    """Return the same for half precision on a processor without it: several rows are multiplied in float32.

    :param x_NI: Rows. *Shape:* ``(N, I)``.
    :param weight_OI: Matrix. *Shape:* ``(O, I)``.
    :returns: In the dtype of ``x_NI``. *Shape:* ``(N, O)``.
    """
    if x_NI.shape[0] <= _VECTORS or x_NI.dtype not in (torch.bfloat16, torch.float16):
        return functional.linear(x_NI, weight_OI)
    return multiply(x_NI.float(), weight_OI.float()).to(x_NI.dtype)

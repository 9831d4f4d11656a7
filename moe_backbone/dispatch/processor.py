"""What this machine's processor multiplies well, asked of torch once.

Layer: ``moe_backbone``; imports torch only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

__all__ = ["cpu_multiplies", "has_int8_products", "has_vnni"]


def _says(name: str) -> bool:
    """Ask a question of ``torch.cpu`` that some versions do not answer; no answer is no."""
    ask: Callable[[], bool] | None = getattr(torch.cpu, name, None)
    return bool(ask()) if ask is not None else False


@cache
def has_vnni() -> bool:
    """Tell whether 8-bit products are summed in 32 bits (AVX512-VNNI); older processors saturate in 16 bits."""
    return _says("_is_vnni_supported")


@cache
def has_int8_products() -> bool:
    """Tell whether torch multiplies float32 rows by packed int8 weights here (FBGEMM, on x86)."""
    return torch.backends.quantized.engine in ("x86", "fbgemm") and all(
        hasattr(torch.ops.quantized, name)
        for name in ("linear_prepack", "linear_with_input_q_dq_qweight_dq_output_fp32")
    )


@cache
def cpu_multiplies(dtype: torch.dtype) -> bool:
    """Tell whether the processor multiplies matrices of ``dtype`` itself, and does not emulate them.

    :param dtype: A floating dtype.
    :returns: True for float32 and float64; for bfloat16 with AVX512-BF16 or AMX, for float16 with AMX-FP16 (on ARM as
        oneDNN says).
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return True
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2", "AVX512"):
        if dtype == torch.bfloat16:
            return _says("_is_avx512_bf16_supported") or _says("_is_amx_tile_supported")
        return _says("_is_amx_fp16_supported")
    name = f"_is_mkldnn_{'bf16' if dtype == torch.bfloat16 else 'fp16'}_supported"
    return bool(getattr(torch.ops.mkldnn, name)()) if hasattr(torch.ops.mkldnn, name) else False

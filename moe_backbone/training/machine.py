"""What the machine offers a training: bfloat16 in hardware, memory, and how to do with less of it.

Layer: ``moe_backbone``; imports torch only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn

from moe_backbone.training.config import TrainingError

__all__ = ["choose_precision", "has_fast_bfloat16", "peak_memory_bytes", "recompute_activations"]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether ``device`` multiplies bfloat16 matrices in hardware (CUDA 8.0, AVX512-BF16, AMX, or ARM's BF16)."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type != "cpu":
        return False
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(getattr(torch.cpu, question, bool)()) for question in questions)


def choose_precision(
    wanted: str, device: torch.device
) -> tuple[str, Callable[[], AbstractContextManager[object]], str | None]:
    """Return the precision to compute in, what opens it, and a note where it is not the one that was wanted.

    :param wanted: ``float32`` or ``bfloat16``.
    :param device: Where the model is.
    :returns: The precision, a function that makes the context of a forward pass, and the note or ``None``.
    """
    if wanted != "bfloat16":
        return "float32", nullcontext, None
    if not has_fast_bfloat16(device):
        note = f"this {device.type} has no bfloat16 in hardware, where it would be slower: trained in float32 instead."
        return "float32", nullcontext, note
    return "bfloat16", partial(torch.autocast, device.type, dtype=torch.bfloat16), None


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that was in use: of the GPU's allocator, else of the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def recompute_activations(model: nn.Module) -> None:
    """Let a model of transformers recompute its activations in the backward pass instead of keeping them.

    :param model: The model; it stays so.
    :raises TrainingError: If it cannot.
    """
    # The reentrant kind runs its first forward without a gradient, so router losses would have none.
    kind = {"use_reentrant": False}
    if callable(enable := getattr(model, "activation_checkpointing_enable", None)):
        enable(activation_checkpointing_kwargs=kind)
    elif callable(enable := getattr(model, "gradient_checkpointing_enable", None)):  # its older name
        enable(gradient_checkpointing_kwargs=kind)
    else:
        raise TrainingError(f"{type(model).__name__} has no gradient checkpointing. Turn gradient_checkpointing off.")

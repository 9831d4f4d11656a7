"""Where a training runs: its device, its threads, and the kind of number of its large products.

Layer: ``generation``; imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from generation.completion.config import CompletionConfig
from kg.errors import CompletionError

__all__ = ["choose_device", "choose_half", "threads_set_to"]

_LARGE_TABLE = 2_000_000


@contextmanager
def threads_set_to(n_threads: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block; ``None`` changes nothing."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(wanted: str) -> str:
    """Return the device to train on.

    :param wanted: A device of torch, or ``auto``.
    :returns: The device; for ``auto`` a GPU where there is one.
    :raises CompletionError: If it cannot be used.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise CompletionError(f"completion.device: {wanted!r} cannot be used here ({error}). Try auto.") from error
    return wanted


def choose_half(config: CompletionConfig, *, device: str, n_values: int) -> bool:
    """Say whether large products run in bfloat16.

    :param config: Settings; ``precision`` counts.
    :param device: Where it trains.
    :param n_values: Numbers of the entity table; small ones gain nothing.
    :returns: The answer; for ``auto`` it is yes where the table is large and the processor multiplies bfloat16 (AMX,
        AVX-512 BF16, or a GPU).
    """
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if n_values < _LARGE_TABLE:
        return False
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    asked = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("amx_tile", "avx512_bf16"))
    return any(ask is not None and ask() for ask in asked)

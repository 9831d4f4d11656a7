"""What a training tells after each epoch.

Layer: ``generation``; the standard library only, so that a progress bar needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EpochProgress", "ProgressCallback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochProgress:
    """One finished epoch of an expert: mean batch loss, validation MRR (a fraction, or ``None``), seconds it took."""

    epoch: int
    loss: float
    valid_mrr: float | None
    seconds: float
    expert: str = "structure"


ProgressCallback = Callable[[EpochProgress], None]

"""What an expert of link prediction is.

Layer: ``generation``; NumPy only.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Expert"]


class Expert(Protocol):
    """Scores all entities for a question; the gate reads the logarithm of the softmax of its scores."""

    @property
    def n_constant_parameters(self) -> int:
        """Count the learnt numbers that do not grow with the entities."""
        ...

    @property
    def n_entity_parameters(self) -> int:
        """Count the numbers learnt per entity, over all entities."""
        ...

    def score_all(self, anchors: NDArray[np.int64], relations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score every entity as the end of ``(anchor, relation, ?)``. *Shape:* ``(B,)`` twice → ``(B, N)``."""
        ...

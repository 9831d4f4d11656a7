"""Tensors whose first dimension counts the same things, taken apart and put together as one.

Layer: ``generation``; imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["TensorRows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRows:
    """What each subclass names: tensors of as many rows, or further such groups."""

    def part(self, rows: Tensor) -> Self:
        """Return some of the rows. *Shape:* ``rows (Q,)``."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        return type(self)(
            **{name: one.part(rows) if isinstance(one, TensorRows) else one[rows] for name, one in values.items()}
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, at least one, one after the other."""
        columns: dict[str, Any] = {one.name: [getattr(part, one.name) for part in parts] for one in fields(cls)}
        return cls(
            **{
                name: type(column[0]).joined(column) if isinstance(column[0], TensorRows) else torch.cat(column)
                for name, column in columns.items()
            }
        )

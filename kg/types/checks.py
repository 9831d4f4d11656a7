"""The one check that every value makes of itself.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from kg.errors import InputError

__all__ = ["require"]


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)

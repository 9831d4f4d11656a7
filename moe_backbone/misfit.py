"""Say in words in what the tensors that are given differ from those that are wanted.

Layer: ``moe_backbone``; the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["first_misfit"]


def first_misfit(
    given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], *, given_in: str, wanted_in: str
) -> str | None:
    """Name the first tensor that is missing on either side or of another shape, and count them all.

    :param given: Shapes by name.
    :param wanted: Shapes by name.
    :param given_in: Where the given ones stand, in words: ``the file``.
    :param wanted_in: Where the wanted ones stand: ``the model``.
    :returns: A part of a sentence; ``None`` where all fit.
    """
    odd = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
    if not odd:
        return None
    first = odd[0]
    return (
        f"{first} is {given.get(first, 'missing')} in {given_in} and {wanted.get(first, 'missing')} in {wanted_in} "
        f"({len(odd)} differ)"
    )

"""The form of the labelled documents (see :mod:`tests.kg.resolution.labelled`)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Story"]


@dataclass(frozen=True, slots=True)
class Story:
    """A short document with marked names; ``picture`` is what was read off its picture, if it has one."""

    title: str
    text: str
    picture: str = ""

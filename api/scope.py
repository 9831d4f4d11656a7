"""What part of a workspace a question is put to.

Layer: ``api``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.types import Modality

__all__ = ["Scope", "scope_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What part of a workspace a question is put to; empty tuples mean all of it.

    ``documents`` are document ids, names or sources; ``modalities`` are kinds of chunk.
    """

    documents: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = ()


def scope_of(documents: Sequence[str], modalities: Sequence[str]) -> Scope:
    """Make a scope of names that came from outside.

    :param documents: Ids, names or sources of documents.
    :param modalities: Names of :class:`kg.types.Modality`.
    :returns: The scope.
    :raises InputError: If a modality is not known.
    """
    known = [str(modality) for modality in Modality]
    for name in modalities:
        if name not in known:
            raise InputError(f"There is no modality {name!r}; known are {', '.join(known)}.")
    return Scope(documents=tuple(documents), modalities=tuple(Modality(name) for name in modalities))

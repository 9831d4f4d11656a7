"""What part of a workspace a question is put to.

Layer: ``api``. ``names and conditions from outside → Scope → Filter`` of :mod:`retrieval.understanding.filters`.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kg.errors import InputError, NotFoundError
from kg.types import DocumentInfo, Modality
from retrieval.understanding.conditions import Condition, is_pattern, parse_condition
from retrieval.understanding.filters import Filter
from retrieval.understanding.times import Period, period_from_user

__all__ = ["Scope", "filter_of", "find_document", "scope_of"]

_MAX_CONDITIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What part of a workspace a question is put to; empty tuples mean all of it.

    ``documents`` are document ids, names or sources, or patterns of names or sources with ``*`` and ``?``;
    ``modalities`` are kinds of chunk; every condition of ``where`` must hold; ``period`` binds the time of a passage.
    """

    documents: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = ()
    where: tuple[Condition, ...] = ()
    period: Period | None = None


def scope_of(
    documents: Sequence[str],
    modalities: Sequence[str],
    *,
    where: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> Scope:
    """Make a scope of what came from outside.

    :param documents: Ids, names, sources, or patterns of documents.
    :param modalities: Names of :class:`kg.types.Modality`.
    :param where: Conditions, ``KEY=VALUE`` and the like.
    :param since: The first day, as a date in any common form or ``last year``.
    :param until: The last day.
    :returns: The scope.
    :raises InputError: If a modality is not known, a condition is none, or a date is none.
    """
    known = [str(modality) for modality in Modality]
    for name in modalities:
        if name not in known:
            raise InputError(f"There is no modality {name!r}; known are {', '.join(known)}.")
    if len(where) > _MAX_CONDITIONS:
        raise InputError(f"--where: {len(where)} conditions; {_MAX_CONDITIONS} at most.")
    return Scope(
        documents=tuple(documents),
        modalities=tuple(Modality(name) for name in modalities),
        where=tuple(parse_condition(one) for one in where),
        period=_period(since, until),
    )


def _period(since: str | None, until: str | None) -> Period | None:
    if since is None and until is None:
        return None
    today = datetime.datetime.now(datetime.UTC).date()
    first = datetime.date.min if since is None else period_from_user(since, what="--since", today=today).first
    last = datetime.date.max if until is None else period_from_user(until, what="--until", today=today).last
    if first > last:
        raise InputError(f"--since {since} lies after --until {until}.")
    return Period(first, last)


def filter_of(scope: Scope | None, documents: Sequence[DocumentInfo], *, workspace: str) -> Filter:
    """Turn a scope into the filter over a workspace's documents.

    :param scope: The scope; ``None`` is all.
    :param documents: The documents that there are.
    :param workspace: The name of their workspace, for errors.
    :returns: The filter. A pattern that no document fits lets nothing through.
    :raises NotFoundError: If a document that is named without a pattern does not exist.
    :raises InputError: If several documents have that name.
    """
    if scope is None:
        return Filter()
    ids: set[str] = set()
    for name in scope.documents:
        if is_pattern(name):
            ids |= {info.document_id for info in documents if _fits(name, info)}
        else:
            ids.add(find_document(documents, name, workspace=workspace).document_id)
    return Filter(
        documents=frozenset(ids) if scope.documents else None,
        modalities=frozenset(scope.modalities) or None,
        conditions=scope.where,
        period=scope.period,
    )


def _fits(pattern: str, info: DocumentInfo) -> bool:
    wanted = pattern.casefold().replace("[", "[[]")
    return any(fnmatchcase(text.casefold(), wanted) for text in (info.name, info.source))


def find_document(documents: Sequence[DocumentInfo], reference: str, *, workspace: str) -> DocumentInfo:
    """Return the one document of that id, source, name or path.

    :param documents: The documents that there are.
    :param reference: What names one.
    :param workspace: The name of their workspace, for the error.
    :returns: The document.
    :raises NotFoundError: If there is none.
    :raises InputError: If several have that name.
    """
    for key in ("document_id", "source", "name"):
        found = [info for info in documents if getattr(info, key) == reference]
        if len(found) > 1:
            listed = ", ".join(f"{info.document_id} ({info.source})" for info in found)
            raise InputError(f"Several documents are called {reference!r}: {listed}. Name one by its id.")
        if found:
            return found[0]
    resolved = str(Path(reference).absolute()) if reference and "\0" not in reference else ""
    for info in documents:
        if info.source == resolved:
            return info
    raise NotFoundError(
        f"There is no document {reference!r} in workspace {workspace!r}. `mmkg info --documents` lists them."
    )

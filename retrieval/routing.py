"""Choose what part of a workspace a question is put to: corpora by kind and by size of what is found.

Layer: ``retrieval``; imports ``kg``. Part of :class:`retrieval.engine.RetrievalEngine`.

UniversalRAG (Yeo et al. 2025, arXiv:2504.20734) keeps a corpus for each modality and granularity and routes each
question to one. Here the corpora are views of one index: a kind is a filter that holds inside each search, a triple is
the walk from the entities that the question names. So a route costs nothing to keep, and where it leaves fewer hits
than were asked for, the rest of the workspace fills them up.

One index is the default (``route="off"``). With four sets in one record, Recall@5 of one index / rules / the kinds of
the gold itself, which no router can beat: long documents .643 / .616 / .673, charts .933 / .950 / .950, multi-hop
.940 / .920 / .940, chats .861 / .861 / .861 (``python -m tests.benchmarks.routing``). Rules gain one chart question of
sixty and lose elsewhere, because a question that says "map" or "colours" may be answered by prose: the pools of
:mod:`retrieval.fusion` are calibrated on what each question finds, and little is left for a route to win.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from kg.errors import InputError
from kg.types import Modality
from retrieval.catalog import PICTURE_KINDS
from retrieval.types import Evidence

__all__ = ["CORPORA", "Corpus", "ModelRouter", "Route", "Router", "RuleRouter", "filled_up", "route_of", "within"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A view of the workspace: chunks of some kinds (none: all), searched in ``mode`` (empty: as the request says)."""

    name: str
    about: str
    modalities: frozenset[Modality] = frozenset()
    mode: str = ""


CORPORA: Mapping[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="passage", about="prose: facts and explanations", modalities=frozenset({Modality.TEXT, Modality.PAGE})
        ),
        Corpus(name="picture", about="charts, figures, photographs, scanned pages", modalities=PICTURE_KINDS),
        Corpus(
            name="table",
            about="rows and columns, also of charts",
            modalities=frozenset({Modality.TABLE}) | PICTURE_KINDS,
        ),
        Corpus(name="triple", about="how named people and things are related", mode="local"),
    )
}
"""The corpora by name. Scanned pages are pictures and prose at once, and a chart's table is part of the chart. Pages
and passages are not apart: :mod:`retrieval.two_level` ranks both at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a question goes, and why: the kinds to search first (``None``: all) and the mode (empty: the request's)."""

    corpora: tuple[str, ...] = ()
    """What the kinds and the mode are called; none for the whole index."""
    modalities: frozenset[Modality] | None = None
    mode: str = ""
    reason: str = ""

    @classmethod
    def to(cls, *names: str, reason: str) -> Route:
        """Return the route to some of :data:`CORPORA`: all their kinds, and the mode that they agree on."""
        chosen = [CORPORA[name] for name in names]
        kinds = frozenset[Modality]().union(*(corpus.modalities for corpus in chosen))
        modes = {corpus.mode for corpus in chosen}
        return cls(
            corpora=names,
            modalities=kinds if chosen and all(corpus.modalities for corpus in chosen) else None,
            mode=modes.pop() if len(modes) == 1 else "",
            reason=reason,
        )


@runtime_checkable
class Router(Protocol):
    """Decides where a question goes."""

    def route(self, question: str) -> Route:
        """Return the corpora that the question is to be put to."""
        ...


_PICTURE_WORDS = re.compile(
    r"\b(?:charts?|graphs?|figures?|diagrams?|pictures?|photos?|photographs?|images?|maps?|screenshots?|illustrations?|"
    r"plots?|drawings?|icons?|logos?|legend|axis|bars?|pie|slices?|colou?rs?|colou?red|shapes?|depict(?:s|ed)?|"
    r"look(?:s|ed)? like)\b",
    re.IGNORECASE,
)
_TABLE_WORDS = re.compile(r"\b(?:tables?|columns?|rows?|cells?|spreadsheets?|worksheets?)\b", re.IGNORECASE)
_RELATION_WORDS = re.compile(
    r"\bhow (?:is|are|was|were) .+ (?:related|connected|linked)\b|"
    r"\b(?:relation|relationship|connection|link)s? between\b",
    re.IGNORECASE,
)


class RuleRouter:
    """Routes by words that name a kind of evidence; a question without any goes to the whole index."""

    def route(self, question: str) -> Route:
        """Return the corpora whose words the question uses.

        :param question: A question.
        :returns: ``triple`` for a relation between two things; ``picture`` and ``table`` where it speaks of such; else
            the whole index.
        """
        if found := _RELATION_WORDS.search(question):
            return Route.to("triple", reason=f"it asks for a relation ({found[0]!r})")
        named = [
            (name, found[0])
            for name, words in (("picture", _PICTURE_WORDS), ("table", _TABLE_WORDS))
            if (found := words.search(question))
        ]
        said = ", ".join(repr(word) for _, word in named)
        return Route.to(*(name for name, _ in named), reason=f"it speaks of {said}" if named else "")


class ModelRouter:
    """Routes by what a language model says.

    :param complete: Continues a prompt, a few words long.
    """

    def __init__(self, complete: Callable[[str], str]) -> None:
        self._complete = complete

    def route(self, question: str) -> Route:
        """Return the corpora that the model names; what it says besides is left out.

        :param question: A question.
        :returns: The corpora named, in the order of :data:`CORPORA`; the whole index where it names none.
        """
        listed = "\n".join(f"- {corpus.name}: {corpus.about}" for corpus in CORPORA.values())
        reply = self._complete(
            "Which of these collections answer the question? Reply with their names alone, or with: all.\n"
            f"{listed}\n\nQuestion: {question}\nNames:"
        )
        words = frozenset(re.findall(r"[a-z]+", reply.casefold()))
        named = [name for name in CORPORA if name in words or f"{name}s" in words]
        return Route.to(*named, reason="the model said so" if named else "")


def route_of(name: str, routers: Mapping[str, Router], question: str) -> Route:
    """Route a question.

    :param name: ``off`` or the name of a router.
    :param routers: The routers by name.
    :param question: A question.
    :returns: Where it goes; the whole index for ``off`` and for a question without words.
    :raises InputError: If there is no such router.
    """
    if name == "off" or (name in routers and not question.strip()):
        return Route()
    if name not in routers:
        raise InputError(f"There is no route {name!r}; known are {', '.join(['off', *sorted(routers)])}.")
    return routers[name].route(question)


def within(allowed: frozenset[str] | None, also: frozenset[str] | None) -> frozenset[str] | None:
    """Return what two filters let through together; ``None`` lets everything through."""
    if allowed is None or also is None:
        return also if allowed is None else allowed
    return allowed & also


def filled_up(found: Sequence[Evidence], others: Sequence[Evidence], *, k: int) -> list[Evidence]:
    """Put what a route found first, and behind it what else there is.

    :param found: Evidence of the route, best first.
    :param others: Evidence of the whole, best first; what the route found already is left out.
    :param k: The most pieces.
    :returns: Evidence with ranks from 1. Scores of two searches say nothing of each other, so those of ``others`` are
        capped by the last one before them.
    """
    known = {item.chunk.chunk_id for item in found}
    cap = found[-1].score if found else math.inf
    rest = [replace(item, score=min(item.score, cap)) for item in others if item.chunk.chunk_id not in known]
    return [replace(item, rank=rank) for rank, item in enumerate([*found, *rest][:k], start=1)]

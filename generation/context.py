"""Pack evidence into a token budget: numbered, each with its place, in whole sentences.

Layer: ``generation``. The order is that of retrieval, the best first; a sentence that an earlier piece holds already
(chunks overlap, notices repeat) is not said twice. The same evidence and budget give the same context.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generation.extractive import place_of
from generation.units import Unit, is_picture, is_table, picture_noun, units_of
from kg.errors import GenerationError
from kg.types import Modality, Span
from retrieval.types import Evidence

__all__ = ["Context", "ContextItem", "build_context"]

_SPECIAL = re.compile(r"<(?=\|)|(?<=\|)>|<(?=/?(?:think|tool_call|s)>)")
"""The brackets of chat models' control tokens: evidence must not be able to open or close a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextItem:
    """One piece of evidence as the model sees it. ``number`` counts from 1; ``index`` is its place in the evidence."""

    number: int
    index: int
    header: str
    text: str
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Numbered evidence within a budget; ``n_left_out`` counts the sentences that did not fit."""

    items: tuple[ContextItem, ...]
    n_tokens: int
    n_left_out: int

    @property
    def text(self) -> str:
        """Return all items, a blank line between them."""
        return "\n\n".join(f"{item.header}\n{item.text}" for item in self.items)


def build_context(evidence: Sequence[Evidence], *, budget_tokens: int, count_tokens: Callable[[str], int]) -> Context:
    """Pack evidence, best first, into a budget.

    Each sentence goes in whole or not at all. When one does not fit, the rest of its piece is left out (a text with
    holes misleads) and the next piece is tried.

    :param evidence: What retrieval found, best first.
    :param budget_tokens: The most tokens of the whole text, headers included, >= 1.
    :param count_tokens: Counts a text in the model's own tokens.
    :returns: The context; without evidence it is empty.
    :raises GenerationError: If there is evidence and not one sentence of it fits.
    """
    units = units_of(evidence)
    items: list[ContextItem] = []
    used = 0
    n_kept = 0
    for index, piece in enumerate(evidence):
        own = _without_overlaps([unit for unit in units if unit.index == index])
        header = _header(len(items) + 1, piece)
        cost = count_tokens(f"{header}\n\n")
        kept: list[Unit] = []
        for unit in own:
            more = count_tokens(f"{_shown(unit)}\n")
            if used + cost + more > budget_tokens:
                break
            kept.append(unit)
            cost += more
        if kept:
            used += cost
            n_kept += len(kept)
            text = _join(kept, piece)
            items.append(ContextItem(number=len(items) + 1, index=index, header=header, text=text, units=tuple(kept)))
    if units and not items:
        raise GenerationError(
            f"Not one sentence of the evidence fits into {budget_tokens} tokens. Use a model with a longer context, or "
            "ask for fewer new tokens."
        )
    n_all = sum(len(_without_overlaps([unit for unit in units if unit.index == i])) for i in range(len(evidence)))
    return Context(items=tuple(items), n_tokens=used, n_left_out=n_all - n_kept)


def _without_overlaps(units: Sequence[Unit]) -> list[Unit]:
    """Cut the shared lines off the overlapping groups of a picture's labels; sentences never overlap."""
    kept: list[Unit] = []
    end = -1
    for unit in units:
        if unit.span.start >= end:
            kept.append(unit)
        elif unit.span.end > end:
            text = unit.text[end - unit.span.start :]
            lead = len(text) - len(text.lstrip())
            if text.strip():
                span = Span(start=end + lead, end=unit.span.end)
                kept.append(Unit(index=unit.index, text=text.lstrip(), span=span, picture=unit.picture))
        end = max(end, unit.span.end)
    return kept


def _header(number: int, evidence: Evidence) -> str:
    chunk = evidence.chunk
    read = f" — words read from a {picture_noun(chunk.modality)}" if is_picture(evidence) else ""
    read = " — rows of a table" if is_table(evidence) else read
    place = place_of(evidence) if chunk.modality is Modality.TEXT else place_of(evidence).rsplit(" (", 1)[0]
    heading = chunk.heading or evidence.document.title
    return f"[{number}] {place}{f' — {heading}' if heading else ''}{read}"


def _join(units: Sequence[Unit], evidence: Evidence) -> str:
    together = "\n" if is_picture(evidence) or is_table(evidence) else " "
    return together.join(_shown(unit) for unit in units)


def _shown(unit: Unit) -> str:
    """Mark what a vision model says of a picture, for the header says that the words were read off it."""
    return _safe(f"(description by a model) {unit.flat}" if unit.said == "model" else unit.flat)


def _safe(text: str) -> str:
    return _SPECIAL.sub(" ", text)

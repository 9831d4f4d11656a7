"""What ``mmkg search --explain`` prints: who found each hit, and the ways through the graph to it.

Layer: ``api.cli``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.output import console, print_table

if TYPE_CHECKING:
    from api.service import SearchResult
    from retrieval.paths import Explanation, Way
    from retrieval.types import Evidence

__all__ = ["print_explanation"]


def print_explanation(found: SearchResult, explanation: Explanation) -> None:
    """Print a table of the hits, then the ways to each.

    :param found: The hits.
    :param explanation: The ways.
    """
    if not found.evidence:
        return
    rows = [
        (str(item.rank), _place(item), f"{item.score:.3f}", _voices(item), ", ".join(item.entities[:4]))
        for item in found.evidence
    ]
    print_table("explained", ("#", "document", "score", "found by", "via"), rows)
    out = console()
    for item in found.evidence:
        if item.sub_question:
            out.print(f"{item.rank:>3}  found for: {item.sub_question}", markup=False, soft_wrap=True)
    if not explanation.entities:
        out.print("The question names no known entity, so no way leads from it.", markup=False)
        return
    named = ", ".join(f"{one.name} ({one.type})" for one in explanation.entities)
    out.print(f"the question names: {named}", markup=False, soft_wrap=True)
    for item in found.evidence:
        ways = explanation.ways.get(item.chunk.chunk_id, ())
        for way in ways:
            out.print(f"{item.rank:>3}  {_said(way, explanation)}", markup=False, soft_wrap=True)
        if not ways:
            out.print(f"{item.rank:>3}  no short way", markup=False, style="dim")


def _place(item: Evidence) -> str:
    return f"{item.document.name}, p. {item.chunk.page_first}" if item.document.is_paged else item.document.name


def _voices(item: Evidence) -> str:
    voices = [f"{one.retriever} #{one.rank} ({one.score:.3f}, {one.share:.0%})" for one in item.contributions]
    return ", ".join([*voices, *([f"community {item.community}"] if item.community else [])])


def _said(way: Way, explanation: Explanation) -> str:
    parts = [explanation.names[way[0].start]] if way else []
    for step in way:
        arrow = f"—{step.name}→" if step.is_forward else f"←{step.name}—"
        parts += [arrow, explanation.names[step.end]]
    return " ".join(parts)

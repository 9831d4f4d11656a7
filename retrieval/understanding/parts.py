"""Search for the parts of a question and make one list of what they find.

Layer: ``retrieval``.

- *Comparison*: where a passage is about each of the two names, these two come first. Where none is, nothing is changed.
- *Bridge*: behind the best hit come the two best leads that it (or the question) names, then the best one of the first
  lead's: :mod:`retrieval.understanding.bridge`.
- *Sequence*: each event is searched for, and the standard scores of the three searches are added up. Measured on the 39
  such questions of lihua-world, Recall@1 / @2 / @5: whole question .323 / .475 / .683, reciprocal rank over whole lists
  .288 / .462 / .682, over the first three of each part .336 / .529 / .737, standard scores .348 / .539 / .742.
- *Parts named by a model*: as a sequence.

Every piece of evidence that a part brought says which: ``Evidence.sub_question``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from retrieval.fusion import ScoredPool, fuse_standard_scores
from retrieval.types import Contribution, Evidence
from retrieval.understanding.bridge import Lead, LeadFinder, first_per_document
from retrieval.understanding.decompose import Plan, PlanKind

if TYPE_CHECKING:  # named in signatures only
    from retrieval.engine import RetrievalEngine

__all__ = ["PartsSearch", "add_up"]

_N_LEADS = 2
"""Leads of the best hit that are put behind it. One more or less moves Recall@5 of hotpotqa-100 by .005."""
_LEAST_SCORE = 1e-6
"""Below it a walk's share is the noise of where it stopped; its logarithm would spread the scale."""
_TIE = 1e-6
"""What a rank is worth between equal scores, so that what is level keeps its order."""
Search = Callable[[str], list[Evidence]]


class PartsSearch:
    """Runs plans; safe to share between threads.

    :param engine: The search.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._leads = LeadFinder(engine)

    def run(
        self,
        plan: Plan,
        question: str,
        found: Sequence[Evidence],
        search: Search,
        *,
        allowed: Collection[str] | None,
        notes: list[str],
    ) -> list[Evidence]:
        """Add to what a question found what its parts find.

        :param plan: How the question is taken apart.
        :param question: The whole question.
        :param found: What it found, best first.
        :param search: Searches for one part, as the whole question was searched for.
        :param allowed: Only these chunks; ``None`` allows all.
        :param notes: Takes what was done, in words.
        :returns: Evidence, best first, ranks from 1, as many as were found or more.
        """
        if not found:
            return []
        if plan.kind is PlanKind.COMPARISON:
            return self._compared(plan, found, allowed=allowed, notes=notes)
        if plan.kind is PlanKind.BRIDGE:
            return self._bridged(question, found, allowed=allowed, notes=notes)
        notes.append(f"{plan.kind}: " + "; ".join(repr(part) for part in plan.parts))
        return add_up({"": found, **{part: search(part) for part in plan.parts}}, retriever=str(plan.kind))

    def _compared(
        self, plan: Plan, found: Sequence[Evidence], *, allowed: Collection[str] | None, notes: list[str]
    ) -> list[Evidence]:
        sides = [
            self._leads.about(part, subject, allowed=allowed)
            for part, subject in zip(plan.parts, plan.subjects, strict=True)
        ]
        leads = [lead for lead in sides if lead is not None]
        if len({lead.chunk_id for lead in leads}) < len(plan.parts):
            return list(found)
        notes.append("comparison: " + "; ".join(f"{lead.sub_question!r}" for lead in leads))
        return self._placed(leads, found, after=0, kind=plan.kind)

    def _bridged(
        self, question: str, found: Sequence[Evidence], *, allowed: Collection[str] | None, notes: list[str]
    ) -> list[Evidence]:
        catalog = self._engine.state.catalog()
        start = found[0].chunk.chunk_id
        if start not in catalog.document_of:  # its document went meanwhile
            return list(found)
        leads = self._leads.follow(question, start, allowed=allowed)
        leads = first_per_document(leads, catalog, limit=_N_LEADS)
        if leads:
            seen = [start, *(lead.chunk_id for lead in leads)]
            further = self._leads.follow(question, leads[0].chunk_id, allowed=allowed, seen=seen)
            leads += further[:1]
            notes.append(f"bridge: {found[0].document.name} leads on to " + ", ".join(lead.name for lead in leads))
        return self._placed(leads, found, after=1, kind=PlanKind.BRIDGE)

    def _placed(
        self, leads: Sequence[Lead], found: Sequence[Evidence], *, after: int, kind: PlanKind
    ) -> list[Evidence]:
        """Put leads behind the first ``after`` hits; their score is that of the hit whose place they take."""
        known = {item.chunk.chunk_id: item for item in found}
        missing = [lead.chunk_id for lead in leads if lead.chunk_id not in known]
        known |= {item.chunk.chunk_id: item for item in self._engine.read(missing)}
        score = found[min(after, len(found)) - 1].score if after else found[0].score
        placed = [
            replace(
                known[lead.chunk_id],
                score=score,
                sub_question=lead.sub_question,
                entities=tuple(dict.fromkeys((lead.name, *known[lead.chunk_id].entities))),
                contributions=_voiced(known[lead.chunk_id], lead, rank=rank, kind=kind),
            )
            for rank, lead in enumerate(leads, start=1)
            if lead.chunk_id in known
        ]
        taken = {item.chunk.chunk_id for item in placed}
        rest = [item for item in found if item.chunk.chunk_id not in taken]
        return _ranked([*rest[:after], *placed, *rest[after:]])


def _voiced(item: Evidence, lead: Lead, *, rank: int, kind: PlanKind) -> tuple[Contribution, ...]:
    """Give the whole share of a placed hit to what placed it."""
    others = tuple(replace(one, share=0.0) for one in item.contributions)
    return (*others, Contribution(retriever=str(kind), rank=rank, score=lead.score, share=1.0))


def add_up(lists: Mapping[str, Sequence[Evidence]], *, retriever: str) -> list[Evidence]:
    """Add up the standard scores of several searches.

    :param lists: What each search found, best first, by what it searched for; the whole question is ``""``.
    :param retriever: The name under which a part's search speaks for what it found.
    :returns: All that was found, best first, ranks from 1. Evidence that one part spoke for more than the whole
        question did says so.
    """
    known = {item.chunk.chunk_id: item for items in reversed(list(lists.values())) for item in items}
    by_part = {part: {item.chunk.chunk_id: item for item in items} for part, items in lists.items()}
    pools = {part: ScoredPool(pairs=_pairs(items)) for part, items in lists.items() if items}
    if not pools:
        return []
    fused = fuse_standard_scores(pools, pool_size=max(len(items) for items in lists.values()))
    evidence = []
    for one in fused:
        item = known[one.item_id]
        speakers = [part for part in lists if part and one.item_id in by_part[part]]
        best = max(speakers, key=one.parts.__getitem__, default="")
        own = max(one.parts.get("", 0.0), 0.0) if one.item_id in by_part.get("", {}) else 0.0
        contributions = item.contributions
        if best and one.parts[best] > 0.0:
            share = one.parts[best] / (one.parts[best] + own)
            found = by_part[best][one.item_id]
            contributions = (
                *(replace(voice, share=voice.share * (1.0 - share)) for voice in contributions),
                Contribution(retriever=retriever, rank=found.rank, score=found.score, share=share),
            )
        is_brought = best != "" and one.parts[best] > own
        brought = best if is_brought else ""
        evidence.append(replace(item, score=one.score, sub_question=brought, contributions=contributions))
    return _ranked(evidence)


def _pairs(items: Sequence[Evidence]) -> list[tuple[str, float]]:
    """Return scores that can be standardised and that fall with the rank.

    A walk's shares spread over powers of ten, so their logarithms are taken. A hit that was put before better ones, by
    what it is rather than by its score, counts as much as the best behind it.
    """
    by_graph = any(one.retriever == "graph" for item in items for one in item.contributions)
    pairs: list[tuple[str, float]] = []
    least = -math.inf
    for item in reversed(items):
        score = math.log(max(item.score, _LEAST_SCORE)) if by_graph else item.score
        least = max(score, least)
        pairs.append((item.chunk.chunk_id, least - _TIE * item.rank))
    return pairs[::-1]


def _ranked(items: Sequence[Evidence]) -> list[Evidence]:
    return [replace(item, rank=rank) for rank, item in enumerate(items, start=1)]

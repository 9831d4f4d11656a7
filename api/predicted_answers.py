"""Choose the predicted links that a question is about, and answer with them where that was asked for.

Layer: ``api``. Only open predictions that can still be relied on are used: an accepted one is a note of its own, which
the search finds. A predicted link stands in no document, so a request that is held to some gets none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from api.parts import Parts
from api.quotes import Names
from api.scope import Scope
from api.workspaces import Workspace
from generation.events import AnswerEvent
from generation.predicted import Predicted, mark_event, predicted_evidence
from generation.scoring import MentionLookup
from generation.words import content_stems
from kg.errors import InputError
from kg.ports import PredictionStatus, RecordStore, StoredPrediction
from kg.types import Mention
from retrieval.types import Evidence, Trace

__all__ = ["MOST", "PredictedLinks"]

MOST = 8
"""The most predicted links that a question is answered with: as many as pieces of evidence by default."""
_MOST_NAMED = 3
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLinks:
    """The predicted links for one question; without any, everything stays as it is."""

    links: tuple[Predicted, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, opened: Workspace, parts: Parts, question: str, *, least: float | None, scope: Scope | None
    ) -> PredictedLinks:
        """Choose links that name an entity of the question: those that share most words with it, then the likeliest.

        :param opened: The workspace.
        :param parts: What the service is made of.
        :param question: The question.
        :param least: The least likelihood, in ``[0, 1]``; ``None`` chooses none.
        :param scope: What the request is held to.
        :returns: The links, at most :data:`MOST`.
        :raises InputError: If ``least`` is out of its range.
        """
        if least is None:
            return cls()
        if not 0.0 <= least <= 1.0:
            raise InputError(f"min_probability must lie in [0, 1], got {least}.")
        if scope is not None and scope != Scope():
            return cls(notes=("predicted links stand in no document, so none is used where documents are chosen",))
        found = parts.predictions(opened.store).predictions(status=PredictionStatus.OPEN)
        usable = [one for one in found if not one.stale and one.likelihood >= least]
        chosen = _about(question, usable, Names(opened.store))
        links = tuple(_described(opened.store, one, Names(opened.store)) for one in chosen[:MOST])
        return cls(links=links, notes=(f"{len(links)} predicted links are among the evidence",) if links else ())

    def beside(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        """Put the links after what documents say."""
        return [*evidence, *predicted_evidence(self.links, after=len(evidence))]

    def noted(self, trace: Trace) -> Trace:
        """Say in the trace how many there are."""
        return replace(trace, notes=(*trace.notes, *self.notes)) if self.notes else trace

    def mentions(self, lookup: MentionLookup) -> MentionLookup:
        """Look mentions up of chunks alone: predicted links have none."""
        if not self.links:
            return lookup
        own = {link.source for link in self.links}

        def found(chunk_id: str) -> Sequence[Mention]:
            return () if chunk_id in own else lookup(chunk_id)

        return found

    def marked(self, events: Iterable[AnswerEvent]) -> Iterator[AnswerEvent]:
        """Mark what rests on a predicted link."""
        for event in events:
            yield mark_event(event, self.links) if self.links else event


def _about(question: str, usable: Sequence[StoredPrediction], names: Names) -> list[StoredPrediction]:
    asked = _spaced(question)
    stems = set(content_stems(question))
    ranked: list[tuple[int, float, str, StoredPrediction]] = []
    for one in usable:
        ends = [names.entity(end) for end in (one.head_id, one.tail_id)]
        n_named = sum(any(_spaced(name) in asked for name in (end.name, *end.aliases)) for end in ends)
        if n_named:
            shared = n_named + len(stems & set(content_stems(one.relation)))
            ranked.append((-shared, -one.likelihood, one.prediction_id, one))
    return [one for *_, one in sorted(ranked, key=lambda row: row[:3])]


def _spaced(text: str) -> str:
    """Write words in lower case, each between single spaces, without an article in front, to find names whole."""
    words = _WORD.findall(text.casefold())
    return f" {' '.join(words[1:] if len(words) > 1 and words[0] in ('the', 'a', 'an') else words)} "


def _described(store: RecordStore, one: StoredPrediction, names: Names) -> Predicted:
    chunks = store.chunks(one.chunk_ids) if one.chunk_ids else []
    infos = {info.document_id: info for info in store.documents(document_ids=[chunk.document_id for chunk in chunks])}
    places = [(infos[chunk.document_id], chunk.page_first) for chunk in chunks if chunk.document_id in infos]
    named = [f"{info.name}, p. {page}" if info.is_paged else info.name for info, page in places]
    return Predicted(
        prediction_id=one.prediction_id,
        head=names.of(one.head_id),
        relation=one.relation,
        tail=names.of(one.tail_id),
        likelihood=one.likelihood,
        chunk_ids=one.chunk_ids,
        passages=tuple(dict.fromkeys(named))[:_MOST_NAMED],
    )

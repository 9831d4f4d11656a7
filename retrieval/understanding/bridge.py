"""Follow what the best evidence names to the passages about it: the second step of a multi-hop question.

Layer: ``retrieval``. Source: retrieval that goes on from what it has found is IRCoT's (Trivedi et al. 2022,
arXiv:2212.10509) and MDR's (Xiong et al. 2020, arXiv:2009.12756); here no model writes the second query. An entity
that the best evidence or the question names completes it ("Yoko Ono. The writer of the song … was the second wife of
whom?"), and of the passages *about* such entities (:mod:`retrieval.understanding.subjects`) the nearest to its
completed question is what the search goes on to.

Only proper names lead on, and only to another document: inside one document the search itself has seen everything.
Measured with the packaged encoder: hotpotqa-100 has Recall@2 / @5 / @10 of .795 / .940 / .970 without, and of .855 /
.960 / .975 with comparison and bridge questions taken apart (where coverage is off: .710 / .910 / .970 and .850 /
.950 / .975). With concepts and other sections of the same document as leads, too, the pages of long PDFs lost .033 of
Recall@2; without them they and charts stay as they are, question by question.

Shape suffixes: N names, P passages, D vector width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kg.extraction.values import VALUE_LABELS
from retrieval.understanding.subjects import Subjects

if TYPE_CHECKING:  # named in signatures only
    from retrieval.derived import Catalog
    from retrieval.engine import RetrievalEngine
    from retrieval.graph_search import EntityGraph

__all__ = ["Lead", "LeadFinder", "first_per_document"]

_NO_NAMES = VALUE_LABELS | {"CONCEPT", "ORDINAL"}
_MAX_NAMES = 4
"""Names whose completed question is encoded, those with the passages nearest to the question as it is. Encoding is what
a bridge costs; from 3 to 12 hotpotqa-100 has the same recall."""
_MAX_PASSAGES = 2000
"""Passages about a name that are compared at most: a document of a thousand chunks about one thing is searched, too."""
Completed = Callable[[str], str]
"""Makes the completed question of a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A passage about an entity that completes a question: ``score`` is its cosine with ``sub_question``."""

    chunk_id: str
    score: float
    name: str
    sub_question: str


class LeadFinder:
    """Finds the passages that evidence leads on to; safe to share between threads.

    :param engine: The search, for the graph, the vectors and the encoder.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._subjects: Subjects | None = None

    def follow(
        self, question: str, chunk_id: str, *, allowed: Collection[str] | None = None, seen: Collection[str] = ()
    ) -> list[Lead]:
        """Find the passages about what a chunk or the question names.

        :param question: The whole question.
        :param chunk_id: The evidence to go on from.
        :param allowed: Only passages among these chunks; ``None`` allows all.
        :param seen: Chunks whose documents have been found already.
        :returns: Leads, the nearest first, one passage each; ties by id.
        """
        catalog, graph, subjects = self._state()
        columns = dict.fromkeys((*graph.mentioned_in(chunk_id), *graph.recognise(question, allowed=allowed)))
        documents = {catalog.document_of.get(one) for one in (chunk_id, *seen)}
        targets = {
            column: [
                one for one in subjects.about(column, allowed=allowed) if catalog.document_of[one] not in documents
            ]
            for column in columns
            if graph.types[column] not in _NO_NAMES
        }
        return self._nearest(question, targets, graph, catalog, completed=lambda name: f"{name}. {question}")

    def about(self, part: str, subject: str, *, allowed: Collection[str] | None = None) -> Lead | None:
        """Find the passage about one side of a comparison.

        :param part: The sub-question.
        :param subject: The name that it is about.
        :param allowed: Only passages among these chunks; ``None`` allows all.
        :returns: The passage about what is called so that is nearest to the sub-question; ``None`` where none is.
        """
        catalog, graph, subjects = self._state()
        columns = graph.called(subject) or tuple(graph.recognise(subject, allowed=allowed))
        targets = {column: list(subjects.about(column, allowed=allowed)) for column in columns}
        leads = self._nearest(part, targets, graph, catalog, completed=lambda _: part)
        return leads[0] if leads else None

    def _state(self) -> tuple[Catalog, EntityGraph, Subjects]:
        catalog = self._engine.state.catalog()
        graph = self._engine.state.graph(catalog)
        with self._lock:
            if self._subjects is None or self._subjects.version != catalog.version:
                self._subjects = Subjects(catalog, graph)
            return catalog, graph, self._subjects

    def _nearest(
        self,
        question: str,
        targets: dict[int, list[str]],
        graph: EntityGraph,
        catalog: Catalog,
        *,
        completed: Completed,
    ) -> list[Lead]:
        """Rank the passages of each name by their cosine with the question that the name completes."""
        wanted = sorted({chunk_id for passages in targets.values() for chunk_id in passages})[:_MAX_PASSAGES]
        if not wanted:
            return []
        vectors = self._engine.state.stored_vectors(wanted)
        rows = {chunk_id: row for row, chunk_id in enumerate(vectors)}
        if not rows:
            return []
        passages_PD = np.stack(list(vectors.values()))
        columns = [column for column, passages in targets.items() if any(one in rows for one in passages)]
        if len(columns) > _MAX_NAMES:
            near_P = passages_PD @ self._engine.encoder.encode_queries([question])[0]
            best = {c: max(float(near_P[rows[one]]) for one in targets[c] if one in rows) for c in columns}
            columns = sorted(columns, key=lambda column: (-best[column], column))[:_MAX_NAMES]
        questions = [completed(graph.names[column]) for column in columns]
        scores_NP = self._engine.encoder.encode_queries(questions) @ passages_PD.T
        leads: dict[str, Lead] = {}
        for column, sub_question, scores_P in zip(columns, questions, scores_NP, strict=True):
            for chunk_id in targets[column]:
                if chunk_id in rows and chunk_id in catalog.document_of:
                    score = float(scores_P[rows[chunk_id]])
                    if chunk_id not in leads or score > leads[chunk_id].score:
                        leads[chunk_id] = Lead(
                            chunk_id=chunk_id, score=score, name=graph.names[column], sub_question=sub_question
                        )
        return sorted(leads.values(), key=lambda lead: (-round(lead.score, 6), lead.chunk_id))


def first_per_document(leads: Sequence[Lead], catalog: Catalog, *, limit: int) -> list[Lead]:
    """Return the best lead of each document, the best ``limit`` of them."""
    kept: dict[str, Lead] = {}
    for lead in leads:
        kept.setdefault(catalog.document_of[lead.chunk_id], lead)
    return list(kept.values())[:limit]

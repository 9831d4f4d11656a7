"""Rank the pages of long documents by all that was found on them, and in which document they stand.

Layer: ``retrieval``; imports ``kg``. Part of :class:`retrieval.engine.RetrievalEngine`.

A question about a report is answered on a page, and a page is cut into several chunks of which each says a part. So a
candidate of a paged document gains from what else was found on its page, and from what was found in its document: the
two levels above it. In units of the spread of the candidates' scores ``z``::

    z'(c) = z(c) + page_support * sum over the next best on c's page of exp(z_i - z_best of the page)
                 + document_support * mean of z over the best five of c's document
                 + reference_support for each figure or table that the question names and c captions

The page's sum is that of a soft maximum (Callan, SIGIR 1994, section 5, found that passages of a document support each
other; Dai and Callan, SIGIR 2019, section 3, rank by the best, the first or the sum). A chunk of a document without
pages stands for its document: its own ``z`` is the mean, so such documents keep their order among each other exactly,
and a record without paged documents is left alone.

A picture's caption repeats the words around it, so a picture supports nothing, though it may be supported: without this
a figure beside its own caption outranked the page that answers. On long documents it is the same within .015.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kg.ports import RecordStore
from retrieval.catalog import Catalog
from retrieval.config import RetrievalConfig
from retrieval.evidence import FoundChunk
from retrieval.references import captioned, named_references

__all__ = ["PageLevel"]

_N_SUPPORTING = 2
"""How many more chunks of a page support the best one. Measured: with 1 less is gained, with 3 the same."""
_N_OF_DOCUMENT = 5


class PageLevel:
    """Orders candidates anew by their pages and documents. Keeps nothing, so threads may share it.

    :param store: The record.
    :param config: The constants.
    """

    def __init__(self, store: RecordStore, config: RetrievalConfig) -> None:
        self._store = store
        self._config = config

    def order(
        self, question: str, found: Sequence[FoundChunk], catalog: Catalog, *, are_shares: bool
    ) -> list[FoundChunk]:
        """Order the best candidates anew.

        :param question: What is asked.
        :param found: Candidates, best first.
        :param catalog: The chunks of the record.
        :param are_shares: Whether scores are shares of a walk, > 0 where it came, which are compared by their
            logarithm; else they are sums of standard scores.
        :returns: The same chunks. The best score stays what it was, and no score is above the one before it.
        :raises NotFoundError: If a chunk is there no more.
        """
        config = self._config
        n_first = min(len(found), config.n_levelled)
        if are_shares:
            n_first = next((row for row in range(n_first) if found[row].score <= 0.0), n_first)
        first = list(found[:n_first])
        is_paged = any(catalog.documents[catalog.document_of[item.chunk_id]].n_pages > 1 for item in first)
        if n_first < 2 or not is_paged or config.page_support == config.document_support == 0:
            return list(found)
        scores = np.array([item.score for item in first])
        raw = np.log(scores) if are_shares else scores
        mean, spread = float(raw.mean()), float(raw.std())
        if spread <= 1e-12 * max(1.0, abs(mean)):
            return list(found)
        z = self._with_references(question, (raw - mean) / spread, [item.chunk_id for item in first])
        raised = self._raised(z, [_place(item.chunk_id, catalog) for item in first])
        order = sorted(range(n_first), key=lambda row: (-raised[row], first[row].chunk_id))
        lift = raised[order[0]] - max(z)
        again = [mean + spread * (raised[row] - lift) for row in order]
        values = [math.exp(value) if are_shares else value for value in again]
        levelled = [replace(first[row], score=value) for row, value in zip(order, values, strict=True)]
        rest = [replace(item, score=min(item.score, values[-1])) for item in found[n_first:]]
        return levelled + rest

    def _with_references(self, question: str, z: NDArray[np.float64], chunk_ids: Sequence[str]) -> list[float]:
        """Return the standard scores, with the support of what the question names by its number."""
        values: list[float] = z.tolist()
        named = named_references(question)
        if not named or self._config.reference_support == 0:
            return values
        texts = {chunk.chunk_id: chunk.text for chunk in self._store.chunks(chunk_ids)}
        return [
            value + self._config.reference_support * len(named & captioned(texts[chunk_id]))
            for value, chunk_id in zip(values, chunk_ids, strict=True)
        ]

    def _raised(self, z: Sequence[float], places: Sequence[tuple[str, int | None, bool]]) -> list[float]:
        """Return each candidate's score with the support of its page and its document."""
        of_page: dict[tuple[str, int], list[tuple[float, bool]]] = defaultdict(list)
        of_document: dict[str, list[float]] = defaultdict(list)
        for value, (document, page, is_picture) in zip(z, places, strict=True):
            if page is not None:
                of_page[document, page].append((value, is_picture))
                of_document[document].append(value)
        support: dict[tuple[str, int], float] = {}
        for key, values in of_page.items():
            (best, _), *others = sorted(values, reverse=True)
            telling = [value for value, is_picture in others if not is_picture][:_N_SUPPORTING]
            support[key] = self._config.page_support * sum(math.exp(value - best) for value in telling)
        level = {
            document: float(np.mean(sorted(values, reverse=True)[:_N_OF_DOCUMENT]))
            for document, values in of_document.items()
        }
        weight = self._config.document_support
        return [
            value + weight * value if page is None else value + support[document, page] + weight * level[document]
            for value, (document, page, _) in zip(z, places, strict=True)
        ]


def _place(chunk_id: str, catalog: Catalog) -> tuple[str, int | None, bool]:
    """Return a chunk's document, its page where the document has several, and whether it is a picture."""
    document_id = catalog.document_of[chunk_id]
    pages = catalog.pages_of.get(chunk_id)
    if pages is None or catalog.documents[document_id].n_pages < 2:
        return document_id, None, False
    return document_id, pages[0], catalog.is_picture(chunk_id)

"""One request from the question to the evidence: understand the question, search, refine what was found.

Layer: ``retrieval``; imports ``kg.types`` and the engine. The search itself is the engine's; what stands here is the
order of the steps around it, each of which a :class:`retrieval.options.Refinement` switches.
"""

from __future__ import annotations

from collections.abc import Collection

from kg.types import Modality
from retrieval.engine import RetrievalEngine
from retrieval.options import Refinement
from retrieval.types import Evidence, Query, Trace

__all__ = ["Retriever"]


class Retriever:
    """Runs requests over one workspace.

    :param engine: The search over the workspace's record.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine

    def search(
        self,
        query: Query,
        *,
        k: int,
        mode: str = "auto",
        document_ids: Collection[str] | None = None,
        modalities: Collection[Modality] | None = None,
        refinement: Refinement | None = None,
    ) -> tuple[list[Evidence], Trace]:
        """Find evidence for a query.

        :param query: Words, a picture, or both.
        :param k: The most pieces of evidence, >= 1.
        :param mode: One of :data:`retrieval.engine.MODES`.
        :param document_ids: Only evidence from these documents; ``None`` allows all.
        :param modalities: Only evidence of these kinds; ``None`` allows all.
        :param refinement: The steps around the search; ``None`` takes none.
        :returns: Evidence, best first, ranks from 1; and how long each stage took, in seconds.
        :raises InputError: As :meth:`RetrievalEngine.search`.
        :raises NotFoundError: As :meth:`RetrievalEngine.search`.
        :raises VectorsMissingError: As :meth:`RetrievalEngine.search`.
        :raises EncoderError: As :meth:`RetrievalEngine.search`.
        """
        route = (refinement or Refinement()).route
        return self._engine.search(query, k=k, mode=mode, document_ids=document_ids, modalities=modalities, route=route)

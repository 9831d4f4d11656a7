"""Ask a language model of each candidate whether it is relevant, and score it by how sure the model is of "yes".

Layer: ``retrieval``; the model comes through the port :class:`retrieval.rerank.types.YesNoModel`.
Source: RagVL (Chen et al. 2024, arXiv:2407.21439, section 3.2): the probability of "Yes" for "can this picture help to
answer the question?", here normalised against "No" so that a score is in ``[0, 1]``. A picture is shown to a model with
eyes, beside the words that were read off it; a model without eyes reads the words alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kg.types import Modality
from retrieval.rerank.types import YesNoModel, YesNoQuestion
from retrieval.types import Evidence, Query

__all__ = ["YesNoReranker", "relevance_question"]

TRUST = 0.5
"""How much its standardised score counts beside the first stage's. The packaged language model of 135 million
parameters is no judge (``docs/reranking.md``), and no larger one was at hand to measure a default with."""
MAX_CHARACTERS = 1500
"""How much of a passage is shown, >= 1: some 400 tokens, twice the chunks that ingest cuts."""


class YesNoReranker:
    """The reranker ``vlm``. Safe between threads if its model is.

    :param model: Says yes or no.
    :param picture_of: Gives the bytes of a picture by its asset's id; ``None`` shows no picture.
    :param trust: How much its standardised score counts beside the first stage's, in ``[0, 1]``.
    """

    name = "vlm"
    is_calibrated = True

    def __init__(
        self, model: YesNoModel, *, picture_of: Callable[[str], bytes] | None = None, trust: float = TRUST
    ) -> None:
        self.trust = trust
        self._model = model
        self._picture_of = picture_of

    def scores(self, query: Query, evidence: Sequence[Evidence]) -> list[float]:
        """Return ``P(yes) / (P(yes) + P(no))`` for each candidate.

        :param query: The question.
        :param evidence: Candidates.
        :returns: One score a candidate, in ``[0, 1]``.
        :raises GenerationError: If the model fails.
        """
        return self._model.yes_probabilities([self._question(query, item) for item in evidence])

    def _question(self, query: Query, item: Evidence) -> YesNoQuestion:
        asset = item.chunk.asset_id
        is_shown = self._model.sees_pictures and self._picture_of is not None and asset is not None
        image = self._picture_of(asset) if is_shown and self._picture_of is not None and asset is not None else None
        return relevance_question(query.text, item, image=image)


def relevance_question(question: str, item: Evidence, *, image: bytes | None = None) -> YesNoQuestion:
    """Ask whether a piece of evidence helps to answer a question.

    :param question: What is asked.
    :param item: The evidence.
    :param image: The picture that it was read off, where the model is to see it.
    :returns: A question for yes or no.
    """
    kind = {Modality.TEXT: "passage", Modality.TABLE: "table"}.get(item.chunk.modality, "picture")
    title = item.document.title or item.document.name
    words = item.chunk.text[:MAX_CHARACTERS]
    shown = f"The picture above, from {title!r}. Words on or about it:\n{words}" if image else f"{title}\n{words}"
    text = (
        f"Evidence ({kind}):\n{shown}\n\nQuestion: {question}\n\n"
        "Is this evidence relevant to the question? Answer yes or no."
    )
    return YesNoQuestion(text=text, image=image)

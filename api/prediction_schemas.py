"""What REST takes and returns of predictions. Fields are added, never renamed.

Layer: ``api``; pydantic.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas import In, Out

__all__ = [
    "CompleteAllRequest",
    "CompleteRequest",
    "CompleteResponse",
    "DecisionRequest",
    "KeptPredictionOut",
    "PredictionOut",
    "PredictionsOut",
    "RejectLinkRequest",
    "RetrainRequest",
    "RetrainedOut",
]


class CompleteRequest(In):
    """A link with one end missing."""

    head: str | None = Field(default=None, description="The entity on the left, or null to predict it.")
    relation: str = Field(min_length=1)
    tail: str | None = Field(default=None, description="The entity on the right, or null to predict it.")
    k: int = Field(default=10, ge=1, le=1000)
    save: bool = Field(default=False, description="Whether to keep what is predicted, as open predictions.")


class PredictionOut(Out):
    """A link that the model expects and no document states."""

    head: str
    relation: str
    tail: str
    score: float
    probability: float = Field(description="Its share among all candidates.")
    calibrated: float | None = Field(description="The probability that it holds, where the model gives one.")
    rank: int
    origin: str
    support: list[str] = Field(description="Chunks behind it; none of them states it.")
    evidence: dict[str, Any] = Field(description="What else the model says for it.")


class CompleteResponse(Out):
    """Predicted links, best first."""

    predictions: list[PredictionOut]
    relation: str
    n_examples: int
    n_known: int
    notes: list[str]


class CompleteAllRequest(In):
    """A job that predicts over the whole graph."""

    min_score: float = Field(default=0.5, ge=0, le=1, description="The least likelihood of what is kept.")
    relations: list[str] = Field(default=[], max_length=10_000, description="Only these; none: all but 'related to'.")
    limit: int | None = Field(default=None, ge=1, description="The most predictions to keep, the likeliest.")
    per_entity: int = Field(default=3, ge=1, le=1000, description="The most tails of one head and relation.")


class KeptPredictionOut(Out):
    """A prediction as the record keeps it, apart from facts."""

    prediction_id: str
    head: str
    relation: str
    tail: str
    status: str = Field(description="open, accepted or rejected.")
    origin: str = Field(description="predicted, or asserted once it was accepted.")
    likelihood: float = Field(description="The calibrated probability, or the share among the candidates.")
    calibrated: float | None
    probability: float
    score: float
    by: str
    decided_at: str
    note: str
    stale: str = Field(description="Why it can no longer be relied on; empty where it can.")
    document_id: str = Field(description="The note that asserts it, once it was accepted.")


class PredictionsOut(Out):
    """Kept predictions, the likeliest first."""

    predictions: list[KeptPredictionOut]


class DecisionRequest(In):
    """Who decides on a prediction, and why."""

    by: str = Field(default="", max_length=1000)
    note: str = Field(default="", max_length=10_000)


class RejectLinkRequest(DecisionRequest):
    """A link that is never to be offered, kept or not."""

    head: str = Field(min_length=1, description="Id or name.")
    relation: str = Field(min_length=1)
    tail: str = Field(min_length=1, description="Id or name.")


class RetrainRequest(In):
    """A training of the link predictor."""

    force: bool = Field(default=False, description="Train even where the graph has not changed.")


class RetrainedOut(Out):
    """What a training did, and how far old facts moved."""

    was_trained: bool
    model: str
    record_version: int
    seconds: float
    warm_start: dict[str, int]
    n_refreshed: int
    n_dropped: int
    drift: dict[str, dict[str, float]]

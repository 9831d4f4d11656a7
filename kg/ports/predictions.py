"""Predicted links as the record keeps them: apart from all that documents state, until a person accepts one.

Layer: ``kg``; the standard library only. Import these from :mod:`kg.ports`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from kg.types import GraphDelta, Origin

__all__ = [
    "NewPrediction",
    "PredictionKey",
    "PredictionStatus",
    "PredictionStore",
    "SavedPredictions",
    "StoredPrediction",
]

PredictionKey = tuple[str, str, str]
"""Head entity, relation, tail entity: ids as they are now."""


class PredictionStatus(StrEnum):
    """What a person said of a prediction."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrediction:
    """A predicted link to be kept.

    ``score`` is the model's own (higher is better), ``probability`` its share among all candidates, ``calibrated`` the
    probability that the link holds, where the model gives one. ``evidence`` is what it says for itself, plain values
    that are kept as they come. ``chunk_ids`` are the passages behind it: if one goes, the evidence goes too.
    """

    head_id: str
    relation: str
    tail_id: str
    score: float
    probability: float
    calibrated: float | None = None
    rank: int = 1
    evidence: Mapping[str, Any] = field(default_factory=dict)
    chunk_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrediction:
    """A predicted link as the record holds it.

    ``head_id`` and ``tail_id`` follow merges and splits; an end that no document names any more is empty. ``relation``
    is empty where no document uses its words any more. ``model`` and ``run`` say what predicted it and in which job,
    ``made_at`` when (ISO 8601, UTC). ``n_passages`` counts the passages that it leant on when it was made,
    ``chunk_ids`` those that are left. Of an accepted one ``document_id`` is the note that asserts it.
    """

    prediction_id: str
    head_id: str
    relation: str
    tail_id: str
    status: PredictionStatus
    score: float
    probability: float
    calibrated: float | None
    rank: int
    model: str
    run: str
    made_at: str
    evidence: Mapping[str, Any]
    chunk_ids: tuple[str, ...]
    n_passages: int
    by: str = ""
    decided_at: str = ""
    note: str = ""
    document_id: str = ""
    relation_id: str = ""

    @property
    def origin(self) -> Origin:
        """How the link is known: predicted, or asserted by the person who accepted it."""
        return Origin.ASSERTED if self.status is PredictionStatus.ACCEPTED else Origin.PREDICTED

    @property
    def likelihood(self) -> float:
        """The calibrated probability where there is one, else the share among the candidates."""
        return self.probability if self.calibrated is None else self.calibrated

    @property
    def stale(self) -> str:
        """Why it can no longer be relied on, in words; empty where it can."""
        if not (self.head_id and self.tail_id):
            return "an entity at its end is no longer named by any document"
        if not self.relation:
            return "no document uses its relation any more"
        lost = self.n_passages - len(self.chunk_ids)
        if self.n_passages and lost:
            return f"{lost} of the {self.n_passages} passages that it leant on are gone"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPredictions:
    """What became of predictions that were to be kept.

    ``n_rejected``, ``n_accepted`` and ``n_stated`` were not kept, because a person had said no, or yes, or because a
    document states them.
    """

    n_new: int = 0
    n_refreshed: int = 0
    n_rejected: int = 0
    n_accepted: int = 0
    n_stated: int = 0


class PredictionStore(Protocol):
    """Where predictions are kept. Each method is one transaction, and safe between threads and processes."""

    def save(self, found: Sequence[NewPrediction], *, model: str, run: str) -> SavedPredictions:
        """Keep predictions; one of the same link that is open is refreshed, and none that a person decided."""
        ...

    def predictions(
        self, *, status: PredictionStatus | None = None, relation: str | None = None
    ) -> list[StoredPrediction]:
        """Return predictions, one a link, by falling likelihood, then id."""
        ...

    def prediction(self, prediction_id: str) -> StoredPrediction:
        """Return one; raise ``NotFoundError`` for an unknown id, with the nearest ones."""
        ...

    def reject(self, prediction_id: str, *, by: str, note: str = "") -> StoredPrediction:
        """Never offer this link again."""
        ...

    def reject_link(self, link: NewPrediction, *, by: str, note: str = "") -> StoredPrediction:
        """Never offer a link that was not kept before."""
        ...

    def accept(self, prediction_id: str, delta: GraphDelta, *, by: str, note: str = "") -> StoredPrediction:
        """Assert the link by the document in ``delta``, in the same transaction."""
        ...

    def reopen(self, prediction_id: str) -> StoredPrediction:
        """Take a person's word back; the note that asserted an accepted one is deleted."""
        ...

    def drop(self, prediction_ids: Collection[str]) -> int:
        """Delete those of these that are open, and count them."""
        ...

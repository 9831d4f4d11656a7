"""What a tuning did and reached.

Layer: ``generation``; the standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Look", "TuningReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Validation loss after a step, in nats per token of an answer; step 0 is before tuning."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningReport:
    """What a tuning did and reached.

    :param base: The base model.
    :param graph: The graph.
    :param steps: Optimiser steps done.
    :param best_step: The step whose adapters were kept; 0 if tuning made nothing better.
    :param loss_before: Validation loss of the base model, nats per token of an answer; ``None`` without validation.
    :param loss: The same of the kept adapters.
    :param looks: All looks at validation.
    :param n_questions: Train questions there were to learn from.
    :param n_held_out: Validation questions.
    :param n_parameters: Parameters tuned.
    :param n_base_parameters: Parameters of the base model, all frozen.
    :param n_tokens: Tokens trained on in this call.
    :param seconds: Of this call's steps, looks included.
    :param resumed_from: The step it went on from, 0 if it began anew.
    :param precision: What was computed in.
    :param device: Where.
    :param notes: What the user should know.
    """

    base: str
    graph: str
    steps: int
    best_step: int
    loss_before: float | None
    loss: float | None
    looks: tuple[Look, ...]
    n_questions: int
    n_held_out: int
    n_parameters: int
    n_base_parameters: int
    n_tokens: int
    seconds: float
    resumed_from: int
    precision: str
    device: str
    notes: tuple[str, ...]

    def to_mapping(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        looks = [asdict(look) for look in self.looks]
        return {**asdict(self), "looks": looks, "notes": list(self.notes)}

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> TuningReport:
        """Make a report from what :meth:`to_mapping` returned.

        :param values: The mapping.
        :returns: The report.
        """
        looks = tuple(Look(**look) for look in values["looks"])
        return cls(**{**values, "looks": looks, "notes": tuple(values["notes"])})

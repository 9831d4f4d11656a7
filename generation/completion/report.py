"""What a training says of itself when it is done.

Layer: ``generation``; the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from generation.completion.config import CompletionConfig
from generation.completion.progress import EpochProgress

__all__ = ["TrainReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a training did. ``best_valid_mrr`` is a fraction, ``None`` where the graph was too small to validate."""

    model_dir: Path
    n_entities: int
    n_relations: int
    n_train: int
    n_valid: int
    n_parameters: int
    best_epoch: int
    best_valid_mrr: float | None
    seconds: float
    config: CompletionConfig
    history: tuple[EpochProgress, ...]
    notes: tuple[str, ...]

    def to_mapping(self) -> dict[str, object]:
        """Return the report as plain values, without the history."""
        return {
            "model": str(self.model_dir),
            "entities": self.n_entities,
            "relations": self.n_relations,
            "train": self.n_train,
            "valid": self.n_valid,
            "params": self.n_parameters,
            "best_epoch": self.best_epoch,
            "valid_mrr": self.best_valid_mrr,
            "epochs": len(self.history),
            "seconds": self.seconds,
            "config": self.config.to_mapping(),
            "notes": list(self.notes),
        }

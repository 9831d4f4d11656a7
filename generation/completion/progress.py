"""What a training tells after each epoch.

Layer: ``generation``; the standard library only, so that a progress bar needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["EpochProgress", "ProgressCallback", "TrainingState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochProgress:
    """One finished epoch of an expert: mean batch loss, validation MRR (a fraction, or ``None``), seconds it took.

    ``is_refit`` says that it went over all of train, the part that was carved for validation too. Of the ``gate`` it is
    a round in which the experts answered all validation questions, without a loss.
    """

    epoch: int
    loss: float | None
    valid_mrr: float | None
    seconds: float
    expert: str = "structure"
    is_refit: bool = False


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """How far a training has come: what its checkpoint keeps beside the tensors.

    ``n_refit`` counts the epochs over all of train, after those that validation chose from; ``goes_on`` says that it
    began with the tables of an earlier training.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_mrr: float | None = None
    n_refit: int = 0
    goes_on: bool = False
    history: list[EpochProgress] = field(default_factory=list)

    def note_validation(self, mrr: float) -> bool:
        """Note the validation MRR of the present epoch.

        :param mrr: The MRR, a fraction.
        :returns: Whether it is the best so far.
        """
        if self.best_mrr is not None and mrr <= self.best_mrr:
            return False
        self.best_mrr, self.best_epoch = mrr, self.epoch
        return True


ProgressCallback = Callable[[EpochProgress], None]

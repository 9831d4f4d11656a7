"""Early stopping: keep the best adapters by validation loss, and end a run that no longer gets better.

Layer: ``generation``; imports torch.
Every look is noted with its step, and every look that was the best so far leaves its adapters. What is best after a
step depends on the looks up to it alone, so a run that is resumed from an older checkpoint decides as it did before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

from torch import nn

from generation.completion.files import write_bytes_atomically
from generation.completion.generator.answer_loss import answer_loss
from generation.completion.generator.tuned_adapters import read_adapters, write_adapters
from generation.completion.generator.tuning_report import Look
from moe_backbone.training.data import Batch

__all__ = ["ValidationWatch"]


class ValidationWatch:
    """Judges a model on held-out questions before each checkpoint (a :class:`~moe_backbone.training.loop.Watch`).

    :param folder: Where looks and best adapters are kept; made when there is something to keep.
    :param batches: Held-out questions, at least one batch.
    :param patience: Looks without a lower loss after which the run is over.
    :param autocast: Opens the context of the forward passes.
    :param on_look: Called with each look.
    """

    def __init__(
        self,
        folder: Path,
        *,
        batches: Sequence[Batch],
        patience: int,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        on_look: Callable[[Look], None] | None = None,
    ) -> None:
        self.folder, self.batches, self.patience = folder, batches, patience
        self._autocast, self._on_look = autocast, on_look

    def look(self, step: int, model: nn.Module) -> None:
        """Note the loss after ``step``, and keep the adapters if it is the lowest so far.

        :param step: Optimiser steps done.
        :param model: The adapted model.
        """
        look = Look(step=step, loss=answer_loss(model, self.batches, autocast=self._autocast))
        before = self.looks(until=step - 1)
        if all(look.loss < other.loss for other in before):
            kept = self._kept(step)
            kept.mkdir(parents=True, exist_ok=True)
            write_adapters(model, kept)
        write_bytes_atomically(self._notes, json.dumps([asdict(one) for one in (*before, look)]).encode())
        if self._on_look is not None:
            self._on_look(look)

    def is_over(self, step: int) -> bool:
        """Tell whether the last ``patience`` looks up to ``step`` brought nothing better."""
        looks = self.looks(until=step)
        return bool(looks) and len(looks) - 1 - looks.index(self.best(until=step)) >= self.patience

    def looks(self, *, until: int | None = None) -> tuple[Look, ...]:
        """Return the looks up to a step, in order.

        :param until: The step; ``None`` takes all.
        :returns: The looks.
        """
        if not self._notes.is_file():
            return ()
        looks = [Look(**one) for one in json.loads(self._notes.read_text(encoding="utf-8"))]
        return tuple(one for one in looks if until is None or one.step <= until)

    def best(self, *, until: int | None = None) -> Look:
        """Return the look of the lowest loss up to a step, of equals the first.

        :param until: The step; ``None`` takes all.
        :returns: The look.
        """
        return min(self.looks(until=until), key=lambda one: one.loss)

    def restore_best(self, model: nn.Module, *, until: int) -> Look:
        """Give the model the adapters of the best look.

        :param model: The adapted model. Changed in place.
        :param until: The last step of the run.
        :returns: The look.
        """
        best = self.best(until=until)
        read_adapters(model, self._kept(best.step))
        return best

    @property
    def _notes(self) -> Path:
        return self.folder / "looks.json"

    def _kept(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}"

"""Batches of token ids whose order depends on a seed and a step number alone, so that a run can resume anywhere.

Layer: ``moe_backbone``; imports torch only. Files and tokenizers are the caller's.

Shape suffixes: B sequences, S tokens of a sequence, N sequences of the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

import torch
from torch import Tensor

from moe_backbone.training.config import TrainingError

__all__ = [
    "IGNORED",
    "Batch",
    "BatchSource",
    "PackedTokens",
    "PreferencePairs",
    "TokenSequence",
    "places_of_step",
]

IGNORED = -100
"""The label of a token that no loss counts, as in torch and transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSequence:
    """A document, or a prompt and its completion, as token ids.

    :param ids: Token ids.
    :param labels: What to predict at each place, :data:`IGNORED` where nothing; ``None`` is ``ids``.
    :param modality: The modality of each token, a small whole number, or ``None``.
    :param skill: The skill of each token, a small whole number, or ``None``.
    """

    ids: Sequence[int]
    labels: Sequence[int] | None = None
    modality: Sequence[int] | None = None
    skill: Sequence[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sequences of one forward pass. *Shape of every tensor:* ``(B, S)``.

    The labels of an encoder-decoder, which are what its decoder writes, may have another width.

    :param ids: Token ids, int64.
    :param labels: Token ids to predict (the model shifts), :data:`IGNORED` where none, int64.
    :param mask: True for a token, False for padding.
    :param modality: Modality of each token, int64, or ``None``.
    :param skill: Skill of each token, int64, or ``None``.
    :param rows_per_item: Sequences that may not be parted: 2 for preference pairs (chosen, then rejected).
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    modality: Tensor | None = None
    skill: Tensor | None = None
    rows_per_item: int = 1

    def split(self, n_items: int) -> tuple[Batch, ...]:
        """Cut the batch into micro-batches of at most ``n_items`` items."""
        rows = n_items * self.rows_per_item
        starts = range(0, len(self.ids), rows)
        return tuple(self._each(itemgetter(slice(start, start + rows))) for start in starts)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return self._each(lambda value: value.to(device))

    @property
    def n_tokens(self) -> int:
        """Tokens that are no padding."""
        return int(self.mask.sum())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            ids=change(self.ids),
            labels=change(self.labels),
            mask=change(self.mask),
            modality=None if self.modality is None else change(self.modality),
            skill=None if self.skill is None else change(self.skill),
        )


class BatchSource(Protocol):
    """Gives the batch of any step, the same one each time it is asked."""

    @property
    def fingerprint(self) -> str:
        """A hash of the data: a run resumes on the same data only."""
        ...

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """Return the batch of step ``step`` (from 0), of ``size`` items."""
        ...


class PackedTokens:
    """Sequences joined and cut into rows of equal length, so that nothing is padding. A row may hold several documents.

    :param sequences: Documents in order; each should end with its end-of-text token.
    :param length: Tokens S of a row, at least 2. What does not fill a last row is left out.
    :raises TrainingError: If the documents do not fill a row, or labels or modalities do not fit their ids.
    """

    def __init__(self, sequences: Sequence[TokenSequence], *, length: int) -> None:
        for place, sequence in enumerate(sequences):
            _check(sequence, place)
        fields = {
            "ids": torch.tensor([i for s in sequences for i in s.ids], dtype=torch.int64),
            "labels": torch.tensor([i for s in sequences for i in (s.labels or s.ids)], dtype=torch.int64),
        }
        for name in ("modality", "skill"):
            if any(getattr(s, name) is not None for s in sequences):
                joined = [i for s in sequences for i in (getattr(s, name) or [0] * len(s.ids))]
                fields[name] = torch.tensor(joined, dtype=torch.int64)
        n_rows = len(fields["ids"]) // length
        if n_rows == 0:
            raise TrainingError(
                f"the data holds {len(fields['ids'])} tokens, fewer than one sequence of {length}. Give more text, or "
                "lower sequence_length."
            )
        self._rows = {name: value[: n_rows * length].view(n_rows, length) for name, value in fields.items()}

    def __len__(self) -> int:
        return len(self._rows["ids"])

    def split(self, n_last: int) -> tuple[PackedTokens, PackedTokens]:
        """Part the last ``n_last`` rows from the others; both parts hold at least one.

        :param n_last: Rows of the second part.
        :returns: The first rows, and the last.
        :raises TrainingError: If one part would be empty.
        """
        if not 1 <= n_last < len(self):
            raise TrainingError(f"{n_last} of {len(self)} rows cannot be held out. Give more text.")
        return self._part(slice(0, len(self) - n_last)), self._part(slice(len(self) - n_last, None))

    def _part(self, rows: slice) -> PackedTokens:
        part = object.__new__(PackedTokens)
        part._rows = {name: value[rows] for name, value in self._rows.items()}
        return part

    @property
    def fingerprint(self) -> str:
        """A hash of all rows."""
        return _hash(self._rows)

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """Return the rows of a step; every epoch has an order of its own.

        :param step: The step, from 0.
        :param size: Rows of a step.
        :param seed: Seed of the order.
        :returns: The batch.
        """
        return self.rows(places_of_step(step, size=size, n_items=len(self), seed=seed))

    def rows(self, places: Tensor | slice) -> Batch:
        """Return rows by their places, as a batch."""
        chosen = {name: value[places] for name, value in self._rows.items()}
        return Batch(
            ids=chosen["ids"],
            labels=chosen["labels"],
            mask=torch.ones_like(chosen["ids"], dtype=torch.bool),
            modality=chosen.get("modality"),
            skill=chosen.get("skill"),
        )


class PreferencePairs:
    """Pairs of a preferred and a refused answer to one prompt, padded on the right.

    :param pairs: Chosen and rejected sequences; labels are :data:`IGNORED` over the prompt.
    :param pad_id: Token id of the padding.
    :param length: The most tokens of a sequence; longer ones lose their end.
    :raises TrainingError: If there is no pair, or a sequence has nothing to predict within ``length``.
    """

    def __init__(self, pairs: Sequence[tuple[TokenSequence, TokenSequence]], *, pad_id: int, length: int) -> None:
        if not pairs:
            raise TrainingError("the preference data holds no pair. Each needs a prompt, chosen and rejected.")
        flat = [sequence for pair in pairs for sequence in pair]
        for place, sequence in enumerate(flat):
            _check(sequence, place)
            labels = sequence.labels if sequence.labels is not None else sequence.ids
            if all(label == IGNORED for label in list(labels)[1:length]):
                raise TrainingError(
                    f"pair {place // 2}: the {'rejected' if place % 2 else 'chosen'} answer is empty within {length} "
                    "tokens. Raise sequence_length, or leave the pair out."
                )
        width = min(length, max(len(sequence.ids) for sequence in flat))
        ids = torch.full((len(flat), width), pad_id, dtype=torch.int64)
        labels_ = torch.full((len(flat), width), IGNORED, dtype=torch.int64)
        mask = torch.zeros(len(flat), width, dtype=torch.int64)
        for row, sequence in enumerate(flat):
            kept = min(width, len(sequence.ids))
            ids[row, :kept] = torch.tensor(sequence.ids[:kept])
            labels_[row, :kept] = torch.tensor((sequence.labels or sequence.ids)[:kept])
            mask[row, :kept] = 1
        self._rows = {"ids": ids, "labels": labels_, "mask": mask}

    def __len__(self) -> int:
        return len(self._rows["ids"]) // 2

    @property
    def fingerprint(self) -> str:
        """A hash of all pairs."""
        return _hash(self._rows)

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """Return the pairs of a step: chosen and rejected by turns.

        :param step: The step, from 0.
        :param size: Pairs of a step.
        :param seed: Seed of the order.
        :returns: The batch, of ``2 · size`` sequences.
        """
        places = places_of_step(step, size=size, n_items=len(self), seed=seed)
        rows = torch.stack((2 * places, 2 * places + 1), dim=1).reshape(-1)
        chosen = {name: value[rows] for name, value in self._rows.items()}
        return Batch(ids=chosen["ids"], labels=chosen["labels"], mask=chosen["mask"].bool(), rows_per_item=2)


def places_of_step(step: int, *, size: int, n_items: int, seed: int) -> Tensor:
    """Return which items a step takes: places in the endless row of epochs, each shuffled by itself.

    :param step: The step, from 0.
    :param size: Items of a step.
    :param n_items: Items of an epoch, at least 1.
    :param seed: Seed of the order.
    :returns: Numbers of items, int64. *Shape:* ``(size,)``.
    """
    wanted = torch.arange(step * size, (step + 1) * size)
    epochs = wanted // n_items
    places = torch.empty_like(wanted)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(n_items, generator=generator)
        here = epochs == epoch
        places[here] = order[wanted[here] % n_items]
    return places


def _check(sequence: TokenSequence, place: int) -> None:
    for name in ("labels", "modality", "skill"):
        values = getattr(sequence, name)
        if values is not None and len(values) != len(sequence.ids):
            raise TrainingError(f"sequence {place}: {len(sequence.ids)} ids, but {len(values)} values of {name}.")


def _hash(rows: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(rows.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()

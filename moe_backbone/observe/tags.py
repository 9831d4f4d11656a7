"""Whose tokens a call reads: labels and padding, followed by position through a prompt and what is written after it.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens of a call, B sequences, S positions of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Tag", "make_tag", "modality_rows"]

_MODALITY_TOKENS = {"image": ("image_token_id", "image_token_index"), "video": ("video_token_id", "video_token_index")}


@dataclass(slots=True)
class Tag:
    """Rows (places of labels) and mask by position, and one row for all that comes after.

    :param rows: Row of each position of the prompt; ``None`` gives all the row of the rest. *Shape:* ``(B, S)``.
    :param mask: True for real tokens of the prompt. *Shape:* ``(B, S)``.
    :param rest: Row of what comes after the prompt.
    :param n_sequences: B; 0 where nothing depends on the position.
    :param positions: How far each layer has read.
    """

    rest: int
    rows: Tensor | None = None
    mask: Tensor | None = None
    n_sequences: int = 0
    positions: dict[int, int] = field(default_factory=dict)

    def check(self, n_tokens: int) -> None:
        """Refuse a call whose tokens cannot be those of the tag's sequences.

        :param n_tokens: Tokens T of the call.
        :raises ValueError: If T is no multiple of B.
        """
        if self.n_sequences and n_tokens % self.n_sequences:
            raise ValueError(
                f"a call read {n_tokens} tokens, but the tag is of {self.n_sequences} sequences. Tag each batch apart."
            )

    def follow(self, layer: int, n_tokens: Sequence[int]) -> tuple[int | Tensor, Tensor | None]:
        """Return the rows and the mask of the next calls of a layer, one after the other.

        :param layer: Which layer reads.
        :param n_tokens: Tokens T of each call.
        :returns: One row for all, or one each, and the mask. *Shape:* both ``(sum of T,)``.
        """
        if not self.n_sequences:
            return self.rest, None
        steps = [sum(n_tokens)] if self.n_sequences == 1 else [n // self.n_sequences for n in n_tokens]
        rows, masks = [], []
        for n in steps:
            start = self.positions.get(layer, 0)
            self.positions[layer] = start + n
            rows.append(_part(self.rows, start, n, self.n_sequences, self.rest))
            masks.append(_part(self.mask, start, n, self.n_sequences, True))
        return torch.cat(rows), None if self.mask is None else torch.cat(masks)


def make_tag(
    names: tuple[str, ...],
    labels: str | Sequence[Sequence[str]] | Tensor | None,
    *,
    rest: str | None,
    mask: Tensor | None,
) -> Tag:
    """Check what a caller says of its tokens.

    :param names: The labels there are; a row is a place in it, and one more row is for tokens without a label.
    :param labels: One label for all tokens, or one for each position, as names or places (-1 is none), or none.
    :param rest: The label of what comes after the prompt.
    :param mask: True for real tokens of the prompt. *Shape:* ``(B, S)``.
    :returns: The tag.
    :raises ValueError: If a label is unknown, or the shapes differ.
    """
    row_of: dict[str | None, int] = {name: row for row, name in enumerate(names)} | {None: len(names)}
    given: set[str | None] = {rest}
    if isinstance(labels, str):
        given.add(labels)
    elif labels is not None and not isinstance(labels, Tensor):
        given.update(name for line in labels for name in line)
    if unknown := sorted(str(name) for name in given - row_of.keys()):
        raise ValueError(f"the labels {', '.join(unknown)} are not among the recorder's: {names}.")
    rows: Tensor | None = None
    after = row_of[rest]
    if isinstance(labels, str):
        after = row_of[labels if rest is None else rest]
        rows = None if mask is None else torch.full(mask.shape, row_of[labels])
    elif labels is not None:
        rows = _rows(labels, row_of, len(names))
    shapes = {tuple(one.shape) for one in (rows, mask) if one is not None}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"labels and mask must have one shape (B, S), got {sorted(shapes)}.")
    n_sequences = next(iter(shapes))[0] if shapes else 0
    return Tag(after, rows, None if mask is None else mask.bool(), n_sequences)


def modality_rows(input_ids_BS: Tensor, config: Any) -> tuple[tuple[str, ...], Tensor]:
    """Tell text, image and video tokens of a prompt apart by the place holders that the configuration names.

    :param input_ids_BS: Tokens of a prompt whose pictures are already place holders. *Shape:* ``(B, S)``.
    :param config: Configuration of a vision-language model; any other yields text only.
    :returns: The labels, for :class:`~moe_backbone.observe.recorder.RoutingRecorder`, and the place of each token's
        label, for its ``tag``. *Shape:* ``(B, S)``.
    """
    labels, rows_BS = ["text"], torch.zeros_like(input_ids_BS)
    for label, attributes in _MODALITY_TOKENS.items():
        token = next((found for name in attributes if (found := getattr(config, name, None)) is not None), None)
        if token is not None:
            rows_BS = torch.where(input_ids_BS == token, len(labels), rows_BS)
            labels.append(label)
    return tuple(labels), rows_BS


def _rows(labels: Any, row_of: dict[str | None, int], n_names: int) -> Tensor:
    rows = labels if isinstance(labels, Tensor) else torch.tensor([[row_of[name] for name in line] for line in labels])
    if rows.ndim != 2 or rows.is_floating_point() or (rows.numel() and int(rows.max()) >= n_names):
        raise ValueError(f"labels must be whole numbers below {n_names} of shape (B, S), got {tuple(rows.shape)}.")
    return torch.where(rows < 0, n_names, rows)


def _part(values_BS: Tensor | None, start: int, n: int, n_sequences: int, after: int | bool) -> Tensor:
    """Cut ``n`` positions out, filled up with ``after`` beyond the prompt, in a call's own order."""
    if values_BS is None:
        return torch.full((n * n_sequences,), after)
    part = values_BS[:, start : start + n]
    missing = n - part.shape[1]
    return (functional.pad(part, (0, missing), value=after) if missing else part).reshape(-1)

"""Tokens that know what they stand for: text, an image, or evidence of a graph.

Layer: ``moe_backbone``; imports torch only. A tokenizer is anything called ``tokenizer(text)["input_ids"]``.

Shape suffixes: B rows, S tokens per row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moe_backbone.smaller.surgery import ShrinkError

__all__ = ["LabelledTokens", "pack_texts", "split_held_out"]

_LEAST_ROW = 8  # shorter ends of a text are left out: they have no context to be judged in


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTokens:
    """Rows of tokens, each token with the label of what it stands for.

    :param labels: Names of the labels; ``label_BS`` holds places in it.
    :param ids: Token ids. *Shape:* ``(B, S)``.
    :param label: Label of each token; -1 is padding, which is not counted. *Shape:* ``(B, S)``.
    :raises ShrinkError: If the shapes differ or a label does not exist.
    """

    labels: tuple[str, ...]
    ids: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.shape != self.label.shape:
            raise ShrinkError(
                f"ids {tuple(self.ids.shape)} and labels {tuple(self.label.shape)} must have one shape (B, S)."
            )
        if self.label.numel() and not -1 <= int(self.label.min()) <= int(self.label.max()) < len(self.labels):
            raise ShrinkError(f"labels must be -1 (padding) or 0 … {len(self.labels) - 1}.")

    @property
    def n_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.label >= 0).sum())

    def batches(self, rows: int) -> list[LabelledTokens]:
        """Cut into batches of at most ``rows`` rows."""
        return [self.rows(slice(start, start + rows)) for start in range(0, len(self.ids), rows)]

    def rows(self, which: slice | list[int]) -> LabelledTokens:
        """Return some of the rows."""
        return LabelledTokens(labels=self.labels, ids=self.ids[which], label=self.label[which])

    def sha256(self) -> str:
        """Return a hash over labels and tokens, which tells calibrations apart."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        for tensor in (self.ids, self.label):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.to(torch.int64).contiguous().numpy().tobytes())
        return digest.hexdigest()


def pack_texts(
    tokenizer: Any, texts: Mapping[str, Sequence[str]], *, length: int = 128, limit: int | None = None
) -> LabelledTokens:
    """Tokenize labelled texts and cut them into rows of one length.

    :param tokenizer: A tokenizer of transformers, or anything that is called as one.
    :param texts: Texts by label, e.g. ``{"text": […], "graph": […]}``.
    :param length: Tokens per row, at least 8. The end of a text that does not fill a row is padded, or left out where
        it is shorter than 8 tokens.
    :param limit: The most rows of each label, spread evenly over its text; ``None`` keeps all.
    :returns: The rows, label by label.
    :raises ShrinkError: If nothing is left.
    """
    if length < _LEAST_ROW:
        raise ShrinkError(f"length must be at least {_LEAST_ROW} tokens, got {length}.")
    ids: list[Tensor] = []
    label: list[Tensor] = []
    for place, name in enumerate(texts):
        rows = [row for text in texts[name] for row in _rows(tokenizer(text)["input_ids"], length)]
        if limit is not None and len(rows) > limit:
            rows = [rows[number * len(rows) // limit] for number in range(limit)]
        for row in rows:
            padding = length - len(row)
            ids.append(torch.tensor(row + [0] * padding))
            label.append(torch.tensor([place] * len(row) + [-1] * padding))
    if not ids:
        raise ShrinkError(f"the text holds no row of {_LEAST_ROW} tokens ({', '.join(texts) or 'no text'} given).")
    return LabelledTokens(labels=tuple(texts), ids=torch.stack(ids), label=torch.stack(label))


def _rows(ids: Sequence[int], length: int) -> list[list[int]]:
    rows = [list(ids[start : start + length]) for start in range(0, len(ids), length)]
    return [row for row in rows if len(row) >= _LEAST_ROW]


def split_held_out(tokens: LabelledTokens, *, share: float = 0.25) -> tuple[LabelledTokens, LabelledTokens]:
    """Split rows into those to calibrate on and those to judge on, every fourth of each label by default.

    :param tokens: Rows; a row belongs to the label of its first token.
    :param share: Share of the rows that is held out, between 0 and 0.5.
    :returns: Rows to calibrate on, and held-out rows. No row is in both.
    :raises ShrinkError: If a label has too few rows to be in both.
    """
    if not 0 < share <= 0.5:
        raise ShrinkError(f"share must be in (0, 0.5], got {share}.")
    every = max(2, round(1 / share))
    held: list[int] = []
    for place, name in enumerate(tokens.labels):
        rows = [row for row, label in enumerate(tokens.label[:, 0].tolist()) if label == place]
        if len(rows) < 2:
            raise ShrinkError(f"{name!r} has {len(rows)} rows; at least 2 are needed to hold one out. Give more text.")
        held.extend(rows[min(every, len(rows)) - 1 :: every])
    kept = [row for row in range(len(tokens.ids)) if row not in set(held)]
    return tokens.rows(kept), tokens.rows(sorted(held))

"""Router rows from example texts: an expert's row points where its texts lie in the router's input.

Layer: ``moe_backbone``; imports torch and transformers.
Source: the idea of hidden-state gates (mergekit's ``gate_mode: hidden``), on what the router itself will see: the input
of each layer's feed-forward network. Three things are done to the mean state of each expert's texts: what all texts
share is taken away, so that rows differ by what tells the texts apart; the part along it is removed, so that no expert
is preferred by what every token has; and the rows are scaled so that a text's own expert leads by about ``spread``.

Shape suffixes: T tokens, H model width, R experts (or groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.loading import open_model, open_tokenizer

__all__ = ["gates_from_texts", "rows_from_means"]


def rows_from_means(means_RH: Tensor, *, spread: float = 1.0) -> Tensor:
    """Turn the mean states of each expert's texts into router rows.

    :param means_RH: Mean router input of each expert's texts. *Shape:* ``(R, H)``.
    :param spread: Mean logit of an expert on its own texts, > 0; 1 leaves the router undecided enough to learn.
    :returns: Rows that add up to 0 and are orthogonal to the mean of ``means_RH``. *Shape:* ``(R, H)``, float32.
    :raises CheckpointError: If the texts cannot be told apart.
    """
    shared_H = means_RH.double().mean(dim=0)
    rows_RH = means_RH.double() - shared_H
    along_R = rows_RH @ shared_H / shared_H.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    rows_RH = rows_RH - along_R[:, None] * shared_H
    size = rows_RH.square().sum(dim=1).mean()
    if not size > 1e-12 * means_RH.double().square().sum(dim=1).mean():
        raise CheckpointError(
            "the example texts of the experts have the same states: give each expert texts of its own."
        )
    return (rows_RH * (spread / size)).float()


def gates_from_texts(folder: Path, texts: Sequence[Sequence[str]], *, spread: float = 1.0) -> dict[int, Tensor]:
    """Run a dense model over each expert's texts and return the router rows of every layer.

    :param folder: A dense checkpoint with its tokenizer.
    :param texts: For each expert, at least one text that it should be chosen for. The first token of a text is left
        out: its state is the same for all texts, and large.
    :param spread: As in :func:`rows_from_means`.
    :returns: Rows by layer. *Shape:* each ``(R, H)``.
    :raises CheckpointError: If an expert has no text of at least two tokens, or the texts cannot be told apart.
    """
    tokenizer = open_tokenizer(folder)
    model: Any = open_model(folder, device="cpu", dtype=torch.float32).model
    sums: dict[int, Tensor] = {}
    networks: list[nn.Module] = [layer.mlp for layer in model.model.layers]
    hooks = [network.register_forward_pre_hook(partial(_add_up, sums, layer)) for layer, network in enumerate(networks)]
    means: dict[int, list[Tensor]] = {layer: [] for layer in range(len(networks))}
    try:
        for expert, examples in enumerate(texts):
            sums.clear()
            n_tokens = sum(_run(model, tokenizer, text) for text in examples)
            if n_tokens < 1:
                raise CheckpointError(f"expert {expert} has no example text of at least two tokens.")
            for layer, total_H in sums.items():
                means[layer].append(total_H / n_tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: rows_from_means(torch.stack(rows), spread=spread) for layer, rows in means.items()}


def _run(model: Any, tokenizer: Any, text: str) -> int:
    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, : model.config.max_position_embeddings]
    if ids.shape[1] < 2:
        return 0
    with torch.inference_mode():
        model.model(ids)
    return int(ids.shape[1]) - 1


def _add_up(sums: dict[int, Tensor], layer: int, network: nn.Module, args: tuple[Any, ...]) -> None:
    total_H = args[0][:, 1:].double().sum(dim=(0, 1))
    sums[layer] = sums[layer] + total_H if layer in sums else total_H

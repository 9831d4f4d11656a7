"""Open a model folder as what scores answers, whatever kind of sequence model it holds, as it is or tuned.

Layer: ``generation``; torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from generation.completion.generator.causal import CausalModel
from generation.completion.generator.fingerprints import folder_fingerprint
from generation.completion.generator.scoring import SequenceModel
from generation.completion.generator.seq2seq import Seq2SeqModel, is_seq2seq
from generation.completion.generator.tuned_io import attach_tuned, find_base, is_tuned, read_tuned
from generation.models.transformers_lm import TransformersLanguageModel

__all__ = ["load_tuned", "network_of", "open_plain", "open_sequence_model", "tokenizer_of"]


def open_sequence_model(
    folder: Path,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    name: str | None = None,
    base: Path | None = None,
) -> SequenceModel:
    """Open a causal model, dense or of experts, or an encoder-decoder model, or either as it was tuned.

    :param folder: Folder with configuration, weights and tokenizer, or one that `mmkg kgc tune` wrote. Nothing is ever
        downloaded.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision of a causal model; ``None`` decides as for answers.
    :param name: What people call it; ``None`` takes the folder's name.
    :param base: Of a tuned generator: where its base model is; ``None`` looks where it was.
    :returns: The model; a causal one that is not tuned loads its weights at the first use.
    :raises CompletionError: If a tuned generator is damaged, or its base is not the model that was tuned.
    """
    if not is_tuned(folder):
        return open_plain(folder, device=device, dtype=dtype, name=name)
    tuned = read_tuned(folder)
    where = find_base(folder, tuned, base=base)
    model = open_plain(where, device=device, dtype=dtype, name=name or folder.name)
    attach_tuned(network_of(model), tokenizer_of(model), folder=folder, base=where, tuned=tuned)
    model.fingerprint, model.tuned = folder_fingerprint(folder), tuned
    return model


def load_tuned(
    folder: Path, *, base: Path | None = None, device: str | None = None, merged: bool = True
) -> tuple[nn.Module, Any]:
    """Open the network and the tokenizer of a tuned generator.

    :param folder: A folder that `mmkg kgc tune` wrote.
    :param base: Where its base model is; ``None`` looks where it was.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param merged: Add single adapters to the weights, so that the model costs what its base does. Mixtures stay apart.
    :returns: The network in evaluation mode, and its tokenizer.
    :raises CompletionError: If the folder is damaged, or the base is not the model that was tuned.
    """
    tuned = read_tuned(folder)
    where = find_base(folder, tuned, base=base)
    model = open_plain(where, device=device, dtype=None, name=None)
    network, tokenizer = network_of(model), tokenizer_of(model)
    attach_tuned(network, tokenizer, folder=folder, base=where, tuned=tuned, merged=merged)
    return network, tokenizer


def network_of(model: CausalModel | Seq2SeqModel) -> nn.Module:
    """Return the network of a model in this process, loading it if need be."""
    network: nn.Module = model.lm.model if isinstance(model, CausalModel) else model.model
    return network


def tokenizer_of(model: CausalModel | Seq2SeqModel) -> Any:
    """Return the tokenizer of a model in this process."""
    return model.lm.tokenizer if isinstance(model, CausalModel) else model.tokenizer


def open_plain(
    folder: Path, *, device: str | None, dtype: torch.dtype | None = None, name: str | None = None
) -> CausalModel | Seq2SeqModel:
    """Open a model folder that is not a tuned generator's.

    :param folder: Folder with configuration, weights and tokenizer.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision of a causal model; ``None`` decides as for answers.
    :param name: What people call it; ``None`` takes the folder's name.
    :returns: The model; a causal one loads its weights at the first use.
    """
    if is_seq2seq(folder):
        return Seq2SeqModel(folder, device=device, name=name)
    return CausalModel(TransformersLanguageModel(folder, device=device, dtype=dtype, name=name))

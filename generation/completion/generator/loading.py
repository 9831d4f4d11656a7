"""Open a model folder as what scores answers, whatever kind of sequence model it holds.

Layer: ``generation``; torch and transformers.
"""

from __future__ import annotations

from pathlib import Path

import torch

from generation.completion.generator.causal import CausalModel
from generation.completion.generator.scoring import SequenceModel
from generation.completion.generator.seq2seq import Seq2SeqModel, is_seq2seq
from generation.models.transformers_lm import TransformersLanguageModel

__all__ = ["open_sequence_model"]


def open_sequence_model(
    folder: Path, *, device: str | None = None, dtype: torch.dtype | None = None, name: str | None = None
) -> SequenceModel:
    """Open a causal model, dense or of experts, or an encoder-decoder model.

    :param folder: Folder with configuration, weights and tokenizer. Nothing is ever downloaded.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision of a causal model; ``None`` decides as for answers.
    :param name: What people call it; ``None`` takes the folder's name.
    :returns: The model; a causal one loads its weights at the first use.
    """
    if is_seq2seq(folder):
        return Seq2SeqModel(folder, device=device, name=name)
    return CausalModel(TransformersLanguageModel(folder, device=device, dtype=dtype, name=name))

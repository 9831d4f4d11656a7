"""Open a checkpoint to run it: float32, from the folder alone, without transformers' progress bar.

Layer: ``moe_backbone``; imports torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as _logging

from moe_backbone.checkpoint import CheckpointError

__all__ = ["open_model", "open_tokenizer"]

_log: Any = _logging  # untyped upstream


def open_model(folder: Path) -> Any:
    """Load a causal model in float32, ready to evaluate.

    :param folder: A checkpoint folder.
    :returns: The model.
    :raises CheckpointError: If transformers cannot load it.
    """
    was_showing = _log.is_progress_bar_enabled()
    _log.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} cannot be loaded by transformers: {error}.") from error
    finally:
        if was_showing:
            _log.enable_progress_bar()
    return model.eval()


def open_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a checkpoint.

    :param folder: A checkpoint folder.
    :returns: The tokenizer.
    :raises CheckpointError: If there is none that transformers can load.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} has no tokenizer that can be loaded: {error}.") from error

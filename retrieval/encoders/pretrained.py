"""Any other encoder network, through transformers.

Layer: ``retrieval``; imports torch and transformers at module level, so only ``retrieval.encoders.transformer`` imports
it, and only when it is needed: for networks that ``retrieval.encoders.bert`` does not compute, and as its oracle.

Shape suffixes: B texts in a batch, T tokens (padded), D model width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding
from transformers.utils import logging as _logging

from kg.errors import MissingExtraError, ModelCorruptError

hf_logging: Any = _logging  # untyped upstream

__all__ = ["PretrainedEncoder"]


class PretrainedEncoder:
    """A network loaded by transformers, for inference: local files only, safetensors only, no code from the folder.

    Of an encoder–decoder such as T5 the encoder is loaded alone.

    :param folder: The model's folder.
    :param device: Where to compute.
    :param dtype: In what precision.
    :raises ModelCorruptError: If transformers cannot load it, or the file lacks weights.
    :raises MissingExtraError: If the network needs a package that is not installed.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        was_showing = hf_logging.is_progress_bar_enabled()
        hf_logging.disable_progress_bar()
        try:
            config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            auto = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
            model, loaded = auto.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=dtype,
                output_loading_info=True,
            )
        except ImportError as error:
            raise MissingExtraError(f"Text encoder: the network in {folder} needs another package: {error}") from error
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelCorruptError(f"Text encoder: transformers cannot load {folder}: {error}") from error
        finally:
            if was_showing:
                hf_logging.enable_progress_bar()
        absent = sorted(name for name in loaded["missing_keys"] if "pooler" not in name)  # a pooler is never used here
        if absent:
            raise ModelCorruptError(
                f"Text encoder: the weights in {folder} lack {len(absent)} tensors of its network, such as "
                f"{absent[0]!r}. Fetch it again, or choose another encoder."
            )
        if getattr(model.config, "use_cache", False):
            model.config.use_cache = False  # decoders would keep keys and values for words that never come
        self._model = model.to(device).eval()

    def __call__(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the last layer's token states.

        :param ids_BT: Token ids. *Shape:* ``(B, T)``, int64.
        :param mask_BT: True where there is a token, false where there is padding. *Shape:* ``(B, T)``, bool.
        :returns: States. *Shape:* ``(B, T, D)``.
        """
        states: Tensor = self._model(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
        return states

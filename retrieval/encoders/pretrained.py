"""Any other encoder network, through transformers.

Layer: ``retrieval``; imports torch and transformers at module level, so only ``retrieval.encoders.transformer`` imports
it, and only when it is needed: for networks that ``retrieval.encoders.bert`` does not compute, and as its oracle.

Shape suffixes: B texts in a batch, T tokens (padded), D model width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel

from kg.errors import ModelCorruptError

__all__ = ["PretrainedEncoder"]


class PretrainedEncoder:
    """A network loaded by ``AutoModel``, for inference: local files only, safetensors only, no code from the folder.

    :param folder: The model's folder.
    :param device: Where to compute.
    :param dtype: In what precision.
    :raises ModelCorruptError: If transformers cannot load it.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        try:
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=dtype
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelCorruptError(f"Text encoder: transformers cannot load {folder}: {error}") from error
        self._model = model.to(device).eval()

    def __call__(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the last layer's token states.

        :param ids_BT: Token ids. *Shape:* ``(B, T)``, int64.
        :param mask_BT: True where there is a token, false where there is padding. *Shape:* ``(B, T)``, bool.
        :returns: States. *Shape:* ``(B, T, D)``.
        """
        states: Tensor = self._model(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
        return states

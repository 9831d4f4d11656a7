"""BERT's encoder in plain torch: for many texts, and without the import of transformers, whose class is its oracle.

Layer: ``retrieval``; imports torch and safetensors at module level, so only ``retrieval.encoders.transformer`` imports
it, and only when the first text is encoded.
Source: Devlin et al. 2019, arXiv:1810.04805; tensor names as in transformers' ``BertModel``.

Why it exists: importing ``transformers.models.bert.modeling_bert`` takes longer than everything else between the
prompt and the first vector together (``tests/benchmarks/encoder_speed.py`` prints the breakdown). The
forward pass is forty lines; ``tests/retrieval/encoders`` holds its vectors to transformers' within 1e-6.

Shape suffixes: B texts in a batch, T tokens (padded), D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kg.errors import ModelCorruptError

__all__ = ["BertEncoder"]

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class BertEncoder:
    """The stack of BERT's layers, for inference.

    :param config: The network's ``config.json``, where :attr:`EncoderFolder.is_plain_bert` holds.
    :param weights_file: Its ``model.safetensors``; memory-mapped on the CPU, so unused rows are never read.
    :param device: Where to compute.
    :param dtype: In what precision.
    :raises ModelCorruptError: If the file is damaged or lacks a tensor.
    """

    def __init__(
        self, config: Mapping[str, Any], weights_file: Path, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._n_heads = int(config["num_attention_heads"])
        self._eps = float(config["layer_norm_eps"])
        self._activation = _ACTIVATIONS[config["hidden_act"]]
        try:
            loaded = load_file(weights_file, device=str(device))
            weights = {name.removeprefix("bert."): tensor.to(dtype) for name, tensor in loaded.items()}
            self._words = weights["embeddings.word_embeddings.weight"]
            # Encoders read one segment, so the type embedding is one row; it is added to the positions once.
            self._positions_TD = (
                weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
            )
            self._norm = _pair(weights, "embeddings.LayerNorm")
            self._layers = [_Layer(weights, f"encoder.layer.{i}.") for i in range(int(config["num_hidden_layers"]))]
        except (KeyError, SafetensorError) as error:
            raise ModelCorruptError(
                f"Text encoder: {weights_file} is damaged or not a BERT ({error}). "
                "Fetch it again with `mmkg models pull`."
            ) from error

    def __call__(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the last layer's token states.

        :param ids_BT: Token ids. *Shape:* ``(B, T)``, int64.
        :param mask_BT: True where there is a token, false where there is padding. *Shape:* ``(B, T)``, bool.
        :returns: States; those of padding are meaningless. *Shape:* ``(B, T, D)``.
        """
        x_BTD = F.embedding(ids_BT, self._words) + self._positions_TD[: ids_BT.shape[1]]
        x_BTD = self._normalise(x_BTD, self._norm)
        attended = None if bool(mask_BT.all()) else mask_BT[:, None, None, :]
        for layer in self._layers:
            x_BTD = self._normalise(x_BTD + self._attend(layer, x_BTD, attended), layer.attention_norm)
            inner = self._activation(F.linear(x_BTD, *layer.expand))
            x_BTD = self._normalise(x_BTD + F.linear(inner, *layer.contract), layer.output_norm)
        return x_BTD

    def _attend(self, layer: _Layer, x_BTD: Tensor, attended: Tensor | None) -> Tensor:
        n_texts, n_tokens, width = x_BTD.shape
        q, k, v = (
            part.view(n_texts, n_tokens, self._n_heads, -1).transpose(1, 2)
            for part in F.linear(x_BTD, *layer.query_key_value).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attended)
        return F.linear(mixed.transpose(1, 2).reshape(n_texts, n_tokens, width), *layer.attention_output)

    def _normalise(self, x_BTD: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x_BTD, (x_BTD.shape[-1],), *norm, self._eps)


class _Layer:
    """One layer's weights, as ``(weight, bias)`` pairs; query, key and value are one product."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str) -> None:
        parts = [_pair(weights, f"{prefix}attention.self.{name}") for name in ("query", "key", "value")]
        self.query_key_value = (torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts]))
        self.attention_output = _pair(weights, f"{prefix}attention.output.dense")
        self.attention_norm = _pair(weights, f"{prefix}attention.output.LayerNorm")
        self.expand = _pair(weights, f"{prefix}intermediate.dense")
        self.contract = _pair(weights, f"{prefix}output.dense")
        self.output_norm = _pair(weights, f"{prefix}output.LayerNorm")


def _pair(weights: Mapping[str, Tensor], prefix: str) -> tuple[Tensor, Tensor]:
    return weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]

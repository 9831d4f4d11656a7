"""BERT's encoder in NumPy: a question's vector without importing torch.

Layer: ``retrieval``; NumPy, safetensors and ``kg.errors`` only.
Source: Devlin et al. 2019, arXiv:1810.04805; tensor names as in transformers' ``BertModel``.

Why it exists: importing torch is most of what is left between the prompt and the first vector, and one question needs
none of it. ``tests/retrieval/encoders`` holds this to transformers' own network within 1e-6, as the torch one is.

Shape suffixes: T tokens, D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from kg.errors import ModelCorruptError
from retrieval.encoders.folder import Pooling
from retrieval.encoders.head import gelu, relu
from retrieval.encoders.tensors import read_float32

__all__ = ["NumpyBert"]

_Array = NDArray[np.float32]


class NumpyBert:
    """BERT and its pooling, for one text at a time, so there is no padding and no mask.

    :param config: The network's ``config.json``, where :attr:`EncoderFolder.is_plain_bert` holds.
    :param weights_file: Its ``model.safetensors``.
    :param pooling: How token states become one vector.
    :raises ModelCorruptError: If the file is damaged or lacks a tensor.
    """

    def __init__(self, config: Mapping[str, Any], weights_file: Path, *, pooling: Pooling) -> None:
        self._n_heads = int(config["num_attention_heads"])
        self._eps = np.float32(config["layer_norm_eps"])
        self._activation = gelu if config["hidden_act"] == "gelu" else relu
        self._pooling = pooling
        try:
            weights = {
                name.removeprefix("bert."): tensor
                for name, tensor in read_float32(
                    weights_file, is_wanted=lambda name: not name.endswith("position_ids")
                ).items()
            }
            self._words = weights["embeddings.word_embeddings.weight"]
            self._positions_TD = (
                weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
            )
            self._norm = _pair(weights, "embeddings.LayerNorm")
            self._layers = [
                {name: _pair(weights, f"encoder.layer.{i}.{path}") for name, path in _PARTS.items()}
                for i in range(int(config["num_hidden_layers"]))
            ]
        except (KeyError, SafetensorError) as error:
            raise ModelCorruptError(
                f"Text encoder: {weights_file} is damaged or not a BERT ({error}). "
                "Fetch it again with `mmkg models pull`."
            ) from error

    def __call__(self, tokens: Sequence[Sequence[int]]) -> _Array:
        """Return each text's pooled states.

        :param tokens: Each text's token ids, special tokens included.
        :returns: One row per text, of any length. *Shape:* ``(len(tokens), D)``.
        """
        return np.stack([self._vector(ids) for ids in tokens])

    def _vector(self, ids: Sequence[int]) -> _Array:
        states_TD = self.states(ids)
        if self._pooling is Pooling.MEAN:
            pooled_D: _Array = states_TD.mean(axis=0)
        elif self._pooling is Pooling.MAX:
            pooled_D = states_TD.max(axis=0)
        else:
            pooled_D = states_TD[0 if self._pooling is Pooling.CLS else -1]
        return pooled_D

    def states(self, ids: Sequence[int]) -> _Array:
        """Return the last layer's token states of one text. *Shape:* ``(T, D)``."""
        x_TD = self._normalise(self._words[list(ids)] + self._positions_TD[: len(ids)], self._norm)
        for layer in self._layers:
            x_TD = self._normalise(x_TD + self._attend(layer, x_TD), layer["attention_norm"])
            inner = self._activation(_linear(x_TD, layer["expand"]))
            x_TD = self._normalise(x_TD + _linear(inner, layer["contract"]), layer["output_norm"])
        return x_TD

    def _attend(self, layer: Mapping[str, tuple[_Array, _Array]], x_TD: _Array) -> _Array:
        n_tokens, width = x_TD.shape
        q, k, v = (
            _linear(x_TD, layer[name]).reshape(n_tokens, self._n_heads, -1).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores_HTT = q @ k.transpose(0, 2, 1) / np.float32(q.shape[-1] ** 0.5)
        weights_HTT = np.exp(scores_HTT - scores_HTT.max(axis=-1, keepdims=True))
        weights_HTT /= weights_HTT.sum(axis=-1, keepdims=True)
        mixed_TD = (weights_HTT @ v).transpose(1, 0, 2).reshape(n_tokens, width)
        return _linear(mixed_TD, layer["attention_output"])

    def _normalise(self, x_TD: _Array, norm: tuple[_Array, _Array]) -> _Array:
        centred_TD = x_TD - x_TD.mean(axis=-1, keepdims=True)
        variance_T1 = (centred_TD * centred_TD).mean(axis=-1, keepdims=True)
        scaled_TD: _Array = centred_TD / np.sqrt(variance_T1 + self._eps) * norm[0] + norm[1]
        return scaled_TD


_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "output_norm": "output.LayerNorm",
}


def _pair(weights: Mapping[str, _Array], prefix: str) -> tuple[_Array, _Array]:
    return weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]


def _linear(x_TD: _Array, layer: tuple[_Array, _Array]) -> _Array:
    product: _Array = x_TD @ layer[0].T + layer[1]
    return product

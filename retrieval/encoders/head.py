"""What a sentence encoder does after pooling: linear layers, and the scaling to length one.

Layer: ``retrieval``; NumPy, safetensors and ``kg.errors`` only.
Source: the modules ``Dense`` and ``Normalize`` of sentence-transformers. A vector is pooled once a text, so these
products are small beside the network's and are computed in NumPy wherever the network ran.

Shape suffixes: B texts in a batch, I width that goes in, D width that comes out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from kg.errors import ModelCorruptError
from retrieval.encoders.tensors import read_float32

__all__ = ["ACTIVATIONS", "DenseStage", "Head", "NormalizeStage", "erf", "gelu", "relu"]

_Array = NDArray[np.float32]
_ERF_ABOVE = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_BELOW = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def erf(x_P: _Array) -> _Array:
    """Return the error function of each point, within 3e-7 of the true one. *Shape:* any, kept.

    It is the rational approximation that Eigen and XLA use for float32 (``generic_fast_erf_float``).
    """
    x_P = np.clip(x_P, -4.0, 4.0)
    square_P = x_P * x_P
    erf_P: _Array = (x_P * _polynomial(_ERF_ABOVE, square_P) / _polynomial(_ERF_BELOW, square_P)).astype(np.float32)
    return erf_P


def _polynomial(coefficients: Sequence[float], x_P: _Array) -> _Array:
    value_P = np.full_like(x_P, coefficients[0])
    for coefficient in coefficients[1:]:
        value_P = value_P * x_P + np.float32(coefficient)
    return value_P


def gelu(x_P: _Array) -> _Array:
    """Return ``x Φ(x)``. *Shape:* any, kept."""
    return np.float32(0.5) * x_P * (np.float32(1.0) + erf(x_P * np.float32(0.5**0.5)))


def relu(x_P: _Array) -> _Array:
    """Return the positive part. *Shape:* any, kept."""
    return np.maximum(x_P, np.float32(0.0))


def _identity(x_P: _Array) -> _Array:
    return x_P


def _tanh(x_P: _Array) -> _Array:
    return np.tanh(x_P)


def _sigmoid(x_P: _Array) -> _Array:
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-x_P))


def _silu(x_P: _Array) -> _Array:
    return x_P * _sigmoid(x_P)


ACTIVATIONS: Mapping[str, Callable[[_Array], _Array]] = {
    "Identity": _identity,
    "Tanh": _tanh,
    "ReLU": relu,
    "GELU": gelu,
    "Sigmoid": _sigmoid,
    "SiLU": _silu,
}
"""What may follow a linear layer, by the name of torch's class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizeStage:
    """Scales vectors to length one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseStage:
    """A linear layer and what follows it: the file of its weights, its widths, a key of :data:`ACTIVATIONS`."""

    weights_file: Path
    n_in: int
    n_out: int
    has_bias: bool
    activation: str


class Head:
    """All stages after pooling, in order, and length one in any case. Safe between threads.

    :param stages: The stages; weights are read with the first vectors.
    """

    def __init__(self, stages: Sequence[DenseStage | NormalizeStage]) -> None:
        self._stages = tuple(stages)
        self._weights: dict[Path, tuple[_Array, _Array | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, pooled_BI: _Array) -> _Array:
        """Return the unit vectors of pooled states.

        :param pooled_BI: One row a text, of the network's width. *Shape:* ``(B, I)``.
        :returns: Unit rows; a row of zeros stays one, and what is not finite stays so. *Shape:* ``(B, D)``.
        :raises ModelCorruptError: If a layer's weights are damaged or of another shape than their configuration says.
        """
        x_BI = pooled_BI
        for stage in self._stages:
            if isinstance(stage, NormalizeStage):
                x_BI = _unit(x_BI)
                continue
            weight_DI, bias_D = self._loaded(stage)
            product = x_BI @ weight_DI.T
            x_BI = ACTIVATIONS[stage.activation](product if bias_D is None else product + bias_D)
        return _unit(x_BI)

    def _loaded(self, stage: DenseStage) -> tuple[_Array, _Array | None]:
        with self._lock:
            if stage.weights_file not in self._weights:
                self._weights[stage.weights_file] = _read(stage)
            return self._weights[stage.weights_file]


def _unit(x_BD: _Array) -> _Array:
    lengths_B1 = np.sqrt(np.square(x_BD).sum(axis=1, keepdims=True))
    unit_BD: _Array = x_BD / np.maximum(lengths_B1, np.float32(1e-12))
    return unit_BD


def _read(stage: DenseStage) -> tuple[_Array, _Array | None]:
    names = ["linear.weight", *(["linear.bias"] if stage.has_bias else [])]
    try:
        found = read_float32(stage.weights_file, is_wanted=names.__contains__)
        tensors = [found[name] for name in names]
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelCorruptError(
            f"Text encoder: {stage.weights_file} is damaged or holds no linear layer ({error}). Fetch it again."
        ) from error
    if tensors[0].shape != (stage.n_out, stage.n_in):
        raise ModelCorruptError(
            f"Text encoder: the layer in {stage.weights_file} has shape {tensors[0].shape}, but its configuration says "
            f"{(stage.n_out, stage.n_in)}. Fetch it again."
        )
    return tensors[0], tensors[1] if stage.has_bias else None

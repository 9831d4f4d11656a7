"""Checkpoints of a run: everything that the next step depends on, whole or not at all.

Layer: ``moe_backbone``; imports torch and safetensors.
A checkpoint holds the parameters trained so far, the buffers, the optimiser and the random states; the place in the
data is the step number (:class:`~moe_backbone.training.data.BatchSource`), and the schedule follows from it. Folders
are written and hashed by :mod:`moe_backbone.checkpoint`; one that is damaged is passed over for the one before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moe_backbone.checkpoint import checkpoint_folder, is_complete, read_manifest, verify
from moe_backbone.training.config import TrainingError

__all__ = ["SavedState", "latest_state", "random_states", "restore_model", "restore_random_states", "save_state"]

_KIND = "training-state"
_VERSION = 1
_TENSORS = "state.safetensors"
_PREFIX = "step-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A checkpoint as it was read.

    :param step: Optimiser steps done.
    :param folder: Where it is.
    :param model: Parameters trained so far, and buffers, by name.
    :param optimiser: State of the optimiser, by parameter and key; empty at the end of a stage.
    :param random: Random states by device.
    """

    step: int
    folder: Path
    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    random: dict[str, Tensor]


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's random generators, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_states(states: Mapping[str, Tensor]) -> None:
    """Set the random generators to what :func:`random_states` returned; devices that are gone are passed over."""
    torch.set_rng_state(states["cpu"])
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda{number}" in states:
            torch.cuda.set_rng_state(states[f"cuda{number}"], number)


def save_state(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    trained: Iterable[str],
    optimiser: Mapping[str, Tensor],
    run: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of a step into ``folder``, and remove those that are not kept.

    :param folder: Folder of the run's checkpoints.
    :param step: Optimiser steps done.
    :param model: The model.
    :param trained: Names of the parameters that any stage so far has trained.
    :param optimiser: State of the optimiser.
    :param run: What the run is, JSON values: a checkpoint resumes a run that is the same.
    :param keep: Checkpoints that are kept, the newest.
    :returns: The checkpoint's folder.
    :raises CheckpointError: If the disk has too little room.
    """
    parameters = dict(model.named_parameters())
    tensors = {f"model/{name}": parameters[name].detach() for name in trained}
    tensors |= {f"model/{name}": value for name, value in model.named_buffers()}
    tensors |= {f"optimiser/{name}": value for name, value in optimiser.items()}
    tensors |= {f"random/{name}": value for name, value in random_states().items()}
    tensors = {name: value.cpu().clone().contiguous() for name, value in tensors.items()}
    out = folder / f"{_PREFIX}{step:08d}"
    recipe = {"kind": _KIND, "version": _VERSION, "step": step, "run": dict(run)}
    size_bytes = sum(value.numel() * value.element_size() for value in tensors.values())
    with checkpoint_folder(out, recipe=recipe, size_bytes=size_bytes) as part:
        save_file(tensors, part / _TENSORS)
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return out


def latest_state(folder: Path, *, run: Mapping[str, Any]) -> SavedState | None:
    """Read the newest checkpoint whose every byte is as it was written.

    :param folder: Folder of the run's checkpoints; it may not exist.
    :param run: What the run is.
    :returns: The state, or ``None`` if there is no whole checkpoint.
    :raises TrainingError: If the newest whole checkpoint is of another run; the message names what differs.
    """
    for path in reversed(_steps(folder)):
        if not is_complete(path) or verify(path):
            continue
        recipe = (read_manifest(path) or {})["recipe"]
        _check_same_run(path, recipe, run)
        tensors = load_file(path / _TENSORS)

        def part(name: str, tensors: dict[str, Tensor] = tensors) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}

        return SavedState(
            step=recipe["step"],
            folder=path,
            model=part("model"),
            optimiser=part("optimiser"),
            random=part("random"),
        )
    return None


@torch.no_grad()
def restore_model(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copy saved parameters and buffers into ``model``.

    :param model: The model that the run started from.
    :param saved: By name.
    :raises TrainingError: If the model has no such parameter, or one of another shape.
    """
    here = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in saved.items():
        if name not in here or here[name].shape != value.shape:
            found = "nothing" if name not in here else str(tuple(here[name].shape))
            raise TrainingError(f"the checkpoint's {name} has shape {tuple(value.shape)}, the model's is {found}.")
        here[name].copy_(value)


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir()) if folder.is_dir() else []


def _check_same_run(path: Path, recipe: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    if recipe.get("kind") != _KIND or recipe.get("version") != _VERSION:
        raise TrainingError(f"{path} is no checkpoint of a training of this version. Choose another folder.")
    before, now = recipe["run"], json.loads(json.dumps(dict(run)))
    if before != now:
        changed = _differences(before, now)
        raise TrainingError(
            f"{path.parent} belongs to another run: {'; '.join(changed[:4])}. Undo the change, or train into another "
            "folder."
        )


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for place, (one, other) in pairs for line in _differences(one, other, f"{where}[{place}]")]
    return [] if before == now else [f"{where} was {before!r} and is {now!r}"]

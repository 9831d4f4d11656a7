"""The checkpoint folder of a training, written so that a crash cannot tear it.

Layer: ``generation``; imports torch. ``last-EPOCH.safetensors`` holds all that the next epoch depends on,
``best-EPOCH.safetensors`` the model of the best epoch, and ``state.json``, written last, names the two that count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from generation.completion.files import write_json_atomically, write_tensors_atomically
from generation.completion.progress import EpochProgress, TrainingState
from kg.errors import CompletionError

__all__ = ["Checkpoint", "has_checkpoint", "read_checkpoint", "write_checkpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a folder held: how far the training had come, its tensors, and those of the best epoch, if there is one."""

    state: TrainingState
    last: Mapping[str, Tensor]
    best: Mapping[str, Tensor] | None


def has_checkpoint(folder: Path | None) -> bool:
    """Say whether there is a training in a folder that could go on."""
    return folder is not None and (folder / "state.json").is_file()


def write_checkpoint(
    folder: Path,
    state: TrainingState,
    *,
    identity: Mapping[str, object],
    last: Mapping[str, Tensor],
    best: Mapping[str, Tensor] | None,
) -> None:
    """Write the tensors of an epoch, then the state that names them, and remove those of earlier epochs.

    :param folder: The folder; made where it is not there.
    :param state: How far the training has come; the tensors of its best epoch are written once.
    :param identity: What the training is of, for :func:`read_checkpoint`.
    :param last: All that the next epoch depends on.
    :param best: The model of the best epoch, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last_name = f"last-{state.epoch}.safetensors"
    write_tensors_atomically(folder / last_name, last)
    best_name = ""
    if best is not None:
        best_name = f"best-{state.best_epoch}.safetensors"
        if not (folder / best_name).is_file():
            write_tensors_atomically(folder / best_name, best)
    written = {"identity": identity, "last": last_name, "best": best_name, "state": asdict(state)}
    write_json_atomically(folder / "state.json", written)
    for path in folder.glob("*.safetensors"):
        if path.name not in (last_name, best_name):
            path.unlink()


def read_checkpoint(folder: Path, *, identity: Mapping[str, object], what: str, device: str) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    :param folder: The folder.
    :param identity: What the training that wants to go on is of.
    :param what: What an identity is made of, in words, for the message.
    :param device: Where the tensors are wanted.
    :returns: The checkpoint.
    :raises CompletionError: If it is of another training, or cannot be read.
    """
    try:
        saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if saved["identity"] != json.loads(json.dumps(identity)):
            raise CompletionError(
                f"{folder}: the checkpoint is of another {what}. Delete the folder, or train with the same ones, to go "
                "on."
            )
        last = load_file(folder / saved["last"], device=device)
        best = load_file(folder / saved["best"], device=device) if saved["best"] else None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CompletionError(f"{folder}: the checkpoint cannot be read ({error}). Delete it to start anew.") from error
    state = saved["state"]
    history = [EpochProgress(**row) for row in state.pop("history")]
    return Checkpoint(state=TrainingState(**state, history=history), last=last, best=best)

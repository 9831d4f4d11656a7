"""Keep a log of every evaluation beside the model, so that it shows how often test was looked at.

Layer: ``generation``; the standard library only. ``evaluations.jsonl`` holds one JSON object a line and is only ever
added to; training the model of the folder anew leaves it in place, since the looks at test remain. A setting that was
changed after a look at test was chosen with test in view, however clean the run itself.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from generation.completion.saved import SavedModel
from kg.errors import CompletionError

__all__ = ["EvaluationLog", "log_evaluation", "log_settings", "read_evaluations"]

_FILE = "evaluations.jsonl"
_FIGURES = ("mrr", "hits@1", "hits@3", "hits@10", "n", "params", "seconds")
_PARTS = ("head", "tail", "unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationLog:
    """What the log of a model folder holds, oldest first; ``n_damaged`` lines could not be read."""

    entries: tuple[Mapping[str, object], ...]
    n_damaged: int = 0

    @property
    def looks(self) -> dict[str, int]:
        """How often each split was evaluated."""
        return dict(Counter(str(entry.get("split")) for entry in self.entries))


def log_evaluation(
    model_dir: Path,
    result: Mapping[str, object],
    *,
    split: str,
    settings: Mapping[str, object],
    command: str,
    when: datetime | None = None,
) -> None:
    """Add one evaluation to the log of a model folder and flush it to the disk.

    :param model_dir: The model folder.
    :param result: What was measured; its overall figures are kept, the MRR of its parts (head, tail, unseen), and that
        of each arm and baseline that was ranked beside it.
    :param split: Which split was ranked.
    :param settings: What led to the model: its settings, its seed, the digest of what it was trained on.
    :param command: What asked for it, for example ``eval``.
    :param when: The time; ``None`` takes the clock.
    :raises CompletionError: If the log cannot be written. An evaluation that leaves no trace is not reported.
    """
    entry = {
        "when": (when or datetime.now(UTC)).isoformat(timespec="seconds"),
        "command": command,
        "split": split,
        **{name: result[name] for name in _FIGURES if name in result},
        **({"parts": parts} if (parts := _parts(result)) else {}),
        **({"beside": beside} if (beside := _ranked_beside(result)) else {}),
        "settings": dict(settings),
    }
    path = model_dir / _FILE
    try:
        with path.open("a+b") as stream:
            stream.seek(0, os.SEEK_END)
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                torn = stream.read(1) != b"\n"  # a crash in the middle of a line must not cost the next one
            else:
                torn = False
            line = json.dumps(entry, ensure_ascii=False) + "\n"
            stream.write((("\n" if torn else "") + line).encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise CompletionError(f"{path}: cannot be written ({error.strerror}); an evaluation must be logged.") from error


def _parts(result: Mapping[str, object]) -> dict[str, object]:
    """Return the MRR of either direction and of triples with an unseen entity, of those that were asked for any."""
    found = {name: result.get(name) for name in _PARTS}
    return {name: part["mrr"] for name, part in found.items() if isinstance(part, Mapping) and part.get("n")}


def _ranked_beside(result: Mapping[str, object]) -> dict[str, object]:
    """Return the MRR of all that the same look ranked: arms, baselines, and vectors dealt out anew."""
    groups: dict[str, object] = {name: result.get(name) for name in ("ablation", "ladder", "baselines")}
    permuted = result.get("permuted")
    if isinstance(permuted, Mapping):
        groups |= {f"permuted {kind}": one["arms"] for kind, one in permuted.items()}
    return {
        group: {name: figures["mrr"] for name, figures in arms.items()}
        for group, arms in groups.items()
        if isinstance(arms, Mapping)
    }


def log_settings(saved: SavedModel) -> dict[str, object]:
    """Return what tells one training of a model folder from another: settings, seed, graph and the file of weights."""
    files = saved.metadata.get("files")
    return {
        "graph": saved.metadata.get("graph"),
        "train": str(saved.metadata.get("train_fingerprint", ""))[:12],
        "weights": files.get("weights") if isinstance(files, dict) else None,
        "seed": saved.metadata.get("seed"),
        "best_valid_mrr": saved.metadata.get("best_valid_mrr"),
        "config": saved.config.to_mapping(),
    }


def read_evaluations(model_dir: Path) -> EvaluationLog:
    """Read the log of a model folder; no log gives no entries.

    :param model_dir: The model folder.
    :returns: The entries.
    :raises CompletionError: If the file is there and cannot be read.
    """
    path = model_dir / _FILE
    if not path.is_file():
        return EvaluationLog(entries=())
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CompletionError(f"{path}: cannot be read ({error.strerror}).") from error
    entries: list[Mapping[str, object]] = []
    n_damaged = 0
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            entries.append(entry)
        else:
            n_damaged += 1
    return EvaluationLog(entries=tuple(entries), n_damaged=n_damaged)

"""A tuned generator's folder: its low-rank experts, and which base model they belong to.

Layer: ``generation``; torch is imported when weights are read or written.
A folder holds ``tuning.json``, the adapters, ``log.jsonl`` and the manifest of :mod:`moe_backbone.checkpoint`, and is
complete or absent. It holds none of the base model's weights: those are opened from where they are, and refused if they
are not the ones that were tuned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.completion.generator.tuning_config import TuningConfig
from generation.completion.triples import TripleSet
from kg.errors import CompletionError, ConfigError, ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ABOUT_FILE",
    "TunedGenerator",
    "attach_tuned",
    "base_fingerprint",
    "check_tuned_for",
    "find_base",
    "is_tuned",
    "read_tuned",
    "write_tuned",
]

ABOUT_FILE = "tuning.json"
_FORMAT = "mmkg_tuned_generator_1"
_BYTES_PER_PARAMETER = 4  # adapters are float32


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedGenerator:
    """What a folder says of itself.

    :param base: What the user called the base model.
    :param base_folder: Where it was.
    :param fingerprint: Hashes of its weights and configuration, and of its tokens.
    :param config: How it was tuned; prompts must be made as they were then.
    :param graph: Name, vocabulary and train fingerprints of the graph it was tuned on.
    :param report: What tuning reached.
    """

    base: str
    base_folder: str
    fingerprint: Mapping[str, str]
    config: TuningConfig
    graph: Mapping[str, str]
    report: Mapping[str, object] = field(default_factory=dict)


def is_tuned(folder: Path) -> bool:
    """Tell whether a folder claims to be a tuned generator's, whole or not."""
    return (folder / ABOUT_FILE).is_file()


def read_tuned(folder: Path) -> TunedGenerator:
    """Read what a folder says of itself, and check every file against the manifest.

    :param folder: A folder that `mmkg kgc tune` wrote.
    :returns: What it says.
    :raises CompletionError: If it is none, or is damaged.
    """
    from moe_backbone.checkpoint import CheckpointError, verify

    try:
        if wrong := verify(folder):
            raise CompletionError(
                f"{folder}: {', '.join(wrong)} changed since tuning. Take another copy, or tune again."
            )
        about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
        if about.get("format") != _FORMAT:
            raise CompletionError(f"{folder / ABOUT_FILE} has the format {about.get('format')!r}, not {_FORMAT!r}.")
        config = TuningConfig.from_mapping(about["config"])
        read = TunedGenerator(
            **{name: about[name] for name in ("base", "base_folder", "fingerprint", "graph", "report")}, config=config
        )
    except (CheckpointError, OSError, ValueError, KeyError, AttributeError, ConfigError) as error:
        raise CompletionError(f"{folder} is no tuned generator's folder: {error} Run `mmkg kgc tune`.") from error
    return read


def attach_tuned(
    network: nn.Module, tokenizer: Any, *, folder: Path, base: Path, tuned: TunedGenerator, merged: bool = True
) -> None:
    """Put tuned experts into their base model.

    :param network: The base model, freshly opened. Changed in place.
    :param tokenizer: Its tokenizer.
    :param folder: A folder that `mmkg kgc tune` wrote.
    :param base: The folder that the base model was opened from.
    :param tuned: What :func:`read_tuned` returned.
    :param merged: Add single adapters to the weights, so that the model costs what its base does. Mixtures stay apart.
    :raises CompletionError: If the base is another model than the one that was tuned, or the adapters do not fit it.
    """
    from generation.completion.generator.tuned_adapters import adapt, merge, read_adapters

    found = base_fingerprint(base, tokenizer)
    differing = [part for part, value in tuned.fingerprint.items() if found.get(part) != value]
    if differing:
        raise CompletionError(
            f"{folder} was tuned from {tuned.base!r}; the {' and '.join(differing)} of {base} are not those of that "
            "model, so its adapters would be noise here. Name the base model it was tuned from, or tune again."
        )
    adapt(network, tuned.config)
    read_adapters(network, folder)
    if merged:
        merge(network)
    network.eval()


def find_base(folder: Path, tuned: TunedGenerator, *, base: Path | None = None) -> Path:
    """Return where the base model of a tuned generator is.

    :param folder: The generator's folder.
    :param tuned: What it says of itself.
    :param base: Where the caller has it; ``None`` takes where it was when it was tuned.
    :returns: A folder.
    :raises CompletionError: If it is not there any more.
    """
    where = base if base is not None else Path(tuned.base_folder)
    if not where.is_dir():
        raise CompletionError(
            f"{folder} was tuned from {tuned.base!r}, whose weights are no longer at {where}. Name their folder."
        )
    return where


def base_fingerprint(folder: Path, tokenizer: Any) -> dict[str, str]:
    """Hash what adapters depend on: weights with configuration, and the vocabulary.

    :param folder: The base model's checkpoint folder.
    :param tokenizer: Its tokenizer.
    :returns: Hashes by part.
    :raises ModelError: If the folder holds no weights.
    """
    from moe_backbone.checkpoint import CheckpointError, source_sha256

    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    try:
        weights = source_sha256(folder)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    return {"weights": weights, "tokens": hashlib.sha256(vocabulary.encode()).hexdigest()}


def check_tuned_for(tuned: TunedGenerator, graph: TripleSet) -> None:
    """Refuse a graph whose held-out triples the generator may have been tuned on.

    :param tuned: The generator.
    :param graph: The graph it shall answer about; one of other entities and relations is none of its own.
    :raises CompletionError: If entities and relations are the same and the train triples are not.
    """
    same_vocabulary = tuned.graph.get("vocabulary_fingerprint") == graph.vocabulary_fingerprint
    if same_vocabulary and tuned.graph.get("train_fingerprint") != graph.train_fingerprint:
        raise CompletionError(
            f"The generator was tuned on {tuned.graph.get('name')!r} with other train triples than {graph.name!r} has "
            "now, so it may have learnt what it would be asked. Tune again; where validation is carved from train, "
            "with the seed of the model."
        )


def write_tuned(model: nn.Module, out: Path, about: TunedGenerator, *, log: Path, recipe: Mapping[str, object]) -> None:
    """Write a tuned generator's folder in one step.

    :param model: The adapted model.
    :param out: The folder to make; one that stands there is replaced.
    :param about: What it says of itself.
    :param log: The log of the run, which is copied into it.
    :param recipe: What was done to what, for the manifest.
    :raises CompletionError: If the disk is too small.
    """
    from generation.completion.generator.tuned_adapters import count_tuned, write_adapters
    from moe_backbone.checkpoint import CheckpointError, checkpoint_folder

    size_bytes = _BYTES_PER_PARAMETER * count_tuned(model)
    said = {
        "format": _FORMAT,
        "base": about.base,
        "base_folder": about.base_folder,
        "fingerprint": dict(about.fingerprint),
        "config": about.config.to_mapping(),
        "graph": dict(about.graph),
        "report": dict(about.report),
    }
    try:
        with checkpoint_folder(out, recipe=recipe, size_bytes=size_bytes) as part:
            write_adapters(model, part)
            (part / ABOUT_FILE).write_text(json.dumps(said, indent=2, ensure_ascii=False), encoding="utf-8")
            if log.is_file():
                (part / log.name).write_bytes(log.read_bytes())
    except CheckpointError as error:
        raise CompletionError(str(error)) from error

"""What a model folder remembers of its generator: which model, which context, which weights.

Layer: ``generation``; the standard library, and what writes files. ``generator.json`` stands beside ``config.json``;
the sequence model itself is not copied. The weights hold for one training of the experts and one sequence model, so
either is compared when the generator is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generation.completion.files import write_json_atomically
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stage import StageWeights
from kg.errors import CompletionError, ConfigError

__all__ = ["FILE", "FittedArm", "StoredGenerator", "load_generator", "save_generator"]

FILE = "generator.json"
_FORMAT, _VERSION = "mmkgrag-generator", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedArm:
    """The weights of one context arm, and what they reached on validation (MRR, fractions, by name)."""

    weights: StageWeights
    validation: Mapping[str, float]
    n: int
    n_asked: int

    def to_mapping(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "kind": self.weights.kind,
            "weights": [list(row) for row in self.weights.table],
            "validation": dict(self.validation),
            "questions": self.n,
            "asked": self.n_asked,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGenerator:
    """The generator of a model folder.

    ``model`` is the name by which it is opened, ``fingerprint`` what tells its weights from others; ``of_files`` names
    the files of the experts that the weights were fitted with. ``arms`` holds what was fitted for each context arm; the
    one in use is ``settings.arm``.
    """

    model: str
    fingerprint: str
    settings: GeneratorSettings
    arms: Mapping[str, FittedArm]
    of_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> StageWeights:
        """The weights in use."""
        return self.arms[self.settings.arm].weights

    def to_mapping(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "settings": self.settings.to_mapping(),
            "arms": {name: arm.to_mapping() for name, arm in self.arms.items()},
            "of_files": dict(self.of_files),
        }

    def check_fingerprint(self, fingerprint: str) -> None:
        """Refuse another sequence model than the one that the weights were fitted with.

        :param fingerprint: Fingerprint of the model that was opened.
        :raises CompletionError: If it is another.
        """
        if fingerprint != self.fingerprint:
            raise CompletionError(
                f"The generator {self.model!r} is not the model that its weights were fitted with (fingerprint "
                f"{fingerprint}, expected {self.fingerprint}). Fit it again with `mmkg kgc generator`."
            )


def save_generator(folder: Path, stored: StoredGenerator) -> None:
    """Write ``generator.json`` into a model folder, whole or not at all."""
    write_json_atomically(folder / FILE, stored.to_mapping())


def load_generator(folder: Path, *, metadata: Mapping[str, object]) -> StoredGenerator | None:
    """Read the generator of a model folder.

    :param folder: The model folder.
    :param metadata: What its ``config.json`` holds.
    :returns: The generator; ``None`` where there is none.
    :raises CompletionError: If the file is damaged, or of another training of the experts.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        stored = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise CompletionError(
            f"{path}: damaged ({error}). Fit the generator again with `mmkg kgc generator`, or remove the file."
        ) from error
    if dict(stored.of_files) != metadata.get("files"):
        raise CompletionError(
            f"{path}: the generator was fitted for another training of this model. Fit it again with "
            "`mmkg kgc generator`, or remove the file."
        )
    return stored


def _parsed(value: Any) -> StoredGenerator:
    if value["format"] != _FORMAT or value["version"] != _VERSION:
        raise ValueError(f"format {value['format']!r} {value['version']!r}, expected {_FORMAT!r} {_VERSION}")
    arms = {}
    for name, arm in value["arms"].items():
        (a, b), (c, d) = arm["weights"]
        table = ((float(a), float(b)), (float(c), float(d)))
        if not all(0.0 <= weight < float("inf") for row in table for weight in row):
            raise ValueError(f"the weights of the arm {name!r} are {table}")
        arms[str(name)] = FittedArm(
            weights=StageWeights(kind=str(arm["kind"]), table=table),
            validation={str(key): float(number) for key, number in arm["validation"].items()},
            n=int(arm["questions"]),
            n_asked=int(arm["asked"]),
        )
    settings = GeneratorSettings.from_mapping(value["settings"])
    if settings.arm not in arms:
        raise ValueError(f"the arm {settings.arm!r} is in use and was not fitted")
    return StoredGenerator(
        model=str(value["model"]),
        fingerprint=str(value["fingerprint"]),
        settings=settings,
        arms=arms,
        of_files={str(key): str(name) for key, name in value["of_files"].items()},
    )

"""Compare trained models by what their logs of evaluations say: mean and deviation over seeds, gain between recipes.

Layer: ``generation``. Nothing is ranked here, so it costs no further look at test. Models that were trained on the same
triples with the same settings, and asked for as many, are one group, whatever their seeds. The deviation is that of a
sample (n - 1), the standard error of a gain that of Welch 1947, "The generalization of Student's problem":
``sqrt(s1^2/n1 + s2^2/n2)``.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_log import read_evaluations
from generation.completion.model_io import read_metadata
from kg.errors import CompletionError

__all__ = ["ComparedModel", "Comparison", "Gain", "ModelGroup", "Spread", "compare_models"]

_COMMANDS = ("eval", "report")
"""Entries that rank the whole split; others rank a sample."""
_FIGURES = ("mrr", "hits@1", "hits@3", "hits@10")
_INDIFFERENT = ("threads", "device", "softmax_bytes", "validate_every")
"""Settings that say how to compute, not what is learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The mean of ``n`` figures, fractions, and their sample standard deviation, ``None`` for one figure."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Summarise at least one figure."""
        deviation = statistics.stdev(figures) if len(figures) > 1 else None
        return cls(mean=statistics.fmean(figures), deviation=deviation, n=len(figures))

    def gain_over(self, other: Spread) -> Gain:
        """Return how far this mean lies above another."""
        error = None
        if self.deviation is not None and other.deviation is not None:
            error = math.sqrt(self.deviation**2 / self.n + other.deviation**2 / other.n)
        return Gain(mean=self.mean - other.mean, standard_error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A difference of means and its standard error, ``None`` where either mean is of one figure."""

    mean: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """One model's figures, fractions, as its last whole evaluation of the split gave them.

    ``figures`` are MRR and Hits, and the MRR of ``head``, ``tail`` and ``unseen`` where they were logged; ``beside`` is
    the MRR of what the same looks ranked beside it, as ``baselines: rules-1``; ``looks`` counts looks at the split.
    """

    folder: str
    graph: str
    seed: int | None
    valid_mrr: float | None
    figures: Mapping[str, float]
    beside: Mapping[str, float]
    looks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGroup:
    """Models of one graph and one recipe.

    ``differs`` names the settings in which this group is not like another of the graph. ``figures`` and ``beside`` are
    over those that every model has. ``gain`` is that of the mean MRR over the first group of the graph, which has none.
    """

    graph: str
    differs: Mapping[str, object]
    models: tuple[ComparedModel, ...]
    figures: Mapping[str, Spread]
    beside: Mapping[str, Spread]
    gain: Gain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Groups in the order of the folders given, and what a reader must know of them."""

    split: str
    groups: tuple[ModelGroup, ...]
    notes: tuple[str, ...]

    def to_mapping(self) -> dict[str, object]:
        """Return all as plain values, scores as fractions."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Read:
    """A model, what it was trained on and how many triples it was asked for, and how it was trained."""

    model: ComparedModel
    asked: tuple[object, ...]
    settings: Mapping[str, object]


def compare_models(model_dirs: Sequence[Path], split: str = "test") -> Comparison:
    """Compare models by the logs of their folders.

    :param model_dirs: Model folders, each evaluated on the split since it was trained.
    :param split: ``test``, ``valid`` or ``train``.
    :returns: The groups, with means and deviations.
    :raises CompletionError: If no folder is given or one twice, a folder holds no model, or models were not evaluated
        on the split since they were trained; all of those are named, since a mean over the others would mislead.
    """
    folders = [path.resolve() for path in model_dirs]
    twice = [str(path) for path, n in Counter(folders).items() if n > 1]
    if not folders or twice:
        given = f"{', '.join(twice)} is given more than once" if twice else "no model folder is given"
        raise CompletionError(f"kgc compare: {given}. Name each model to compare once.")
    found = {path: _read(path, split) for path in model_dirs}
    missing = [str(path) for path, one in found.items() if one is None]
    if missing:
        raise CompletionError(
            f"Not evaluated on {split} since trained: {', '.join(missing)}. Run `mmkg kgc eval MODEL FOLDER --split "
            f"{split}` with each; a mean over the others would say too much."
        )
    groups: dict[tuple[object, str], list[_Read]] = {}
    for one in filter(None, found.values()):
        groups.setdefault((one.asked, repr(sorted(one.settings.items()))), []).append(one)
    made = _groups(list(groups.values()))
    return Comparison(split=split, groups=made, notes=tuple(_notes(made, split)))


def _read(folder: Path, split: str) -> _Read | None:
    metadata = read_metadata(folder)
    files = metadata.get("files")
    weights = files.get("weights") if isinstance(files, Mapping) else None
    log = read_evaluations(folder)
    entries = [
        entry
        for entry in log.entries
        if entry.get("split") == split and entry.get("command") in _COMMANDS and _weights_of(entry) == weights
        if all(isinstance(entry.get(name), float | int) for name in (*_FIGURES, "n"))
    ]
    if not entries:
        return None
    last = entries[-1]
    parts = last.get("parts")
    beside: dict[str, float] = {}
    for entry in entries:  # a later look may have ranked less beside the model, and the same figures came out
        groups = entry.get("beside")
        for group, arms in groups.items() if isinstance(groups, Mapping) else ():
            beside |= {f"{group}: {name}": float(mrr) for name, mrr in arms.items()}
    config = metadata.get("config")
    settings = CompletionConfig.from_saved(config if isinstance(config, Mapping) else {}).to_mapping()
    seed, valid = metadata.get("seed"), metadata.get("best_valid_mrr")
    return _Read(
        ComparedModel(
            folder=str(folder),
            graph=str(metadata.get("graph")),
            seed=seed if isinstance(seed, int) else None,
            valid_mrr=float(valid) if isinstance(valid, float) else None,
            figures={name: float(last[name]) for name in _FIGURES}  # type: ignore[arg-type]
            | {name: float(mrr) for name, mrr in (parts.items() if isinstance(parts, Mapping) else ())},
            beside=beside,
            looks=log.looks.get(split, 0),
        ),
        (str(metadata.get("train_fingerprint")), last["n"]),
        {name: value for name, value in settings.items() if name not in _INDIFFERENT},
    )


def _weights_of(entry: Mapping[str, object]) -> object:
    settings = entry.get("settings")
    return settings.get("weights") if isinstance(settings, Mapping) else None


def _groups(parted: Sequence[Sequence[_Read]]) -> tuple[ModelGroup, ...]:
    made: list[ModelGroup] = []
    firsts: dict[tuple[object, ...], ModelGroup] = {}
    for reads in parted:
        alike = [others[0] for others in parted if others[0].asked == reads[0].asked]
        differing = {
            name for other in alike for name, value in other.settings.items() if value != reads[0].settings.get(name)
        }
        models = tuple(read.model for read in reads)
        figures = _spreads(model.figures for model in models)
        first = firsts.get(reads[0].asked)
        group = ModelGroup(
            graph=models[0].graph,
            differs={name: reads[0].settings[name] for name in sorted(differing)},
            models=models,
            figures=figures,
            beside=_spreads(model.beside for model in models),
            gain=None if first is None else figures["mrr"].gain_over(first.figures["mrr"]),
        )
        firsts.setdefault(reads[0].asked, group)
        made.append(group)
    return tuple(made)


def _spreads(rows: Iterable[Mapping[str, float]]) -> dict[str, Spread]:
    first, *others = rows
    shared = [name for name in first if all(name in row for row in others)]
    return {name: Spread.of([row[name] for row in (first, *others)]) for name in shared}


def _notes(groups: Sequence[ModelGroup], split: str) -> list[str]:
    notes = []
    for group in groups:
        twice = sorted(seed for seed, n in Counter(m.seed for m in group.models).items() if n > 1 and seed is not None)
        if twice:
            seeds = ", ".join(map(str, twice))
            notes.append(f"{group.graph}: more than one model of seed {seeds}, which are no independent trainings")
    if sum(group.gain is None for group in groups) > 1:
        notes.append("models of other train triples, or asked for another number of triples, are not compared")
    most = max(model.looks for group in groups for model in group.models)
    if split == "test" and most > 1:
        notes.append(f"test was evaluated up to {most} times with one of these folders")
    return notes

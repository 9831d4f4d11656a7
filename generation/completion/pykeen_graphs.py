"""Read a graph that PyKEEN holds: one of its data sets by name, or one that it saved in a folder.

Layer: ``generation``. PyKEEN (MIT) is an optional dependency, imported when a data set is asked for by name. Data sets
that come with it (nations, kinships, umls, …) need no network; others it downloads itself.

A saved data set is a folder as ``Dataset.to_directory_binary`` writes it: ``training/``, and where there are any
``validation/`` and ``testing/``, each a saved triples factory. It is read without PyKEEN, from the compressed tables
alone: PyKEEN unpickles ``base.pth``, and a pickle from elsewhere can run any program.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet, empty_triples, without_repeats
from kg.errors import CompletionError, MissingExtraError
from retrieval.encoders.torchvision_ops import declare_missing_operators

__all__ = ["TriplesFactory", "graph_from_factories", "read_pykeen"]

_SPLITS = {"train": "training", "valid": "validation", "test": "testing"}


class TriplesFactory(Protocol):
    """What is used of ``pykeen.triples.TriplesFactory``: integer triples and the labels of the integers."""

    @property
    def mapped_triples(self) -> Any:
        """Triples as integers, a tensor or an array. *Shape:* ``(M, 3)``."""
        ...

    @property
    def entity_to_id(self) -> Mapping[str, int]:
        """The integer of each entity label."""
        ...

    @property
    def relation_to_id(self) -> Mapping[str, int]:
        """The integer of each relation label."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _SavedFactory:
    mapped_triples: NDArray[np.int64]
    entity_to_id: Mapping[str, int]
    relation_to_id: Mapping[str, int]


def read_pykeen(source: str | Path, *, allow_overlap: bool = False) -> TripleSet:
    """Read a data set of PyKEEN.

    :param source: A folder that ``Dataset.to_directory_binary`` wrote, or the name of a data set, for example
        ``nations``.
    :param allow_overlap: Whether splits may share triples.
    :returns: The graph, its ids and names PyKEEN's labels.
    :raises CompletionError: If there is no such data set, it cannot be read, or its splits overlap.
    :raises MissingExtraError: If PyKEEN is needed and not installed.
    """
    folder = Path(source)
    if folder.is_dir():
        saved: dict[str, TriplesFactory] = {
            split: _read_saved(folder / name) for split, name in _SPLITS.items() if (folder / name).is_dir()
        }
        if "train" not in saved:
            raise CompletionError(f"{folder} holds no training/. Give a folder that Dataset.to_directory_binary wrote.")
        return graph_from_factories(folder.name, saved, allow_overlap=allow_overlap)
    return graph_from_factories(str(source), _fetch(str(source)), allow_overlap=allow_overlap)


def _fetch(name: str) -> dict[str, TriplesFactory]:
    declare_missing_operators()
    try:
        datasets = importlib.import_module("pykeen.datasets")
    except ImportError as error:
        raise MissingExtraError("PyKEEN is not installed: pip install 'mmkgrag[pykeen]'.") from error
    try:
        datasets.dataset_resolver.lookup(name)
    except (KeyError, ValueError) as error:
        raise CompletionError(
            f"There is no folder {name!r}, and PyKEEN has no data set of that name. It has, for example, nations, umls."
        ) from error
    try:
        dataset = datasets.dataset_resolver.make(name)  # not get_dataset, which unpickles a cache
        found = {split: getattr(dataset, attribute) for split, attribute in _SPLITS.items()}
    except OSError as error:
        raise CompletionError(f"PyKEEN's data set {name!r} cannot be fetched ({error}).") from error
    return {split: factory for split, factory in found.items() if factory is not None}


def _read_saved(folder: Path) -> _SavedFactory:
    labels: list[dict[str, int]] = []
    for file in ("entity_to_id", "relation_to_id"):
        table = _table(folder / f"{file}.tsv.gz", columns=2)
        labels.append({label: int(number) for number, label in table})
    numbers = [tuple(map(int, row)) for row in _table(folder / "numeric_triples.tsv.gz", columns=3)]
    triples = np.array(numbers, dtype=np.int64).reshape(-1, 3)
    entities, relations = (max(one.values(), default=-1) for one in labels)
    if len(triples) and ((triples < 0).any() or (triples.max(axis=0) > [entities, relations, entities]).any()):
        raise CompletionError(f"{folder}: a triple holds a number that has no label. Save the data set again.")
    return _SavedFactory(mapped_triples=triples, entity_to_id=labels[0], relation_to_id=labels[1])


def _table(path: Path, *, columns: int) -> Iterator[list[str]]:
    """Yield the rows below the titles; every column of numbers is checked."""
    number_columns = range(columns) if columns == 3 else range(1)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream, delimiter="\t")
            next(rows, None)
            for row in rows:
                if len(row) != columns or not all(row[column].isdecimal() for column in number_columns):
                    raise CompletionError(f"{path}, line {rows.line_num}: got {row!r:.120}. Save the data set again.")
                yield row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise CompletionError(f"{path}: not a table that PyKEEN saved ({error}).") from error


def graph_from_factories(
    name: str, factories: Mapping[str, TriplesFactory], *, allow_overlap: bool = False
) -> TripleSet:
    """Make a graph from triples factories, matched by their labels.

    Factories that number the same labels differently are brought to one numbering; labels that only a later split has
    are added, so entities may be unseen in train.

    :param name: What the graph is called in messages.
    :param factories: ``train`` and, where there are any, ``valid`` and ``test``.
    :param allow_overlap: Whether splits may share triples.
    :returns: The graph; repeated triples of a split are dropped and counted.
    :raises CompletionError: If a factory has no labels, or splits overlap.
    """
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    rows = {}
    for split, factory in factories.items():
        if not hasattr(factory, "entity_to_id") or not hasattr(factory, "relation_to_id"):
            raise CompletionError(
                f"{name}: the factory of {split} holds numbers without labels, so nothing has a name."
            )
        entity_of, relation_of = _places(factory.entity_to_id, entities), _places(factory.relation_to_id, relations)
        triples = np.asarray(factory.mapped_triples, dtype=np.int64).reshape(-1, 3)
        rows[split] = np.stack([entity_of[triples[:, 0]], relation_of[triples[:, 1]], entity_of[triples[:, 2]]], axis=1)
    counts: Counter[str] = Counter()
    kept: dict[str, NDArray[np.int64]] = {}
    for split, triples in rows.items():
        kept[split] = without_repeats(triples, n_entities=len(entities), n_relations=len(relations))
        counts[f"duplicates_{split}"] = len(triples) - len(kept[split])
        counts[f"reflexive_{split}"] = int((kept[split][:, 0] == kept[split][:, 2]).sum())
    met = {key: value for key, value in counts.items() if value}
    return TripleSet(
        name=name,
        entity_ids=tuple(entities),
        entity_names=tuple(entities),
        relation_ids=tuple(relations),
        relation_names=tuple(relations),
        train=kept.get("train", empty_triples()),
        valid=kept.get("valid", empty_triples()),
        test=kept.get("test", empty_triples()),
        counts=met,
        notes=tuple(f"{key.replace('_', ' ')}: {value}" for key, value in met.items()),
        allow_overlap=allow_overlap,
    )


def _places(labels: Mapping[str, int], known: dict[str, int]) -> NDArray[np.int64]:
    """Map a factory's numbers to ours, adding labels that are new."""
    places = np.zeros(max(labels.values(), default=-1) + 1, dtype=np.int64)
    for label, number in sorted(labels.items(), key=lambda pair: pair[1]):
        places[number] = known.setdefault(str(label), len(known))
    return places

"""Read a graph for link prediction from a folder of tab-separated files.

Layer: ``generation``; NumPy, ``kg.errors`` and ``triples`` only. Files are read as streams, line by line.

============================  ======================================================================================
``train.tsv``                 head, relation, tail; required
``valid.tsv``, ``test.tsv``   the same; optional
``entities.tsv``              id, name, text; optional, name and text too
``relations.tsv``             id, name; optional
``types.tsv``                 entity id, type; optional, several lines for several types; for the leakage report only
``*-broken.tsv``              known triples that may be in any split: for the filter only, never trained on or ranked
============================  ======================================================================================

Text is UTF-8, one record a line, no quoting; a byte order mark, empty lines and a first line of column titles are
skipped; lines may end in LF or CRLF. Of a triple file no more is held than 12 bytes a line while it is read, 24 after.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.triples import TripleSet, carve_validation, empty_triples, without_repeats
from kg.errors import CompletionError

__all__ = ["read_folder", "read_types"]

_TITLES = {("head", "relation", "tail"), ("id", "name"), ("id", "name", "text"), ("id",), ("id", "type")}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class _Vocabulary:
    """Ids in order of appearance, their names and texts, and how many a list did not announce."""

    kind: str
    index: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    n_unlisted: int = 0

    def add(self, item: str, name: str = "", text: str = "") -> int:
        self.index[item] = position = len(self.names)
        self.names.append(name or item)
        self.texts.append(text)
        return position

    def get(self, item: str) -> int:
        position = self.index.get(item)
        if position is None:
            self.n_unlisted += 1
            position = self.add(item)
        return position


def read_folder(
    folder: Path,
    *,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
    valid_fraction: float = 0.05,
    seed: int = 0,
) -> TripleSet:
    """Read a graph from a folder, check it, and carve a validation part where the folder brings none.

    Repeated triples of one split are dropped and counted. An id that stands in a triple but not in ``entities.tsv``
    or ``relations.tsv`` is added with its id as its name, and counted as ``unlisted``.

    :param folder: The folder.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples; what is shared is then kept and counted.
    :param valid_fraction: Share of train to carve for validation if there is no ``valid.tsv``; 0 carves none.
    :param seed: Seed of the carving.
    :returns: The graph; its notes say in words what was met.
    :raises CompletionError: If files are missing, a row is malformed (with file and line), or splits overlap.
    """
    if not folder.is_dir():
        raise CompletionError(f"{folder} is not a folder. Give one that holds train.tsv (head, relation, tail).")
    if not (folder / "train.tsv").is_file():
        raise CompletionError(
            f"{folder} holds no train.tsv. Put the known triples there: head, relation, tail by tabs."
        )
    entities = _read_vocabulary(folder / "entities.tsv", kind="entity", max_columns=3)
    relations = _read_vocabulary(folder / "relations.tsv", kind="relation", max_columns=2)
    counts: Counter[str] = Counter()
    splits = {
        name: _read_split(folder / f"{name}.tsv", entities, relations, counts) for name in ("train", "valid", "test")
    }
    if not len(splits["train"]):
        raise CompletionError(f"{folder / 'train.tsv'} holds no triples, so nothing can be learnt.")
    extra_names = sorted(path.name for path in folder.glob("*-broken.tsv")) if filter_only is None else filter_only
    extra = [_read_extra(folder / name, entities, relations) for name in extra_names]
    counts["unlisted_entities"] = entities.n_unlisted
    counts["unlisted_relations"] = relations.n_unlisted
    triples = TripleSet(
        name=folder.name,
        entity_ids=tuple(entities.index),
        entity_names=tuple(entities.names),
        entity_texts=tuple(entities.texts),
        relation_ids=tuple(relations.index),
        relation_names=tuple(relations.names),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        filter_only=np.concatenate(extra) if extra else empty_triples(),
        counts={key: value for key, value in counts.items() if value},
        notes=_notes(counts, extra_names),
        allow_overlap=allow_overlap,
    )
    overlap = triples.overlaps()
    if overlap:
        shared = {f"overlap_{pair}": n for pair, n in overlap.items()}
        note = "splits share triples, allowed by the caller: " + ", ".join(f"{n} of {p}" for p, n in overlap.items())
        triples = replace(triples, counts={**triples.counts, **shared}, notes=(*triples.notes, note))
    if len(triples.valid) or valid_fraction == 0.0:
        return triples
    return carve_validation(triples, fraction=valid_fraction, seed=seed)


def _notes(counts: Counter[str], extra_names: Sequence[str]) -> tuple[str, ...]:
    notes = [f"{key.replace('_', ' ')}: {value}" for key, value in counts.items() if value]
    notes += [f"{name}: used for the filter only" for name in extra_names]
    return tuple(notes)


def _read_vocabulary(path: Path, *, kind: str, max_columns: int) -> _Vocabulary:
    vocabulary = _Vocabulary(kind=kind)
    if not path.is_file():
        return vocabulary
    for number, columns in _rows(path):
        if len(columns) > max_columns or not columns[0]:
            raise CompletionError(
                f"{path.name}, line {number}: expected an id and up to {max_columns - 1} further columns by tabs, "
                f"got {len(columns)} columns starting {columns[0]!r}."
            )
        if columns[0] in vocabulary.index:
            raise CompletionError(f"{path.name}, line {number}: the {kind} id {columns[0]!r} is listed twice.")
        vocabulary.add(*columns)
    return vocabulary


def _read_split(path: Path, entities: _Vocabulary, relations: _Vocabulary, counts: Counter[str]) -> NDArray[np.int64]:
    if not path.is_file():
        return empty_triples()
    rows = _read_triples(path, entities, relations)
    kept = without_repeats(rows, n_entities=len(entities.names), n_relations=len(relations.names))
    counts[f"duplicates_{path.stem}"] = len(rows) - len(kept)
    counts[f"reflexive_{path.stem}"] = int((kept[:, 0] == kept[:, 2]).sum())
    return kept


def _read_extra(path: Path, entities: _Vocabulary, relations: _Vocabulary) -> NDArray[np.int64]:
    if not path.is_file():
        raise CompletionError(f"{path} was named for the filter, but is not a file.")
    return _read_triples(path, entities, relations)


def _read_triples(path: Path, entities: _Vocabulary, relations: _Vocabulary) -> NDArray[np.int64]:
    cells = array("i")  # 32 bits hold every vocabulary that fits the memory, and halve the peak
    for number, columns in _rows(path):
        if len(columns) != 3 or not all(columns):
            raise CompletionError(
                f"{path.name}, line {number}: expected head, relation, tail by tabs, got {columns!r:.120}."
            )
        cells.extend((entities.get(columns[0]), relations.get(columns[1]), entities.get(columns[2])))
    return np.frombuffer(cells, dtype=np.int32).astype(np.int64).reshape(-1, 3) if cells else empty_triples()


def read_types(folder: Path, entity_ids: Sequence[str]) -> list[set[str]] | None:
    """Read ``types.tsv``: what kinds of thing each entity is.

    :param folder: The folder of the graph.
    :param entity_ids: The entities of the graph, in its order.
    :returns: The types of each entity, ``None`` where there is no such file. Lines on other entities are passed over.
    :raises CompletionError: If a row is not an id and a type.
    """
    path = folder / "types.tsv"
    if not path.is_file():
        return None
    place = {entity_id: position for position, entity_id in enumerate(entity_ids)}
    types: list[set[str]] = [set() for _ in entity_ids]
    for number, columns in _rows(path):
        if len(columns) != 2 or not all(columns):
            raise CompletionError(f"{path.name}, line {number}: expected id, type by a tab, got {columns!r:.120}.")
        if columns[0] in place:
            types[place[columns[0]]].add(columns[1])
    return types


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a file as they are read, each with its number and its columns."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    if line.startswith(_UTF16_MARKS):
                        raise CompletionError(f"{path}: written as UTF-16, not UTF-8. Save it as UTF-8.")
                    line = line.removeprefix(b"\xef\xbb\xbf")
                columns = [column.strip() for column in _decoded(line, path, number).split("\t")]
                if not any(columns) or (number == 1 and tuple(c.casefold() for c in columns) in _TITLES):
                    continue
                yield number, columns
    except OSError as error:
        raise CompletionError(f"{path}: cannot be read ({error.strerror}).") from error


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CompletionError(
            f"{path}: not UTF-8 in line {number} ({error.reason} at byte {error.start} of the line). Save it as UTF-8."
        ) from error

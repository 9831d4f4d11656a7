"""Write a graph as the folder of tab-separated files that :mod:`generation.completion.tsv_folder` reads.

Layer: ``generation``; the standard library. The folder is made beside its place and renamed when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.modalities import SIDE_FILES
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["write_folder"]


def write_folder(graph: TripleSet, folder: Path, *, beside: Path | None = None) -> None:
    """Write a graph into a new folder, whole or not at all.

    Runs of white space in names and texts become one space, since a tab or a new line would end the cell. Triples for
    the filter only go to ``filter-broken.tsv``; ``split.json`` holds the graph's counts and notes.

    :param graph: The graph.
    :param folder: The folder; it must not exist yet, or be empty.
    :param beside: The folder that the graph was read from; its types, numbers and image vectors are copied, since the
        entities keep their ids and their order.
    :raises CompletionError: If the folder holds files, cannot be written, or an id holds white space that would go.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CompletionError(f"{folder} exists already. Name a new folder; nothing was written.")
    for item in (*graph.entity_ids, *graph.relation_ids):
        if item != item.strip() or any(gap in item for gap in "\t\r\n") or not item:
            raise CompletionError(f"{graph.name}: the id {item!r} holds white space that a TSV file cannot keep.")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        _write_all(graph, temporary)
        if beside is not None:
            for name in filter(lambda name: (beside / name).is_file(), SIDE_FILES):
                shutil.copyfile(beside / name, temporary / name)
        if folder.exists():
            folder.rmdir()
        temporary.replace(folder)
    except OSError as error:
        raise CompletionError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_all(graph: TripleSet, folder: Path) -> None:
    texts = graph.entity_texts or ("",) * graph.n_entities
    entities = zip(graph.entity_ids, map(_one_line, graph.entity_names), map(_one_line, texts), strict=True)
    _write(folder / "entities.tsv", entities)
    _write(folder / "relations.tsv", zip(graph.relation_ids, map(_one_line, graph.relation_names), strict=True))
    for name in ("train", "valid", "test", "filter_only"):
        rows: NDArray[np.int64] = getattr(graph, name)
        if len(rows) or name == "train":
            file = "filter-broken" if name == "filter_only" else name
            _write(folder / f"{file}.tsv", _ids(graph, rows))
    description = {"graph": graph.name, "counts": dict(graph.counts), "notes": list(graph.notes)}
    (folder / "split.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ids(graph: TripleSet, rows: NDArray[np.int64]) -> Iterable[Sequence[str]]:
    for head, relation, tail in rows:
        yield graph.entity_ids[head], graph.relation_ids[relation], graph.entity_ids[tail]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write("\t".join(row).rstrip("\t") + "\n")

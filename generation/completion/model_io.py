"""Save and load a trained link predictor as a folder that says what it is.

Layer: ``generation``; safetensors, torch. Layout:

* ``config.json``: settings, seed, sizes, fingerprints of vocabulary and train, the validation MRR, and the names of the
  other files. It is written last, so a folder holds either the old model or the new one, never a mixture.
* ``model-DIGEST.safetensors``: the tables of the structural expert, where it was trained.
  ``experts-DIGEST.safetensors``: the other experts and the gate (see ``parts_io``); ``vectors-DIGEST.safetensors``:
  encoded texts, a cache. ``validated-DIGEST.safetensors``: tables and maps as they were before they learnt what had
  been carved for validation, where something had. Folders of format version 1 hold the structural expert alone and
  still load.
* ``entities-DIGEST.tsv``, ``relations-DIGEST.tsv``: id and name, row by row.
* ``generator.json``: the generator that was fitted to these experts (see ``generator.stored``); it goes when they do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.files import write_bytes_atomically, write_json_atomically, write_tensors_atomically
from generation.completion.parts import ExpertParts, ValidatedExperts
from generation.completion.parts_io import check_parts, pack_learnt, pack_parts, unpack_parts
from generation.completion.saved import SavedModel
from generation.completion.tables import check_tables, model_of, tables_of
from generation.completion.triples import TripleSet
from kg.errors import CompletionError, MmkgError

__all__ = ["load_model", "read_metadata", "save_model"]

_FORMAT = "mmkgrag-complex-n3"
_VERSION = 2
_READABLE = (1, 2)
_PREFIXES = {"weights": "model", "experts": "experts", "validated": "validated"}


def save_model(
    folder: Path,
    model: ComplExModel | None,
    graph: TripleSet,
    *,
    config: CompletionConfig,
    metadata: Mapping[str, object],
    parts: ExpertParts | None = None,
    validated: ValidatedExperts | None = None,
) -> None:
    """Write a model folder; an older model there is replaced in one step.

    :param folder: Where; made if it does not exist.
    :param model: The trained structural expert; ``None`` where there is none.
    :param graph: The graph it was trained on: its train triples are what it has learnt.
    :param config: The settings it was trained with.
    :param metadata: Further plain values to keep, for example seed and validation MRR.
    :param parts: The other experts and the gate.
    :param validated: The experts as validation chose them, where they have gone on to learn validation since.
    :raises CompletionError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompletionError(f"{folder}: cannot be made a model folder ({error.strerror}).") from error
    digest = hashlib.sha256(graph.train_fingerprint.encode())
    tables = {} if model is None else tables_of(model)
    packed, described = ({}, {}) if parts is None else pack_parts(parts)
    before = {} if validated is None else _packed(validated)
    for name, table in sorted({**tables, **packed}.items()):
        digest.update(name.encode() + table.detach().cpu().contiguous().numpy().tobytes())
    tag = digest.hexdigest()[:12]
    files = {"entities": f"entities-{tag}.tsv", "relations": f"relations-{tag}.tsv"}
    for kind, tensors in (("weights", tables), ("experts", packed), ("validated", before)):
        if tensors:
            files[kind] = f"{_PREFIXES[kind]}-{tag}.safetensors"
            write_tensors_atomically(folder / files[kind], tensors)
    write_bytes_atomically(folder / files["entities"], _to_tsv(graph.entity_ids, graph.entity_names))
    write_bytes_atomically(folder / files["relations"], _to_tsv(graph.relation_ids, graph.relation_names))
    description: dict[str, object] = {
        **metadata,
        "format": _FORMAT,
        "version": _VERSION,
        "config": config.to_mapping(),
        "graph": graph.name,
        "n_entities": graph.n_entities,
        "n_relations": graph.n_relations,
        "n_train": len(graph.train),
        "vocabulary_fingerprint": graph.vocabulary_fingerprint,
        "train_fingerprint": graph.train_fingerprint,
        "carved": graph.carved,
        "validated_fingerprint": None if validated is None else validated.train_fingerprint,
        "parts": described,
        "files": files,
    }
    write_json_atomically(folder / "config.json", description)
    for pattern in (*(f"{prefix}-*.safetensors" for prefix in _PREFIXES.values()), "entities-*.tsv", "relations-*.tsv"):
        for path in folder.glob(pattern):
            if path.name not in files.values():
                path.unlink()
    (folder / "generator.json").unlink(missing_ok=True)  # fitted to the experts that were replaced


def read_metadata(folder: Path) -> dict[str, object]:
    """Read a model's description without its tables.

    :param folder: A model folder.
    :returns: What ``config.json`` holds.
    :raises CompletionError: If there is no model there, or it was written by another program or version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CompletionError(f"{folder} holds no model (config.json is missing). Train one there first.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompletionError(f"{path}: damaged ({error}). Train the model again.") from error
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise CompletionError(f"{path}: not a link-prediction model of mmkgrag. Give the folder that training wrote.")
    if description.get("version") not in _READABLE:
        raise CompletionError(
            f"{path}: written in format version {description.get('version')!r}; this program reads up to {_VERSION}. "
            "Train the model again."
        )
    return description


def load_model(folder: Path, *, device: str = "cpu", validated: bool = False) -> SavedModel:
    """Read a model folder back and check that its parts fit each other.

    :param folder: A folder that :func:`save_model` wrote.
    :param device: Where the tables shall live.
    :param validated: Whether to take the experts as validation chose them, where they have learnt it since: ask them,
        not the final ones, whatever validation shall decide.
    :returns: The model with its vocabulary.
    :raises CompletionError: If a part is missing, damaged or does not fit.
    """
    description = read_metadata(folder)
    try:
        files = description["files"]
        if not isinstance(files, dict):
            raise CompletionError(f"{folder}: config.json names no files.")
        tensors = load_file(folder / files["weights"], device=device) if "weights" in files else None
        packed = load_file(folder / files["experts"]) if "experts" in files else None
        if validated and "validated" in files:
            before = load_file(folder / files["validated"])
            tensors = None if tensors is None else {name: before[name].to(device) for name in tensors}
            packed = None if packed is None else {name: before.get(name, table) for name, table in packed.items()}
            description = {**description, "train_fingerprint": description["validated_fingerprint"]}
        parts = None if packed is None else unpack_parts(packed, description["parts"])
        entities = _from_tsv(folder / files["entities"])
        relations = _from_tsv(folder / files["relations"])
        values = description["config"]
        config = CompletionConfig.from_saved(values if isinstance(values, dict) else {})
    except (OSError, ValueError, KeyError, SafetensorError, MmkgError) as error:
        raise CompletionError(f"{folder}: the model cannot be read ({error}). Train it again.") from error
    sizes = {"n_entities": len(entities[0]), "n_relations": len(relations[0])}
    model = None if tensors is None else model_of(tensors, where=folder)
    if model is not None:
        check_tables(model, where=folder, **sizes)
    if parts is not None:
        check_parts(folder, parts, **sizes)
    return SavedModel(
        model=model,
        config=config,
        entity_ids=entities[0],
        entity_names=entities[1],
        relation_ids=relations[0],
        relation_names=relations[1],
        metadata=description,
        parts=parts,
        learnt_validation="validated" in files and not validated,
    )


def _packed(validated: ValidatedExperts) -> dict[str, torch.Tensor]:
    tables = {} if validated.model is None else tables_of(validated.model)
    return tables | pack_learnt(validated.twin, validated.maps)


def _to_tsv(ids: Sequence[str], names: Sequence[str]) -> bytes:
    lines = ["\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in zip(ids, names, strict=True)]
    return "".join(lines).encode("utf-8")


def _from_tsv(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    if any(len(row) != 2 for row in rows):
        raise CompletionError(f"{path.name}: each line must hold an id and a name.")
    return tuple(row[0] for row in rows), tuple(row[1] for row in rows)

"""What the command line and the service call: train on a folder or a workspace, and open what was trained.

Layer: ``generation``.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.experts.features import (
    FeatureMatrix,
    PassageEncoder,
    has_texts,
    image_features,
    number_features,
    text_features,
)
from generation.completion.model_io import load_model, read_metadata, save_model
from generation.completion.predict import LinkPredictor
from generation.completion.progress import ProgressCallback
from generation.completion.report import TrainReport
from generation.completion.saved import SavedModel, check_same_graph, learnt_graph
from generation.completion.support import SupportIndex
from generation.completion.training import train_experts
from generation.completion.triples import TripleSet
from generation.completion.tsv_folder import read_folder
from generation.completion.warm_start import begin_with
from generation.completion.workspace_graph import asked_relations, graph_from_store
from generation.completion.workspace_recipe import suited, workspace_features
from kg.errors import CompletionError
from kg.ports import RecordStore

__all__ = ["TrainReport", "open_folder", "open_store", "train_folder", "train_store"]

_LOG = logging.getLogger(__name__)


def train_folder(
    folder: Path,
    out: Path,
    *,
    config: CompletionConfig | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
    resume: bool = False,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
    make_encoder: Callable[[], PassageEncoder] | None = None,
) -> TrainReport:
    """Train on a folder of TSV files and write a model folder.

    While it trains, ``out/checkpoint`` holds what ``resume`` needs; it goes when the model is written.

    :param folder: The graph, see :mod:`generation.completion.tsv_folder`.
    :param out: The model folder.
    :param config: Settings.
    :param seed: Seed of everything random, the carving of a validation part included.
    :param on_progress: Called after each epoch.
    :param resume: Whether to go on from a checkpoint of the same training, if there is one.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :param make_encoder: Makes what turns names and texts into vectors, called only where there are any; without it
        there is no text expert.
    :returns: The report; its notes say what each expert and each kind of gate reached on validation.
    """
    config = config or CompletionConfig()
    graph = read_folder(
        folder,
        filter_only=filter_only,
        allow_overlap=allow_overlap,
        valid_fraction=config.valid_fraction,
        seed=seed,
    )
    checkpoint = out / "checkpoint"
    if not resume and checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    if out.exists() and not out.is_dir():
        raise CompletionError(f"{out} is a file. Name a folder for the model.")
    features = _folder_features(graph, folder, out, config=config, make_encoder=make_encoder)
    fit = _Fitting(checkpoint=checkpoint, resume=resume, metadata={}, features=features)
    report = _train(graph, out, config=config, seed=seed, on_progress=on_progress, how=fit)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return report


def open_folder(
    model_dir: Path,
    folder: Path,
    *,
    filter_only: Sequence[str] | None = None,
    allow_overlap: bool = False,
    validated: bool = False,
) -> LinkPredictor:
    """Load a model with the folder it was trained on.

    :param model_dir: The model folder.
    :param folder: The graph.
    :param filter_only: Names of further triple files for the filter; ``None`` takes every ``*-broken.tsv``.
    :param allow_overlap: Whether splits may share triples.
    :param validated: Whether to take the experts as validation chose them, see :func:`model_io.load_model`.
    :returns: A predictor.
    :raises CompletionError: If the model is damaged or of another graph.
    """
    saved = load_model(model_dir, validated=validated)
    carved = saved.metadata.get("carved")
    seed, fraction = (int(carved[0]), float(carved[1])) if isinstance(carved, list) else (0, 0.0)
    graph = read_folder(
        folder, filter_only=filter_only, allow_overlap=allow_overlap, valid_fraction=fraction, seed=seed
    )
    return LinkPredictor(saved, learnt_graph(saved, graph))


def _folder_features(
    graph: TripleSet,
    folder: Path,
    out: Path,
    *,
    config: CompletionConfig,
    make_encoder: Callable[[], PassageEncoder] | None,
) -> dict[str, FeatureMatrix]:
    """Make the vectors that the wanted experts need and the folder has."""
    found: dict[str, FeatureMatrix | None] = {}
    if "text" in config.experts and make_encoder is not None and has_texts(graph):
        found["text"] = text_features(graph, make_encoder(), blocks=config.text_blocks, cache=out)
    if "image" in config.experts:
        found["image"] = image_features(graph, folder)
    if "numbers" in config.experts:
        found["numbers"] = number_features(graph, folder)
    return {name: matrix for name, matrix in found.items() if matrix is not None}


def train_store(
    store: RecordStore,
    out_dir: Path,
    *,
    config: CompletionConfig | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
    name: str = "workspace",
    incremental: bool = False,
    make_encoder: Callable[[], PassageEncoder] | None = None,
) -> TrainReport:
    """Train on a workspace's own graph and write a model folder that remembers the record's version.

    Below 10,000 triples nothing is spared for validation: training then runs a fixed number of epochs, and the gate is
    fitted across folds (:mod:`generation.completion.cross_fitting`).

    :param store: The record.
    :param out_dir: The model folder.
    :param config: Settings; ``None`` suits the size.
    :param seed: Seed of everything random.
    :param on_progress: Called after each epoch.
    :param name: What the graph is called in messages.
    :param incremental: Begin with the tables of the model in ``out_dir``, where there is one that fits.
    :param make_encoder: Makes the encoder of the text expert; without it there is none.
    :returns: The report.
    """
    read = _read_store(store, config=config, seed=seed, name=name)
    return _train_read(read, out_dir, seed, on_progress, make_encoder=make_encoder, incremental=incremental)


def open_store(
    store: RecordStore,
    out_dir: Path,
    *,
    config: CompletionConfig | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
    name: str = "workspace",
    incremental: bool = False,
    make_encoder: Callable[[], PassageEncoder] | None = None,
    validated: bool = False,
) -> LinkPredictor:
    """Load the model of a workspace's graph, training it first if the record has changed since, or if there is none.

    :param store: The record.
    :param out_dir: The model folder; it is a cache and may be deleted at any time.
    :param config: Settings; ``None`` suits the size. A model trained with other settings or another seed is replaced.
    :param seed: Seed of everything random.
    :param on_progress: Called after each epoch, if it trains.
    :param name: What the graph is called in messages.
    :param incremental: If it trains, begin with the tables of the model in ``out_dir``, where there is one that fits.
    :param make_encoder: Makes the encoder of the text expert, if it trains; without it there is none.
    :param validated: Whether to take the experts as validation chose them, see :func:`model_io.load_model`.
    :returns: A predictor whose links carry the chunk ids that support them.
    """
    read = _read_store(store, config=config, seed=seed, name=name)
    saved = _cached(out_dir, read, seed=seed)
    if saved is None:
        _train_read(read, out_dir, seed, on_progress, make_encoder=make_encoder, incremental=incremental)
        saved = load_model(out_dir)
    if validated and saved.learnt_validation:
        saved = load_model(out_dir, validated=True)
    return LinkPredictor(saved, learnt_graph(saved, read.graph), support=SupportIndex(store))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreRead:
    """A workspace's graph, the record's version just before it was read, and the settings that suit it."""

    graph: TripleSet
    version: int
    config: CompletionConfig


def _read_store(store: RecordStore, *, config: CompletionConfig | None, seed: int, name: str) -> _StoreRead:
    version = store.version()
    graph = graph_from_store(store, name=name)
    graph, config = suited(graph, config, seed=seed)
    return _StoreRead(graph=graph, version=version, config=config)


def _cached(out_dir: Path, read: _StoreRead, *, seed: int) -> SavedModel | None:
    """Return the model in the folder if it is of this record, this seed and these settings."""
    try:
        metadata = read_metadata(out_dir)
        if metadata.get("record_version") != read.version or metadata.get("seed") != seed:
            return None
        saved = load_model(out_dir)
        check_same_graph(saved, learnt_graph(saved, read.graph))
    except CompletionError as error:
        _LOG.info("the link predictor is trained anew: %s", error)
        return None
    wanted = read.config.resolve(n_entities=read.graph.n_entities, n_train=len(read.graph.train))
    return saved if saved.config == wanted else None


def _train_read(
    read: _StoreRead,
    out_dir: Path,
    seed: int,
    on_progress: ProgressCallback | None,
    *,
    make_encoder: Callable[[], PassageEncoder] | None,
    incremental: bool,
) -> TrainReport:
    features = workspace_features(read.graph, read.config, make_encoder, cache=out_dir)
    begun = begin_with(out_dir, read.graph, config=read.config, seed=seed) if incremental else None
    kept = {} if begun is None else {"warm_start": begun.to_mapping()}
    how = _Fitting(
        metadata={"record_version": read.version, **kept},
        initial=None if begun is None else begun.model,
        features=features,
        asked=asked_relations(read.graph),
    )
    return _train(read.graph, out_dir, config=read.config, seed=seed, on_progress=on_progress, how=how)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitting:
    """Where a training keeps its checkpoints, whether it goes on from one, and what its model shall remember."""

    metadata: dict[str, object]
    checkpoint: Path | None = None
    resume: bool = False
    initial: ComplExModel | None = None
    features: Mapping[str, FeatureMatrix] = field(default_factory=dict)
    asked: NDArray[np.bool_] | None = None


def _train(
    graph: TripleSet,
    out: Path,
    *,
    config: CompletionConfig,
    seed: int,
    on_progress: ProgressCallback | None,
    how: _Fitting,
) -> TrainReport:
    start = time.perf_counter()
    for note in graph.notes:
        _LOG.info("%s: %s", graph.name, note)
    if out.exists() and not out.is_dir():
        raise CompletionError(f"{out} is a file. Name a folder for the model.")
    trained = train_experts(
        graph,
        config=config,
        seed=seed,
        features=how.features,
        checkpoint=how.checkpoint,
        resume=how.resume,
        on_progress=on_progress,
        initial=how.initial,
        asked_R=how.asked,
    )
    reached = trained.parts.validation
    best_epoch = 0 if trained.fit is None else trained.fit.best_epoch
    notes = [*graph.notes, *(f"validation MRR, {name}: {mrr:.4f}" for name, mrr in reached.items())]
    if trained.validated is not None:
        notes.append(f"learnt all of train, validation too, in {trained.config.refit_epochs} more epochs an expert")
    reranked = "" if trained.parts.reranker is None else ", and a reranker over their best"
    notes.append(f"gate: {trained.parts.gate.kind} over {', '.join(trained.parts.gate.experts)}{reranked}")
    save_model(
        out,
        trained.model,
        trained.graph,
        config=trained.config,
        metadata={
            **how.metadata,
            "seed": seed,
            "best_epoch": best_epoch,
            "best_valid_mrr": reached.get("chosen"),
            "n_valid": len(graph.valid),
            "notes": list(graph.notes),
            "counts": dict(graph.counts),
        },
        parts=trained.parts,
        validated=trained.validated,
    )
    return TrainReport(
        model_dir=out,
        n_entities=graph.n_entities,
        n_relations=graph.n_relations,
        n_train=len(graph.train),
        n_valid=len(graph.valid),
        n_parameters=trained.mixture.n_parameters,
        best_epoch=best_epoch,
        best_valid_mrr=reached.get("chosen"),
        seconds=time.perf_counter() - start,
        config=trained.config,
        history=trained.history,
        notes=tuple(notes),
    )

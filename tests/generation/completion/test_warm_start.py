"""A training goes on from the last one by id, and how far old facts moved is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from generation.completion.config import CompletionConfig
from generation.completion.drift import Known, measure_drift
from generation.completion.model_io import load_model, read_metadata, save_model
from generation.completion.runs import open_store
from generation.completion.trainer import train_complex
from generation.completion.triples import TripleSet
from generation.completion.warm_start import begin_with, warm_start
from kg.stores.record import open_record
from kg.testing import make_delta

CONFIG = CompletionConfig(rank=4, max_epochs=3, batch_size=8, threads=1, device="cpu")


def graph(entities: str, relations: str, *triples: str) -> TripleSet:
    """``"a r b"`` is a triple of one-letter ids."""
    e, r = {name: i for i, name in enumerate(entities)}, {name: i for i, name in enumerate(relations)}
    rows = [(e[head], r[relation], e[tail]) for head, relation, tail in (one.split() for one in triples)]
    return TripleSet(
        name="tiny",
        entity_ids=tuple(entities),
        entity_names=tuple(entities),
        relation_ids=tuple(relations),
        relation_names=tuple(relations),
        train=np.array(rows, dtype=np.int64).reshape(-1, 3),
    )


OLD = graph("abc", "rs", "a r b", "b s c", "c r a")
NEW = graph("bxca", "tr", "a r b", "b t x", "c r x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fit = train_complex(OLD, config=CONFIG, seed=0)
    save_model(tmp_path, fit.model, OLD, config=fit.config, metadata={"seed": 0})
    return tmp_path


def test_rows_of_ids_that_stay_are_kept_wherever_they_stand_and_new_ones_are_small(folder: Path):
    saved = load_model(folder)
    begun = warm_start(saved, NEW, config=CONFIG, seed=1)

    assert begun is not None
    assert (begun.n_entities_kept, begun.n_relations_kept) == (3, 1)
    old, new = saved.model, begun.model
    assert old is not None
    for row, old_row in ((0, 1), (2, 2), (3, 0)):  # b, c, a
        assert torch.equal(new.entities_NW[row], old.entities_NW[old_row])
    assert float(new.entities_NW[1].abs().max()) < 0.01  # x: init_scale 1e-3
    assert torch.equal(new.relations_RW[1], old.relations_RW[0])  # r
    assert torch.equal(new.relations_RW[3], old.relations_RW[2])  # its inverse
    assert float(new.relations_RW[0].abs().max()) < 0.01  # t


@pytest.mark.parametrize(
    ("config", "other"), [(replace(CONFIG, rank=2), NEW), (CONFIG, graph("uvw", "r", "u r v", "v r w"))]
)
def test_another_rank_or_nothing_in_common_starts_afresh(folder: Path, config: CompletionConfig, other: TripleSet):
    assert warm_start(load_model(folder), other, config=config, seed=0) is None


def test_a_folder_without_a_readable_model_starts_afresh(tmp_path: Path):
    assert begin_with(tmp_path / "none", NEW, config=CONFIG, seed=0) is None


def test_training_begins_with_the_tables_it_is_given(folder: Path):
    saved = load_model(folder)
    begun = warm_start(saved, OLD, config=CONFIG, seed=0)
    assert begun is not None
    cold = train_complex(OLD, config=replace(CONFIG, max_epochs=1), seed=0)
    warm = train_complex(OLD, config=replace(CONFIG, max_epochs=1), seed=0, initial=begun.model)

    assert warm.history[0].loss < cold.history[0].loss
    assert torch.equal(begun.model.entities_NW, saved.model.entities_NW)  # type: ignore[union-attr]


def test_a_workspace_is_retrained_from_its_last_model_when_it_has_grown(tmp_path: Path):
    store = open_record(tmp_path / "record.db")
    for name, text in {"a": "Ann knows Bob. Cem knows Dan", "b": "Bob likes Oslo. Dan likes Rome"}.items():
        store.apply(make_delta(text, name=f"{name}.txt"))
    open_store(store, tmp_path / "model", config=CONFIG, incremental=True)
    assert "warm_start" not in read_metadata(tmp_path / "model")

    store.apply(make_delta("Eve knows Ann", name="c.txt"))
    predictor = open_store(store, tmp_path / "model", config=CONFIG, incremental=True)

    kept = read_metadata(tmp_path / "model")["warm_start"]
    assert kept == {"n_entities_kept": predictor.graph.n_entities - 1, "n_relations_kept": predictor.graph.n_relations}
    store.close()


class Table:
    """Scores of each entity, the same for every question."""

    def __init__(self, *scores: float) -> None:
        self.scores = np.array([scores], dtype=np.float32)

    def score_all(self, anchors, relations):
        return np.repeat(self.scores, len(anchors), axis=0)


def test_drift_compares_ranks_and_shares_over_what_both_models_know():
    known = graph("abcd", "r", "a r b", "a r c")
    before = Known(model=Table(0, 2, 1, 3), entity_ids="abcd", relation_ids="r")
    after = Known(model=Table(3, 0, 2, 1, 9), entity_ids="dabcx", relation_ids="r")  # d, a, b, c, x

    drift = measure_drift(before, after, known, [("a", "r", "b"), ("a", "r", "x"), ("a", "q", "b")])

    # Of a's tails b is asked for: c is known and hidden, a itself too, x is new; so b stands against d alone.
    assert (drift.n, drift.n_left_out) == (1, 2)
    assert (drift.mrr_before, drift.mrr_after) == (0.5, 0.5)  # 2 < 3, and 2 < 3
    assert drift.probability_before == pytest.approx(1 / (1 + np.exp(1)))
    assert drift.moved == pytest.approx(0.0)
    assert (drift.n_better, drift.n_worse) == (0, 0)


def test_drift_counts_what_rose_and_fell_and_ties_share_a_rank():
    known = graph("abc", "r", "a r b")
    before = Known(model=Table(0, 1, 2), entity_ids="abc", relation_ids="r")
    tied = Known(model=Table(0, 2, 2), entity_ids="abc", relation_ids="r")

    drift = measure_drift(before, tied, known, [("a", "r", "b")])

    assert (drift.median_rank_before, drift.median_rank_after) == (2.0, 1.5)
    assert (drift.n_better, drift.n_worse) == (1, 0)
    assert measure_drift(before, tied, known, []).n == 0

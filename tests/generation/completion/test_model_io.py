import json

import pytest
import torch

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.model_io import load_model, save_model
from generation.completion.saved import check_same_graph
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_GRAPH = graph_of([(0, 0, 1), (1, 1, 2)], entity_names=("Ada", "Bob\tby", "Cy"))


def _save(folder, *, seed=0, graph=_GRAPH):
    model = ComplExModel.fresh(n_entities=3, n_relations=2, rank=2, init_scale=0.1, seed=seed)
    model.note_train(graph.train)
    save_model(folder, model, graph, config=CompletionConfig(rank=2), metadata={"seed": seed})
    return model


def test_a_saved_model_comes_back_the_same(tmp_path):
    model = _save(tmp_path / "new" / "model", seed=4)

    saved = load_model(tmp_path / "new" / "model")

    for name in ("entities_NW", "relations_RW", "seen_N", "anchors_RW"):
        assert torch.equal(getattr(saved.model, name), getattr(model, name))
    assert saved.entity_ids == ("e0", "e1", "e2")
    assert saved.entity_names == ("Ada", "Bob by", "Cy")
    assert saved.config == CompletionConfig(rank=2)
    assert saved.metadata["seed"] == 4
    check_same_graph(saved, _GRAPH)


def test_a_second_model_replaces_the_first_and_leaves_nothing_of_it(tmp_path):
    _save(tmp_path, seed=1)
    (tmp_path / "notes.txt").write_text("mine")
    model = _save(tmp_path, seed=2)

    assert torch.equal(load_model(tmp_path).model.entities_NW, model.entities_NW)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors", ".tsv", ".tsv", ".txt"]


def test_a_crash_before_the_last_step_leaves_the_old_model_whole(tmp_path, monkeypatch):
    old = _save(tmp_path, seed=1)

    def fail(path, value):
        raise CompletionError("disk full")

    monkeypatch.setattr("generation.completion.model_io.write_json_atomically", fail)
    with pytest.raises(CompletionError, match="disk full"):
        _save(tmp_path, seed=2)

    assert torch.equal(load_model(tmp_path).model.entities_NW, old.entities_NW)


def test_another_vocabulary_or_other_train_triples_are_refused(tmp_path):
    _save(tmp_path)
    saved = load_model(tmp_path)

    with pytest.raises(CompletionError, match="3 entities and 2 relations of graph 'tiny'"):
        check_same_graph(saved, graph_of([(0, 0, 1), (1, 1, 3)]))
    with pytest.raises(CompletionError, match="may have seen what it would be tested on"):
        check_same_graph(saved, graph_of([(0, 0, 1)], test=[(1, 1, 2)]))


def test_folders_that_hold_no_readable_model_are_refused(tmp_path):
    with pytest.raises(CompletionError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CompletionError, match="damaged"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "other"}')
    with pytest.raises(CompletionError, match="not a link-prediction model"):
        load_model(tmp_path)


def test_damaged_missing_and_newer_parts_are_refused(tmp_path):
    _save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = tmp_path / config["files"]["weights"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "version": 99}))
    with pytest.raises(CompletionError, match="format version 99"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CompletionError, match="cannot be read"):
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(CompletionError, match="cannot be read"):
        load_model(tmp_path)


def test_tables_with_values_that_are_not_finite_are_refused(tmp_path):
    model = _save(tmp_path)
    model.entities_NW[0, 0] = float("nan")
    save_model(tmp_path, model, _GRAPH, config=CompletionConfig(), metadata={})

    with pytest.raises(CompletionError, match="not finite"):
        load_model(tmp_path)

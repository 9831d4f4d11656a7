import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.completion.calibration import Calibration
from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.experts.feature_model import FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.gate import Gate
from generation.completion.model_io import load_model, save_model
from generation.completion.parts import ExpertParts
from generation.completion.paths import PathRule
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


def test_a_folder_of_the_first_format_still_loads_as_the_structural_expert_alone(tmp_path):
    model = _save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("experts", "softmax_bytes", "feature_rank", "text_blocks"):
        del config["config"][name]
    del config["parts"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "version": 1}))

    saved = load_model(tmp_path)

    assert torch.equal(saved.model.entities_NW, model.entities_NW)
    assert saved.parts is None


def _parts():
    matrix = FeatureMatrix(
        values_ND=np.eye(3, 2, dtype=np.float32), has_NK=np.ones((3, 1), dtype=np.bool_), blocks=(("name", 2),)
    )
    return ExpertParts(
        gate=Gate.fresh(("structure", "rules", "text"), ("unseen", "rare"), n_relations=2),
        rules=(PathRule(body=(0,), head=1, support=2, n_body=3), PathRule(body=(3, 0), head=2, support=4, n_body=9)),
        maps={"text": FeatureMap((("name", 2),), n_relations=2, rank=2, hidden=3)},
        features={"text": matrix},
        calibration=Calibration(slope=0.5, offset=-1.0, n=100, n_right=10),
        validation={"structure": 0.25, "chosen": 0.5},
    )


def test_a_setting_that_is_no_more_is_left_out_and_one_that_never_was_is_refused(tmp_path):
    _save(tmp_path)
    path = tmp_path / "config.json"
    description = json.loads(path.read_text(encoding="utf-8"))

    path.write_text(json.dumps({**description, "config": {**description["config"], "patience": 5}}), encoding="utf-8")
    assert load_model(tmp_path).config == CompletionConfig(rank=2)

    path.write_text(json.dumps({**description, "config": {**description["config"], "zeal": 5}}), encoding="utf-8")
    with pytest.raises(CompletionError, match="unknown settings"):
        load_model(tmp_path)


def test_experts_and_gate_come_back_the_same(tmp_path):
    parts = _parts()
    model = ComplExModel.fresh(n_entities=3, n_relations=2, rank=2, init_scale=0.1, seed=0)
    save_model(tmp_path, model, _GRAPH, config=CompletionConfig(rank=2), metadata={}, parts=parts)

    back = load_model(tmp_path).parts

    assert (back.rules, back.calibration, back.validation) == (parts.rules, parts.calibration, parts.validation)
    assert (back.gate.experts, back.gate.traits, back.gate.kind) == (parts.gate.experts, parts.gate.traits, "global")
    assert torch.equal(back.gate.anchor_FK, parts.gate.anchor_FK)
    assert back.features["text"].digest == parts.features["text"].digest
    for name, table in parts.maps["text"].state_dict().items():
        assert torch.equal(back.maps["text"].state_dict()[name], table)


def test_experts_that_are_damaged_or_of_another_vocabulary_are_refused(tmp_path):
    for damage, message in (
        ({"rules": (PathRule(body=(9,), head=1, support=2, n_body=3),)}, "a rule names a relation outside"),
        ({"gate": Gate.fresh(("text",), ("unseen", "rare"), n_relations=5)}, "the gate has shape"),
        ({"maps": {"text": FeatureMap((("name", 2),), n_relations=7, rank=2, hidden=3)}}, "of another vocabulary"),
    ):
        save_model(tmp_path, None, _GRAPH, config=CompletionConfig(), metadata={}, parts=replace(_parts(), **damage))
        with pytest.raises(CompletionError, match=message):
            load_model(tmp_path)
    broken = _parts()
    broken.gate.base_K[0] = float("nan")
    save_model(tmp_path, None, _GRAPH, config=CompletionConfig(), metadata={}, parts=broken)
    with pytest.raises(CompletionError, match="gate table base_K holds values that are not finite"):
        load_model(tmp_path)
    next(tmp_path.glob("experts-*")).write_bytes(b"torn")
    with pytest.raises(CompletionError, match="cannot be read"):
        load_model(tmp_path)

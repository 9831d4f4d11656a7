"""Vectors dealt out among the wrong entities: what was read must be lost, and nothing else may change."""

import json
from dataclasses import replace

import numpy as np
import pytest

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_log import read_evaluations
from generation.completion.evaluation_run import BEFORE_REFIT, evaluate_folder
from generation.completion.evaluator import evaluate
from generation.completion.experts.features import FeatureMatrix, text_features
from generation.completion.permutation import (
    LEFT_OUT,
    PERMUTED,
    PERMUTED_SAME_GATE,
    permutation_arms,
    permuted_features,
    what_is_lost,
)
from generation.completion.report_run import report_folder
from generation.completion.runs import train_folder
from generation.completion.training import train_experts
from kg.errors import CompletionError
from tests.generation.completion.test_experts import _CONFIG as CONFIG
from tests.generation.completion.test_experts import WordEncoder
from tests.generation.completion.test_experts import _clubs as clubs

_HAS = np.array([[True, True], [True, False], [True, True], [True, True], [True, True]])


def _features():
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    values[1, 2:] = 0.0
    return FeatureMatrix(values_ND=values, has_NK=_HAS, blocks=(("name", 2), ("text", 2)))


def test_vectors_change_hands_among_those_that_have_one_and_nothing_else_changes():
    before = _features()

    after = permuted_features(before, "text", seed=1)

    np.testing.assert_array_equal(after.values_ND[:, :2], before.values_ND[:, :2])  # the other block
    np.testing.assert_array_equal(after.values_ND[1], before.values_ND[1])  # an entity without a text
    np.testing.assert_array_equal(after.has_NK, before.has_NK)
    assert sorted(map(tuple, after.values_ND[:, 2:].tolist())) == sorted(map(tuple, before.values_ND[:, 2:].tolist()))
    assert (after.values_ND != before.values_ND).any()
    np.testing.assert_array_equal(before.values_ND, _features().values_ND)  # the given ones stay as they are


def test_the_same_seed_deals_out_the_same_and_an_unknown_block_is_refused_with_those_there_are():
    def dealt(seed):
        return permuted_features(_features(), "name", seed=seed).values_ND

    np.testing.assert_array_equal(dealt(3), dealt(3))
    assert any((dealt(3) != dealt(seed)).any() for seed in range(4, 8))
    with pytest.raises(CompletionError, match=r"'image'; there are \['name', 'text'\]"):
        permuted_features(_features(), "image", seed=0)


def test_shares_of_a_gain_are_as_by_hand():
    lost = what_is_lost(0.5, {LEFT_OUT: 0.3, PERMUTED: 0.35})

    assert lost["gain"] == pytest.approx(0.2)
    assert lost["kept"] == pytest.approx(0.05)
    assert lost["lost_share"] == pytest.approx(0.75)
    assert what_is_lost(0.3, {LEFT_OUT: 0.3, PERMUTED: 0.1})["lost_share"] is None


@pytest.fixture(scope="module")
def reader():
    graph = clubs()
    return train_experts(graph, config=CONFIG, seed=0, features={"text": text_features(graph, WordEncoder())})


def _arms(done, graph):
    arms = permutation_arms(done.mixture, graph, "text", config=done.config, seed=0, gate_seed=0)
    figures = {name: evaluate(arm, graph, triples=graph.test) for name, arm in arms.items()}
    return evaluate(done.mixture, graph, triples=graph.test), figures


def test_texts_that_are_read_lose_their_gain_when_they_stand_with_other_people(reader):
    graph = clubs()

    full, arms = _arms(reader, graph)

    lost = what_is_lost(full.mrr, {name: one.mrr for name, one in arms.items()})
    assert full.tail.mrr > 0.9
    assert lost["gain"] > 0.1
    assert lost["lost_share"] > 0.9
    assert arms[PERMUTED_SAME_GATE].tail.mrr < 0.7
    assert evaluate(reader.mixture, graph, triples=graph.test).mrr == full.mrr  # the model itself stays as it was


def test_vectors_that_say_the_same_of_everyone_lose_nothing():
    graph = clubs()
    values = np.ones((graph.n_entities, 3), dtype=np.float32)
    features = FeatureMatrix(
        values_ND=values, has_NK=np.ones((graph.n_entities, 1), dtype=np.bool_), blocks=(("text", 3),)
    )

    config = replace(CONFIG, max_epochs=2, feature_epochs=2)
    full, arms = _arms(train_experts(graph, config=config, seed=0, features={"text": features}), graph)

    np.testing.assert_array_equal(arms[PERMUTED_SAME_GATE].tail_ranks, full.tail_ranks)
    np.testing.assert_array_equal(arms[PERMUTED].head_ranks, full.head_ranks)


def test_several_blocks_are_dealt_out_together_and_a_kind_that_no_expert_reads_is_refused(reader):
    graph, done = clubs(), reader
    how = {"config": done.config, "seed": 0, "gate_seed": 0}

    both = permutation_arms(done.mixture, graph, "name+text", **how)

    assert not both[LEFT_OUT].experts["text"].features.values_ND.any()
    assert both[LEFT_OUT].experts["structure"] is done.mixture.experts["structure"]
    with pytest.raises(CompletionError, match="no vectors of the kind 'image'. It reads name, text"):
        permutation_arms(done.mixture, graph, "text+image", **how)
    with pytest.raises(CompletionError, match="It has no expert that reads vectors"):
        permutation_arms(done.mixture.alone("structure"), graph, "text", **how)


@pytest.fixture
def trained(tmp_path):
    """A ring of thirty numbered entities, trained with an expert that reads the numbers."""
    folder = tmp_path / "ring"
    folder.mkdir()
    rows = [f"e{i}\t{name}\te{(i + step) % 30}" for i in range(30) for name, step in (("next", 1), ("skip", 2))]
    (folder / "train.tsv").write_text("\n".join(rows[:54]) + "\n")
    (folder / "test.tsv").write_text("\n".join(rows[54:]) + "\n")
    (folder / "numbers.tsv").write_text("".join(f"e{i}\tplace\t{i}\n" for i in range(30)))
    config = CompletionConfig(rank=4, max_epochs=2, feature_epochs=2, feature_rank=4, threads=1)
    train_folder(folder, tmp_path / "model", config=config)
    return tmp_path / "model", folder


def test_an_evaluation_reports_the_arms_and_the_log_names_all_that_was_ranked_on_test(trained):
    told = []

    result = evaluate_folder(
        *trained, permute=["number"], permutation_seed=5, on_progress=lambda *one: told.append(one)
    )

    found = result["permuted"]["number"]
    assert set(found["arms"]) == {LEFT_OUT, PERMUTED, PERMUTED_SAME_GATE}
    before = result["ablation"][BEFORE_REFIT]["mrr"]  # arms are of experts that have not learnt validation
    assert found["gain"] == pytest.approx(before - found["arms"][LEFT_OUT]["mrr"])
    assert found["seed"] == 5
    (entry,) = read_evaluations(trained[0]).entries
    assert set(entry["beside"]) == {"ablation", "baselines", "permuted number"}
    assert entry["beside"]["permuted number"] == {name: one["mrr"] for name, one in found["arms"].items()}
    assert set(entry["beside"]["baselines"]) == {"rules-1", "frequency"}
    done, total, _ = told[-1]
    assert done == total == 6 * (1 + 2 + 3 + len(result["ablation"]))
    assert json.loads(json.dumps(result)) == result


def test_a_report_shows_on_its_page_whether_the_vectors_are_read(trained, tmp_path):
    result = report_folder(*trained, out=tmp_path / "page", permute=["number"])

    page = (tmp_path / "page" / "report.html").read_text()
    assert "Is number read?" in page
    assert "number permuted, gate as trained" in page
    assert "permuted number: 3" in page  # in the log, beside the look itself
    assert json.loads((tmp_path / "page" / "report.json").read_text())["permuted"] == result["permuted"]
    with pytest.raises(CompletionError, match="It reads number"):
        report_folder(*trained, permute=["text"])
    assert len(read_evaluations(trained[0]).entries) == 1  # what was refused looked at nothing

"""The twin: a second, smaller structural expert that is taught something else."""

from dataclasses import replace

import pytest
import torch

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_run import BEFORE_REFIT, evaluate_folder
from generation.completion.extension import extend_model
from generation.completion.gate import Gate
from generation.completion.model_io import load_model
from generation.completion.parts_io import check_parts
from generation.completion.runs import open_folder, train_folder
from generation.completion.training import train_experts
from generation.completion.triples import carve_validation
from kg.errors import CompletionError, ConfigError
from tests.generation.completion.helpers import graph_of, ring_rows, write_ring

N = 30
_CONFIG = CompletionConfig(
    rank=8, twin_rank=4, max_epochs=5, twin_epochs=3, batch_size=16, threads=1, valid_fraction=0.2
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("twin")
    folder = write_ring(root / "ring")
    report = train_folder(folder, root / "model", config=_CONFIG, seed=0)
    return root / "model", folder, report


@pytest.mark.parametrize(
    ("n_entities", "n_train", "expected"),
    [
        (15_000, 34_000, 400),  # two fifths of 1,000
        (15_000, 19_999, 0),  # of 256 little is gained
        (90_000, 300_000, 0),  # 1,000 + 400 numbers an entity, real and imaginary, are 2.52e8
        (1_000_000, 3_000_000, 0),  # and where the rank itself fills the bound
    ],
)
def test_large_graphs_have_a_twin_where_both_tables_keep_within_the_bound(n_entities, n_train, expected):
    assert CompletionConfig().resolve(n_entities=n_entities, n_train=n_train).twin_rank == expected
    asked = CompletionConfig(twin_rank=7).resolve(n_entities=n_entities, n_train=n_train)
    assert asked.twin_rank == 7


@pytest.mark.parametrize(("first", "second"), [(0.0, 1.0), (4.0, 0.0), (0.5, 0.0)])
def test_the_twin_learns_relations_where_the_first_does_not_and_the_other_way_round(first, second):
    config = CompletionConfig(rank=50, twin_rank=20, relation_weight=first, candidates=3_000, max_epochs=30)

    twin = config.twin_of()

    assert (twin.rank, twin.relation_weight, twin.candidates, twin.max_epochs) == (20, second, 2_000, 12)


def test_both_structural_experts_are_trained_saved_and_weighed(trained):
    model, folder, report = trained
    predictor = open_folder(model, folder)
    twin = predictor.scorer.experts["twin"]

    assert predictor.scorer.gate.experts == ("structure", "twin", "rules")
    assert twin.entities_NW.shape == (N, 8)
    assert [p.expert for p in report.history] == ["structure"] * 9 + ["twin"] * 7  # four each over all of train
    assert set(evaluate_folder(model, folder)["ablation"]) == {BEFORE_REFIT, "structure", "twin", "rules"}
    contributions = predictor.ask(head="e0", relation="r1", k=1).links[0].contributions
    assert {one.expert for one in contributions} == {"structure", "twin", "rules"}
    before = open_folder(model, folder, validated=True).scorer.experts["twin"]
    assert not torch.equal(before.entities_NW, twin.entities_NW)


def test_a_graph_without_validation_or_a_twin_of_rank_zero_goes_without():
    graph = graph_of(ring_rows(), n_entities=N)
    carved = carve_validation(graph, fraction=0.2, seed=0)

    assert "twin" not in train_experts(graph, config=_CONFIG, seed=0).mixture.experts
    none = train_experts(carved, config=replace(_CONFIG, twin_rank=0), seed=0)
    assert "twin" not in none.mixture.experts
    with pytest.raises(ConfigError, match=r"twin_rank: got -3\. Give a whole number, 0 for no twin"):
        CompletionConfig(twin_rank=-3)


def test_new_entities_get_a_row_in_the_twin_too(trained):
    saved = load_model(trained[0])
    ids = (*saved.entity_ids, "e-new")
    tiny = graph_of([(0, 0, 1)], n_entities=N + 1, n_relations=2)
    grown = replace(tiny, entity_ids=ids, relation_ids=saved.relation_ids)

    twin = extend_model(saved, grown).parts.twin

    assert twin.entities_NW.shape == (N + 1, 8)
    assert not twin.seen_N[N]
    assert torch.equal(twin.entities_NW[:N], saved.parts.twin.entities_NW)


def test_an_unseen_anchor_trusts_neither_structural_expert_before_anything_is_learnt():
    gate = Gate.fresh(("structure", "twin", "text"), ("unseen",), n_relations=1)

    weights = gate.weights(torch.zeros(1, dtype=torch.int64), torch.ones(1, 1))[0]

    assert weights[0] == weights[1] < weights[2]


def test_a_twin_of_another_vocabulary_is_refused(trained, tmp_path):
    saved = load_model(trained[0])
    twin = replace(saved.parts.twin, entities_NW=saved.parts.twin.entities_NW[:-1])

    with pytest.raises(CompletionError, match=r"the twin: table entities has shape \(29, 8\), expected \(30, 8\)"):
        check_parts(tmp_path, replace(saved.parts, twin=twin), n_entities=N, n_relations=2)

"""Where validation is carved from train, experts go on to learn it once it has chosen them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_run import BEFORE_REFIT, evaluate_folder, open_for
from generation.completion.evaluator import evaluate
from generation.completion.model_io import load_model
from generation.completion.runs import open_folder, train_folder
from generation.completion.trainer import train_complex
from generation.completion.triples import carve_validation
from kg.errors import CompletionError, ConfigError
from tests.generation.completion.helpers import graph_of, ring_rows, write_ring

_CONFIG = CompletionConfig(
    rank=8, max_epochs=6, feature_rank=4, feature_epochs=3, batch_size=16, threads=1, valid_fraction=0.2
)
N = 30


def _mrr(scorer, graph, triples):
    return evaluate(scorer, graph, triples=triples).mrr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A ring with numbered entities, a tenth of it test, trained with structure, rules and numbers."""
    root = tmp_path_factory.mktemp("refit")
    folder = write_ring(root / "ring")
    (folder / "numbers.tsv").write_text("".join(f"e{i}\tplace\t{i}\n" for i in range(N)))
    report = train_folder(folder, root / "model", config=_CONFIG, seed=0)
    return root / "model", folder, report


def test_training_goes_on_from_its_last_epoch_with_all_of_train():
    graph = carve_validation(graph_of(ring_rows(), n_entities=N), fraction=0.2, seed=0)

    fit = train_complex(graph, config=replace(_CONFIG, max_epochs=2), seed=0)

    assert [progress.is_refit for progress in fit.history] == [False] * 2 + [True] * 4
    assert [progress.valid_mrr is None for progress in fit.history] == [False] * 2 + [True] * 4
    assert _mrr(fit.refitted, graph, graph.valid) > _mrr(fit.model, graph, graph.valid) == fit.best_valid_mrr
    assert fit.model.seen_N.all()
    assert not torch.equal(fit.refitted.anchors_RW, fit.model.anchors_RW)


def test_an_epoch_over_all_of_train_asks_every_question_of_it():
    graph = carve_validation(graph_of(ring_rows(), n_entities=N), fraction=0.2, seed=0)
    whole = graph.with_validation_in_train()

    assert len(whole.train) == 2 * N
    assert not len(whole.valid)
    assert {tuple(row) for row in whole.train.tolist()} == set(ring_rows())
    np.testing.assert_array_equal(np.sort(whole.known(), axis=0), np.sort(graph.known(), axis=0))


def test_a_graph_with_a_validation_part_of_its_own_never_learns_it():
    graph = graph_of(ring_rows()[4:], valid=ring_rows()[:4], n_entities=N)

    fit = train_complex(graph, config=_CONFIG, seed=0)

    assert fit.refitted is None
    assert not any(progress.is_refit for progress in fit.history)


def test_nothing_is_learnt_anew_where_no_epochs_are_wanted_for_it(trained, tmp_path):
    train_folder(trained[1], tmp_path / "model", config=replace(_CONFIG, refit_epochs=0), seed=0)

    assert not list((tmp_path / "model").glob("validated-*"))
    assert load_model(tmp_path / "model").learnt_validation is False
    assert set(evaluate_folder(tmp_path / "model", trained[1])["ablation"]) == {"structure", "rules", "numbers"}
    with pytest.raises(ConfigError, match=r"refit_epochs: got -1\. Give a whole number, 0 for none"):
        CompletionConfig(refit_epochs=-1)


def test_the_folder_keeps_the_experts_as_validation_chose_them(trained):
    model, folder, report = trained
    final, chosen = open_folder(model, folder), open_folder(model, folder, validated=True)

    assert final.saved.learnt_validation
    assert not chosen.saved.learnt_validation
    assert len(chosen.graph.valid) == report.n_valid == 11  # a fifth of 54, rounded
    assert len(final.graph.train) == len(chosen.graph.train) + report.n_valid == 54
    reached = chosen.saved.metadata["parts"]["validation"]
    for name in ("structure", "numbers"):
        assert _mrr(chosen.scorer.experts[name], chosen.graph, chosen.graph.valid) == pytest.approx(reached[name])
    one, two = (predictor.scorer.experts for predictor in (final, chosen))
    assert not torch.equal(one["structure"].entities_NW, two["structure"].entities_NW)
    assert not torch.equal(one["numbers"].model.linear_WD, two["numbers"].model.linear_WD)
    steps = [len(one["rules"].adjacency.first_steps(entity)[0]) for entity in range(N)]
    assert sum(steps) == 2 * 54  # each train triple from both ends, those carved too
    assert final.scorer.experts["rules"].rules == chosen.scorer.experts["rules"].rules
    assert torch.equal(final.scorer.gate.base_K, chosen.scorer.gate.base_K)
    assert any("learnt all of train" in note for note in report.notes)


def test_validation_is_ranked_by_experts_that_have_not_learnt_it(trained):
    model, folder, report = trained

    result = evaluate_folder(model, folder, "valid")

    assert result["mrr"] == pytest.approx(report.best_valid_mrr)
    assert BEFORE_REFIT not in result["ablation"]
    assert not open_for("valid", model, folder).saved.learnt_validation
    assert open_for("test", model, folder).saved.learnt_validation


def test_an_evaluation_on_test_says_what_learning_validation_gave(trained):
    model, folder, _ = trained
    chosen = open_folder(model, folder, validated=True)

    result = evaluate_folder(model, folder, "test")

    assert result["ablation"][BEFORE_REFIT]["mrr"] == pytest.approx(
        _mrr(chosen.scorer, chosen.graph, chosen.graph.test)
    )
    for name in ("structure", "rules", "numbers"):
        assert result["ablation"][name]["mrr"] == pytest.approx(
            _mrr(chosen.scorer.experts[name], chosen.graph, chosen.graph.test)
        )


def test_a_folder_whose_chosen_experts_are_gone_still_predicts_and_says_what_it_lacks(trained, tmp_path):
    model, folder, _ = trained
    for path in model.iterdir():
        if path.is_file() and not path.name.startswith("validated-"):
            (tmp_path / path.name).write_bytes(path.read_bytes())

    assert len(open_folder(tmp_path, folder).predict(head="e0", relation="r0", k=3)) == 3
    with pytest.raises(CompletionError, match=r"the model cannot be read \(.*validated-"):
        open_folder(tmp_path, folder, validated=True)

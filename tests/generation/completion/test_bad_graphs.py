"""Graphs at the edge of what can be learnt from: each gives a defined result or an error that says what to do."""

import numpy as np
import pytest

from generation.completion.config import CompletionConfig
from generation.completion.evaluation_run import evaluate_folder
from generation.completion.evaluator import evaluate
from generation.completion.report_run import report_folder
from generation.completion.rules import FrequencyScorer, RuleScorer
from generation.completion.runs import open_folder, train_folder
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_CONFIG = CompletionConfig(rank=4, max_epochs=2, threads=1)


def _folder(tmp_path, train, test):
    path = tmp_path / "graph"
    path.mkdir()
    (path / "train.tsv").write_text(train)
    (path / "test.tsv").write_text(test)
    return path


def test_a_graph_of_one_entity_is_trained_ranked_and_reported_and_offers_no_link(tmp_path):
    folder = _folder(tmp_path, "a\tr\ta\n", "a\ts\ta\n")
    train_folder(folder, tmp_path / "model", config=_CONFIG)

    assert evaluate_folder(tmp_path / "model", folder)["mrr"] == 1.0  # one entity, one place
    assert report_folder(tmp_path / "model", folder)["by_answer_degree"][0]["name"] == "2-3"  # both ends of one triple
    assert open_folder(tmp_path / "model", folder).predict(head="a", relation="r") == []


def test_a_relation_that_train_lacks_is_ranked_and_said_to_have_no_example(tmp_path):
    folder = _folder(tmp_path, "a\tr\tb\nb\tr\tc\n", "b\tnew\ta\n")
    train_folder(folder, tmp_path / "model", config=_CONFIG)

    result = evaluate_folder(tmp_path / "model", folder)
    answer = open_folder(tmp_path / "model", folder).ask(head="a", relation="new")

    assert result["n"] == 1
    assert result["baselines"]["rules-1"]["tail"]["mrr"] == 0.5  # nothing is known of it: the middle of three places
    assert answer.n_examples == 0
    assert "only 0 examples of 'new'" in answer.notes[0]


@pytest.mark.parametrize("scorer_of", [RuleScorer, FrequencyScorer], ids=["rules", "frequency"])
def test_baselines_score_an_unseen_relation_as_a_constant_and_never_with_nan(scorer_of):
    graph = graph_of([(0, 0, 1), (1, 0, 2)], test=[(2, 1, 0)], n_entities=5)

    result = evaluate(scorer_of(graph), graph, triples=graph.test)

    np.testing.assert_array_equal(result.tail_ranks, [3.0])  # the middle of five places
    np.testing.assert_array_equal(result.head_ranks, [3.0])


def test_an_unknown_entity_and_an_unknown_relation_are_refused_with_near_names(tmp_path):
    folder = _folder(tmp_path, "Paris\tcapital of\tFrance\nBerlin\tcapital of\tGermany\n", "Paris\tin\tFrance\n")
    train_folder(folder, tmp_path / "model", config=_CONFIG)
    predictor = open_folder(tmp_path / "model", folder)

    with pytest.raises(CompletionError, match="no entity 'Pariss'.*'Paris'"):
        predictor.ask(head="Pariss", relation="in")
    with pytest.raises(CompletionError, match="no relation 'capital'.*'capital of'"):
        predictor.ask(head="Paris", relation="capital")


def test_a_model_with_the_folder_of_another_graph_is_refused_and_says_what_to_do(tmp_path):
    folder = _folder(tmp_path, "a\tr\tb\nb\tr\tc\n", "c\tr\ta\n")
    train_folder(folder, tmp_path / "model", config=_CONFIG)
    (folder / "train.tsv").write_text("x\tr\ty\ny\tr\tz\n")
    (folder / "test.tsv").write_text("z\tr\tx\n")

    with pytest.raises(CompletionError, match="not the same ones in the same order. Use the graph it was trained on"):
        evaluate_folder(tmp_path / "model", folder)


def test_duplicate_and_reflexive_triples_are_counted_in_every_split_and_ranked_once(tmp_path):
    folder = _folder(tmp_path, "a\tr\tb\na\tr\tb\nb\tr\tb\n", "c\tr\tc\nc\tr\tc\nc\tr\ta\n")

    report = train_folder(folder, tmp_path / "model", config=_CONFIG)

    assert {"duplicates train: 1", "reflexive train: 1", "duplicates test: 1", "reflexive test: 1"} <= set(report.notes)
    assert evaluate_folder(tmp_path / "model", folder)["n"] == 2

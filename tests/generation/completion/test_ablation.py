"""A ladder of parts: each rung adds one thing, and what matters shows where it is added."""

import numpy as np
import pytest

from generation.completion.ablation import ladder_arms
from generation.completion.evaluation_log import read_evaluations
from generation.completion.evaluation_run import BEFORE_REFIT, LEARNT_VALIDATION, evaluate_folder
from generation.completion.evaluator import evaluate
from generation.completion.experts.features import text_features
from generation.completion.gate_fitting import fit_gate
from generation.completion.training import train_experts
from tests.generation.completion.test_experts import _CONFIG as CONFIG
from tests.generation.completion.test_experts import WordEncoder
from tests.generation.completion.test_experts import _clubs as clubs
from tests.generation.completion.test_twin import trained as ring  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def climbed():
    graph = clubs()
    done = train_experts(graph, config=CONFIG, seed=0, features={"text": text_features(graph, WordEncoder())})
    return graph, done, ladder_arms(done.mixture, graph, config=done.config, seed=0)


def test_experts_are_added_in_turn_and_each_kind_of_vectors_is_a_rung(climbed):
    graph, done, arms = climbed
    names = list(arms)

    assert names[:4] == ["structure", "+ rules", "+ text: name", "+ text: text"]
    assert set(names[4:]) <= {"+ gate", "+ reranker"}
    mrr = {name: evaluate(arm, graph, triples=graph.test).tail.mrr for name, arm in arms.items()}
    assert mrr["structure"] == evaluate(done.mixture.experts["structure"], graph, triples=graph.test).tail.mrr
    assert max(mrr["structure"], mrr["+ rules"], mrr["+ text: name"]) < 0.7  # which club stands in the texts alone
    assert mrr["+ text: text"] > 0.9


def test_the_last_rung_is_the_mixture_as_it_is(climbed):
    graph, done, arms = climbed
    question = (graph.test[:, 0], graph.test[:, 1])

    assert list(arms)[-1] == "+ gate"
    np.testing.assert_array_equal(arms["+ gate"].score_all(*question), done.mixture.score_all(*question))
    assert arms["+ text: text"].gate.kind in ("single", "global")  # of one weight an expert, or none
    held = done.mixture.experts["text"].features
    assert arms["+ text: text"].experts["text"].features is held
    assert not np.array_equal(arms["+ text: name"].experts["text"].features.values_ND, held.values_ND)


def test_where_the_first_expert_reads_several_kinds_its_first_rung_reads_one(climbed):
    graph, done, _ = climbed
    text = done.mixture.with_experts({"text": done.mixture.experts["text"]}).alone("text")

    arms = ladder_arms(text, graph, config=done.config, seed=0)

    assert list(arms) == ["text: name", "+ text: text"]
    mrr = {name: evaluate(arm, graph, triples=graph.test).tail.mrr for name, arm in arms.items()}
    assert mrr["text: name"] < 0.7 < mrr["+ text: text"]  # which club stands in the texts alone


def test_a_gate_is_chosen_among_the_kinds_that_are_allowed(climbed):
    graph, done, _ = climbed

    found = fit_gate(done.mixture, graph, triples=graph.valid, seed=0, reranks=False, kinds=("global",))

    assert found.gate.kind in ("single", "global")
    assert {name for name in found.validation if name.startswith("gate")} == {"gate: global"}


def test_an_evaluation_climbs_to_the_model_that_learnt_validation_and_logs_each_rung(ring):  # noqa: F811
    model, folder, _ = ring

    result = evaluate_folder(model, folder, ablation=False, baselines=False, ladder=True)

    rungs = result["ladder"]
    assert list(rungs)[:3] == ["structure", "+ twin, with relation prediction", "+ rules"]
    assert list(rungs)[-1] == LEARNT_VALIDATION
    assert rungs[LEARNT_VALIDATION]["mrr"] == result["mrr"]
    assert rungs["structure"]["gain"] is None
    gains = sum(one["gain"] for one in list(rungs.values())[1:])
    assert gains == pytest.approx(result["mrr"] - rungs["structure"]["mrr"])
    assert set(result["ablation"]) == {BEFORE_REFIT}
    entry = read_evaluations(model).entries[-1]
    assert entry["beside"]["ladder"] == {name: one["mrr"] for name, one in rungs.items()}

"""What makes one question fast, each beside the plain way to say the same."""

import numpy as np
import pytest
import torch

from generation.completion.experts.feature_model import FeatureMap
from generation.completion.experts.rules import RuleExpert
from generation.completion.gate import Gate
from generation.completion.mixture import ExpertMixture
from generation.completion.paths import PathRule
from generation.completion.predict import _largest, _shares
from generation.completion.products import against_all
from tests.generation.completion.helpers import graph_of

N_ENTITIES, N_RELATIONS = 40, 3


class _Table:
    """An expert of random scores that hands out a new array each time, as the real ones do."""

    n_constant_parameters = n_entity_parameters = 0

    def __init__(self, seed):
        self.table = np.random.default_rng(seed).normal(size=(N_ENTITIES, N_ENTITIES)).astype(np.float32)

    def score_all(self, anchors, relations):
        return self.table[anchors] + relations[:, None].astype(np.float32)


def _mixture(kind):
    rng = np.random.default_rng(5)
    traits = rng.random((N_ENTITIES, 4)).astype(np.float32)
    gate = Gate.fresh(("one", "two", "three"), ("a", "b", "c", "d"), n_relations=N_RELATIONS, kind=kind)
    tables = ("base_K", "relation_RK", "anchor_FK", "bias_F", *(("candidate_FK",) if kind == "relations" else ()))
    learnt = {name: torch.from_numpy(rng.normal(size=getattr(gate, name).shape).astype(np.float32)) for name in tables}
    experts = {name: _Table(seed) for seed, name in enumerate(gate.experts)}
    return ExpertMixture(experts, gate.with_tables(learnt), traits, n_relations=N_RELATIONS)


@pytest.mark.parametrize("n_questions", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_products_with_one_question_and_with_many_are_the_plain_product(n_questions, kind):
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(30, 8, generator=generator, dtype=kind)
    queries = torch.randn(n_questions, 8, generator=generator, dtype=kind)

    torch.testing.assert_close(against_all(queries, table), queries @ table.T, rtol=1e-5, atol=1e-6)
    transposed = table.T.contiguous().T  # a table that does not lie row by row
    torch.testing.assert_close(against_all(queries, transposed), queries @ table.T, rtol=1e-5, atol=1e-6)


def test_products_of_learnt_rows_are_plain_numbers():
    model = FeatureMap((("text", 4),), n_relations=2, rank=3, hidden=0)

    found = against_all(model.relations_RW[:1], model.relations_RW)

    assert not found.requires_grad
    torch.testing.assert_close(found, model.relations_RW.detach()[:1] @ model.relations_RW.detach().T)


@pytest.mark.parametrize("kind", ["global", "relations"])
def test_the_mixture_blends_as_its_gate_does_and_names_what_adds_up_to_the_score(kind):
    mixture = _mixture(kind)
    anchors, relations = np.array([0, 7, 39]), np.array([0, 4, 5])

    asked = mixture.log_probabilities(anchors, relations)
    anchor_traits = mixture.traits_NF[torch.from_numpy(anchors)]
    expected = mixture.gate.blend(asked, torch.from_numpy(relations), anchor_traits, mixture.traits_NF)

    for said, expert in zip(asked, mixture.experts.values(), strict=True):
        plain = torch.log_softmax(torch.from_numpy(expert.score_all(anchors, relations)), dim=1)
        torch.testing.assert_close(said, plain)
    np.testing.assert_allclose(mixture.score_all(anchors, relations), expected.numpy(), rtol=1e-5, atol=1e-5)
    scores, said = mixture.answer(7, 4)
    np.testing.assert_allclose(scores, expected[1].numpy(), rtol=1e-5, atol=1e-5)
    candidates = np.array([3, 0, 11])
    found = mixture.contributions(7, 4, candidates, heard=said)
    np.testing.assert_allclose(found.log_probabilities, mixture.contributions(7, 4, candidates).log_probabilities)
    total = (found.weights * found.log_probabilities).sum(axis=0)
    bias = (mixture.traits_NF[candidates] @ mixture.gate.bias_F).numpy()
    np.testing.assert_allclose(total + bias, scores[candidates], rtol=1e-4, atol=1e-5)


def test_a_gate_that_listens_to_one_expert_answers_as_that_expert_ranks():
    mixture = _mixture("global")
    single = mixture.with_gate(Gate.only("two", mixture.gate.experts, mixture.gate.traits, n_relations=N_RELATIONS))
    question = (np.array([5]), np.array([1]))

    scores, heard = single.answer(5, 1)

    np.testing.assert_array_equal(scores, single.score_all(*question)[0])
    np.testing.assert_allclose(scores, heard.logs[1][0].numpy(), rtol=1e-5)
    assert single.contributions(5, 1, np.array([0, 3]), heard=heard).weights.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert len(heard.logs) == 3  # the others are still heard, so that a prediction can say what they made of it


def test_rules_that_lead_to_one_end_twice_are_joined_and_all_other_ends_stay_at_zero():
    graph = graph_of([(0, 0, 1), (0, 1, 1), (0, 1, 2)], n_entities=6, n_relations=3)
    rules = [PathRule(body=(0,), head=2, support=5, n_body=5), PathRule(body=(1,), head=2, support=4, n_body=11)]

    found = RuleExpert(graph, rules=rules).confidences(np.array([0, 3]), np.array([2, 2]))

    np.testing.assert_allclose(found[0], [0, 1 - 0.5 * 0.75, 0.25, 0, 0, 0], rtol=1e-6)
    assert not found[1].any()


def test_the_largest_scores_hold_all_that_tie_with_the_last_and_none_that_is_no_candidate():
    scores = np.array([1.0, 3.0, -np.inf, 2.0, 2.0, 0.5], dtype=np.float32)

    assert _largest(scores, 1).tolist() == [1]
    assert _largest(scores, 2).tolist() == [1, 3, 4]
    assert _largest(scores, 5).tolist() == [0, 1, 3, 4, 5]
    assert _largest(scores, 100).tolist() == [0, 1, 3, 4, 5]
    assert _largest(np.full(3, -np.inf, dtype=np.float32), 2).tolist() == []


def test_shares_are_the_softmax_over_the_candidates():
    scores = np.array([0.0, np.log(2.0), -np.inf, np.log(5.0)], dtype=np.float32)

    np.testing.assert_allclose(_shares(scores, np.array([3, 0])), [5 / 8, 1 / 8], rtol=1e-6)

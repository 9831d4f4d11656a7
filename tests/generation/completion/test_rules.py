import numpy as np
import pytest

from generation.completion.rules import FrequencyScorer, Rule, RuleScorer, mine_rules
from tests.generation.completion.helpers import graph_of


def test_rules_between_relations_of_one_pair_and_their_inverses_are_counted_by_hand():
    # Relation 0 holds for three pairs; relation 1 holds for two of them the same way round, relation 2 for two turned.
    graph = graph_of([(0, 0, 1), (2, 0, 3), (4, 0, 5), (0, 1, 1), (2, 1, 3), (1, 2, 0), (3, 2, 2)])

    rules = {(rule.body, rule.head): rule for rule in mine_rules(graph)}

    assert rules[0, 1] == Rule(body=0, head=1, support=2, n_body=3)
    assert rules[0, 1].confidence == pytest.approx(2 / 8)  # 2 right of 3, and 5 pessimistic ones
    assert rules[1, 0].confidence == pytest.approx(2 / 7)
    assert rules[0, 2 + 3] == Rule(body=0, head=5, support=2, n_body=3)  # r0(x, y) → r2(y, x)
    assert (0, 0) not in rules


def test_a_symmetric_relation_implies_its_own_inverse():
    graph = graph_of([(0, 0, 1), (1, 0, 0), (2, 0, 3), (3, 0, 2)])

    rules = {(rule.body, rule.head): rule.support for rule in mine_rules(graph)}

    assert rules == {(0, 1): 4, (1, 0): 4}


def test_the_rule_scorer_prefers_what_a_rule_concludes_and_then_what_is_frequent():
    graph = graph_of([(0, 0, 1), (2, 0, 3), (0, 1, 1), (2, 1, 3), (4, 1, 5), (6, 0, 3)])

    scores = RuleScorer(graph).score_tails(np.array([4, 7 - 1]), np.array([0, 1]))

    assert scores[0].argmax() == 5  # r1(4, 5) implies r0(4, 5)
    assert scores[0, 5] == pytest.approx(2 / (3 + 5))
    assert scores[0, 3] == pytest.approx(1e-3 * 2 / 3)  # two of the three tails of r0
    assert scores[1].argmax() == 3  # r0(6, 3) implies r1(6, 3)


def test_frequencies_are_shares_of_a_relations_train_ends():
    graph = graph_of([(0, 0, 1), (2, 0, 1), (0, 0, 3)])
    scorer = FrequencyScorer(graph)

    np.testing.assert_allclose(scorer.score_tails(np.array([3]), np.array([0]))[0], [0, 2 / 3, 0, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(scorer.score_heads(np.array([0]), np.array([1]))[0], [2 / 3, 0, 1 / 3, 0], rtol=1e-6)
    assert scorer.n_parameters == 0

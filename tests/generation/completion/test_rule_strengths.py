import math

import numpy as np
import pytest

from generation.completion.experts.rule_fitting import fit_rule_strengths
from generation.completion.experts.rule_strengths import FLOOR, TIE_WEIGHT, RuleStrengths
from generation.completion.experts.rules import RuleExpert
from generation.completion.paths import PathRule
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_HEAD, _TWIN, _COPY, _WEAK = 0, 1, 2, 3


def _graph():
    """Relation 0 follows relation 3 always; relations 1 and 2 say the same thing twice and lead astray every time."""
    rows = []
    for i in range(10):
        rows += [(i, _HEAD, 20 + i), (i, _WEAK, 20 + i), (i, _TWIN, 30 + i), (i, _COPY, 30 + i)]
    return graph_of(rows, n_entities=40)


def _rules():
    return [
        PathRule(body=(_TWIN,), head=_HEAD, support=6, n_body=10),
        PathRule(body=(_COPY,), head=_HEAD, support=6, n_body=10),
        PathRule(body=(_WEAK,), head=_HEAD, support=5, n_body=10),
    ]


def _log_likelihood(expert, strengths):
    """By the definition: one question at a time, entity by entity."""
    total = 0.0
    for head, relation, tail in expert_edges(_graph()):
        values = []
        for entity in range(expert.n_entities):
            open_ = 1.0
            for number, rule in enumerate(expert.rules):
                if (head, rule.body[0], entity) in expert_edges(_graph()):
                    support, n_body = rule.support, rule.n_body
                    if entity == tail:
                        support, n_body = support - 1, n_body - 1
                    open_ *= (1.0 - support / (n_body + 5)) ** float(strengths.rules_Q[number])
            share = 0.1 if 20 <= entity < 30 else 0.0
            values.append(1.0 - open_ + TIE_WEIGHT * float(strengths.ties_R[relation]) * share + FLOOR)
        if relation == _HEAD:
            total += math.log(values[tail] / sum(values))
    return total


def expert_edges(graph):
    return [tuple(row) for row in graph.train.tolist()]


def test_rules_that_lead_astray_lose_strength_and_the_one_that_is_right_gains():
    expert = RuleExpert(_graph(), rules=_rules())

    found = fit_rule_strengths(expert, seed=0)

    twin, copy, weak = found.rules_Q.tolist()
    assert twin < 0.5
    assert twin == pytest.approx(copy, rel=1e-3)
    assert weak > 1.0
    plain = expert.score_all(np.array([0]), np.array([_HEAD]))[0]
    expert.use(found)
    learnt = expert.score_all(np.array([0]), np.array([_HEAD]))[0]
    assert plain[30] > plain[20]
    assert learnt[20] > learnt[30]


def test_learning_raises_the_likelihood_of_the_definition():
    expert = RuleExpert(_graph(), rules=_rules())
    ones = RuleStrengths.unlearnt(n_rules=3, n_relations=expert.n_relations)

    found = fit_rule_strengths(expert, seed=0)

    assert _log_likelihood(expert, found) > _log_likelihood(expert, ones) + 1.0


def test_strengths_are_powers_of_what_a_rule_leaves_open():
    strengths = RuleStrengths(rules_Q=np.array([2.0, 1.0, 1.0], dtype=np.float32), ties_R=np.ones(8, dtype=np.float32))
    expert = RuleExpert(_graph(), rules=_rules(), strengths=strengths)

    found = expert.confidences(np.array([0]), np.array([_HEAD]))[0]

    assert found[30] == pytest.approx(1.0 - 0.6**2 * 0.6)  # confidences 6/15, the first counted twice
    assert found[20] == pytest.approx(1.0 - (1.0 - 5 / 15))


def test_a_relation_of_few_triples_keeps_the_plain_noisy_or():
    graph = graph_of([(0, 0, 1), (0, 1, 1), (2, 0, 3), (2, 1, 3)], n_entities=4)
    expert = RuleExpert(graph, rules=[PathRule(body=(1,), head=0, support=2, n_body=2)])

    found = fit_rule_strengths(expert, seed=0)

    assert found.rules_Q.tolist() == [1.0]
    assert found.ties_R.tolist() == [1.0] * 4


def test_the_same_seed_learns_the_same():
    one, two = (fit_rule_strengths(RuleExpert(_graph(), rules=_rules()), seed=3, max_questions=6) for _ in range(2))

    np.testing.assert_array_equal(one.rules_Q, two.rules_Q)
    np.testing.assert_array_equal(one.ties_R, two.ties_R)


def test_strengths_of_other_rules_are_refused():
    strengths = RuleStrengths.unlearnt(n_rules=2, n_relations=4)

    with pytest.raises(CompletionError, match="2 rules and 8 relations do not fit 3 rules"):
        RuleExpert(_graph(), rules=_rules(), strengths=strengths)

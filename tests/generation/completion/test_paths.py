import numpy as np
import pytest

from generation.completion.experts.rules import RuleExpert
from generation.completion.paths import PathRule, mine_path_rules, mine_path_rules_naively
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

# People 0, 1, 2 are born in towns 3, 4, 4 (r0); the towns lie in lands 5, 6 (r1); 0 and 1 are citizens of them (r2).
_PEOPLE = graph_of([(0, 0, 3), (1, 0, 4), (2, 0, 4), (3, 1, 5), (4, 1, 6), (0, 2, 5), (1, 2, 6)], n_entities=8)
_BORN_IN_LAND = PathRule(body=(0, 1), head=2, support=2, n_body=3)


def test_a_rule_of_two_steps_is_counted_by_hand():
    rules = mine_path_rules(_PEOPLE)

    assert _BORN_IN_LAND in rules
    assert _BORN_IN_LAND.confidence == pytest.approx(2 / 8)  # right for two of three, and five pessimistic ones
    assert PathRule(body=(1 + 3, 0 + 3), head=2 + 3, support=2, n_body=3) in rules  # the same rule, asked for heads


@pytest.mark.parametrize("seed", range(4))
def test_mined_rules_are_those_of_the_naive_reference(seed):
    rows = np.random.default_rng(seed).integers([0, 0, 0], [12, 3, 12], size=(60, 3))
    graph = graph_of(rows.tolist(), n_entities=12, n_relations=3)

    assert mine_path_rules(graph, max_rules=10_000) == mine_path_rules_naively(graph)


def test_steps_that_fan_out_too_widely_are_left_out_as_in_the_reference():
    from generation.completion.paths import Adjacency

    rows = np.random.default_rng(9).integers([0, 0, 0], [10, 2, 10], size=(60, 3))
    graph = graph_of(rows.tolist(), n_entities=10, n_relations=2)

    mined = mine_path_rules(graph, adjacency=Adjacency(graph, max_fan=3), max_rules=10_000)

    assert mined == mine_path_rules_naively(graph, max_fan=3)
    assert mined != mine_path_rules_naively(graph)


def test_where_there_are_too_many_paths_anchors_are_sampled_the_same_for_the_same_seed():
    rows = np.random.default_rng(5).integers([0, 0, 0], [30, 2, 30], size=(200, 3))
    graph = graph_of(rows.tolist(), n_entities=30, n_relations=2)

    some = mine_path_rules(graph, max_paths=500, min_support=1)
    again = mine_path_rules(graph, max_paths=500, min_support=1)

    assert some == again
    whole = {(rule.body, rule.head): rule for rule in mine_path_rules(graph, min_support=1, max_rules=10_000)}
    assert all(rule.n_body <= whole[rule.body, rule.head].n_body for rule in some if (rule.body, rule.head) in whole)


def test_the_expert_follows_a_path_to_the_answer_and_names_it():
    expert = RuleExpert(_PEOPLE, rules=[_BORN_IN_LAND])

    found = expert.confidences(np.array([2, 7]), np.array([2, 2]))

    np.testing.assert_allclose(found[0], [0, 0, 0, 0, 0, 0, 0.25, 0], atol=1e-7)
    assert not found[1].any()  # an entity without edges is led nowhere
    (grounding,) = expert.groundings(2, 2, 6)
    assert grounding.entities == (2, 4, 6)
    assert expert.groundings(2, 2, 5) == []


def test_rules_that_differ_only_in_direction_and_say_the_same_of_the_same_things_are_one_reason():
    graph = graph_of([(0, 0, 1), (1, 0, 0), (1, 1, 2), (0, 0, 3), (3, 1, 2)], n_relations=3)
    bodies = [(0, 1), (3, 1), (0, 4), (1, 1)]  # relation 3 is relation 0 the other way round
    rules = [PathRule(body=body, head=2, support=9 - n, n_body=10) for n, body in enumerate(bodies)]
    expert = RuleExpert(graph, rules=rules)

    (grounding,) = expert.groundings(0, 2, 2)

    assert grounding.rule.body == (0, 1)  # the most confident
    assert grounding.entities == (0, 1, 2)


def test_confidences_of_several_rules_are_joined_by_noisy_or_or_by_the_best():
    rules = [PathRule(body=(0,), head=1, support=5, n_body=5), PathRule(body=(2,), head=1, support=4, n_body=11)]
    graph = graph_of([(0, 0, 1), (0, 2, 1), (0, 2, 3)])

    noisy = RuleExpert(graph, rules=rules).confidences(np.array([0]), np.array([1]))[0]
    best = RuleExpert(graph, rules=rules, combine="max").confidences(np.array([0]), np.array([1]))[0]

    assert noisy[1] == pytest.approx(1 - (1 - 5 / 10) * (1 - 4 / 16))
    assert noisy[3] == pytest.approx(4 / 16)
    assert best[1] == pytest.approx(5 / 10)
    with pytest.raises(CompletionError, match="noisy_or or max"):
        RuleExpert(graph, rules=rules, combine="mean")


def test_a_train_triple_gives_no_evidence_for_itself():
    # r1 repeats r0 for two pairs; for the pair (0, 1) asked as a question, only the other pair may speak.
    graph = graph_of([(0, 0, 1), (0, 1, 1), (2, 0, 3), (2, 1, 3)])
    rule = PathRule(body=(0,), head=1, support=2, n_body=2)
    expert = RuleExpert(graph, rules=[rule])
    question = (np.array([0]), np.array([1]))

    assert expert.confidences(*question)[0, 1] == pytest.approx(2 / 7)
    assert expert.confidences(*question, left_out=np.array([1]))[0, 1] == pytest.approx(1 / 6)


def test_no_path_uses_the_edge_that_is_asked_for_or_its_inverse():
    # Asking r0(0, ?): the only way to 2 is the step r0(0, 1) itself, so leaving that edge out leaves no way.
    graph = graph_of([(0, 0, 1), (1, 1, 2), (3, 0, 4)])
    expert = RuleExpert(graph, rules=[PathRule(body=(0, 1), head=0, support=1, n_body=1)])

    assert expert.confidences(np.array([0]), np.array([0]))[0, 2] > 0
    assert not expert.confidences(np.array([0]), np.array([0]), left_out=np.array([1])).any()


def test_a_rule_never_steps_through_its_own_ends():
    # r0(0, 1) and the loop r1(1, 1) would prove r0 by itself; loops are no steps.
    graph = graph_of([(0, 0, 1), (1, 1, 1), (2, 0, 3), (3, 1, 3)])

    assert mine_path_rules(graph, min_support=1, min_confidence=0.0) == []


def test_neither_rules_nor_their_use_see_validation_test_or_filter_triples():
    held = {"valid": [(2, 2, 6)], "test": [(2, 1, 5)], "filter_only": [(0, 1, 6)]}
    graph = graph_of(_PEOPLE.train.tolist(), n_entities=8, **held)
    questions = (np.array([2, 2, 0]), np.array([2, 1, 1]))

    assert mine_path_rules(graph) == mine_path_rules(_PEOPLE)
    np.testing.assert_array_equal(RuleExpert(graph).score_all(*questions), RuleExpert(_PEOPLE).score_all(*questions))


def test_a_graph_of_one_entity_or_of_loops_alone_has_no_rules():
    graph = graph_of([(0, 0, 0)])

    assert mine_path_rules(graph, min_support=1) == []
    assert np.isfinite(RuleExpert(graph).score_all(np.array([0]), np.array([1]))).all()

"""The reranker: what it reads of a candidate, that it learns what no sum of logarithms can say, and that it is saved.

In the graph of these tests the answer to a question is always the entity that the first expert likes second best.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.completion.ablation import ablation_arms
from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.evaluator import evaluate
from generation.completion.gate import Gate
from generation.completion.gate_fitting import fit_gate
from generation.completion.mixture import RERANKER, ExpertMixture, make_mixture
from generation.completion.model_io import load_model, save_model
from generation.completion.parts import ExpertParts
from generation.completion.reranker import Reranker, Reranking
from generation.completion.reranker_fitting import FEWEST_QUESTIONS, fit_reranker, ranked_lists
from generation.completion.shortlist import n_features, shortlist
from generation.completion.train_facts import TrainFacts
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_N, _R = 20, 60


class Liking:
    """An expert with a score of its own for every question and candidate: equal steps, in an order drawn by lot."""

    n_constant_parameters = n_entity_parameters = 0

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        step = np.float32(1.0 if not seed else 0.37 * seed)  # sums of two do not tie
        self.table = step * rng.permuted(np.tile(np.arange(_N, dtype=np.float32), (_N, 2 * _R, 1)), axis=2)

    def score_all(self, anchors, relations):
        return self.table[anchors, relations]


def _mixture(*seeds):
    names = ("structure", "rules")[: len(seeds)]
    gate = Gate.fresh(names, (), n_relations=_R)
    experts = {name: Liking(seed) for name, seed in zip(names, seeds, strict=True)}
    return ExpertMixture(experts, gate, np.zeros((_N, 0), dtype=np.float32), n_relations=_R)


def _triples(mixture, place):
    """Each relation pairs all entities up; the first expert comes to have each partner at this place, both ways."""
    table, rng = mixture.experts["structure"].table, np.random.default_rng(9)
    triples = []
    for relation in range(_R):
        for head, tail in enumerate(rng.permutation(_N).tolist()):
            for row, end in ((table[head, relation], tail), (table[tail, relation + _R], head)):
                there = int(row.argsort()[-place])
                row[there], row[end] = row[end], row[there]
            triples.append((head, relation, tail))
    return triples


@pytest.fixture(scope="module")
def world():
    mixture = _mixture(0, 1)
    triples = _triples(mixture, 2)
    held_out = [row for number, row in enumerate(triples) if number % 10]
    graph = graph_of(
        [row for number, row in enumerate(triples) if not number % 10],
        valid=held_out[::2],
        test=held_out[1::2],
        n_entities=_N,
        n_relations=_R,
    )
    return mixture, graph


@pytest.fixture(scope="module")
def fitted(world):
    mixture, graph = world
    few = graph.valid[: FEWEST_QUESTIONS // 2 - 1]
    return fit_gate(mixture, graph, triples=graph.valid, seed=0), fit_gate(mixture, graph, triples=few, seed=0)


def test_counts_of_train_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    train = np.stack([rng.integers(9, size=80), rng.integers(3, size=80), rng.integers(9, size=80)], axis=1)
    facts = TrainFacts.build(train, n_entities=9, n_relations=3)
    rows = train.tolist()

    for relation in range(6):
        asked = [(h, t) if relation < 3 else (t, h) for h, r, t in rows if r == relation % 3]
        ends = np.arange(9)[None]
        times = facts.times_answered(np.array([[relation]]), ends)[0].tolist()
        assert times == [sum(end == e for _, end in asked) for e in range(9)]
        assert facts.relation_counts_R[relation] == len(asked)
        for anchor in range(9):
            assert set(facts.ends.answers(anchor, relation)) == {end for start, end in asked if start == anchor}
    for anchor in range(9):
        pairs = [sum({h, t} == {anchor, e} for h, _, t in rows) for e in range(9)]
        assert facts.times_linked(np.array([[anchor]]), np.arange(9)[None])[0].tolist() == pairs
    assert facts.degrees_N.tolist() == [sum((h == e) + (t == e) for h, _, t in rows) for e in range(9)]
    empty = TrainFacts.build(train[:0], n_entities=9, n_relations=3)
    assert empty.times_answered(np.array([[1]]), np.arange(9)[None]).tolist() == [[0] * 9]
    assert empty.times_linked(np.array([[1]]), np.arange(9)[None]).tolist() == [[0] * 9]


def test_a_list_holds_the_best_that_train_does_not_know_with_their_shares_of_what_is_left(world):
    mixture, graph = world
    anchors, relations = np.arange(10), np.arange(10) % (2 * _R)
    asked = mixture.log_probabilities(anchors, relations)
    scores_BN = mixture.weigh(asked, anchors, relations)
    lists = shortlist(scores_BN, asked, anchors, relations, graph.train_facts, n_best=5)

    for row, (anchor, relation) in enumerate(zip(anchors.tolist(), relations.tolist(), strict=True)):
        known = set(graph.train_facts.ends.answers(anchor, relation).tolist())
        others = sorted(set(range(_N)) - known, key=lambda e: -scores_BN[row, e].item())
        assert set(lists.places_BC[row].tolist()) == set(others[:5])
        assert lists.n_known_B[row] == len(known)
        assert lists.is_anchor_BC[row].tolist() == [entity == anchor for entity in lists.places_BC[row].tolist()]
        for number, log_BN in enumerate(asked):
            left = sum(math.exp(log_BN[row, e]) for e in others)
            for place, entity in enumerate(lists.places_BC[row].tolist()):
                expected = math.log(math.exp(log_BN[row, entity]) / left)
                assert lists.logs_BCK[row, place, number].item() == pytest.approx(max(-30, expected), abs=1e-4)
    assert lists.features().shape == (10, 5, n_features(2))
    everything = shortlist(scores_BN, asked, anchors, relations, graph.train_facts)
    n_open = _N - everything.n_known_B
    assert torch.equal(everything.is_open_BC.sum(dim=1).float(), n_open)


def test_a_reranker_learns_what_no_gate_can_say(world, fitted):
    mixture, graph = world
    found, from_few = fitted

    assert found.validation["structure"] == pytest.approx(0.5, abs=0.02)  # always the second
    assert max(found.validation[f"gate: {kind}"] for kind in ("global", "traits", "relations")) < 0.55
    assert found.validation["reranked"] > 0.9
    assert from_few.reranker is None  # some hundred questions say too little
    assert "reranked" not in from_few.validation
    assert evaluate(found.over(mixture, graph), graph, triples=graph.test).mrr > 0.9
    assert evaluate(mixture.with_gate(found.gate), graph, triples=graph.test).mrr < 0.55


def test_no_reranker_is_taken_that_is_no_better():
    mixture = _mixture(0, 1)
    triples = _triples(mixture, 1)
    valid = [row for number, row in enumerate(triples) if number % 10]
    graph = graph_of(triples[::10], valid=valid, n_entities=_N, n_relations=_R)
    found = fit_gate(mixture, graph, triples=graph.valid, seed=0)

    assert found.validation["chosen"] > 0.9
    assert found.reranker is None


def test_only_listed_scores_change_and_contributions_still_add_up(world, fitted):
    mixture, graph = world
    reranked = fitted[0].over(mixture, graph)
    plain = mixture.with_gate(fitted[0].gate)
    anchors, relations = np.array([3, 4]), np.array([1, 25])
    known = [graph.train_facts.ends.answers(a, r) for a, r in zip(anchors.tolist(), relations.tolist(), strict=True)]
    before, after = plain.score_all(anchors, relations), reranked.score_all(anchors, relations)

    for row, ends in enumerate(known):
        assert np.array_equal(before[row, ends], after[row, ends])  # train's own answers are no candidates
    assert not np.allclose(before, after)
    told = reranked.contributions(3, 1, np.arange(_N))
    assert told.experts == ("structure", "rules", RERANKER)
    np.testing.assert_allclose((told.weights * told.log_probabilities).sum(axis=0), after[0], atol=1e-4)
    scores, heard = reranked.answer(3, 1)
    np.testing.assert_allclose(scores, after[0], atol=1e-5)
    few = reranked.contributions(3, 1, np.array([7, 2]), heard=heard)
    np.testing.assert_allclose(few.log_probabilities, told.log_probabilities[:, [7, 2]], atol=1e-5)
    assert reranked.n_constant_parameters == plain.n_constant_parameters + fitted[0].reranker.n_parameters


def test_the_ablation_leaves_the_reranker_out(world, fitted):
    mixture, graph = world
    three = ExpertMixture(
        {**mixture.experts, "text": Liking(2)},
        Gate.fresh(("structure", "rules", "text"), (), n_relations=_R),
        mixture.traits_NF.numpy(),
        n_relations=_R,
    )
    full = three.with_gate(three.gate, Reranking(reranker=fitted[0].reranker, facts=graph.train_facts))
    arms = ablation_arms(full, replace(graph, valid=graph.valid[:60]), config=CompletionConfig(), seed=0)

    assert set(arms) == {*three.experts, *(f"all but {name}" for name in (*three.experts, RERANKER))}
    assert arms[f"all but {RERANKER}"].gate is three.gate
    assert all(arm.reranking is None for arm in arms.values())  # the others' are fitted anew, if to enough


def test_the_same_seed_gives_the_same_reranker_and_another_one_another(world, fitted):
    mixture, graph = world
    again = fit_gate(mixture, graph, triples=graph.valid, seed=0).reranker
    other = fit_gate(mixture, graph, triples=graph.valid, seed=1).reranker

    for name in Reranker.tables():
        assert torch.equal(getattr(again, name), getattr(fitted[0].reranker, name))
    assert not torch.equal(other.first_MFH, again.first_MFH)


def test_lists_without_their_answers_teach_nothing(world):
    mixture, graph = world
    anchors, relations = graph.valid[:8, 0], graph.valid[:8, 1]
    asked = mixture.log_probabilities(anchors, relations)
    scores_BN = mixture.weigh(asked, anchors, relations)
    lists = shortlist(scores_BN, asked, anchors, relations, graph.train_facts, n_best=3)
    absent = [next(e for e in range(_N) if e not in row) for row in lists.places_BC.tolist()]
    rows, known = (torch.from_numpy(one) for one in graph.known_ends.of(anchors, relations))
    found = ranked_lists(lists, scores_BN, torch.tensor(absent), (rows, known))

    assert found.answer_Q.tolist() == [-1] * 8
    for row in range(8):
        is_known = set(known[rows == row].tolist())
        listed = set(lists.places_BC[row].tolist())
        rest = [scores_BN[row, e].item() for e in range(_N) if e not in is_known | listed]
        assert found.rest_Q[row].item() == pytest.approx(math.log(sum(map(math.exp, rest))), abs=1e-4)
        assert {int(lists.places_BC[row, c]) for c in torch.nonzero(found.is_other_QC[row])} == is_known & listed
    assert fit_reranker(found, seed=0) is None


def _saved(folder, graph, reranker):
    experts = ("structure", "rules")
    parts = ExpertParts(
        gate=Gate.fresh(experts, (), n_relations=_R), reranker=reranker, rules=(), maps={}, features={}, validation={}
    )
    model = ComplExModel.fresh(n_entities=_N, n_relations=_R, rank=2, init_scale=0.1, seed=0)
    save_model(folder, model, graph, config=CompletionConfig(rank=2), metadata={}, parts=parts)
    return load_model(folder)


def test_a_saved_reranker_comes_back_the_same_and_a_damaged_one_is_refused(world, fitted, tmp_path):
    _, graph = world
    reranker = fitted[0].reranker
    mixture = make_mixture(_saved(tmp_path / "model", graph, reranker), graph)

    for name in Reranker.tables():
        assert torch.equal(getattr(mixture.reranking.reranker, name), getattr(reranker, name))
    bare = mixture.with_gate(mixture.gate, Reranking(reranker=reranker, facts=graph.train_facts))
    anchors, relations = np.array([1, 2]), np.array([0, 30])
    assert np.array_equal(bare.score_all(anchors, relations), mixture.score_all(anchors, relations))
    with pytest.raises(CompletionError, match="reranker table last_MH1 holds values that are not finite"):
        _saved(tmp_path / "nan", graph, replace(reranker, last_MH1=torch.full_like(reranker.last_MH1, math.nan)))
    with pytest.raises(CompletionError, match="do not fit"):
        _saved(tmp_path / "narrow", graph, replace(reranker, first_MFH=reranker.first_MFH[:, 1:]))

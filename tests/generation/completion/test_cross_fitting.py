"""Small graphs judge their experts by triples that those have not seen, and give none of them up."""

import numpy as np
import pytest
import torch

from generation.completion import cross_fitting
from generation.completion.config import CompletionConfig
from generation.completion.cross_fitting import cross_fit, folds_of
from generation.completion.training import train_experts
from generation.completion.triples import carve_validation

from .helpers import graph_of

OWNER, BASE, PORT, TOGETHER = range(4)
N_OWNERS, N_BOATS = 4, 32
FIRST_BOAT = 2 * N_OWNERS


def _harbour(*, unknown=()):
    """Boats 8.. have owners 0..3, owners have bases 4..7, and boats lie at their owner's base; all speak of all."""
    rng = np.random.default_rng(5)
    rows = [(owner, BASE, N_OWNERS + owner) for owner in range(N_OWNERS)]
    for number in range(N_BOATS):
        boat, owner = FIRST_BOAT + number, number % N_OWNERS
        rows.append((boat, OWNER, owner))
        if boat not in unknown:
            rows.append((boat, PORT, N_OWNERS + owner))
        for other in rng.permutation(FIRST_BOAT + N_BOATS)[:6].tolist():
            rows += [(boat, TOGETHER, other), (other, TOGETHER, boat)] if other != boat else []
    return graph_of(sorted(set(rows)))


ASKED = np.array([True, True, True, False])


class Lookup:
    """An expert that knows what it was trained on, and nothing else."""

    n_constant_parameters = n_entity_parameters = 0

    def __init__(self, graph):
        self.graph = graph

    def score_all(self, anchors, relations):
        scores = np.zeros((len(anchors), self.graph.n_entities), dtype=np.float32)
        for row, (anchor, relation) in enumerate(zip(anchors.tolist(), relations.tolist(), strict=True)):
            for head, kind, tail in self.graph.train.tolist():
                if (head, kind) == (anchor, relation):
                    scores[row, tail] = 1.0
                if (tail, kind + self.graph.n_relations) == (anchor, relation):
                    scores[row, head] = 1.0
        return scores


def test_folds_hold_each_link_out_once_at_most_and_cost_no_entity_its_place():
    graph = _harbour()

    folds = folds_of(graph, n_folds=4, asked_R=ASKED, seed=0)

    held = [tuple(row) for _, out in folds for row in out.tolist()]
    assert len(held) == len(set(held)) >= 50
    assert set(held) <= set(map(tuple, graph.train.tolist()))
    for rest, out in folds:
        assert ASKED[out[:, 1]].all()
        assert rest.seen.tolist() == graph.seen.tolist()
        assert set(np.unique(rest.train[:, 1])) == {OWNER, BASE, PORT, TOGETHER}
        assert {tuple(row) for row in out.tolist()} <= {tuple(row) for row in rest.known().tolist()}
        apart = {frozenset((head, tail)) for head, _, tail in out.tolist()}
        together = [row for row in graph.train.tolist() if row[1] == TOGETHER]
        kept = [row for row in together if frozenset((row[0], row[2])) not in apart]
        assert [row for row in rest.train.tolist() if row[1] == TOGETHER] == kept
        assert len(rest.train) == len(graph.train) - len(out) - (len(together) - len(kept))


def test_the_same_seed_deals_the_same_folds():
    def dealt(seed):
        return [out.tolist() for _, out in folds_of(_harbour(), n_folds=3, asked_R=None, seed=seed)]

    assert dealt(1) == dealt(1) != dealt(2)


def test_each_answer_is_that_of_an_expert_that_has_not_seen_it():
    graph = _harbour()
    trained = []

    def train(rest):
        trained.append(Lookup(rest))
        return {"lookup": trained[-1]}

    found = cross_fit(graph, train, n_folds=4, asked_R=ASKED, seed=0)

    folds = folds_of(graph, n_folds=4, asked_R=ASKED, seed=0)
    assert found.triples.tolist() == [row for _, out in folds for row in out.tolist()]
    heads, relations, tails = found.triples.T
    start = 0
    for (_, out), expert in zip(folds, trained, strict=True):
        rows = slice(start, start := start + len(out))
        n = len(found.triples)
        for anchors, kinds, answers, part in (
            (heads[rows], relations[rows], tails[rows], rows),
            (tails[rows], relations[rows] + 4, heads[rows], slice(rows.start + n, rows.stop + n)),
        ):
            scores = expert.score_all(anchors, kinds)
            assert not scores[np.arange(len(out)), answers].any()  # what it was trained on it scores 1
            torch.testing.assert_close(found.hear(part)[0], torch.from_numpy(scores).log_softmax(dim=1))


def test_answers_that_do_not_fit_are_not_asked_for(monkeypatch):
    graph = _harbour()
    per_question = 8 * graph.n_entities
    monkeypatch.setattr(cross_fitting, "_MOST_BYTES", per_question * 4 * 3)

    found = cross_fit(graph, lambda rest: {"lookup": Lookup(rest)}, n_folds=4, asked_R=ASKED, seed=0)

    assert found.triples.shape == (12, 3)
    assert found.logs[0].shape == (24, graph.n_entities)


def test_too_few_links_judge_nothing():
    graph = graph_of([(i, 0, (i + 1) % 9) for i in range(9)])

    assert cross_fit(graph, lambda rest: {"lookup": Lookup(rest)}, n_folds=3, seed=0) is None


CONFIG = CompletionConfig(
    rank=16, max_epochs=8, regularisation=0.01, threads=1, device="cpu", experts=("structure", "rules")
)


@pytest.mark.parametrize("folds", [0, 4])
def test_folds_let_a_small_graph_trust_its_rules(folds):
    """The rule owner, base -> port is right for every boat; structure hears what is spoken of together: noise."""
    unknown = tuple(range(FIRST_BOAT, FIRST_BOAT + 6))
    graph = _harbour(unknown=unknown)
    config = CompletionConfig.from_mapping({**CONFIG.to_mapping(), "folds": folds})

    trained = train_experts(graph, config=config, seed=0, asked_R=ASKED)

    scores = trained.mixture.score_all(np.array(unknown), np.full(len(unknown), PORT))
    right = scores.argmax(axis=1) == [N_OWNERS + (boat - FIRST_BOAT) % N_OWNERS for boat in unknown]
    gate = trained.parts.gate
    assert gate.experts == ("structure", "rules")
    if folds:
        assert right.all()
        assert float(gate.base_K.exp()[1]) > 0.05
        assert trained.parts.calibration is not None
        assert trained.parts.validation["chosen"] > max(trained.parts.validation[name] for name in gate.experts) - 1e-9
        assert trained.parts.reranker is None
        assert trained.graph is graph  # nothing was given up
    else:
        assert gate.kind == "single"
        assert trained.parts.calibration is None
        assert trained.parts.validation == {}


def test_a_model_of_folds_is_the_same_for_the_same_seed():
    config = CompletionConfig.from_mapping({**CONFIG.to_mapping(), "folds": 2})
    gates = [train_experts(_harbour(), config=config, seed=3, asked_R=ASKED).parts.gate for _ in range(2)]

    assert gates[0].base_K.tolist() == gates[1].base_K.tolist()


def test_where_validation_is_there_folds_are_not_dealt(monkeypatch):
    monkeypatch.setattr("generation.completion.training.cross_fit", None)
    carved = carve_validation(_harbour(), fraction=0.2, seed=0, asked_R=ASKED)
    config = CompletionConfig.from_mapping({**CONFIG.to_mapping(), "folds": 4, "refit_epochs": 0})

    assert train_experts(carved, config=config, seed=0, asked_R=ASKED).parts.calibration is not None


def test_what_is_carved_is_of_the_relations_asked_for_and_leaves_no_trace_of_its_pairs():
    graph = _harbour()

    carved = carve_validation(graph, fraction=0.2, seed=0, asked_R=ASKED)

    assert len(carved.valid) == round(0.2 * ASKED[graph.train[:, 1]].sum())
    assert ASKED[carved.valid[:, 1]].all()
    apart = {frozenset((head, tail)) for head, _, tail in carved.valid.tolist()}
    assert not any(row[1] == TOGETHER and frozenset((row[0], row[2])) in apart for row in carved.train.tolist())


@pytest.mark.parametrize("asked", [None, ASKED])
def test_what_lost_the_mentions_of_its_ends_is_not_given_to_a_reranker(monkeypatch, asked):
    """That it alone among its neighbours is not linked would tell it, and tells nothing of links that are missing."""
    monkeypatch.setattr("generation.completion.gate_fitting.FEWEST_QUESTIONS", 20)
    monkeypatch.setattr("generation.completion.reranker_fitting.FEWEST_QUESTIONS", 20)
    monkeypatch.setattr("generation.completion.gate_fitting._FEWEST", 20)
    carved = carve_validation(_harbour(), fraction=0.4, seed=0, asked_R=asked)

    found = train_experts(carved, config=CONFIG, seed=0, asked_R=asked).parts

    assert ("reranked" in found.validation) == (asked is None)
    assert asked is None or found.reranker is None

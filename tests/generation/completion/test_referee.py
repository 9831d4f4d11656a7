"""PyKEEN's evaluator ranks the same scores, on graphs with many ties and many known answers: the figures must agree.

It filters and ranks by itself; it is given our scores and nothing else. Skipped only where PyKEEN is not installed.
"""

import warnings

import numpy as np
import pytest

from generation.completion.evaluator import evaluate
from generation.completion.pykeen_graphs import read_pykeen
from generation.completion.rules import FrequencyScorer, RuleScorer
from retrieval.encoders.torchvision_ops import declare_missing_operators
from tests.generation.completion.helpers import TableScorer, graph_of

declare_missing_operators()
pytest.importorskip("pykeen", reason="needs the extra pykeen")

PAIRS = (
    ("mrr", "inverse_harmonic_mean_rank"),
    ("hits@1", "hits_at_1"),
    ("hits@3", "hits_at_3"),
    ("hits@10", "hits_at_10"),
)


def referee(scorer, graph, triples):
    """Rank with PyKEEN's RankBasedEvaluator behind a model of PyKEEN whose scores are those of ``scorer``."""
    import torch
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import Model
    from pykeen.triples import CoreTriplesFactory

    class Borrowed(Model):
        def __init__(self):
            factory = CoreTriplesFactory(
                mapped_triples=torch.from_numpy(graph.train),
                num_entities=graph.n_entities,
                num_relations=graph.n_relations,
            )
            super().__init__(triples_factory=factory, random_seed=0)
            self.weight = torch.nn.Parameter(torch.zeros(1))  # a model of PyKEEN finds its device by its parameters

        def _get_entity_len(self, **_):
            return graph.n_entities

        def _reset_parameters_(self):
            pass

        def collect_regularization_term(self):
            return torch.zeros(())

        def score_hrt(self, hrt_batch, **_):
            return self.score_t(hrt_batch[:, :2]).gather(1, hrt_batch[:, 2:])

        def score_t(self, hr_batch, **_):
            heads, relations = hr_batch.numpy().T
            return torch.from_numpy(scorer.score_tails(heads, relations))

        def score_h(self, rt_batch, **_):
            relations, tails = rt_batch.numpy().T
            return torch.from_numpy(scorer.score_heads(relations, tails))

        def score_r(self, ht_batch, **_):
            raise NotImplementedError

    others = [torch.from_numpy(part) for part in (graph.train, graph.valid, graph.test, graph.filter_only)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RankBasedEvaluator(filtered=True, clear_on_finalize=False).evaluate(
            Borrowed(),
            mapped_triples=torch.from_numpy(triples),
            additional_filter_triples=others,
            batch_size=16,
            device=torch.device("cpu"),
            use_tqdm=False,
        )


def assert_agreement(scorer, graph, triples):
    theirs = referee(scorer, graph, triples)
    ours = evaluate(scorer, graph, triples=triples).to_mapping()
    for side, figures in (("both", ours), ("head", ours["head"]), ("tail", ours["tail"])):
        for name, metric in PAIRS:
            expected = theirs.get_metric(f"{side}.realistic.{metric}")
            assert figures[name] == pytest.approx(expected, abs=1e-6), f"{side} {name}"
    return ours


def random_graph(seed, *, n_entities=40, n_relations=3, n_rows=900):
    rng = np.random.default_rng(seed)
    rows = sorted({tuple(row) for row in rng.integers(0, [n_entities, n_relations, n_entities], (n_rows, 3)).tolist()})
    rows = [rows[place] for place in rng.permutation(len(rows))]
    return rng, graph_of(
        rows[:-200],
        valid=rows[-200:-150],
        test=rows[-150:-50],
        filter_only=[*rows[-50:], *rows[:10], rows[-60]],
        n_entities=n_entities,
        n_relations=n_relations,
    )


@pytest.mark.parametrize("levels", [1, 2, 5, 10_000])
def test_the_referee_agrees_from_constant_scores_to_scores_without_ties(levels):
    rng, graph = random_graph(levels)
    table = rng.integers(0, levels, size=(40, 3, 40)).astype(np.float32)

    assert_agreement(TableScorer(table), graph, graph.test)


def test_the_referee_agrees_on_half_ranks_exactly_at_the_borders_of_hits():
    # Two entities tie with the target at the top: its realistic rank is 2, so Hits@1 is 0 and Hits@3 is 1.
    graph = graph_of([(0, 0, 9)], test=[(0, 0, 1)], n_entities=12)
    table = np.zeros((12, 1, 12), dtype=np.float32)
    table[0, 0, [1, 2, 3]] = 1.0

    ours = assert_agreement(TableScorer(table), graph, graph.test)

    assert (ours["tail"]["hits@1"], ours["tail"]["hits@3"]) == (0.0, 1.0)
    assert ours["tail"]["mrr"] == 0.5


def test_the_referee_agrees_on_reflexive_triples_and_on_a_relation_that_train_lacks():
    graph = graph_of([(0, 0, 1), (1, 0, 1)], test=[(2, 0, 2), (0, 1, 2), (3, 1, 3)], n_entities=5, n_relations=2)
    table = np.random.default_rng(0).integers(0, 3, size=(5, 2, 5)).astype(np.float32)

    assert_agreement(TableScorer(table), graph, graph.test)


@pytest.mark.parametrize("scorer_of", [RuleScorer, FrequencyScorer], ids=["rules", "frequency"])
def test_the_referee_agrees_on_real_scorers_over_a_real_graph(scorer_of):
    graph = read_pykeen("nations")  # comes with PyKEEN: 14 states, 55 relations

    assert len(graph.test) == 201
    ours = assert_agreement(scorer_of(graph), graph, graph.test)
    assert ours["mrr"] > 2 / 14  # better than chance, so there was something to agree on

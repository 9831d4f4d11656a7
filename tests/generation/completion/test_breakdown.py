"""The report's groups, on a graph whose ranks are known by hand and against a naive grouping on others."""

import numpy as np
import pytest

from generation.completion.breakdown import break_down
from generation.completion.rules import FrequencyScorer, RuleScorer
from tests.generation.completion.helpers import TableScorer, graph_of, naive_ranks


def _flat(graph):
    return TableScorer(np.zeros((graph.n_entities, graph.n_relations, graph.n_entities)))


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(2)
    rows = sorted({tuple(row) for row in rng.integers(0, [30, 4, 30], size=(300, 3)).tolist()})
    rows = [rows[place] for place in rng.permutation(len(rows))]
    texts = tuple("text" if place % 3 else "" for place in range(32))
    graph = graph_of(rows[:-60], test=[*rows[-60:], (30, 1, 2)], n_entities=32, n_relations=4, entity_texts=texts)
    table = rng.integers(0, 6, size=(32, 4, 32)).astype(np.float32)
    baselines = {"rules-1": RuleScorer(graph), "frequency": FrequencyScorer(graph)}
    return graph, table, break_down(TableScorer(table), graph, triples=graph.test, baselines=baselines)


def _naive_mrr(graph, table, belongs):
    """Mean reciprocal rank of the questions that belong: asked with anchor, relation, answer."""
    heads, tails = naive_ranks(table, graph, graph.test)
    found = [1 / rank for (h, r, t), rank in zip(graph.test.tolist(), heads, strict=True) if belongs(t, r, h)]
    found += [1 / rank for (h, r, t), rank in zip(graph.test.tolist(), tails, strict=True) if belongs(h, r, t)]
    return len(found), (sum(found) / len(found) if found else 0.0)


def test_every_group_has_the_mean_of_its_own_questions(case):
    graph, table, found = case
    degree = [int((graph.train[:, [0, 2]] == entity).sum()) for entity in range(graph.n_entities)]
    text = graph.entity_texts
    expectations = {
        "relations": {f"r{r}": lambda a, q, b, r=r: q == r for r in range(4)},
        "answer_degree": {
            "0": lambda a, q, b: degree[b] == 0,
            "8-15": lambda a, q, b: 8 <= degree[b] <= 15,
            "16-31": lambda a, q, b: 16 <= degree[b] <= 31,
        },
        "anchor_degree": {"0": lambda a, q, b: degree[a] == 0, "8-15": lambda a, q, b: 8 <= degree[a] <= 15},
    }
    for part, groups in expectations.items():
        by_name = {group.name: group for group in getattr(found, part)}
        for name, belongs in groups.items():
            n, mrr = _naive_mrr(graph, table, belongs)
            assert by_name[name].metrics.n == n > 0
            assert by_name[name].metrics.mrr == pytest.approx(mrr)
    by_text = {group.name: group for group in found.modalities["text"]}
    for name, anchor, answer in (
        ("neither", 0, 0),
        ("only the answer", 0, 1),
        ("only the anchor", 1, 0),
        ("both", 1, 1),
    ):
        n, mrr = _naive_mrr(graph, table, lambda a, q, b, x=anchor, y=answer: (bool(text[a]), bool(text[b])) == (x, y))
        assert (by_text[name].metrics.n, by_text[name].metrics.mrr) == (n, pytest.approx(mrr))


def test_each_way_of_grouping_holds_every_question_once(case):
    graph, _, found = case

    for groups in (found.relations, found.answer_degree, found.anchor_degree, found.kinds, found.modalities["text"]):
        assert sum(group.metrics.n for group in groups) == 2 * len(graph.test)
        weighted = sum(group.metrics.mrr * group.metrics.n for group in groups) / (2 * len(graph.test))
        assert weighted == pytest.approx(found.evaluation.mrr)


def test_baselines_are_measured_on_the_same_questions(case):
    graph, _, found = case
    frequency = found.baselines["frequency"]

    for place, group in ((int(group.name[1:]), group) for group in found.relations):
        asked = graph.test[:, 1] == place
        ranks = np.concatenate([frequency.head_ranks[asked], frequency.tail_ranks[asked]])
        assert group.baselines["frequency"] == pytest.approx((1 / ranks).mean())


def test_a_modality_that_no_entity_has_is_left_out_and_another_can_be_named():
    graph = graph_of([(0, 0, 1), (1, 0, 2)], test=[(0, 0, 2)])
    has_picture = np.array([True, False, False])

    plain = break_down(_flat(graph), graph, triples=graph.test, baselines={})
    pictured = break_down(_flat(graph), graph, triples=graph.test, baselines={}, modalities={"picture": has_picture})

    assert plain.modalities == {}
    assert [(group.name, group.metrics.n) for group in pictured.modalities["picture"]] == [
        ("only the answer", 1),  # asked for the head, which is entity 0
        ("only the anchor", 1),
    ]


def test_a_graph_of_one_entity_is_broken_down_without_a_crash():
    graph = graph_of([(0, 0, 0)], test=[(0, 1, 0)], n_relations=2)

    found = break_down(_flat(graph), graph, triples=graph.test, baselines={"frequency": FrequencyScorer(graph)})

    assert found.evaluation.mrr == 1.0
    assert [group.name for group in found.kinds] == ["not in train"]
    assert found.to_mapping()["by_kind"][0]["baselines"] == {"frequency": 1.0}

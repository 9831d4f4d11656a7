"""The leakage report, on graphs small enough to count by hand and against naive loops on others."""

import json

import numpy as np
import pytest

from generation.completion.leakage import find_leakage
from generation.completion.relation_kinds import RelationKinds
from generation.completion.tsv_folder import read_folder, read_types
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of


def test_redundancy_counts_pairs_that_train_links_in_either_direction():
    graph = graph_of(
        [(0, 0, 1), (3, 0, 2), (4, 0, 5), (5, 0, 4)],
        test=[(0, 1, 1), (2, 1, 3), (4, 1, 5), (0, 1, 5), (1, 1, 1)],  # same, other, both, neither, reflexive
    )

    found = find_leakage(graph).redundancy

    assert (found.n, found.same_direction, found.other_direction, found.either, found.reflexive) == (5, 2, 2, 3, 1)
    assert (found.n_train, found.train_either, found.is_cleared) == (4, 2, False)  # 4 and 5, both ways


@pytest.mark.parametrize(("n_linked", "cleared"), [(0, True), (1, False)])
def test_a_test_part_that_was_cleared_of_linked_pairs_is_told(n_linked, cleared):
    twice = [(n, r, n + 1) for n in range(20) for r in (0, 1)]
    apart = [(n, 0, n + 2) for n in range(100)]
    graph = graph_of(twice + apart, test=[(n, 1, n + 3) for n in range(120)] + [(50, 1, 52)] * n_linked)
    report = find_leakage(graph)

    assert report.redundancy.is_cleared is cleared
    told = report.to_mapping()["redundancy"]
    assert told["is_cleared"] is cleared
    assert told["train_either_share"] == 40 / 140
    assert told["either_share"] == n_linked / (120 + n_linked)
    alone = graph_of(apart, test=[(n, 1, n + 3) for n in range(120)])
    assert not find_leakage(alone).redundancy.is_cleared  # train has no such pairs either


@pytest.mark.parametrize("seed", range(5))
def test_redundancy_and_duplicates_equal_naive_loops_over_sets(seed):
    rng = np.random.default_rng(seed)
    rows = sorted({tuple(row) for row in rng.integers(0, [8, 3, 8], size=(120, 3)).tolist()})
    graph = graph_of(rows[:-20], test=rows[-20:], n_entities=8, n_relations=3)

    found = find_leakage(graph, duplicate_share=0.4)

    pairs = {r: {(h, t) for h, q, t in graph.train.tolist() if q == r} for r in range(3)}
    linked = set.union(*pairs.values())
    assert found.redundancy.same_direction == sum((h, t) in linked for h, _, t in graph.test.tolist())
    assert found.redundancy.other_direction == sum((t, h) in linked for h, _, t in graph.test.tolist())
    train = [tuple(row) for row in graph.train.tolist()]
    twins = [sum({h, t} == {a, b} for a, _, b in train) for h, _, t in train]
    assert found.redundancy.train_either == sum(n > 1 for n in twins)
    naive = set()
    for left in range(3):
        for right in range(left, 3):
            for turned in (False, True):
                other = {(t, h) for h, t in pairs[right]} if turned else pairs[right]
                shared = len(pairs[left] & other)
                is_itself = left == right and not turned
                if not is_itself and min(shared / len(pairs[left]), shared / len(other)) >= 0.4:
                    naive.add((f"r{left}", f"r{right}", turned, shared))
    assert naive
    assert {(pair.left, pair.right, pair.turned, pair.n_shared) for pair in found.duplicates} == naive


def _texts(names, texts, train, test):
    n = len(names)
    padded = (*texts, *("",) * (n - len(texts)))
    return graph_of(train, test=test, n_entities=n, entity_names=tuple(names), entity_texts=padded)


def test_a_text_names_the_answer_as_whole_words_whatever_case_and_punctuation():
    graph = _texts(
        ["Ada", "New York", "York", "Bath"],
        ["Ada lives in new-york.", "", "Yorkshire and bathing"],
        train=[(0, 0, 3), (1, 0, 3)],
        test=[(0, 0, 1), (0, 0, 2), (2, 0, 3), (1, 0, 0)],
    )

    tails, heads = find_leakage(graph).texts

    # New York and York stand in Ada's text; Bath does not stand in "bathing"; New York has no text to read.
    assert (tails.n, tails.named) == (3, 2)
    # Heads: the texts of entities 1 and 3 are empty, that of 2 does not name Ada, that of 0 names New York.
    assert (heads.n, heads.named) == (2, 1)


def test_chance_is_certain_where_every_text_holds_every_answer_and_nothing_where_none_does():
    all_named = _texts(["aaa", "bbb", "film"], ["a film", "a film"], train=[(1, 0, 2)], test=[(0, 0, 2)])
    leaked = _texts(["aaa", "bbb", "ccc", "ddd"], ["near ccc"], train=[(1, 0, 3), (2, 0, 3)], test=[(0, 0, 2)])

    assert find_leakage(all_named).texts[0].chance_share == 1.0
    assert find_leakage(leaked).texts[0].share == 1.0
    assert find_leakage(leaked).texts[0].chance_share == 0.0


def test_the_relation_whose_texts_were_written_from_its_triples_comes_first():
    names = [f"name{i}x" for i in range(12)]
    texts = [f"see {names[i + 6]}" if i < 3 else "nothing" for i in range(6)]
    test = [(i, 0 if i < 3 else 1, i + 6) for i in range(6)]
    train = [(i, r, 6 + (i + 1) % 6) for i in range(6) for r in (0, 1)]
    graph = graph_of(train, test=test, n_entities=12, entity_names=tuple(names), entity_texts=(*texts, *("",) * 6))

    worst = find_leakage(graph).texts_by_relation

    assert [(one.relation, one.asked, one.n, one.named) for one in worst] == [("r0", "tail", 3, 3)]


def test_types_that_equal_the_answer_are_counted_by_name_and_by_id(tmp_path):
    (tmp_path / "entities.tsv").write_text("a\tAda\nb\tBob\nh\tHuman\np\tPoet\n")
    (tmp_path / "train.tsv").write_text("a\tknows\tb\n")
    (tmp_path / "test.tsv").write_text("a\tis\th\nb\tis\tp\nh\tis\tp\n")
    (tmp_path / "types.tsv").write_text("id\ttype\na\thuman\nb\tp\nb\tagent\nother\tx\n")
    graph = read_folder(tmp_path)

    types = read_types(tmp_path, graph.entity_ids)
    typed = find_leakage(graph, types=types).typed

    assert types == [{"human"}, {"p", "agent"}, set(), set()]
    assert (typed.n, typed.named) == (2, 2)  # Human has no type itself
    assert find_leakage(graph).typed is None


def test_a_row_of_types_that_is_no_pair_is_refused_with_its_line(tmp_path):
    (tmp_path / "types.tsv").write_text("a\thuman\na\n")

    with pytest.raises(CompletionError, match=r"types\.tsv, line 2: expected id, type"):
        read_types(tmp_path, ["a"])
    assert read_types(tmp_path.parent / "nowhere", ["a"]) is None


def test_kinds_of_relation_follow_the_average_number_of_ends():
    one_to_one = [(0, 0, 1), (2, 0, 3)]
    many_tails = [(0, 1, 1), (0, 1, 2)]
    many_heads = [(1, 2, 0), (2, 2, 0)]
    many_both = [(h, 3, t) for h in (0, 1) for t in (2, 3)]
    graph = graph_of(one_to_one + many_tails + many_heads + many_both, test=[(3, 1, 0), (3, 4, 0)])

    kinds = RelationKinds.of(graph)

    assert kinds.of_relation.tolist() == [0, 1, 2, 3, 4]
    assert kinds.count(graph.test)["1-N"] == {"relations": 1, "triples": 1}
    assert kinds.count(graph.test)["not in train"] == {"relations": 1, "triples": 1}


def test_unseen_entities_relations_and_clashing_names_are_counted():
    graph = graph_of(
        [(0, 0, 1)],
        test=[(2, 0, 1), (0, 1, 1), (3, 1, 2)],
        entity_names=("Paris", "Berlin", "Paris", "Rome"),
        relation_names=("in", "in"),
    )

    found = find_leakage(graph)

    assert found.unseen == {
        "entities_not_in_train": 2,
        "entities_asked_unseen": 2,
        "triples_with_unseen_entity": 2,
        "relations_not_in_train": 1,
        "triples_with_unseen_relation": 2,
    }
    assert found.clashes["entities_sharing_a_name"] == 2
    assert found.clashes["names_shared_by_entities"] == 1
    assert found.clashes["relations_sharing_a_name"] == 2


def test_ids_that_differ_in_case_alone_are_counted(tmp_path):
    (tmp_path / "train.tsv").write_text("Paris\tin\tFrance\nparis\tIn\tFrance\n")

    clashes = find_leakage(read_folder(tmp_path)).clashes

    assert clashes["entity_ids_equal_but_for_case"] == 1
    assert clashes["relation_ids_equal_but_for_case"] == 1


def test_a_graph_of_one_entity_and_one_without_a_test_part_give_a_report_of_zeros():
    found = find_leakage(graph_of([(0, 0, 0)]))

    assert found.redundancy.n == 0
    assert found.texts == ()
    assert found.cardinality == {"1-1": {"relations": 1, "triples": 0}}
    plain = json.loads(json.dumps(found.to_mapping()))
    assert plain["redundancy"]["same_direction_share"] == 0.0

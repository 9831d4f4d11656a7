"""Splits with and without unseen entities, and the folders they are written to."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from generation.completion.modalities import modality_masks
from generation.completion.splits import inductive_split, transductive_split
from generation.completion.tsv_folder import read_folder
from generation.completion.tsv_write import write_folder
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of


def _rows(part):
    return {tuple(row) for row in part.tolist()}


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(3)
    rows = sorted({tuple(row) for row in rng.integers(0, [60, 4, 60], size=(400, 3)).tolist()})
    return graph_of(rows[:300], valid=rows[300:340], test=rows[340:], n_entities=60, n_relations=4)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_entities_that_are_new_in_validation_in_test_and_seen_in_train_are_three_sets_apart(graph, seed):
    made = inductive_split(graph, unseen_fraction=0.2, seed=seed)

    seen = set(made.train[:, [0, 2]].ravel().tolist())
    new_in_valid = set(made.valid[:, [0, 2]].ravel().tolist()) - seen
    new_in_test = set(made.test[:, [0, 2]].ravel().tolist()) - seen
    assert not new_in_valid & new_in_test
    assert len(new_in_valid) == made.counts["unseen_entities_valid"] == 6  # half of a fifth of sixty
    assert len(new_in_test) == made.counts["unseen_entities_test"] == 6
    assert all({head, tail} & new_in_test for head, _, tail in made.test.tolist())
    assert all({head, tail} & new_in_valid for head, _, tail in made.valid.tolist())
    assert set(made.train[:, 1].tolist()) == {0, 1, 2, 3}


def test_an_inductive_split_loses_and_invents_no_triple(graph):
    made = inductive_split(graph, unseen_fraction=0.2, seed=5)

    parts = [_rows(part) for part in (made.train, made.valid, made.test, made.filter_only)]
    assert set.union(*parts) == _rows(graph.known())
    assert sum(map(len, parts)) == len(graph.known())
    assert len(parts[3]) == made.counts["between_filter_only"]
    both_new = [row for row in parts[2] if not made.seen[row[0]] and not made.seen[row[2]]]
    assert len(both_new) == made.counts["test_both_ends_unseen"]


def test_an_entity_is_left_in_train_where_a_neighbour_hangs_on_it():
    # 0 is the only neighbour of 1, so 0 must stay; 1 itself may go, and so may 3 or 2, which keep one another else.
    graph = graph_of([(0, 0, 1), (0, 0, 2), (0, 0, 3), (2, 0, 3)])

    for seed in range(10):
        made = inductive_split(graph, unseen_fraction=0.25, seed=seed)
        assert made.seen[0]
        assert (~made.seen).sum() == 1


def test_a_graph_in_which_every_entity_is_needed_is_refused():
    with pytest.raises(CompletionError, match="too sparse for an inductive split"):
        inductive_split(graph_of([(0, 0, 1), (2, 0, 3)]), unseen_fraction=0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_of_entities_that_is_no_share_is_refused(graph, fraction):
    with pytest.raises(CompletionError, match="share of unseen entities must be above 0 and below 1"):
        inductive_split(graph, unseen_fraction=fraction, seed=0)


def test_a_transductive_split_costs_no_entity_and_no_relation_its_place(graph):
    made = transductive_split(graph, valid_fraction=0.1, test_fraction=0.2, seed=1)

    pooled = len(graph.known())
    assert (len(made.valid), len(made.test)) == (round(0.1 * pooled), round(0.2 * pooled))
    assert made.seen.all()
    assert set(made.train[:, 1].tolist()) == {0, 1, 2, 3}
    parts = [_rows(part) for part in (made.train, made.valid, made.test)]
    assert sum(map(len, parts)) == pooled
    assert set.union(*parts) == _rows(graph.known())


def test_the_same_seed_gives_the_same_split_and_another_seed_another(graph):
    for split in (
        lambda seed: inductive_split(graph, unseen_fraction=0.2, seed=seed),
        lambda seed: transductive_split(graph, valid_fraction=0.1, test_fraction=0.1, seed=seed),
    ):
        assert split(4).test.tolist() == split(4).test.tolist()
        assert split(4).test.tolist() != split(5).test.tolist()


def test_a_transductive_split_that_cannot_spare_a_triple_or_keeps_no_train_is_refused(graph):
    with pytest.raises(CompletionError, match="none can be spared"):
        transductive_split(graph_of([(0, 0, 1), (2, 1, 3)]), valid_fraction=0.0, test_fraction=0.5, seed=0)
    with pytest.raises(CompletionError, match="leave nothing to train on"):
        transductive_split(graph, valid_fraction=0.5, test_fraction=0.5, seed=0)


def test_a_written_folder_is_read_back_as_it_was(graph, tmp_path):
    made = inductive_split(graph, unseen_fraction=0.2, seed=5)
    write_folder(made, tmp_path / "new")

    back = read_folder(tmp_path / "new")

    for part in ("train", "valid", "test", "filter_only"):
        assert _rows(getattr(back, part)) == _rows(getattr(made, part))
    assert back.vocabulary_fingerprint == made.vocabulary_fingerprint
    assert json.loads((tmp_path / "new" / "split.json").read_text())["counts"] == dict(made.counts)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_names_and_texts_survive_writing_with_their_white_space_folded(tmp_path):
    graph = graph_of([(0, 0, 1)], entity_names=("Ada\tL.", "b"), entity_texts=("one\ntwo", ""))

    write_folder(graph, tmp_path / "new")
    back = read_folder(tmp_path / "new")

    assert back.entity_names == ("Ada L.", "b")
    assert back.entity_texts == ("one two", "")


def test_a_folder_that_holds_something_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")

    with pytest.raises(CompletionError, match="exists already"):
        write_folder(graph_of([(0, 0, 1)]), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_split_folder_keeps_the_types_numbers_and_image_vectors_of_its_source(graph, tmp_path):
    source = tmp_path / "source"
    write_folder(graph, source)
    (source / "types.tsv").write_text("e1\thuman\n")
    (source / "numbers.tsv").write_text("e2\theight\t1.8\n")
    save_file({"vectors": np.ones((2, 3), np.float32), "rows": np.array([5, 7])}, source / "image-vectors.safetensors")
    original = read_folder(source)

    made = inductive_split(original, unseen_fraction=0.2, seed=5)
    write_folder(made, tmp_path / "new", beside=source)

    back = read_folder(tmp_path / "new")
    assert back.entity_ids == original.entity_ids
    masks = modality_masks(back, tmp_path / "new")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {"image": [5, 7], "number": [2]}
    assert (tmp_path / "new" / "types.tsv").read_text() == "e1\thuman\n"


def test_image_rows_of_another_graph_and_damaged_vectors_are_refused(tmp_path):
    graph = graph_of([(0, 0, 1)])
    file = tmp_path / "image-vectors.safetensors"
    save_file({"vectors": np.ones((1, 3), np.float32), "rows": np.array([5])}, file)
    with pytest.raises(CompletionError, match=r"outside 0\.\.1"):
        modality_masks(graph, tmp_path)

    file.write_bytes(b"not tensors")
    with pytest.raises(CompletionError, match="cannot be read"):
        modality_masks(graph, tmp_path)

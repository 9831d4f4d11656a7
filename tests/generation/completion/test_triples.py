import tracemalloc

import numpy as np
import pytest

from generation.completion.triples import are_among, carve_validation, distinct_triples, sorted_keys, without_repeats
from generation.completion.tsv_folder import read_folder
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of


def _write(folder, **files):
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.tsv").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_is_read_with_names_texts_and_splits(tmp_path):
    folder = _write(
        tmp_path,
        entities="e0\tAda\tA mathematician\ne1\tLondon\ne2\n",
        relations="r0\tborn in\n",
        train="e0\tr0\te1\n",
        valid="e2\tr0\te1\n",
        test="e1\tr0\te2\n",
    )

    graph = read_folder(folder)

    assert graph.entity_names == ("Ada", "London", "e2")
    assert graph.entity_texts == ("A mathematician", "", "")
    assert graph.relation_names == ("born in",)
    assert graph.train.tolist() == [[0, 0, 1]]
    assert graph.valid.tolist() == [[2, 0, 1]]
    assert graph.test.tolist() == [[1, 0, 2]]
    assert graph.seen.tolist() == [True, True, False]


def test_a_folder_with_train_alone_is_enough_and_ids_become_names(tmp_path):
    graph = read_folder(_write(tmp_path, train="a\tlikes\tb\n\nb\tlikes\tc\r\n"))

    assert graph.entity_ids == graph.entity_names == ("a", "b", "c")
    assert graph.counts["unlisted_entities"] == 3
    assert len(graph.test) == 0


def test_a_first_line_of_titles_and_a_byte_order_mark_are_skipped(tmp_path):
    graph = read_folder(_write(tmp_path, train="\ufeffHead\tRelation\tTail\na\tr\tb\n"))

    assert graph.entity_ids == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("train", "a\tr\tb\na\tr\n", "train.tsv, line 2: expected head, relation, tail"),
        ("train", "a\tr\tb\tc\n", "train.tsv, line 1"),
        ("train", "a\t\tb\n", "train.tsv, line 1"),
        ("entities", "a\tA\na\tB\n", "entities.tsv, line 2: the entity id 'a' is listed twice"),
        ("entities", "a\tA\ttext\tmore\n", "entities.tsv, line 1"),
        ("relations", "r\tR\n\tS\n", "relations.tsv, line 2"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path, name, text, where):
    folder = _write(tmp_path, train="a\tr\tb\n")
    _write(folder, **{name: text})

    with pytest.raises(CompletionError, match=where):
        read_folder(folder)


def test_bytes_that_are_not_utf8_are_refused_with_the_file(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"a\tr\tb\xff\n")

    with pytest.raises(CompletionError, match=r"train\.tsv: not UTF-8 in line 1 .* at byte 5 of the line"):
        read_folder(tmp_path)


def test_the_line_of_a_bad_byte_is_named_and_a_file_in_utf16_is_called_that(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"a\tr\tb\nb\tr\tc\n" + "é\tr\tb\n".encode("latin-1"))
    with pytest.raises(CompletionError, match="not UTF-8 in line 3"):
        read_folder(tmp_path)

    (tmp_path / "train.tsv").write_bytes("a\tr\tb\n".encode("utf-16"))
    with pytest.raises(CompletionError, match="written as UTF-16"):
        read_folder(tmp_path)


def test_line_ends_of_windows_and_separators_of_unicode_do_not_cut_a_row(tmp_path):
    (tmp_path / "train.tsv").write_bytes("a\tr\tb\r\nb\u2028x\tr\tc\x0bd\r\n".encode())

    assert read_folder(tmp_path).entity_ids == ("a", "b", "b\u2028x", "c\x0bd")


def test_a_large_file_is_read_line_by_line_and_never_held_as_text(tmp_path):
    rng = np.random.default_rng(0)
    cells = rng.integers(0, [900, 20, 900], size=(60_000, 3)).tolist()
    padding = "x" * 200  # so that holding the lines, or their words, would show
    lines = [f"{padding}{head}\t{padding}{relation}\t{padding}{tail}\n" for head, relation, tail in cells]
    (tmp_path / "train.tsv").write_text("".join(lines))
    size_bytes = (tmp_path / "train.tsv").stat().st_size
    del lines
    tracemalloc.start()

    graph = read_folder(tmp_path, valid_fraction=0)

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(graph.train) == len({tuple(row) for row in cells})
    assert size_bytes > 36_000_000
    assert peak_bytes < size_bytes / 4


def test_missing_and_empty_train_files_are_refused(tmp_path):
    with pytest.raises(CompletionError, match=r"no train\.tsv"):
        read_folder(tmp_path)
    with pytest.raises(CompletionError, match="holds no triples"):
        read_folder(_write(tmp_path, train="\n"))
    with pytest.raises(CompletionError, match="not a folder"):
        read_folder(tmp_path / "nowhere")


def test_splits_that_share_triples_are_refused_with_counts_unless_allowed(tmp_path):
    folder = _write(tmp_path, train="a\tr\tb\nb\tr\tc\n", valid="c\tr\ta\n", test="a\tr\tb\nc\tr\ta\na\tr\tc\n")

    with pytest.raises(CompletionError, match=r"1 of train\+test, 1 of valid\+test"):
        read_folder(folder)
    assert read_folder(folder, allow_overlap=True).counts["overlap_train+test"] == 1


def test_repeated_and_reflexive_triples_are_counted_and_repeats_dropped(tmp_path):
    graph = read_folder(_write(tmp_path, train="a\tr\tb\na\tr\tb\nb\tr\tb\n"), valid_fraction=0)

    assert graph.counts["duplicates_train"] == 1
    assert graph.counts["reflexive_train"] == 1
    assert graph.train.tolist() == [[0, 0, 1], [1, 0, 1]]


def test_a_broken_split_is_used_for_the_filter_only(tmp_path):
    folder = _write(tmp_path, train="a\tr\tb\nb\tr\tc\n", test="c\tr\ta\n", released_valid_broken="a\tr\tb\na\tr\tc\n")

    graph = read_folder(folder)

    assert graph.filter_only.tolist() == [[0, 0, 1], [0, 0, 2]]
    assert graph.known().tolist() == [[0, 0, 1], [0, 0, 2], [1, 0, 2], [2, 0, 0]]
    assert len(read_folder(folder, filter_only=()).filter_only) == 0
    with pytest.raises(CompletionError, match="not a file"):
        read_folder(folder, filter_only=("nowhere.tsv",))


def test_a_validation_part_is_carved_the_same_for_the_same_seed_and_costs_no_entity_its_place():
    rng = np.random.default_rng(0)
    train = sorted({tuple(row) for row in rng.integers(0, [20, 3, 20], size=(150, 3)).tolist()})
    graph = graph_of(train, n_entities=20, n_relations=3)

    carved = carve_validation(graph, fraction=0.1, seed=7)
    again = carve_validation(graph, fraction=0.1, seed=7)
    other = carve_validation(graph, fraction=0.1, seed=8)

    assert len(carved.valid) == round(0.1 * len(train))
    assert carved.valid.tolist() == again.valid.tolist()
    assert carved.valid.tolist() != other.valid.tolist()
    assert carved.carved == (7, 0.1)
    assert any("carved from train with seed 7" in note for note in carved.notes)
    assert sorted(map(tuple, np.concatenate([carved.train, carved.valid]).tolist())) == train
    assert carved.seen.tolist() == graph.seen.tolist()


def test_nothing_is_carved_where_every_triple_is_needed():
    graph = graph_of([(0, 0, 1), (2, 1, 3)])

    assert carve_validation(graph, fraction=0.5, seed=0) is graph


def test_an_index_out_of_range_is_refused():
    with pytest.raises(CompletionError, match=r"outside 0\.\.1"):
        graph_of([(0, 0, 5)], n_entities=2)


def test_fingerprints_ignore_the_order_of_train_and_notice_another_triple():
    one = graph_of([(0, 0, 1), (1, 0, 2)])
    turned = graph_of([(1, 0, 2), (0, 0, 1)])
    more = graph_of([(0, 0, 1), (1, 0, 2), (2, 0, 0)])

    assert one.train_fingerprint == turned.train_fingerprint
    assert one.train_fingerprint != more.train_fingerprint
    assert one.vocabulary_fingerprint == more.vocabulary_fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_distinct_triples_equal_the_unique_rows(seed):
    rows = np.random.default_rng(seed).integers(0, [5, 3, 5], size=(80, 3))

    np.testing.assert_array_equal(distinct_triples(rows, n_entities=5, n_relations=3), np.unique(rows, axis=0))
    assert distinct_triples(rows[:0], n_entities=0, n_relations=0).shape == (0, 3)


def test_keys_are_sorted_without_repeats_and_looked_up():
    known = sorted_keys(np.array([7, 3, 7, 3, 9]))

    assert known.tolist() == [3, 7, 9]
    assert are_among(np.array([9, 3, 4, 10, 2]), known).tolist() == [True, True, False, False, False]
    assert are_among(np.array([1]), known[:0]).tolist() == [False]
    assert sorted_keys(known[:0]).tolist() == []


def test_the_first_of_each_repeated_triple_is_kept_in_its_place():
    rows = np.array([[2, 0, 1], [0, 0, 1], [2, 0, 1], [1, 0, 0], [0, 0, 1]])

    assert without_repeats(rows, n_entities=3, n_relations=1).tolist() == [[2, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert without_repeats(rows[:2], n_entities=3, n_relations=1).tolist() == [[2, 0, 1], [0, 0, 1]]
    assert without_repeats(rows[:0], n_entities=0, n_relations=0).shape == (0, 3)


def test_the_index_of_known_answers_is_made_once_and_holds_all_splits():
    graph = graph_of([(0, 0, 1)], valid=[(1, 0, 2)], test=[(2, 0, 0)])

    assert graph.known_ends is graph.known_ends
    assert [graph.known_ends.answers(entity, 0).tolist() for entity in range(3)] == [[1], [2], [0]]
    assert [graph.known_ends.answers(entity, 1).tolist() for entity in range(3)] == [[2], [0], [1]]

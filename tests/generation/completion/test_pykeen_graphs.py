"""Graphs that PyKEEN saved, read without it; and its own data sets where it is installed."""

import gzip
import sys

import numpy as np
import pytest

from generation.completion.pykeen_graphs import graph_from_factories, read_pykeen
from kg.errors import CompletionError, MissingExtraError
from retrieval.encoders.torchvision_ops import declare_missing_operators


def _save(folder, *, entities, relations, triples):
    """Write what PyKEEN 1.11 writes for a factory, but for base.pth, which is never read."""
    folder.mkdir(parents=True)
    tables = {
        "entity_to_id": ["id\tlabel", *(f"{number}\t{label}" for number, label in enumerate(entities))],
        "relation_to_id": ["id\tlabel", *(f"{number}\t{label}" for number, label in enumerate(relations))],
        "numeric_triples": ["head\trelation\ttail", *("\t".join(map(str, row)) for row in triples)],
    }
    for name, lines in tables.items():
        with gzip.open(folder / f"{name}.tsv.gz", "wt", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
    return folder.parent


def test_a_saved_data_set_is_read_without_pykeen_and_its_pickle_is_left_alone(tmp_path):
    for name, triples in (("training", [(0, 0, 1), (0, 0, 1), (1, 0, 1)]), ("testing", [(1, 0, 2)])):
        _save(tmp_path / name, entities=["a", '"b ""x"""', "c"], relations=["likes"], triples=triples)
        (tmp_path / name / "base.pth").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")

    graph = read_pykeen(tmp_path)

    assert graph.entity_ids == ("a", 'b "x"', "c")  # quoted as a table of pandas is
    assert graph.train.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert graph.test.tolist() == [[1, 0, 2]]
    assert graph.counts == {"duplicates_train": 1, "reflexive_train": 1}


def test_factories_that_number_labels_differently_are_brought_together(tmp_path):
    _save(tmp_path / "training", entities=["a", "b"], relations=["r"], triples=[(0, 0, 1)])
    _save(tmp_path / "testing", entities=["b", "new", "a"], relations=["s", "r"], triples=[(2, 1, 1), (0, 0, 2)])

    graph = read_pykeen(tmp_path)

    assert graph.entity_ids == ("a", "b", "new")
    assert graph.relation_ids == ("r", "s")
    assert graph.test.tolist() == [[0, 0, 2], [1, 1, 0]]
    assert graph.seen.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("triples", "message"),
    [([(0, 0, 7)], "no label"), ([(0, "x", 1)], "line 2"), ([(0, 0)], "line 2")],
)
def test_a_damaged_table_is_refused(tmp_path, triples, message):
    _save(tmp_path / "training", entities=["a", "b"], relations=["r"], triples=triples)

    with pytest.raises(CompletionError, match=message):
        read_pykeen(tmp_path)


def test_a_truncated_file_and_a_folder_without_training_are_refused(tmp_path):
    with pytest.raises(CompletionError, match="no training/"):
        read_pykeen(tmp_path)
    _save(tmp_path / "training", entities=["a", "b"], relations=["r"], triples=[(0, 0, 1)])
    file = tmp_path / "training" / "numeric_triples.tsv.gz"
    file.write_bytes(file.read_bytes()[:-12])

    with pytest.raises(CompletionError, match="not a table that PyKEEN saved"):
        read_pykeen(tmp_path)


def test_splits_that_share_triples_are_refused_unless_allowed(tmp_path):
    for name in ("training", "testing"):
        _save(tmp_path / name, entities=["a", "b"], relations=["r"], triples=[(0, 0, 1)])

    with pytest.raises(CompletionError, match=r"1 of train\+test"):
        read_pykeen(tmp_path)
    assert len(read_pykeen(tmp_path, allow_overlap=True).test) == 1


def test_a_factory_without_labels_is_refused():
    class Numbers:
        mapped_triples = np.array([[0, 0, 1]])

    with pytest.raises(CompletionError, match="numbers without labels"):
        graph_from_factories("bare", {"train": Numbers()})


def test_pykeens_own_data_set_is_the_same_by_name_and_saved(tmp_path):
    declare_missing_operators()
    pytest.importorskip("pykeen", reason="needs the extra pykeen")
    from pykeen.datasets import Nations

    Nations().to_directory_binary(tmp_path)

    by_name, saved = read_pykeen("nations"), read_pykeen(tmp_path)

    assert (len(by_name.train), len(by_name.valid), len(by_name.test)) == (1592, 199, 201)
    assert (by_name.n_entities, by_name.n_relations) == (14, 55)
    assert by_name.train_fingerprint == saved.train_fingerprint
    with pytest.raises(CompletionError, match="no data set of that name"):
        read_pykeen("nothing-of-the-kind")


def test_a_name_without_pykeen_names_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pykeen.datasets", None)
    monkeypatch.setitem(sys.modules, "pykeen", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'mmkgrag\[pykeen\]'"):
        read_pykeen("nations")

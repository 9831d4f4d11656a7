import numpy as np
import pytest
from safetensors.numpy import save_file

from generation.completion.experts.features import FeatureMatrix, image_features, number_features, text_features
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_GRAPH = graph_of(
    [(0, 0, 1), (1, 0, 2)],
    entity_names=("Ada", "e1", "Cy"),
    entity_texts=("a woman", "", "a man"),
)


class LetterEncoder:
    """Counts letters: a real, if poor, encoder."""

    fingerprint = "letters-1"

    def __init__(self):
        self.n_encoded = 0

    def encode(self, texts):
        self.n_encoded += len(texts)
        counts = np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def test_names_and_texts_are_two_blocks_and_a_name_that_repeats_the_id_counts_as_lacking():
    matrix = text_features(_GRAPH, LetterEncoder())

    assert [name for name, _ in matrix.blocks] == ["name", "text"]
    assert matrix.has_NK.tolist() == [[True, True], [False, False], [True, True]]
    assert not matrix.values_ND[1].any()
    assert np.square(matrix.values_ND[[0, 2], :26]).mean() == pytest.approx(1.0, rel=1e-3)


def test_a_graph_of_bare_ids_has_no_text_vectors():
    assert text_features(graph_of([(0, 0, 1)]), LetterEncoder()) is None


def test_vectors_are_encoded_once_and_come_back_the_same_from_the_cache(tmp_path):
    encoder = LetterEncoder()
    first = text_features(_GRAPH, encoder, cache=tmp_path)
    n_encoded = encoder.n_encoded

    again = text_features(_GRAPH, encoder, cache=tmp_path)

    assert encoder.n_encoded == n_encoded == 4
    assert again.digest == first.digest


def test_another_text_or_a_torn_cache_is_encoded_anew(tmp_path):
    from dataclasses import replace

    encoder = LetterEncoder()
    text_features(_GRAPH, encoder, cache=tmp_path)
    text_features(replace(_GRAPH, entity_texts=("a queen", "", "a man")), encoder, cache=tmp_path)
    assert encoder.n_encoded == 6  # the names were known, the texts not
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:20])

    assert text_features(_GRAPH, encoder, cache=tmp_path).values_ND.any()


def test_no_vector_depends_on_any_triple():
    other = graph_of(
        [(2, 0, 0)],
        test=[(0, 0, 1), (1, 0, 2)],
        entity_names=_GRAPH.entity_names,
        entity_texts=_GRAPH.entity_texts,
    )

    assert text_features(other, LetterEncoder()).digest == text_features(_GRAPH, LetterEncoder()).digest


def test_names_alone_can_be_asked_for():
    assert [name for name, _ in text_features(_GRAPH, LetterEncoder(), blocks=("name",)).blocks] == ["name"]


def test_image_vectors_are_read_by_row_and_wrong_rows_are_refused(tmp_path):
    vectors = np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32)
    save_file({"vectors": vectors, "rows": np.array([2, 0])}, tmp_path / "image-vectors.safetensors")

    matrix = image_features(_GRAPH, tmp_path)

    assert matrix.has_NK[:, 0].tolist() == [True, False, True]
    np.testing.assert_allclose(matrix.values_ND[2] / matrix.values_ND[2, 1], [0.75, 1.0])
    save_file({"vectors": vectors, "rows": np.array([2, 3])}, tmp_path / "image-vectors.safetensors")
    with pytest.raises(CompletionError, match=r"must give one entity \(0\.\.2\)"):
        image_features(_GRAPH, tmp_path)


def test_numbers_are_standardised_with_a_mark_for_each_that_is_there(tmp_path):
    (tmp_path / "numbers.tsv").write_text("e0\theight\t0\ne2\theight\t3\ne9\theight\t5\n")

    matrix = number_features(_GRAPH, tmp_path)

    assert matrix.has_NK[:, 0].tolist() == [True, False, True]
    np.testing.assert_allclose(matrix.values_ND[[0, 2]], [[-1, 1], [1, 1]], rtol=1e-6)
    (tmp_path / "numbers.tsv").write_text("e0\theight\ttall\n")
    with pytest.raises(CompletionError, match=r"numbers\.tsv, line 1: 'tall' is not a finite number"):
        number_features(_GRAPH, tmp_path)


def test_vectors_that_are_not_finite_or_do_not_fit_are_refused():
    with pytest.raises(CompletionError, match="not finite"):
        FeatureMatrix(values_ND=np.full((1, 1), np.nan), has_NK=np.ones((1, 1), dtype=bool), blocks=(("a", 1),))
    with pytest.raises(CompletionError, match="do not fit the blocks"):
        FeatureMatrix(values_ND=np.zeros((1, 2)), has_NK=np.ones((1, 1), dtype=bool), blocks=(("a", 1),))

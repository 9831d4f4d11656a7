import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from generation.completion.config import CompletionConfig
from generation.completion.experts import lexical
from generation.completion.experts.features import text_features
from generation.completion.experts.lexical import LexicalMap
from generation.completion.extension import extend_model
from generation.completion.gate import entity_traits
from generation.completion.model_io import load_model, save_model
from generation.completion.training import train_experts
from generation.completion.triples import carve_validation
from tests.generation.completion.helpers import graph_of, ring_rows
from tests.generation.completion.test_features import LetterEncoder

_NAMES = ("Ivanov", "Petrov", "Sidorov", "Yamamoto", "Sakamoto", "Hashimoto", "Hansen", "Jensen", "Nielsen")


def test_the_parts_of_a_name_are_its_words_and_runs_of_three_to_five_letters_with_their_ends():
    assert sorted(lexical._PARTS["letters"]("Ok Ada")) == sorted(
        ["<ok>", "<ok", "ok>", "<ok>", "<ada>", "<ad", "ada", "da>", "<ada", "ada>", "<ada>"]
    )
    assert list(lexical._PARTS["words"]("A red, red door")) == [
        "a", "red", "red", "door", "a red", "red red", "red door",
    ]  # fmt: skip


def test_names_that_end_alike_are_neighbours():
    found = LexicalMap.fit("letters", _NAMES).vectors([*_NAMES, "Smirnov", "Matsumoto", "Larsen"])

    likeness = found[9:] @ found[:9].T
    assert [int(np.argmax(row)) // 3 for row in likeness] == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)


def test_weights_are_those_of_the_formula():
    texts = ["red red door", "red house", "red sky", "blue door", "a door", "some sky", "the sky"]
    fitted = LexicalMap.fit("words", texts)

    known = {word: fitted.idf_H[zlib.crc32(word.encode()) % lexical.N_BUCKETS] for word in ("red", "house")}
    assert known["red"] == pytest.approx(math.log(7 / 3))
    assert known["house"] == 0.0  # in one text alone
    weighed = lexical._weighed(lexical._counted("words", texts[:1]), fitted.idf_H).toarray()[0]
    red, door = (1 + math.log(2)) * math.log(7 / 3), math.log(7 / 3)
    assert sorted(weighed[weighed > 0]) == pytest.approx(sorted(x / math.hypot(red, door) for x in (red, door)))


def test_the_directions_are_the_first_singular_vectors():
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((40, 30)) @ np.diag(0.8 ** np.arange(30)) @ rng.standard_normal((30, 25))

    found = lexical._strongest(sparse.csr_array(dense.astype(np.float32)), 4, rng)

    expected = np.linalg.svd(dense)[2][:4].T
    assert np.abs((found * expected).sum(axis=0)).tolist() == pytest.approx([1.0] * 4, abs=1e-3)  # up to the sign


@pytest.mark.parametrize("texts", [[], ["", ""], ["one", "two", "three"], ["?!", "...", "-"]])
def test_texts_that_share_nothing_have_no_directions(texts):
    fitted = LexicalMap.fit("letters", texts)

    assert fitted.width == 0
    assert fitted.vectors(["one"]).shape == (1, 0)


def test_what_the_map_does_not_know_and_what_is_empty_is_zero():
    found = LexicalMap.fit("letters", _NAMES).vectors(["", "Xyz", "Петров\ud800"])

    assert not found.any()


def test_of_many_texts_a_sample_is_fitted_the_same_for_the_same_seed(monkeypatch):
    monkeypatch.setattr(lexical, "_MOST_FITTED", 6)

    one, two, other = (LexicalMap.fit("letters", _NAMES, seed=seed).idf_H for seed in (0, 0, 1))

    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def _town(n=30):
    """A ring of entities whose surnames come in three kinds; every second has a text."""
    names = tuple(f"{'abcdefghij'[i // 3]} {_NAMES[i % 9]}" for i in range(n))
    texts = tuple(f"a person by a {('door', 'house', 'river')[i % 3]}" if i % 2 else "" for i in range(n))
    return carve_validation(graph_of(ring_rows(n), entity_names=names, entity_texts=texts), fraction=0.2, seed=0)


def test_the_text_expert_reads_letters_and_words_and_keeps_what_made_them(tmp_path):
    graph = _town()
    features = {"text": text_features(graph, LetterEncoder())}
    config = CompletionConfig(rank=4, max_epochs=1, feature_epochs=1, feature_rank=4, threads=1, refit_epochs=0)
    done = train_experts(graph, config=config, seed=0, features=features)
    save_model(tmp_path, done.model, graph, config=done.config, metadata={}, parts=done.parts)
    saved = load_model(tmp_path)
    kept = saved.parts.features["text"]

    assert [name for name, _ in kept.blocks] == ["name", "text", "letters", "words"]
    assert np.array_equal(kept.lexical["letters"].directions_HD, features["text"].lexical["letters"].directions_HD)
    again = text_features(graph, LetterEncoder(), like=kept)
    assert again.digest == features["text"].digest
    ids = (*graph.entity_ids, "new")
    grown = replace(
        graph, entity_ids=ids, entity_names=(*graph.entity_names, "Olav Hansen"), entity_texts=(*graph.entity_texts, "")
    )
    wider = text_features(grown, LetterEncoder(), like=kept)
    extended = extend_model(saved, grown, features={"text": wider})
    assert wider.blocks == kept.blocks
    assert wider.has_NK[-1].tolist() == [True, False, True, False]
    assert extended.parts.features["text"] is wider


def test_the_gate_has_one_trait_for_blocks_that_are_lacking_together():
    graph = _town()

    names, traits = entity_traits(graph, {"text": text_features(graph, LetterEncoder())})

    assert names == ("unseen", "rare", "lacks text")
    assert traits[:4, 2].tolist() == [1.0, 0.0, 1.0, 0.0]

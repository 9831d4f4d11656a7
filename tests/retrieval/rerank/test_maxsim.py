"""Late interaction against its definition, and the cache of states."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from generation.testing import make_evidence
from retrieval.rerank.maxsim import MaxSimReranker, StateCache, max_similarity, naive_max_similarity
from retrieval.rerank.types import Reranker, TokenStates
from retrieval.types import Query


class WordStates:
    """One fixed direction a word, so that a similarity is 1 for the same word and 0 for another."""

    fingerprint = "words"

    def __init__(self):
        self.read = []
        self.words = {}

    def token_states(self, texts, *, as_queries=False):
        self.read.extend(texts)
        return [self._states(text) for text in texts]

    def _states(self, text):
        words = text.casefold().replace(".", "").replace("?", "").split()
        rows = np.zeros((len(words), 64), dtype=np.float32)
        for row, word in enumerate(words):
            rows[row, self.words.setdefault(word, len(self.words))] = 3.0  # of any length: cosines are compared
        return TokenStates(tokens=tuple(words), states=rows)


def reranker(**options):
    return MaxSimReranker(WordStates(), max_context_characters=160, **options)


def test_the_score_is_the_share_of_the_questions_words_that_the_passage_holds():
    made = reranker()
    passages = [make_evidence("amber harbour lights"), make_evidence("amber"), make_evidence("quiet fields")]

    scores = made.scores(Query(text="Where is the amber harbour?"), passages)

    assert scores == pytest.approx([1.0, 0.5, 0.0])  # "where", "is" and "the" are left out


def test_a_question_of_stop_words_alone_is_compared_whole():
    assert reranker().scores(Query(text="What is it?"), [make_evidence("it is")]) == pytest.approx([2 / 3])


def test_the_product_equals_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        question = rng.normal(size=(int(rng.integers(1, 6)), 8)).astype(np.float32)
        passage = rng.normal(size=(int(rng.integers(1, 9)), 8)).astype(np.float32)

        expected = naive_max_similarity(question.tolist(), passage.tolist())

        assert max_similarity(question, passage) == pytest.approx(expected, abs=1e-5)


def test_nothing_is_alike_to_nothing():
    empty = np.empty((0, 4), dtype=np.float32)

    assert max_similarity(empty, np.ones((2, 4), dtype=np.float32)) == 0.0
    assert max_similarity(np.ones((2, 4), dtype=np.float32), empty) == 0.0
    assert naive_max_similarity([], [[1.0]]) == 0.0
    assert reranker().scores(Query(text="word"), []) == []
    assert reranker().scores(Query(image=b"x"), [make_evidence("word")]) == [0.0]


def test_a_passage_is_read_once_and_its_title_with_it():
    made = reranker()
    passage = make_evidence("amber lights", title="Harbour")

    first = made.scores(Query(text="amber harbour"), [passage])
    again = made.scores(Query(text="amber harbour"), [passage])

    assert first == again == pytest.approx([1.0])
    assert made._encoder.read == ["amber harbour", "Harbour\namber lights", "amber harbour"]


def test_states_that_do_not_fit_the_cache_are_read_again_and_right():
    made = reranker(cache_bytes=0)
    passage = make_evidence("amber lights")

    assert made.scores(Query(text="amber"), [passage]) == made.scores(Query(text="amber"), [passage]) == [1.0]
    assert made._encoder.read.count("amber lights") == 2
    assert made.cache.size_bytes == 0


def test_the_least_recently_used_states_go_first():
    cache = StateCache(max_bytes=4 * 2 * 2)  # two entries of two rows of two numbers
    states = np.ones((2, 2), dtype=np.float16)
    cache.put(("e", "a"), states)
    cache.put(("e", "b"), states)
    assert cache.get(("e", "a")) is not None

    cache.put(("e", "c"), states)

    assert cache.get(("e", "b")) is None
    assert cache.get(("e", "a")) is not None
    assert len(cache) == 2
    assert cache.size_bytes == 16


def test_states_put_again_take_the_place_of_the_old_ones():
    cache = StateCache(max_bytes=100)
    cache.put(("e", "a"), np.ones((2, 2), dtype=np.float16))
    cache.put(("e", "a"), np.zeros((1, 2), dtype=np.float16))

    assert cache.size_bytes == 4
    assert cache.get(("e", "a")).tolist() == [[0.0, 0.0]]


def test_eight_threads_may_use_the_cache_at_once():
    cache = StateCache(max_bytes=10 * 8)
    states = np.ones((2, 2), dtype=np.float16)

    def work(thread):
        for i in range(200):
            cache.put(("e", str((thread * 7 + i) % 23)), states)
            cache.get(("e", str(i % 23)))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cache.size_bytes == 8 * len(cache) <= 80


def test_a_copy_with_another_trust_shares_the_cache():
    made = reranker()

    other = made.with_trust(0.9)

    assert (made.trust, other.trust) == (0.2, 0.9)
    assert other.cache is made.cache
    assert isinstance(made, Reranker)

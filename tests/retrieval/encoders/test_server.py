"""The embeddings endpoint against a real server on this machine, which misbehaves in the ways that servers do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from kg.errors import ConfigError, EncoderBusyError, EncoderError, InputError
from kg.servers.accounting import Budget
from retrieval.encoders.server import ServerTextEncoder
from retrieval.fakes import HashingTextEncoder
from retrieval.types import TextEncoder
from tests.generation.vision.test_openai_vision import serving

WORDS = HashingTextEncoder()  # counts words as tokens


def rows(texts: Sequence[str]) -> list[list[float]]:
    """The length of a text and two constants: a direction that a test can work out."""
    return [[float(len(text)), 1.0, 2.0] for text in texts]


def reply(texts: Sequence[str], *, usage: Any = None, backwards: bool = False) -> tuple[int, dict[str, str], Any]:
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows(texts))]
    value = {"object": "list", "data": data[::-1] if backwards else data, "model": "tiny"}
    return 200, {}, {**value, **({"usage": usage} if usage else {})}


@contextmanager
def embedding(
    *first: Any, delay_s: float = 0.0, answer: Callable[[list[str]], Any] = reply
) -> Iterator[tuple[str, Any]]:
    """Serve embeddings of what is asked, after the answers that are given."""
    with serving((200, {}, {}), delay_s=delay_s) as (url, state):
        before = list(first)

        def take(headers: Any, body: Any) -> Any:
            with state.lock:
                state.asked.append((headers, body))
                state.now += 1
                state.at_once = max(state.at_once, state.now)
                return before.pop(0) if before else answer(body["input"])

        state.take = take
        yield url, state


@contextmanager
def encoder(url: str, waits: list[float] | None = None, **options: Any) -> Iterator[ServerTextEncoder]:
    slept = [] if waits is None else waits
    made = ServerTextEncoder(url, "tiny", tokenizer=WORDS, sleep=slept.append, **options)
    try:
        yield made
    finally:
        made.close()


def unit(texts: Sequence[str]) -> np.ndarray:
    expected = np.array(rows(texts))
    return np.asarray(expected / np.linalg.norm(expected, axis=1, keepdims=True), dtype=np.float32)


def test_texts_become_unit_vectors_in_their_order_and_the_width_is_what_comes():
    texts = [f"word {'x' * n}" for n in range(7)]
    with (
        embedding(answer=lambda asked: reply(asked, backwards=True)) as (url, server),
        encoder(url + "/", api_key="secret", batch_size=3) as made,
    ):
        vectors_ND = made.encode(texts)
        assert isinstance(made, TextEncoder)
        assert made.dimension == 3

    assert vectors_ND.dtype == np.float32
    np.testing.assert_allclose(vectors_ND, unit(texts), atol=1e-6)
    assert sorted(len(body["input"]) for _, body in server.asked) == [1, 3, 3]
    assert all(headers["Authorization"] == "Bearer secret" for headers, _ in server.asked)
    assert all(set(body) == {"model", "input"} and body["model"] == "tiny" for _, body in server.asked)


def test_batches_keep_to_their_tokens_and_a_long_text_goes_alone():
    texts = ["a b c", "a b c", "a " * 30, "a", "b"]
    with embedding() as (url, server), encoder(url, batch_tokens=8, concurrency=1) as made:
        made.encode(texts)

    assert [body["input"] for _, body in server.asked] == [["a b c", "a b c"], ["a " * 30], ["a", "b"]]


def test_long_texts_are_cut_and_empty_and_broken_ones_are_sent_so_that_servers_take_them():
    with embedding() as (url, server), encoder(url, max_length=4, passage_prompt="p: ") as made:
        assert made.max_tokens == 3
        made.encode(["one two three four", "", "lone \ud800 surrogate"])
    with embedding() as (url, plain), encoder(url) as made:
        made.encode(["", " \n"])

    assert server.asked[0][1]["input"] == ["p: one two three", "p: ", "p: lone \ufffd surrogate"]
    assert plain.asked[0][1]["input"] == [".", "."]


def test_queries_and_passages_have_their_own_prompts():
    with embedding() as (url, server), encoder(url, query_prompt="q: ", passage_prompt="p: ") as made:
        made.encode_queries(["cat"])
        made.encode(["cat"])

    assert [body["input"] for _, body in server.asked] == [["q: cat"], ["p: cat"]]


def test_no_texts_and_one_string():
    with embedding() as (url, _), encoder(url, dimensions=3) as made:
        assert made.encode([]).shape == (0, 3)
        with pytest.raises(InputError, match="Put it in a list"):
            made.encode("cat")


def test_the_width_that_is_asked_for_is_sent_and_known_before_any_call():
    with embedding() as (url, server), encoder(url, dimensions=3) as made:
        assert (made.dimension, server.asked) == (3, [])
        made.encode(["cat"])

    assert server.asked[0][1]["dimensions"] == 3


def test_a_width_nobody_knows_is_asked_for_once():
    with embedding() as (url, server), encoder(url) as made:
        assert (made.dimension, made.dimension) == (3, 3)

    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_busy_and_failing_servers_are_asked_again(status: int):
    with embedding((status, {}, "oops"), (0, {}, "")) as (url, server), encoder(url, waits := []) as made:
        np.testing.assert_allclose(made.encode(["cat"]), unit(["cat"]), atol=1e-6)
        usage = made.usage

    assert (len(server.asked), len(waits)) == (3, 2)
    assert (usage.n_calls, usage.n_retries, usage.n_failed) == (1, 2, 0)


def test_retry_after_is_honoured():
    with embedding((429, {"Retry-After": "7"}, {})) as (url, _), encoder(url, waits := [], backoff_s=0.01) as made:
        made.encode(["cat"])

    assert waits == [7]


def test_a_server_that_never_recovers_is_given_up_with_what_to_do():
    answer = (429, {}, {"error": {"message": "slow down"}})
    with embedding(answer=lambda _: answer) as (url, server), encoder(url, max_attempts=3) as made:
        with pytest.raises(EncoderBusyError, match=r"failed 3 times, at last: HTTP 429: slow down.*--mode bm25"):
            made.encode(["cat"])
        assert made.usage.n_failed == 1

    assert len(server.asked) == 3


def test_a_slow_reply_is_a_time_out_and_a_server_that_is_not_there_is_busy():
    with (
        embedding(delay_s=0.5) as (url, server),
        encoder(url, timeout_s=0.1, max_attempts=2) as made,
        pytest.raises(EncoderBusyError, match="no reply within the time-out"),
    ):
        made.encode(["cat"])
    assert len(server.asked) == 2
    with (
        encoder("http://127.0.0.1:1/v1", max_attempts=2) as made,
        pytest.raises(EncoderBusyError, match="the connection failed"),
    ):
        made.encode(["cat"])


def test_after_a_failure_the_batches_that_wait_are_not_sent():
    with (
        embedding((400, {}, {"error": "too long"})) as (url, server),
        encoder(url, batch_size=1, concurrency=1) as made,
        pytest.raises(EncoderError, match=r"HTTP 400: too long.*encoder\.max_length"),
    ):
        made.encode([f"text {n}" for n in range(50)])

    assert len(server.asked) < 50


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_address_or_model_is_not_tried_again_and_not_shown(status: int):
    answer = (status, {}, {"error": {"message": "no such model"}})
    refused = pytest.raises(ConfigError, match=f"'tiny'.*HTTP {status}: no such model.*settings of encoder")
    with (
        embedding(answer=lambda _: answer) as (url, server),
        encoder(url, api_key="secret-word") as made,
        refused as caught,
    ):
        made.encode(["cat"])

    assert len(server.asked) == 1
    assert "secret-word" not in str(caught.value)


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"index": index, "embedding": embedding}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no json", "what is no JSON"),
        ([1], "what is no JSON object"),
        ({}, "no embeddings"),
        ({"data": None}, "no embeddings"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}, "no embeddings"),
        ({"data": [item(0, "AACAPw=="), item(1, "AACAPw==")]}, "no embeddings"),
        ({"data": [item(0, [1.0, 2.0]), item(1, [1.0])]}, "no embeddings"),
        ({"data": [item(0, [[1.0]]), item(1, [[1.0]])]}, "shape"),
        ({"data": [item(0, []), item(1, [])]}, "shape"),
        ({"data": [item(0, [1.0])]}, "sent 1 vectors"),
        ({"data": [item(0, [1.0]), item(0, [1.0])]}, "sent 2 vectors"),
        ({"data": [item(1, [1.0]), item(2, [1.0])]}, "numbered"),
        ({"data": [item(0, [1.0, 0.0]), item(1, [0.0, 0.0])]}, "vector 1 of a reply is zero or not finite"),
        ({"data": [item(0, [float("nan"), 0.0]), item(1, [1.0, 0.0])]}, "vector 0 of a reply is zero or not finite"),
        ({"data": [item(0, [1.0, 0.0]), item(1, [float("inf"), 0.0])]}, "vector 1 of a reply"),
    ],
)
def test_what_are_no_vectors_of_the_texts_is_refused(value: Any, words: str):
    with (
        embedding(answer=lambda _: (200, {}, value)) as (url, _),
        encoder(url) as made,
        pytest.raises(EncoderError, match=words),
    ):
        made.encode(["cat", "dog"])


def test_a_width_that_changes_or_is_not_the_one_asked_for_is_refused():
    wide = (200, {}, {"data": [item(0, [1.0, 2.0, 3.0, 4.0])]})
    with embedding() as (url, server), encoder(url) as made:
        made.encode(["cat"])
        server.take = lambda *_: wide
        with pytest.raises(EncoderError, match=r"vectors of 4 numbers, but the vectors before had 3.*mmkg reindex"):
            made.encode(["cat"])
    with (
        embedding() as (url, _),
        encoder(url, dimensions=2) as made,
        pytest.raises(EncoderError, match=r"vectors of 3 numbers, but encoder\.dimensions asks for 2"),
    ):
        made.encode(["cat"])


def test_calls_run_at_once_up_to_the_limit_over_all_threads_and_the_order_stays():
    texts = ["x" * n for n in range(1, 9)]
    found: list[np.ndarray] = []
    with embedding(delay_s=0.05) as (url, server), encoder(url, batch_size=1, concurrency=3) as made:
        threads = [threading.Thread(target=lambda: found.append(made.encode(texts))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert 1 < server.at_once <= 3
    for vectors_ND in found:
        np.testing.assert_allclose(vectors_ND, unit(texts), atol=1e-6)
    assert len(found) == 2


def test_tokens_and_cost_are_accounted_for_and_estimated_where_the_server_does_not_count():
    budget = Budget(prompt_price=2.0)
    counted = {"prompt_tokens": 1000, "total_tokens": 1000}
    with embedding(answer=lambda asked: reply(asked, usage=counted)) as (url, _), encoder(url, budget=budget) as made:
        made.encode(["cat"])
        made.encode(["dog"])
        total = made.usage
    assert (total.n_calls, total.tokens, total.cost) == (2, 2000, pytest.approx(0.004))  # 2 · 1000 · 2 / 10^6
    assert not total.is_estimated

    with embedding() as (url, _), encoder(url) as made:
        made.encode(["one two three", "four"])
        assert made.usage.is_estimated
        assert made.usage.tokens == 3 + 1 + 2  # a token more for each text, for what servers put around it


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(prompt_price=1.0, max_cost=0.0015), r"0\.0020 of max_cost 0\.0015 is spent \(2 calls\)"),
        (Budget(max_tokens=2000), r"2000 of max_tokens 2000 are used \(2 calls\)"),
    ],
)
def test_at_the_limit_calls_stop_and_the_message_says_what_to_raise(budget: Budget, words: str):
    answer = {"prompt_tokens": 1000}
    with (
        embedding(answer=lambda asked: reply(asked, usage=answer)) as (url, server),
        encoder(url, budget=budget, batch_size=1, concurrency=1) as made,
        pytest.raises(EncoderError, match=words + r".*raise encoder\.max_.*mmkg reindex"),
    ):
        made.encode(["a", "b", "c", "d"])

    assert len(server.asked) == 2


def test_the_fingerprint_follows_what_the_vectors_depend_on():
    def fingerprint(url: str = "http://a:1/v1", model: str = "m", **options: Any) -> str:
        made = ServerTextEncoder(url, model, tokenizer=WORDS, **options)
        made.close()
        return made.fingerprint

    base = fingerprint()
    assert fingerprint("http://a:1/v1/", api_key="x", batch_size=2, query_prompt="query: ") == base
    others = [
        fingerprint("http://b:1/v1"),
        fingerprint(model="n"),
        fingerprint(dimensions=8),
        fingerprint(passage_prompt="p: "),
        fingerprint(max_length=100),
    ]
    assert len({base, *others}) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_tokens": 0}, "at least 1"),
        ({"max_length": 2, "passage_prompt": "a b c"}, "at least 1"),
        ({"dimensions": -1}, "not negative"),
        ({"timeout_s": 0}, "positive"),
    ],
)
def test_settings_out_of_range_are_refused(options: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        ServerTextEncoder("http://127.0.0.1:1/v1", "m", tokenizer=WORDS, **options)


def test_an_address_and_a_model_are_needed():
    with pytest.raises(ConfigError, match="http://host:port"):
        ServerTextEncoder("localhost", "m", tokenizer=WORDS)
    with pytest.raises(ConfigError, match="model is empty"):
        ServerTextEncoder("http://127.0.0.1:1/v1", "", tokenizer=WORDS)

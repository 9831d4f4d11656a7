"""Scores through an HTTP server that speaks the completions protocol, in both of the ways that servers tell them."""

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from generation.completion.generator.server import ServerScorer
from kg.errors import CompletionError, ConfigError, ServerBusyError

# A model of words: the chance of a word depends on the word before it. "\n" ends an answer.
CHANCES = {
    ":": {" John": 0.5, " Linda": 0.25, " Jo": 0.125, " x": 0.125},
    " John": {" Ford": 0.5, " Cox": 0.25, "\n": 0.25},
    " Linda": {" Darnell": 0.5, "\n": 0.5},
    " Ford": {"\n": 1.0},
    " Cox": {"\n": 0.5, " II": 0.5},
    " Darnell": {"\n": 1.0},
}
PROMPT = "query: film | director\ndirector:"


def words(text):
    """Cut a text into the model's tokens: the prompt is two, then words with the space before them."""
    tokens = []
    if text.startswith(PROMPT):
        tokens, text = [PROMPT[:-1], ":"], text.removeprefix(PROMPT)
    while text:
        end = 1
        while end < len(text) and text[end] not in " \n":
            end += 1
        tokens.append(text[:end])
        text = text[end:]
    return tokens


def log(before, token):
    return math.log(CHANCES.get(before, {}).get(token, 1e-6))


def likeliest(before, n):
    chances = CHANCES.get(before, {"\n": 1.0})
    return dict(sorted(((t, math.log(c)) for t, c in chances.items()), key=lambda pair: -pair[1])[:n])


def echo_reply(body):
    """Answer as vLLM does: every token of the prompt with its log probability, and one written token."""
    choices = []
    for index, prompt in enumerate(body["prompt"]):
        tokens = words(prompt)
        logs = [None, *(log(a, b) if a in CHANCES else -9.0 for a, b in zip(tokens, tokens[1:], strict=False))]
        written = next(iter(likeliest(tokens[-1], 1)))
        choices.append({
            "index": index, "text": prompt + written,
            "logprobs": {"tokens": [*tokens, written], "token_logprobs": [*logs, 0.0], "top_logprobs": None},
        })  # fmt: skip
    n_sent = sum(len(words(prompt)) for prompt in body["prompt"])
    return {"choices": choices[::-1], "usage": {"prompt_tokens": n_sent, "completion_tokens": len(choices)}}


def walk_reply(body):
    """Answer as llama.cpp's server does: whatever `echo` says, only what was written, in the form of chat replies."""
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    choices = []
    for index, prompt in enumerate(prompts):
        listed = likeliest(words(prompt)[-1], body["logprobs"])
        token, value = next(iter(listed.items()))
        top = [{"token": other, "logprob": chance} for other, chance in listed.items()]
        content = [{"token": token, "logprob": value, "top_logprobs": top}]
        choices.append({"index": index, "text": token, "logprobs": {"content": content}})
    return {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}


@contextmanager
def serving(reply, *, status=lambda body: 200):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            self.send_response(status(body))
            self.end_headers()
            self.wfile.write(json.dumps(reply(body)).encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scored(url, answers, **options):
    scorer = ServerScorer(url, "tiny", sleep=lambda seconds: None, **options)
    try:
        return scorer.score(PROMPT, answers)
    finally:
        scorer.close()


ANSWERS = ["John Ford", "John", "Linda Darnell", "John Cox II"]
EXPECTED = [0.5 * 0.5 * 1.0, 0.5 * 0.25, 0.25 * 0.5 * 1.0]  # each word after the one before it, and the line break


def test_a_server_that_echoes_scores_a_batch_of_answers_with_their_line_breaks():
    with serving(echo_reply) as (url, seen):
        found = scored(url, ANSWERS[:3], api_key="secret")

    assert [math.exp(value) for value in found.log_probabilities] == pytest.approx(EXPECTED)
    assert found.n_tokens.tolist() == [3, 2, 3]
    assert len(seen) == 3  # to find out, the prompt alone, and all answers together
    path, headers, body = seen[-1]
    assert path == "/v1/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny", "temperature": 0, "max_tokens": 1, "echo": True, "logprobs": 1,
        "prompt": [PROMPT + " John Ford\n", PROMPT + " John\n", PROMPT + " Linda Darnell\n"],
    }  # fmt: skip


def test_a_server_that_tells_only_of_what_it_writes_is_walked_and_agrees():
    with serving(walk_reply) as (url, seen):
        found = scored(url, ANSWERS[:3])

    assert [math.exp(value) for value in found.log_probabilities] == pytest.approx(EXPECTED)
    assert found.n_tokens.tolist() == [3, 2, 3]
    # One to find out; then after ":", " John", " John Ford", " Linda", " Linda Darnell": beginnings are shared.
    assert len(seen) == 6


def test_a_server_that_refuses_to_echo_is_walked():
    def reply(body):
        return {"error": {"message": "echo is not supported"}} if body.get("echo") else walk_reply(body)

    with serving(reply, status=lambda body: 400 if body.get("echo") else 200) as (url, seen):
        assert math.exp(scored(url, ["John"]).log_probabilities[0]) == pytest.approx(0.125)
    assert [bool(body.get("echo")) for _, _, body in seen] == [True, False, False]


def test_tokens_beyond_the_listed_ones_get_the_most_that_they_can_have():
    with serving(walk_reply) as (url, _):
        found = scored(url, ["John Ford", "Greta Garbo"], n_listed=2)

    # After ":" only " John" (0.5) and " Linda" (0.25) are listed: " Greta" gets the 0.25 that they leave. After it "\n"
    # has all, which leaves " Garbo" nothing.
    assert math.exp(found.log_probabilities[0]) == pytest.approx(0.25)
    assert math.exp(found.log_probabilities[1]) == pytest.approx(0.25 * 1e-12 * 1.0)


def test_both_ways_are_known_by_address_and_model():
    one, other, same = (
        ServerScorer(url, model) for url, model in (("http://h/v1", "a"), ("http://h/v1", "b"), ("http://h/v1/", "a"))
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.score(PROMPT, []).n_tokens.tolist() == []


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda body: {"choices": []}, "not the 1 choices that were asked for"),
        (lambda body: {"choices": [{"index": 0, "text": "x"}]}, "no log probabilities; it must support `logprobs`"),
        (lambda body: {"choices": [{"index": 0, "text": "x", "logprobs": {"tokens": ["a"]}}]}, "no log probabilities"),
    ],
)
def test_replies_without_log_probabilities_are_refused(reply, said):
    with serving(reply) as (url, _), pytest.raises(CompletionError, match=said):
        scored(url, ["John"])


def test_a_server_that_is_down_is_named_after_some_tries():
    with serving(echo_reply) as (url, _):
        pass
    with pytest.raises(ServerBusyError, match=r"/v1/completions failed 2 times.*connection failed"):
        scored(url, ["John"], max_attempts=2)


def test_a_refused_key_and_malformed_settings_are_explained():
    with (
        serving(lambda body: {"error": {"message": "bad key"}}, status=lambda body: 401) as (url, _),
        pytest.raises(ConfigError, match="bad key"),
    ):
        scored(url, ["John"], api_key="very-secret")
    with pytest.raises(ConfigError, match="model is empty"):
        ServerScorer("http://h/v1", "")
    with pytest.raises(ConfigError, match="base_url must look like"):
        ServerScorer("h", "m")
    with pytest.raises(ConfigError, match="n_listed must be at least 1"):
        ServerScorer("http://h", "m", n_listed=0)

"""The HTTP language model against a real server on this machine."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from generation.models.openai import OpenAiLanguageModel
from generation.types import LanguageModel, Message
from kg.errors import ConfigError, GenerationError, InputError

CHAT = [Message(role="system", content="Be brief."), Message(role="user", content="Capital of France?")]


def event(text=None, *, finish=None):
    delta = {} if text is None else {"content": text}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}]})}\n\n"


def reply(*pieces):
    usage = 'data: {"choices": [], "usage": {"total_tokens": 9}}\n\n'
    return (
        200,
        {},
        ": a comment\n\n" + "".join(map(event, pieces)) + event(finish="stop") + usage + "data: [DONE]\n\n",
    )


@contextmanager
def serving(*answers):
    """Serve each answer ``(status, headers, body)`` once, the last one for ever; yield the address and the requests."""
    seen, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            status, headers, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

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


def ask(url, *, stop=(), waits=None, **options):
    model = OpenAiLanguageModel(url, "tiny", sleep=(waits if waits is not None else []).append, **options)
    try:
        return list(model.stream(CHAT, max_new_tokens=7, stop=stop))
    finally:
        model.close()


def test_the_reply_is_streamed_and_the_request_is_deterministic():
    with serving(reply("Par", "is", ".")) as (url, seen):
        assert ask(url + "/", api_key="secret") == ["Par", "is", "."]

    ((path, headers, body),) = seen
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny", "max_tokens": 7, "temperature": 0, "stream": True,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of France?"}],
    }  # fmt: skip


def test_thinking_is_never_passed_on_and_stop_strings_apply_to_the_answer_only():
    with serving(reply("<thi", "nk>Is it Lyon?\n\n</th", "ink>\nPar", "is.\n\nIt", " is")) as (url, _):
        assert "".join(ask(url, stop=("\n\n",))) == "Paris."


def test_busy_and_failing_servers_are_asked_again_with_growing_waits():
    with serving((429, {}, "{}"), (503, {"Retry-After": "2.5"}, "{}"), (500, {}, ""), reply("ok")) as (url, seen):
        waits = []
        assert ask(url, waits=waits, backoff_s=0.5) == ["ok"]

    assert waits == [0.5, 2.5, 2.0]  # the server's wish overrules the second
    assert len(seen) == 4


def test_retries_end_and_the_server_is_quoted():
    with (
        serving((503, {}, '{"error": {"message": "loading the model"}}')) as (url, seen),
        pytest.raises(GenerationError, match=r"failed \(HTTP 503\): loading the model"),
    ):
        ask(url, max_retries=2)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, '{"error": {"message": "bad key"}}', ConfigError, r"refused the API key \(HTTP 401\): bad key"),
        (404, '{"error": "no such model"}', ConfigError, "the model 'tiny'.*no such model"),
        (400, "prompt too long", GenerationError, r"HTTP 400\): prompt too long"),
        (302, "", ConfigError, "redirects to None"),
    ],
)
def test_refusals_are_explained_at_once_and_never_show_the_key(status, body, error, said):
    with serving((status, {}, body)) as (url, seen), pytest.raises(error, match=said) as caught:
        ask(url, api_key="very-secret")
    assert "very-secret" not in str(caught.value)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (event("Par"), "closed the connection in the middle"),
        (event("Par") + 'data: {"error": "out of memory"}\n\n', "failed while writing: out of memory"),
        ("data: nonsense\n\n", "no chat completion: 'nonsense'"),
        ('data: {"object": "x"}\n\n', "no chat completion"),
    ],
)
def test_a_broken_stream_is_an_error_not_a_short_answer(body, said):
    with serving((200, {}, body)) as (url, seen), pytest.raises(GenerationError, match=said):
        ask(url)
    assert len(seen) == 1


def test_a_finished_reply_without_the_closing_word_is_complete():
    with serving((200, {}, event("Paris") + event(finish="length"))) as (url, _):
        assert ask(url) == ["Paris"]


def test_a_server_that_is_not_there_is_tried_again_and_then_named():
    with serving(reply("x")) as (url, _):
        pass
    waits = []
    with pytest.raises(GenerationError, match=r"did not answer .*ConnectError"):
        ask(url, waits=waits, max_retries=2)
    assert waits == [0.5, 1.0]


def test_a_reader_may_leave_in_the_middle():
    with serving(reply("a", "b")) as (url, _):
        model = OpenAiLanguageModel(url, "tiny")
        stream = model.stream(CHAT, max_new_tokens=5)
        assert next(stream) == "a"
        stream.close()
        assert list(model.stream(CHAT, max_new_tokens=5)) == ["a", "b"]
        model.close()


def test_it_is_a_language_model_and_counts_tokens_on_the_safe_side():
    model = OpenAiLanguageModel("http://127.0.0.1:1/v1", "tiny", context_tokens=100)
    assert isinstance(model, LanguageModel)
    assert (model.name, model.context_tokens) == ("tiny", 100)
    assert model.count_tokens("four word English sentence") == 9  # 26 bytes
    assert model.count_tokens("") == 0
    assert OpenAiLanguageModel("http://h/v1", "m", token_counter=len).count_tokens("abc") == 3


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("localhost:8000", {}, "base_url must look like"),
        ("http://h", {"model": ""}, "model is empty"),
        ("http://h", {"timeout_s": 0}, r"timeout_s=0"),
    ],
)
def test_malformed_settings_are_refused(url, options, said):
    with pytest.raises(ConfigError, match=said):
        OpenAiLanguageModel(url, **({"model": "m"} | options))


def test_empty_requests_are_refused():
    model = OpenAiLanguageModel("http://h/v1", "m")
    with pytest.raises(InputError, match="max_new_tokens must be at least 1"):
        model.stream(CHAT, max_new_tokens=0)
    with pytest.raises(InputError, match="at least one message"):
        model.stream([], max_new_tokens=1)

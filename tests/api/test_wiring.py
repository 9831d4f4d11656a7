"""The composition root makes each part once, refuses what it does not know, and speaks to a real server."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.settings import load_settings
from api.wiring import GENERATORS, Wiring, build_service
from generation.types import AnswerStatus
from kg.errors import ConfigError, GenerationError, InputError, ModelMissingError

QUESTION = "Who founded the Velmara Ferry Company?"


@contextmanager
def chat_server(reply):
    """Serve ``/v1/chat/completions`` as server-sent events; ``reply`` makes the text of the reply of the prompt."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, self.headers.get("Authorization"), body))
            text = reply(body["messages"][-1]["content"])
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for start in range(0, len(text), 7):
                self.event({"choices": [{"delta": {"content": text[start : start + 7]}, "finish_reason": None}]})
            self.event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")

        def event(self, value):
            self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def service_with(home, cache, url):
    server = {"base_url": url, "model": "tiny", "api_key": "secret-word", "timeout_s": 20}
    return build_service(load_settings(environ={}, overrides={"home": home, "cache": cache, "openai": server}))


def wiring(tmp_path, **overrides):
    given = {"home": tmp_path / "home", "cache": tmp_path / "cache", **overrides}
    return Wiring(load_settings(environ={}, overrides=given))


def test_an_unknown_generator_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=", ".join(GENERATORS)):
        wiring(tmp_path).answerer("oracle")


@pytest.mark.parametrize("server", [{}, {"base_url": "http://127.0.0.1:1/v1"}, {"model": "tiny"}])
def test_openai_without_a_server_says_which_variables_to_set(tmp_path, server):
    with pytest.raises(ConfigError, match="MMKG_OPENAI__BASE_URL and MMKG_OPENAI__MODEL"):
        wiring(tmp_path, openai=server).language_model("openai")


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="http://host:port"):
        wiring(tmp_path, openai={"base_url": "localhost", "model": "tiny"}).language_model("openai")


@pytest.mark.parametrize(("generator", "model"), [("lm", "smollm2"), ("moe", "smollm2-moe")])
def test_a_language_model_that_was_never_fetched_names_its_command(tmp_path, generator, model):
    with pytest.raises(ModelMissingError, match=f"mmkg models pull {model}"):
        wiring(tmp_path).language_model(generator)


def test_a_part_is_made_once_however_many_ask(tmp_path):
    made = wiring(tmp_path, threads=1)
    barrier = threading.Barrier(6)

    def ask(_):
        barrier.wait(timeout=30)
        return made.captioner()

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))

    assert all(captioner is found[0] for captioner in found)


def test_threads_are_those_of_the_setting_else_all_there_are(tmp_path):
    assert wiring(tmp_path, threads=3).n_threads == 3
    assert wiring(tmp_path).n_threads >= 1


@pytest.mark.models
def test_a_server_writes_an_answer_whose_citation_is_checked(samples_home, model_cache):
    sentence = "Ines Torvald founded the Velmara Ferry Company"
    with chat_server(lambda _prompt: f"{sentence} [1].") as (url, requests):
        service = service_with(samples_home, model_cache, url)
        answer = service.ask("demo", QUESTION, generator="openai")
        service.close()

    assert answer.status is AnswerStatus.ANSWERED
    assert answer.generator == "openai"
    assert any(said.text.startswith(sentence) and said.is_supported for said in answer.sentences)
    assert "Torvald" in answer.citations[0].quote
    (path, authorization, body), *_ = requests
    assert path == "/v1/chat/completions"
    assert authorization == "Bearer secret-word"
    assert body["model"] == "tiny"
    assert body["stream"] is True
    prompt = " ".join(message["content"] for message in body["messages"])
    assert QUESTION in prompt
    assert "Ines Torvald" in prompt  # the evidence went along


@pytest.mark.models
def test_what_a_server_makes_up_is_dropped_and_kept_apart(samples_home, model_cache):
    with chat_server(lambda _prompt: "Napoleon Bonaparte founded the Velmara Ferry Company [1].") as (url, _):
        service = service_with(samples_home, model_cache, url)
        answer = service.ask("demo", QUESTION, generator="openai")
        service.close()

    assert "Napoleon" not in answer.text
    assert any("Napoleon" in said.text for said in answer.dropped)
    assert "Ines Torvald" in answer.text  # the extractive answer stands in


@pytest.mark.models
def test_a_server_that_is_down_is_named_without_its_key(samples_home, model_cache, monkeypatch):
    with chat_server(str) as (url, _):
        pass  # closed again: nobody listens on that port now
    service = service_with(samples_home, model_cache, url)
    model = service._wiring.language_model("openai")
    monkeypatch.setattr(model, "_sleep", lambda _seconds: None)  # four tries would wait 3.5 s

    with pytest.raises(GenerationError, match="Is the server up") as caught:
        service.ask("demo", QUESTION, generator="openai")
    service.close()

    assert url in str(caught.value)
    assert "secret-word" not in str(caught.value)

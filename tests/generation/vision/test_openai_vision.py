"""The HTTP vision model against a real server on this machine, which misbehaves in the ways that servers do."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from generation.vision.openai_vision import OpenAiCaptioner
from kg.captioning.cascade import CascadeCaptioner
from kg.errors import CaptionError, ConfigError, InputError
from kg.ports import Captioner
from kg.servers.accounting import Budget
from tests.generation.vision.pictures import png
from tests.kg.captioning.helpers import Saying, make_request

TEXT = "The chart shows sales by year."
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def reply(content=TEXT, *, finish="stop", usage=USAGE, **message):
    said = {"role": "assistant", "content": content, **message}
    return 200, {}, {"choices": [{"message": said, "finish_reason": finish}], **({"usage": usage} if usage else {})}


class Server:
    """Gives each answer once, the last one for ever; keeps what it was asked and how many calls it had at once."""

    def __init__(self, answers):
        self.answers, self.asked, self.at_once, self.now = list(answers), [], 0, 0
        self.lock, self.delay_s = threading.Lock(), 0.0

    def take(self, headers, body):
        with self.lock:
            self.asked.append((headers, body))
            self.now += 1
            self.at_once = max(self.at_once, self.now)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def give(self):
        with self.lock:
            self.now -= 1


@contextmanager
def serving(*answers, delay_s=0.0):
    state = Server(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, value = state.take(dict(self.headers), body)
            time.sleep(delay_s)
            state.give()
            if status == 0:  # hang up
                self.connection.close()
                return
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            for name, header in headers.items():
                self.send_header(name, header)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the client's time-out
                self.wfile.write(data)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def captioner(url, waits=None, **options):
    waits = [] if waits is None else waits
    made = OpenAiCaptioner(url, "tiny-vision", sleep=waits.append, **options)
    try:
        yield made
    finally:
        made.close()


def ask(url, n=1, waits=None, **options):
    with captioner(url, waits, **options) as made:
        return made.caption([make_request(ordinal=i, data=png()) for i in range(n)])


def texts(captions):
    return [caption and caption.text for caption in captions]


def test_a_picture_is_sent_with_the_prompt_and_the_reply_is_a_caption_of_model_lines():
    with serving(reply(f"{TEXT} Sales rose.")) as (url, server), captioner(url + "/", api_key="secret") as made:
        request = make_request("Oslo 417", data=png(size=(80, 60)), context="Sales rose in Oslo.")
        (caption,) = made.caption([request])

    assert isinstance(made, Captioner)
    assert [(line.source, line.text) for line in caption.lines] == [("model", TEXT), ("model", "Sales rose.")]
    assert caption.captioner == "openai:tiny-vision"
    ((headers, body),) = server.asked
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-vision", 0, 512)
    picture, text = body["messages"][0]["content"]
    prefix, _, data = picture["image_url"]["url"].partition(",")
    assert prefix == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (80, 60)
    assert "Oslo 417" in text["text"]
    assert "Sales rose in Oslo." in text["text"]


def test_a_large_picture_is_scaled_down_to_the_pixel_budget():
    with serving(reply()) as (url, server), captioner(url, max_pixels=40_000) as made:
        made.caption([make_request(data=png(size=(800, 200)))])

    data = server.asked[0][1]["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (400, 100)  # 160,000 to 40,000 pixels: half a side


def test_busy_and_failing_servers_are_asked_again():
    answers = [(503, {}, {}), (500, {}, "oops"), (0, {}, ""), reply()]
    with serving(*answers) as (url, server), captioner(url, waits := [], backoff_s=0.5) as made:
        assert texts(made.caption([make_request(data=png())])) == [TEXT]
        usage = made.usage

    assert len(server.asked) == 4
    assert len(waits) == 3
    assert all(0 <= wait <= 0.5 * 2**place for place, wait in enumerate(waits))  # jitter below a bound that doubles
    assert (usage.n_calls, usage.n_retries, usage.n_failed) == (1, 3, 0)


def test_retry_after_is_honoured_in_seconds_and_as_a_date():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    answers = [(429, {"Retry-After": "7"}, {}), (429, {"Retry-After": later}, {}), reply()]
    with serving(*answers) as (url, _):
        assert texts(ask(url, waits=(waits := []), backoff_s=0.01)) == [TEXT]

    assert waits[0] == 7
    assert 30 < waits[1] <= 40


def test_no_wait_is_longer_than_the_longest_allowed():
    with serving((429, {"Retry-After": "3600"}, {}), reply()) as (url, _):
        ask(url, waits=(waits := []), max_wait_s=5)

    assert waits == [5]


def test_a_server_that_never_recovers_is_given_up_with_its_last_words():
    with (
        serving((429, {}, {"error": {"message": "slow down"}})) as (url, server),
        captioner(url, max_attempts=3) as made,
    ):
        with pytest.raises(CaptionError, match="failed 3 times, at last: HTTP 429: slow down"):
            made.caption([make_request(data=png())])
        assert made.usage.n_failed == 1

    assert len(server.asked) == 3


def test_a_slow_reply_is_a_time_out_and_is_tried_again():
    with serving(reply(), delay_s=0.5) as (url, server), pytest.raises(CaptionError, match="no reply within the time"):
        ask(url, timeout_s=0.1, max_attempts=2)

    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_address_or_model_is_not_tried_again_and_not_shown(status):
    answer = (status, {}, {"error": {"message": "no such model"}})
    refused = pytest.raises(ConfigError, match=f"HTTP {status}: no such model")
    with serving(answer) as (url, server), refused as caught:
        ask(url, api_key="secret-word")

    assert len(server.asked) == 1
    assert "secret-word" not in str(caught.value)


def test_a_picture_that_the_server_refuses_fails_only_itself(caplog):
    with serving((400, {}, {"error": "too large"}), reply()) as (url, server), caplog.at_level(logging.WARNING):
        captions = ask(url, n=2, concurrency=1)

    assert texts(captions) == [None, TEXT]
    assert len(server.asked) == 2
    assert "picture a_0" in caplog.text
    assert "HTTP 400: too large" in caplog.text


def test_a_picture_that_cannot_be_decoded_is_never_sent():
    with serving(reply()) as (url, server), captioner(url) as made:
        assert made.caption([make_request(data=b"no picture")]) == [None]

    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(f"<think>Is it a chart?</think>\n\n{TEXT}"), TEXT),
        (reply("<think>Is it a chart? I had better"), None),
        (reply(TEXT, reasoning_content="The user wants a caption."), TEXT),
        (reply("I'm sorry, I can't help with that."), None),
        (reply(None, refusal="I can't help with that."), None),
        (reply(TEXT, finish="content_filter"), None),
        (reply(f"{TEXT} The bars for", finish="length"), TEXT),
        (reply("The bars for", finish="length"), None),
        (reply([{"type": "text", "text": TEXT}, {"type": "thinking", "text": "Hm."}]), TEXT),
        (reply(""), None),
    ],
)
def test_thinking_refusals_and_stumps_are_no_captions(answer, expected):
    with serving(answer) as (url, _):
        assert texts(ask(url)) == [expected]


def test_what_was_cut_off_has_a_lower_score():
    with serving(reply(f"{TEXT} The bars for", finish="length")) as (url, _):
        (caption,) = ask(url)

    assert caption.score == pytest.approx(0.7)


@pytest.mark.parametrize("body", ["no json", [1], {"choices": []}, {"choices": [{"message": None}]}, {}])
def test_what_is_no_chat_completion_is_an_error(body):
    with serving((200, {}, body)) as (url, _), pytest.raises(CaptionError, match="sent what is no"):
        ask(url)


def test_calls_run_at_once_up_to_the_limit_and_the_order_stays():
    with serving(*(reply(f"Picture number {n} of the series.") for n in range(8)), delay_s=0.1) as (url, server):
        captions = ask(url, n=8, concurrency=3)

    assert 1 < server.at_once <= 3
    assert sorted(texts(captions)) == [f"Picture number {n} of the series." for n in range(8)]
    assert [caption.asset_id for caption in captions] == [f"a_{n}" for n in range(8)]


def test_the_limit_holds_over_threads():
    with serving(reply(), delay_s=0.05) as (url, server), captioner(url, concurrency=2) as made:
        threads = [
            threading.Thread(target=made.caption, args=([make_request(ordinal=i, data=png()) for i in range(3)],))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made.usage.n_calls == 9

    assert 1 < server.at_once <= 2


def test_every_call_and_the_total_are_accounted_for():
    budget = Budget(prompt_price=2.0, completion_price=10.0)
    with serving((500, {}, {}), reply()) as (url, _), captioner(url, budget=budget) as made:
        one = made.describe(make_request(data=png())).usage
        made.describe(make_request(data=png()))
        total = made.usage

    # 1000 · 2 / 10^6 + 100 · 10 / 10^6 = 0.003
    assert (one.prompt_tokens, one.completion_tokens, one.n_retries, one.cost) == (1000, 100, 1, pytest.approx(0.003))
    assert (total.n_calls, total.tokens, total.n_retries, total.cost) == (2, 2200, 1, pytest.approx(0.006))
    assert not total.is_estimated


def test_tokens_that_the_server_does_not_count_are_estimated():
    with serving(reply(usage=None)) as (url, _), captioner(url) as made:
        usage = made.describe(make_request(data=png(size=(280, 280)))).usage

    assert usage.is_estimated
    assert usage.prompt_tokens > 100  # 280 · 280 / 784 for the picture, and the prompt
    assert usage.completion_tokens == len(TEXT) // 3


def test_at_the_budget_calls_stop_with_an_error_that_says_so_and_what_was_paid_for_stays(caplog):
    budget = Budget(prompt_price=1.0, completion_price=1.0, max_cost=0.002)  # a call costs 0.0011
    with serving(reply()) as (url, server), captioner(url, budget=budget, concurrency=1) as made:
        with caplog.at_level(logging.WARNING):
            captions = made.caption([make_request(ordinal=i, data=png()) for i in range(4)])
        with pytest.raises(CaptionError, match=r"0.0022 of max_cost 0.002 is spent \(2 pictures\)"):
            made.caption([make_request(data=png())])

    assert texts(captions) == [TEXT, TEXT, None, None]
    assert len(server.asked) == 2
    assert "keep what OCR reads" in caplog.text


def test_a_limit_of_tokens_stops_too():
    with serving(reply()) as (url, _), captioner(url, budget=Budget(max_tokens=1100)) as made:
        made.describe(make_request(data=png()))
        with pytest.raises(CaptionError, match="1100 of max_tokens 1100"):
            made.describe(make_request(data=png()))


def test_in_a_cascade_a_server_that_is_down_or_a_spent_budget_leaves_what_ocr_read():
    ocr = Saying((("ocr", "Oslo 417"),), name="ocr")
    with serving((503, {}, {})) as (url, _), captioner(url, max_attempts=2) as made:
        (caption,) = CascadeCaptioner([ocr, made], None).caption([make_request(data=png())])

    assert (caption.text, caption.captioner) == ("Oslo 417", "ocr")


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"max_attempts": 0}, {"timeout_s": 0}, {"max_pixels": 5}, {"max_new_tokens": 0}]
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="at least 1"):
        OpenAiCaptioner("http://127.0.0.1:1/v1", "m", **options)


def test_an_address_and_a_model_are_needed():
    with pytest.raises(ConfigError, match="http://host:port"):
        OpenAiCaptioner("localhost", "m")
    with pytest.raises(ConfigError, match="model is empty"):
        OpenAiCaptioner("http://127.0.0.1:1/v1", "")


def test_a_budget_that_says_nothing_is_refused():
    with pytest.raises(InputError, match="without prices"):
        Budget(max_cost=1.0)
    with pytest.raises(InputError, match="must not be negative"):
        Budget(max_tokens=-1)

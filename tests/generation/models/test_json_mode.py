"""Replies that are held to a schema: by token masks on tiny checkpoints, by a real HTTP server's request."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from generation.models.json_mode import OpenAiJsonModel, TransformersJsonModel
from generation.models.openai import OpenAiLanguageModel
from generation.models.transformers_lm import TransformersLanguageModel
from generation.types import JsonModel, Message
from kg.errors import GenerationError
from tests.generation.models.test_openai import reply, serving
from tests.moe_backbone.tiny_llama import make_tiny_llama

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["colour", "n"],
    "additionalProperties": False,
}
CHAT = [Message(role="user", content="Hi")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_tiny_llama(tmp_path_factory.mktemp("json") / "dense")
    return TransformersJsonModel(TransformersLanguageModel(folder, device="cpu"))


def test_even_random_weights_write_json_that_fits(model):
    written = json.loads(model.write_json(CHAT, schema=SCHEMA, max_new_tokens=60))

    assert isinstance(model, JsonModel)
    assert written["colour"] in ("red", "blue")
    assert 0 <= written["n"] <= 9
    assert set(written) == {"colour", "n"}


def test_replies_at_the_same_time_do_not_mix(model):
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda _: model.write_json(CHAT, schema=SCHEMA, max_new_tokens=60), range(4)))

    assert len(set(written)) == 1


def test_a_long_reply_breaks_off_as_a_prefix(model):
    whole = model.write_json(CHAT, schema=SCHEMA, max_new_tokens=60)
    assert whole.startswith(model.write_json(CHAT, schema=SCHEMA, max_new_tokens=3))


def test_a_schema_that_is_none_is_refused(model):
    with pytest.raises(GenerationError, match="schema"):
        model.write_json(CHAT, schema={"type": "no such type"}, max_new_tokens=5)


def test_a_server_is_asked_for_the_schema():
    with serving(reply('{"colour": ', '"red", "n": 3}')) as (url, seen):
        client = OpenAiLanguageModel(url, "tiny")
        written = OpenAiJsonModel(client).write_json(CHAT, schema=SCHEMA, max_new_tokens=60)
        client.close()

    (request,) = seen
    assert json.loads(written) == {"colour": "red", "n": 3}
    assert request[2]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA},
    }

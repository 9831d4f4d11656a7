"""Bad questions, filters and conversations through REST and the command line, over the samples and the real models."""

import json

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app

pytestmark = pytest.mark.models

QUESTION = "Who founded the Velmara Ferry Company?"
ODD = {
    "100,000 letters": "who founded Velmara? " * 4_761,
    "controls": "\x00\x01\x1b[31mred\x1b[0m\u202e who?",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈?",
    "Chinese": "渡輪公司是誰創立的？",
    "Arabic": "من أسس شركة العبارات؟",
    "SQL": "'; DROP TABLE chunks; --",
    "a template": "{{ 7*7 }} {% for x in y %} ${question}",
}


@pytest.fixture(scope="module")
def client(samples_service):
    with TestClient(create_app(samples_service)) as made:
        yield made


@pytest.fixture
def run(samples_home, model_cache):
    def invoke(*words):
        environment = {"MMKG_CACHE": str(model_cache), "MMKG_HOME": str(samples_home)}
        return CliRunner().invoke(app, [*words, "--workspace", "demo"], env=environment)

    return invoke


@pytest.mark.parametrize("route", ["retrieve", "query"])
@pytest.mark.parametrize("name", ODD)
def test_odd_questions_are_answered(client, route, name):
    response = client.post(f"/workspaces/demo/{route}", json={"question": ODD[name]})

    assert response.status_code == 200
    assert response.json()["question"] == ODD[name]


def test_a_lone_surrogate_is_a_character_like_any_other(client, samples_service):
    response = client.post(
        "/workspaces/demo/retrieve",
        content=b'{"question": "who is \\ud800?"}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code in (200, 422)

    from retrieval.types import Query

    assert samples_service.search("demo", Query(text="who is \ud800?"), k=1).evidence


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"question": ""}, 422, "question"),
        ({"question": " \n"}, 422, "empty"),
        ({"question": "x" * 100_001}, 422, "100000"),
        ({"k": 0}, 422, "k"),
        ({"k": 10**9}, 422, "200"),
        ({"k": "many"}, 422, "k"),
        ({"mode": "planet"}, 422, "auto, bm25, global"),
        ({"modalities": ["video"]}, 422, "known are text, image"),
        ({"documents": ["nobody.txt"]}, 404, "no document 'nobody.txt'"),
        ({"documents": ["\0"]}, 404, "no document"),
        ({"where": ["colour=red"]}, 422, "no document has 'colour'"),
        ({"where": ["name"]}, 422, "is no condition"),
        ({"where": ["name=a"] * 51}, 422, "50"),
        ({"since": "soon"}, 422, "is no date"),
        ({"since": "2021", "until": "2019"}, 422, "lies after"),
        ({"history": ["x"] * 201}, 422, "200"),
        ({"decompose": "gpt"}, 422, "known are auto, off, rules"),
        ({"rewrite": "gpt"}, 422, "known are off, rules"),
        ({"times": "never"}, 422, "known are auto, off, soft, hard"),
        ({"filter": {"name": "a"}}, 422, "filter"),
    ],
)
@pytest.mark.parametrize("route", ["retrieve", "query"])
def test_a_bad_request_is_refused_with_what_is_wrong(client, route, change, status, message):
    response = client.post(f"/workspaces/demo/{route}", json={"question": QUESTION, **change})

    assert response.status_code == status, response.text
    assert message in response.text


def test_a_bad_filter_of_a_stream_is_an_event_that_says_so(client):
    with client.stream(
        "POST", "/workspaces/demo/query/stream", json={"question": QUESTION, "where": ["x=1"]}
    ) as response:
        text = "".join(response.iter_text())

    assert text.startswith("event: error")
    assert "no document has 'x'" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--where", "colour=red"), "no document has 'colour'"),
        (("--since", "soon"), "is no date"),
        (("--mode", "planet"), "auto, bm25, global"),
        (("--k", "0"), "k must be at least 1"),
        (("--history-file", "/nowhere/turns.txt"), "cannot be read"),
        (("--times", "never"), "known are auto, off, soft, hard"),
    ],
)
@pytest.mark.parametrize("command", ["search", "ask"])
def test_the_command_line_says_what_is_wrong_in_one_line(run, command, words, message):
    result = run(command, QUESTION, *words)

    assert result.exit_code != 0
    assert message in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output


def test_filters_that_match_nothing_find_nothing(run):
    result = run("search", QUESTION, "--where", "name=*.xyz", "--json")

    body = json.loads(result.stdout)
    assert body["evidence"] == []
    assert "filter name=*.xyz: 0 passages of 0 documents" in body["trace"]["notes"]
    asked = json.loads(run("ask", QUESTION, "--document", "nothing*", "--json").stdout)
    assert asked["status"] == "insufficient"

"""REST over the real service: the same answers as everywhere else, and errors that explain themselves."""

import json

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import load_settings
from api.wiring import build_service
from retrieval.types import Query

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def client(samples_service):
    return TestClient(create_app(samples_service))


@pytest.fixture
def fresh_client(tmp_path, model_cache):
    settings = load_settings(
        environ={}, overrides={"home": tmp_path, "cache": model_cache, "max_upload_bytes": 100_000}
    )
    with TestClient(create_app(build_service(settings))) as client:
        yield client


def test_health_lists_the_workspaces(client):
    body = client.get("/health").json()

    assert body["status"] == "ok"
    assert body["workspaces"] == ["demo"]


def test_a_question_gets_an_answer_whose_quotes_stand_in_the_cited_file(client, sample_corpus):
    body = client.post("/workspaces/demo/query", json={"question": "Who founded the Velmara Ferry Company?"}).json()

    assert body["status"] == "answered"
    assert "Ines Torvald" in body["answer"]
    citation = body["citations"][0]
    assert citation["name"] == "ferry-company.md"
    source = " ".join((sample_corpus / "ferry-company.md").read_text("utf-8").split())
    assert " ".join(citation["quote"].split()) in source


def test_an_answer_read_off_a_picture_names_the_picture_and_its_bytes_can_be_fetched(client):
    question = {"question": "In which town was the harbour bell cast?"}
    body = client.post("/workspaces/demo/query", json=question).json()

    citation = body["citations"][0]
    assert citation["name"] == "harbour-letter.pdf"
    picture = client.get(f"/workspaces/demo/assets/{citation['asset']}")
    assert picture.headers["content-type"].startswith("image/")
    assert picture.content[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"RIFF")


def test_retrieve_returns_ranked_evidence_and_a_filter_binds_it(client):
    body = client.post(
        "/workspaces/demo/retrieve", json={"question": "the lamp", "k": 3, "documents": ["lighthouse.html"]}
    ).json()

    assert [item["rank"] for item in body["evidence"]] == list(range(1, len(body["evidence"]) + 1))
    assert {item["name"] for item in body["evidence"]} == {"lighthouse.html"}
    assert len(body["evidence"]) <= 3


def test_a_search_is_explained_where_that_is_asked_for(client):
    question = {"question": "Who founded the Velmara Ferry Company?", "k": 3}
    plain = client.post("/workspaces/demo/retrieve", json=question).json()
    body = client.post("/workspaces/demo/retrieve", json={**question, "explain": True}).json()

    assert "explanation" not in plain
    assert body["evidence"] == plain["evidence"]
    assert [one["chunk_id"] for one in body["explanation"]["paths"]] == [one["chunk_id"] for one in body["evidence"]]
    assert client.post("/workspaces/demo/query", json={**question, "explain": True}).status_code == 422


def test_a_stream_gives_the_evidence_first_and_the_answer_last(client):
    with client.stream(
        "POST", "/workspaces/demo/query/stream", json={"question": "Who was the first keeper?"}
    ) as response:
        text = "".join(response.iter_text())
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]

    assert names[0] == "evidence"
    assert names[-1] == "answer"
    assert "Tobias Renn" in data[-1]["answer"]


def test_a_prediction_is_marked_as_one(client):
    request = {"head": "Velmara Ferry Company", "relation": "related to", "k": 3}
    body = client.post("/workspaces/demo/complete", json=request).json()

    assert 1 <= len(body["predictions"]) <= 3
    assert {row["origin"] for row in body["predictions"]} == {"predicted"}


def test_files_are_uploaded_listed_and_deleted_without_a_trace(fresh_client):
    files = [("files", ("note.txt", b"The red boat belongs to Anna Berg.")), ("files", ("empty.txt", b""))]
    body = fresh_client.post("/workspaces/w1/documents", files=files).json()

    assert [(row["name"], row["status"]) for row in body["files"]] == [("note.txt", "added"), ("empty.txt", "failed")]
    assert body["files"][1]["error_code"] == "empty"
    (listed,) = fresh_client.get("/workspaces/w1/documents").json()
    assert fresh_client.delete(f"/workspaces/w1/documents/{listed['document_id']}").status_code == 200
    assert fresh_client.get("/workspaces/w1/documents").json() == []
    left = fresh_client.get("/workspaces/w1").json()
    assert (left["chunks"], left["entities"], left["mentions"]) == (0, 0, 0)


def test_workspaces_do_not_see_each_other(fresh_client):
    fresh_client.post("/workspaces/a/documents", files=[("files", ("a.txt", b"Anna Berg owns the red boat."))])
    fresh_client.post("/workspaces/b/documents", files=[("files", ("b.txt", b"Bo Lind owns the green house."))])

    evidence = fresh_client.post("/workspaces/b/retrieve", json={"question": "Who owns the red boat?"}).json()

    assert {item["name"] for item in evidence["evidence"]} <= {"b.txt"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("post", "/workspaces/none/query", {"question": "x"}, 404, "not_found"),
        ("post", "/workspaces/demo/query", {"question": ""}, 422, "input"),
        ("post", "/workspaces/demo/query", {"question": "x", "colour": 1}, 422, "input"),
        ("post", "/workspaces/demo/query", {"question": "x", "generator": "oracle"}, 422, "input"),
        ("post", "/workspaces/demo/retrieve", {"question": "x", "mode": "psychic"}, 422, "input"),
        ("post", "/workspaces/demo/retrieve", {"question": "x", "modalities": ["smell"]}, 422, "input"),
        ("post", "/workspaces/demo/complete", {"relation": "r"}, 422, "input"),
        ("post", "/workspaces/demo/complete", {"head": "Nobody Known", "relation": "r"}, 422, "completion"),
        ("get", "/workspaces/.hidden/documents", None, 422, "input"),
        ("get", "/workspaces/demo/assets/a_none", None, 404, "not_found"),
        ("delete", "/workspaces/demo/documents/none", None, 404, "not_found"),
    ],
)
def test_an_error_is_a_problem_document_with_a_stable_code(client, method, path, body, status, code):
    response = client.request(method, path, json=body)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] == code
    assert len(response.json()["detail"]) > 10


def test_an_upload_beyond_the_limit_is_refused_with_the_setting_to_raise(fresh_client):
    response = fresh_client.post("/workspaces/w/documents", files=[("files", ("big.txt", b"a" * 100_001))])

    assert response.status_code == 413
    assert "MMKG_MAX_UPLOAD_BYTES" in response.json()["detail"]


def test_a_token_opens_everything_but_health(tmp_path, model_cache):
    settings = load_settings(environ={"MMKG_API_TOKEN": "s3cret"}, overrides={"home": tmp_path, "cache": model_cache})
    client = TestClient(create_app(build_service(settings)))

    assert client.get("/health").status_code == 200
    assert client.get("/workspaces/w").status_code == 401
    assert client.get("/workspaces/w", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/workspaces/w", headers={"Authorization": "Bearer s3cret"}).status_code == 404


def test_the_openapi_document_names_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]

    assert set(paths["/workspaces/{workspace}/documents"]) == {"get", "post"}
    assert "delete" in paths["/workspaces/{workspace}/documents/{document_id}"]
    for route in ("query", "query/stream", "retrieve", "complete"):
        assert "post" in paths[f"/workspaces/{{workspace}}/{route}"]


def test_the_lines_of_a_picture_say_what_was_read_off_it_and_what_the_document_says_of_it(samples_service):
    found = samples_service.search("demo", Query(text="puffins breeding pairs by year"), k=3).evidence
    chart = next(item for item in found if item.chunk.asset_id and item.document.name == "seabird-report.pdf")

    sources = {line.text: line.source for line in chart.lines}
    assert sources["Puffins at Skerrin Point: breeding pairs by year"] == "ocr"
    assert sources["Figure 1: The yearly count of puffins, made in the second week of June."] == "caption"
    start = chart.chunk.span.start
    assert all(chart.chunk.text[max(0, x.span.start - start) :].startswith(x.text[:20]) for x in chart.lines)

"""Every explainable error has an HTTP status, and looks the same over HTTP: a problem document."""

import inspect

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.problems import install_problem_handlers, status_of
from kg import errors
from kg.errors import MmkgError

EXPECTED = {
    "not_found": 404,
    "limit": 413,
    "config": 422,
    "input": 422,
    "load": 422,
    "unreadable": 422,
    "empty": 422,
    "unsupported": 422,
    "corrupt": 422,
    "encrypted": 422,
    "unsafe_path": 422,
    "completion": 422,
    "fetch": 502,
    "missing_extra": 503,
    "model_missing": 503,
    "store_busy": 503,
    "graph_unreachable": 503,
    "encoder_busy": 503,
    "vectors_missing": 503,
    "store_full": 507,
}
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MmkgError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_callers_fault_is_4xx_and_the_rest_is_5xx(kind):
    assert status_of(kind("what went wrong")) == EXPECTED.get(kind.code, 500)


def test_each_error_has_a_name_of_its_own():
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(codes)
    assert set(EXPECTED) <= set(codes)


@pytest.fixture
def client():
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/full")
    def full() -> None:
        raise errors.StoreFullError("The disk is full: free some space.")

    @app.get("/count")
    def count(n: int) -> int:
        return n

    @app.get("/bug")
    def bug() -> None:
        raise KeyError("ours")

    return TestClient(app, raise_server_exceptions=False)


def test_an_error_becomes_a_problem_document(client):
    response = client.get("/full")

    assert response.status_code == 507
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:mmkgrag:error:store_full",
        "title": "store_full",
        "status": 507,
        "detail": "The disk is full: free some space.",
        "instance": "/full",
    }


def test_a_malformed_request_names_the_field(client):
    response = client.get("/count", params={"n": "many"})

    assert response.status_code == 422
    assert response.json()["title"] == "input"
    assert response.json()["detail"].startswith("query.n: ")


def test_a_fault_of_ours_is_500_and_tells_nothing_of_the_inside(client):
    response = client.get("/bug")

    assert response.status_code == 500
    assert "ours" not in response.text

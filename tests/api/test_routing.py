"""A request says who routes it, at every edge."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.langchain import MmkgRetriever
from kg.types import Modality
from retrieval.options import Refinement
from retrieval.types import Query

pytestmark = pytest.mark.models

QUESTION = "What does the diagram of the water works show?"
PICTURES = {"image", "chart", "page"}


def test_rules_put_the_pictures_first_over_rest_and_the_command_line(samples_service, samples_home, model_cache):
    client = TestClient(create_app(samples_service))
    body = client.post("/workspaces/demo/retrieve", json={"question": QUESTION, "k": 20, "route": "rules"}).json()
    words = ["search", QUESTION, "--k", "20", "--route", "rules", "--json", "--home", str(samples_home), "-w", "demo"]
    result = CliRunner().invoke(app, words, env={"MMKG_CACHE": str(model_cache)})

    kinds = [item["modality"] for item in body["evidence"]]
    n_pictures = sum(kind in PICTURES for kind in kinds)
    assert n_pictures >= 1
    assert set(kinds[:n_pictures]) <= PICTURES
    assert any(note.startswith("routed to picture") for note in body["trace"]["notes"])
    assert [item["chunk_id"] for item in json.loads(result.stdout)["evidence"]] == [
        item["chunk_id"] for item in body["evidence"]
    ]


def test_an_unknown_route_is_a_problem_of_the_request(samples_service):
    response = TestClient(create_app(samples_service)).post(
        "/workspaces/demo/query", json={"question": "Who?", "route": "scenic"}
    )

    assert response.status_code == 422
    assert "there is no .scenic.; known are off, rules, lm, moe, openai" in response.json()["detail"].replace("'", ".")


def test_langchain_routes_too(samples_service):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", k=1, route="rules")

    assert retriever.invoke(QUESTION)[0].metadata["modality"] in PICTURES


def test_the_packaged_language_model_can_be_asked_and_a_poor_reply_loses_nothing(samples_service):
    found = samples_service.search("demo", Query(text=QUESTION), k=50, refinement=Refinement(route="lm"))
    plain = samples_service.search("demo", Query(text=QUESTION), k=50)

    assert {item.chunk.chunk_id for item in found.evidence} == {item.chunk.chunk_id for item in plain.evidence}
    assert {item.chunk.modality for item in found.evidence} >= {Modality.TEXT}

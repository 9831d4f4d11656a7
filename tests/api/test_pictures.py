"""A question may bring a picture along, at every edge of the one service, and an image encoder is set by name."""

from __future__ import annotations

import base64
import io
import json

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from api.app import create_app
from api.cli.app import app
from api.doctor import examine
from api.langchain import MmkgAnswerer, MmkgRetriever
from api.pictures import picture_from_base64, picture_from_file
from api.settings import load_settings
from api.wiring import Wiring, build_service
from kg.errors import ConfigError, InputError, LimitExceededError
from retrieval.types import Query
from tests.retrieval.encoders.tiny_clip import write_tiny_clip

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def small_copy(sample_corpus) -> bytes:
    """The sample diagram at two thirds of its size, as a JPEG."""
    with Image.open(sample_corpus / "water-diagram.png") as image:
        small = image.convert("RGB").resize((image.width * 2 // 3, image.height * 2 // 3))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=60)
    return out.getvalue()


@pytest.fixture(scope="module")
def client(samples_service):
    return TestClient(create_app(samples_service))


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("question", ["", "Who founded the ferry company?"])
def test_retrieve_takes_a_picture_with_or_without_words(client, small_copy, question):
    body = {"question": question, "image": as_base64(small_copy), "k": 4}
    response = client.post("/workspaces/demo/retrieve", json=body)

    assert response.status_code == 200, response.text
    first, *others = response.json()["evidence"]
    assert first["name"] == "water-diagram.png"
    assert "copy" in {contribution["retriever"] for contribution in first["contributions"]}
    assert question == "" or "ferry-company.md" in {item["name"] for item in others}


def test_query_answers_from_the_picture_that_comes_along(client, small_copy):
    question = "How much water does the reservoir hold?"
    answer = client.post("/workspaces/demo/query", json={"question": question, "image": as_base64(small_copy)}).json()

    assert answer["evidence"][0]["name"] == "water-diagram.png"


def test_a_stream_tells_of_a_bad_picture_as_an_event(client):
    body = {"question": "What is this?", "image": "no base64!"}
    response = client.post("/workspaces/demo/query/stream", json=body)

    assert response.status_code == 200
    assert response.text.startswith("event: error\n")
    assert "not base64" in response.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"question": ""}, 422, "input"),
        ({"question": "x", "image": ""}, 422, "input"),
        ({"question": "x", "image": "no base64!"}, 422, "input"),
        ({"question": "x", "image": as_base64(b"just words")}, 422, "input"),
        ({"question": "x", "image": as_base64(b"\x89PNG\r\n\x1a\n torn")}, 422, "corrupt"),
    ],
)
def test_what_is_wrong_with_a_picture_is_a_problem_document(client, body, status, code):
    response = client.post("/workspaces/demo/retrieve", json=body)

    assert (response.status_code, response.json()["title"]) == (status, code)


def test_a_picture_beyond_the_limit_is_refused_at_every_edge(samples_home, model_cache, tmp_path, small_copy):
    settings = load_settings(
        environ={}, overrides={"home": samples_home, "cache": model_cache, "max_picture_bytes": 1000}
    )
    service = build_service(settings)
    response = TestClient(create_app(service)).post(
        "/workspaces/demo/retrieve", json={"question": "x", "image": as_base64(small_copy)}
    )
    assert (response.status_code, response.json()["title"]) == (413, "limit")
    with pytest.raises(LimitExceededError, match="max_picture_bytes = 1000"):
        service.search("demo", Query(text="x", image=small_copy))
    file = tmp_path / "small.jpg"
    file.write_bytes(small_copy)
    with pytest.raises(LimitExceededError, match="max_picture_bytes = 1000"):
        picture_from_file(file, limit=1000)
    service.close()


def test_base64_may_be_a_data_uri_and_is_judged_by_its_size_before_it_is_decoded():
    assert picture_from_base64(None, limit=1) is None
    assert picture_from_base64(f"data:image/png;base64,{as_base64(b'abcd')}", limit=4) == b"abcd"
    assert picture_from_base64(as_base64(b"abcd"), limit=4) == b"abcd"
    with pytest.raises(LimitExceededError, match="5 bytes"):
        picture_from_base64(as_base64(b"abcde"), limit=4)
    with pytest.raises(InputError, match="there are no bytes"):
        picture_from_base64("", limit=4)


def test_the_command_line_searches_and_asks_with_a_picture(samples_home, model_cache, tmp_path, small_copy):
    file = tmp_path / "photo.jpg"
    file.write_bytes(small_copy)
    words = ["--image", str(file), "--json", "--home", str(samples_home), "--workspace", "demo"]
    env = {"MMKG_CACHE": str(model_cache)}

    searched = CliRunner().invoke(app, ["search", "the ferry company", *words], env=env)
    asked = CliRunner().invoke(app, ["ask", "How much water does the reservoir hold?", *words], env=env)
    missing = CliRunner().invoke(app, ["ask", "What?", "--image", str(tmp_path / "none.png"), *words[2:]], env=env)

    assert json.loads(searched.stdout)["evidence"][0]["name"] == "water-diagram.png"
    assert json.loads(asked.stdout)["evidence"][0]["name"] == "water-diagram.png"
    assert missing.exit_code == 1
    assert "none.png" in missing.stdout + missing.stderr


def test_langchain_takes_a_picture_with_each_question(samples_service, small_copy):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", k=2, image=small_copy)
    answerer = MmkgAnswerer(service=samples_service, workspace="demo", image=small_copy)

    assert retriever.invoke("the ferry company")[0].metadata["name"] == "water-diagram.png"
    assert answerer.invoke("How much water does the reservoir hold?")["evidence"][0]["name"] == "water-diagram.png"


def test_an_image_encoder_is_set_by_name_and_its_vectors_are_made_by_ingest_and_reindex(
    tmp_path, model_cache, sample_corpus
):
    clip = write_tiny_clip(tmp_path / "clip")
    plain = {"home": tmp_path / "home", "cache": model_cache}
    service = build_service(load_settings(environ={}, overrides=plain))
    service.ingest("w", [sample_corpus / "water-diagram.png"])
    assert service.workspaces.get("w", create=False).engine.pictures.spaces == ("pv_gradient16_1",)
    service.close()

    environ = {"MMKG_IMAGE_ENCODER__NAME": str(clip)}
    settings = load_settings(environ=environ, overrides=plain)
    service = build_service(settings)
    done = service.reindex("w")
    assert (done.n_encoded, done.n_pictures_encoded, done.n_picture_vectors) == (0, 1, 2)
    picture = (sample_corpus / "water-diagram.png").read_bytes()
    found = service.search("w", Query(image=picture))
    assert {"copy", "image"} <= {one.retriever for one in found.evidence[0].contributions}
    again = service.reindex("w", everything=True)
    assert (again.n_pictures_encoded, again.n_picture_vectors) == (2, 2)
    service.close()
    (check,) = [check for check in examine(settings, environ={}) if check.name == "image encoder"]
    assert (check.state, check.detail) == ("ok", "open_clip:clip, 16 dimensions")

    service = build_service(load_settings(environ={}, overrides=plain))
    assert service.reindex("w", prune=True).n_pruned == 1  # the encoder is off again: its vector goes
    service.close()


def test_an_image_encoder_that_is_not_there_is_explained(tmp_path):
    settings = load_settings(environ={"MMKG_IMAGE_ENCODER__NAME": "clip"}, overrides={"home": tmp_path})
    (check,) = [check for check in examine(settings, environ={}) if check.name == "image encoder"]
    assert check.state == "broken"
    assert "There is no image encoder 'clip'" in check.detail
    with pytest.raises(ConfigError, match="MMKG_IMAGE_ENCODER__NAME"):
        Wiring(settings).image_encoder()
    off = load_settings(environ={}, overrides={"home": tmp_path})
    (check,) = [check for check in examine(off, environ={}) if check.name == "image encoder"]
    assert check.state == "note"

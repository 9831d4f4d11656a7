"""What describes pictures is chosen by settings, begins with OCR, and what it needs is asked for in words."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from api.doctor import examine
from api.models.cache import MANIFEST, ModelCache
from api.settings import load_settings
from api.wiring import Wiring, build_service
from kg.captioning.cascade import CascadeCaptioner
from kg.captioning.ocr import OcrCaptioner
from kg.errors import ConfigError, ModelMissingError
from tests.generation.vision.pictures import png
from tests.generation.vision.test_openai_vision import reply, serving
from tests.generation.vision.tiny_models import build
from tests.kg.captioning.helpers import make_request
from tests.kg.captioning.test_ocr import TEXTS, draw


def wiring(tmp_path, **vision):
    given = {"home": tmp_path / "home", "cache": tmp_path / "cache", "vision": vision}
    return Wiring(load_settings(environ={}, overrides=given))


def pulled(tmp_path, name="hf:tiny/idefics3@v1", kind="idefics3"):
    folder = tmp_path / "cache" / "models" / "hf" / name.removeprefix("hf:").replace("/", "--")
    folder.mkdir(parents=True)
    build(kind, folder)
    (folder / MANIFEST).write_text("{}")
    return folder


def check(tmp_path, **vision):
    settings = wiring(tmp_path, **vision).settings
    (found,) = [check for check in examine(settings, environ={}) if check.name == "captioner"]
    return found.state, found.detail


def test_ocr_is_the_default_and_is_no_cascade(tmp_path):
    assert type(wiring(tmp_path).captioner()) is OcrCaptioner
    assert check(tmp_path) == ("ok", "ocr")


@pytest.mark.parametrize("name", ["hf:tiny/idefics3@v1", "hf:tiny/idefics3"])
def test_a_model_of_the_hub_follows_ocr_under_its_name(tmp_path, name):
    pulled(tmp_path)
    captioner = wiring(tmp_path, captioner=name, max_new_tokens=16).captioner()

    assert isinstance(captioner, CascadeCaptioner)
    assert captioner.name == f"cascade:{OcrCaptioner.name}>{name}"
    assert check(tmp_path, captioner=name) == ("ok", f"ocr > {name}, verified by words")
    (caption,) = captioner.caption([make_request(data=draw(TEXTS))])
    assert {line.source for line in caption.lines} >= {"ocr"}


def test_a_folder_is_a_captioner_too(tmp_path):
    folder = build("blip", tmp_path / "my-blip")

    assert wiring(tmp_path, captioner=str(folder)).captioner().name.endswith(">my-blip")


def test_two_revisions_of_one_model_must_be_told_apart(tmp_path):
    pulled(tmp_path), pulled(tmp_path, "hf:tiny/idefics3@v2")

    with pytest.raises(ConfigError, match="name one of hf:tiny/idefics3@v1, hf:tiny/idefics3@v2"):
        wiring(tmp_path, captioner="hf:tiny/idefics3").captioner()


@pytest.mark.parametrize(
    ("vision", "error", "words"),
    [
        ({"captioner": "hf:org/none@v1"}, ModelMissingError, "mmkg models pull hf:org/none@v1"),
        ({"captioner": "hf:org/none"}, ModelMissingError, "mmkg models pull hf:org/none@REVISION"),
        ({"captioner": "nonsense"}, ConfigError, "known are ocr, openai, cascade, hf:ORG/NAME@REVISION"),
        ({"captioner": "openai"}, ConfigError, "MMKG_VISION__BASE_URL and MMKG_VISION__MODEL"),
        ({"captioner": "cascade"}, ConfigError, "MMKG_VISION__STAGES"),
        ({"captioner": "openai", "base_url": "http://x/v1", "model": "m", "scorer": "none"}, ConfigError, "'none'"),
    ],
)
def test_what_is_missing_is_said_before_any_file_is_read_and_by_the_doctor(tmp_path, vision, error, words):
    with pytest.raises(error, match=words):
        wiring(tmp_path, **vision).captioner()
    state, detail = check(tmp_path, **vision)
    assert state == "broken"
    assert words in detail


def test_stages_come_from_the_environment_in_their_order(tmp_path):
    environ = {
        "MMKG_CACHE": str(tmp_path / "cache"), "MMKG_VISION__CAPTIONER": "cascade",
        "MMKG_VISION__STAGES": "ocr, hf:tiny/idefics3, openai", "MMKG_VISION__BASE_URL": "http://127.0.0.1:1/v1",
        "MMKG_VISION__MODEL": "tiny", "MMKG_VISION__API_KEY": "secret-word",
    }  # fmt: skip
    pulled(tmp_path)
    settings = load_settings(environ=environ)

    assert Wiring(settings).captioner().name == f"cascade:{OcrCaptioner.name}>hf:tiny/idefics3>openai:tiny"
    assert "secret-word" not in repr(settings)


def test_the_revisions_that_were_pulled_are_found(tmp_path):
    pulled(tmp_path)

    assert list(ModelCache(tmp_path / "cache").revisions("hf:tiny/idefics3")) == ["hf:tiny/idefics3@v1"]


GOOD = "Bar chart of bicycles sold: Oslo 417, Rome 862."
FALSE = "Paris sold 999 bicycles."


def ingest_with(tmp_path, model_cache, url, home="home"):
    vision = {"captioner": "openai", "base_url": url, "model": "tiny", "timeout_s": 20}
    overrides = {"home": tmp_path / home, "cache": model_cache, "vision": vision}
    service = build_service(load_settings(environ={}, overrides=overrides))
    file = tmp_path / "chart.png"
    file.write_bytes(draw(TEXTS))
    return service, service.ingest("pictures", [file])


@pytest.mark.models
def test_what_a_server_says_of_a_picture_is_verified_graded_and_cited_as_a_models_words(tmp_path, model_cache):
    with serving(reply(f"<think>A chart.</think>{GOOD} {FALSE}")) as (url, server):
        service, report = ingest_with(tmp_path, model_cache, url)
        with closing(service):
            assert report.n_failed == 0
            store = service.workspaces.get("pictures", create=False).store
            (chunk,) = store.iter_chunks()
            caption = store.caption(chunk.asset_id)
            triples = store.triples(chunk.chunk_id)
            answer = service.ask("pictures", "How many bicycles were sold in Rome?")

    assert len(server.asked) == 1
    assert {line.text for line in caption.lines if line.source == "model"} == {GOOD}
    assert "999" not in caption.text
    assert "think" not in caption.text
    assert "862" in answer.text
    scores = {line.source: line.score for line in caption.lines}
    assert 0 < scores["model"] <= 1.0
    assert all(triple.score <= max(scores.values()) for triple in triples)


@pytest.mark.models
def test_a_server_that_is_down_costs_no_document_and_ocr_stands(tmp_path, model_cache):
    with serving((400, {}, {"error": "no"})) as (url, _):
        service, report = ingest_with(tmp_path, model_cache, url)
        with closing(service):
            assert report.n_failed == 0
            assert report.outcomes[0].n_chunks > 0


@pytest.mark.models
def test_the_command_line_chooses_the_captioner(tmp_path, model_cache):
    from typer.testing import CliRunner

    from api.cli.app import app

    picture = tmp_path / "red.png"
    picture.write_bytes(png())
    environ = {"MMKG_CACHE": str(model_cache), "MMKG_HOME": str(tmp_path / "home")}
    result = CliRunner().invoke(app, ["ingest", str(picture), "--captioner", "nonsense", "--json"], env=environ)

    assert result.exit_code != 0
    assert "There is no captioner 'nonsense'" in json.dumps(result.output)

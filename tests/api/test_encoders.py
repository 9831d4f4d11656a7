"""What makes vectors is chosen by settings, and what it needs is asked for in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from api.doctor import examine
from api.models.cache import MANIFEST
from api.service import Service
from api.settings import load_settings
from api.wiring import Wiring, build_service
from kg.errors import ConfigError, ModelMissingError
from retrieval.encoders.transformer import TransformerTextEncoder
from retrieval.types import Query
from tests.retrieval.encoders.test_folders import build, qwen3, xlm_roberta
from tests.retrieval.encoders.test_server import embedding

TEXT = b"The cat sat on the mat.\n\nThe dog sat on the cat."


def settings(tmp_path: Path, **encoder: Any) -> Any:
    given = {"home": tmp_path / "home", "cache": tmp_path / "cache", "encoder": encoder}
    return load_settings(environ={}, overrides=given)


def check(tmp_path: Path, **encoder: Any) -> tuple[str, str]:
    (found,) = [c for c in examine(settings(tmp_path, **encoder), environ={}) if c.name == "encoder"]
    return found.state, found.detail


def pulled(tmp_path: Path, revision: str = "v1") -> Path:
    folder = build(tmp_path / "cache" / "models" / "hf" / f"tiny--qwen3@{revision}", qwen3, pooling="lasttoken")
    (folder / MANIFEST).write_text("{}")
    return folder


def test_a_variable_and_a_file_name_the_encoder(tmp_path: Path):
    (tmp_path / "mmkg.yaml").write_text("encoder:\n  name: hf:a/b@c\n  passage_prompt: 'passage: '\n")
    environ = {"MMKG_HOME": str(tmp_path), "MMKG_ENCODER__QUERY_PROMPT": "", "MMKG_ENCODER__MAX_LENGTH": "128"}

    found = load_settings(environ=environ).encoder

    assert (found.name, found.query_prompt, found.passage_prompt) == ("hf:a/b@c", "", "passage: ")
    assert (found.max_length, found.precision, found.device) == (128, "auto", "")


@pytest.mark.parametrize("wrong", [{"dtype": "int8"}, {"nam": "x"}, {"batch_size": 0}])
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, wrong: Any):
    with pytest.raises(ConfigError, match=f"encoder.*{next(iter(wrong))}"):
        settings(tmp_path, **wrong)


@pytest.mark.parametrize("name", ["hf:tiny/qwen3@v1", "hf:tiny/qwen3"])
def test_a_model_of_the_hub_goes_by_its_name(tmp_path: Path, name: str):
    pulled(tmp_path)

    assert Wiring(settings(tmp_path, name=name)).encoder().name == name
    assert check(tmp_path, name=name, query_prompt="query: ") == (
        "ok", f"{name}, 32 dimensions, texts up to 21 tokens, query prompt 'query: '",
    )  # fmt: skip


def test_two_revisions_of_one_model_must_be_told_apart(tmp_path: Path):
    pulled(tmp_path), pulled(tmp_path, "v2")

    with pytest.raises(ConfigError, match="name one of hf:tiny/qwen3@v1, hf:tiny/qwen3@v2"):
        Wiring(settings(tmp_path, name="hf:tiny/qwen3")).encoder()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("minilm", ModelMissingError, "mmkg models pull minilm"),
        ("hf:org/none@v1", ModelMissingError, "mmkg models pull hf:org/none@v1"),
        ("hf:org/none", ModelMissingError, "mmkg models pull hf:org/none@REVISION"),
        ("nonsense", ConfigError, "known are minilm, openai, hf:ORG/NAME@REVISION and the folder"),
        (".", ModelMissingError, r"holds no config\.json"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(tmp_path: Path, name: str, error: Any, words: str):
    with pytest.raises(error, match=words):
        Wiring(settings(tmp_path, name=name)).encoder()
    assert check(tmp_path, name=name)[0] == "broken"


def test_the_settings_reach_the_encoder(tmp_path: Path):
    folder = build(tmp_path / "mine", xlm_roberta)
    given = {"max_length": 12, "passage_prompt": "passage: ", "query_prompt": "query: ", "device": "cpu"}

    encoder = Wiring(settings(tmp_path, name=str(folder), **given)).encoder()

    expected = TransformerTextEncoder(
        folder, device="cpu", max_length=12, passage_prompt="passage: ", query_prompt="query: "
    )
    assert (encoder.fingerprint, encoder.max_tokens, encoder.name) == (expected.fingerprint, 12 - 2 - 2, "mine")
    assert encoder.encode_queries(["the cat"]).tolist() == expected.encode_queries(["the cat"]).tolist()


@pytest.mark.models
def test_a_folder_of_another_network_serves_ingest_and_search(tmp_path: Path, model_cache: Path):
    folder = build(tmp_path / "mine", xlm_roberta)
    given = {"home": tmp_path / "home", "cache": model_cache, "encoder": {"name": str(folder), "device": "cpu"}}
    service = build_service(load_settings(environ={}, overrides=given))

    service.ingest_bytes("w", [("cats.txt", TEXT)])
    found = service.search("w", Query(text="the dog sat"), mode="naive")
    about = service.information("w")["encoder"]
    service.close()

    assert found.evidence[0].document.name == "cats.txt"
    assert about == "mine, 32 dimensions, texts up to 22 tokens"


@pytest.mark.models
def test_a_server_serves_ingest_and_search_and_chunks_are_counted_by_the_packaged_tokenizer(
    tmp_path: Path, model_cache: Path
):
    with embedding() as (url, server):
        section = {"name": "openai", "base_url": url, "model": "tiny", "query_prompt": "q: ", "price": 1.0}
        given = {"home": tmp_path / "home", "cache": model_cache, "encoder": section}
        wiring = Wiring(load_settings(environ={}, overrides=given))
        service = Service(wiring)
        service.warm()
        assert server.asked == []
        service.ingest_bytes("w", [("cats.txt", TEXT)])
        (passages,) = [body["input"] for _, body in server.asked]
        found = service.search("w", Query(text="the dog sat"), mode="naive")
        about = service.information("w")["encoder"]
        service.close()
    packaged = TransformerTextEncoder(model_cache / "models" / "minilm")

    assert found.evidence[0].document.name == "cats.txt"
    assert any("The cat sat on the mat." in text for text in passages)
    assert server.asked[-1][1]["input"] == ["q: the dog sat"]
    assert about == f"openai:tiny at {url}, dimensions as they come, texts up to 8190 tokens, query prompt 'q: '"
    assert wiring.tokenizer().token_spans("unbelievably") == packaged.token_spans("unbelievably")


@pytest.mark.models
def test_a_change_of_encoder_is_reindexed_and_the_old_vectors_are_pruned(tmp_path: Path, model_cache: Path):
    folder = build(tmp_path / "mine", xlm_roberta)
    runner = CliRunner()
    base = {"MMKG_HOME": str(tmp_path / "home"), "MMKG_CACHE": str(model_cache), "MMKG_WORKSPACE": "w"}
    mine = {**base, "MMKG_ENCODER__NAME": str(folder), "MMKG_RETRIEVAL__MAX_ENCODED_BY_SEARCH": "0"}
    (tmp_path / "cats.txt").write_bytes(TEXT)

    def run(env: dict[str, str], *arguments: str, fails: bool = False) -> Any:
        done = runner.invoke(app, [*arguments, "--json"], env=env)
        assert done.exit_code == int(fails), done.output
        return json.loads(done.stdout)

    run(base, "ingest", str(tmp_path / "cats.txt"))
    error = run(mine, "search", "the dog", fails=True)["error"]
    assert error["code"] == "vectors_missing"
    assert "mmkg reindex" in error["message"]
    assert run(mine, "search", "the dog", "--mode", "bm25")["evidence"]

    no_pictures = {"n_pictures_encoded": 0, "n_picture_vectors": 0}
    done = {"workspace": "w", "n_encoded": 1, "n_vectors": 1, "n_pruned": 0, "n_others": 1}
    assert run(mine, "reindex") == {**done, **no_pictures}
    about = run(mine, "info")
    assert (about["encoder"][:4], about["vectors"], about["vectors_of_other_encoders"]) == ("mine", 1, 1)
    assert run(mine, "search", "the dog")["evidence"]
    assert run(mine, "reindex", "--all", "--prune")["n_pruned"] == 1
    assert run(base, "info")["vectors"] == 0


@pytest.mark.models
def test_a_server_needs_an_address_and_the_packaged_tokenizer(tmp_path: Path, model_cache: Path):
    with pytest.raises(ConfigError, match="MMKG_ENCODER__BASE_URL and MMKG_ENCODER__MODEL"):
        Wiring(settings(tmp_path, name="openai")).encoder()
    with pytest.raises(ModelMissingError, match="mmkg models pull minilm"):
        Wiring(settings(tmp_path, name="openai", base_url="http://127.0.0.1:1/v1", model="m")).encoder()


def test_settings_and_wiring_load_no_torch_and_no_network(tmp_path: Path):
    folder = build(tmp_path / "mine", xlm_roberta)
    code = (
        "import sys; import api.wiring, api.settings, api.encoders, api.doctor; "
        "from pathlib import Path; from api.models.cache import ModelCache; "
        f"given = api.settings.EncoderSettings(name={str(folder)!r}); cache = ModelCache(Path('none')); "
        "assert api.encoders.check_encoder(given, cache)[0] == 'ok'; "
        "assert api.encoders.make_encoder(given, cache).token_spans('the cat'); "
        "assert not {'torch', 'transformers', 'httpx'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_old_name_of_the_precision_is_refused_with_the_section(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps({"encoder_precision": "float32"}))

    with pytest.raises(ConfigError, match=r"'encoder_precision'.*encoder"):
        load_settings(config=file, environ={})

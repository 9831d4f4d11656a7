"""Whole runs on a model that was trained: every method beats its baselines, and what is written is what was judged."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.smaller.data import pack_texts
from moe_backbone.smaller.quality import compare_speed, judge, reference
from moe_backbone.smaller.report import plot
from moe_backbone.smaller.runs import ShrinkRequest, load_for_measuring, shrink
from moe_backbone.smaller.saving import load_policy, load_shrunk
from moe_backbone.smaller.skipping import skipping
from moe_backbone.smaller.surgery import ShrinkError
from tests.moe_backbone.smaller.tiny_moe import make, prose, random_tokens, triples
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama


@pytest.fixture
def request_of(trained_folder, tmp_path):
    def build(method, *budgets, **changes):
        settings = {
            "model": trained_folder, "out": tmp_path / "out", "method": method, "budgets": budgets,
            "texts": {"text": [prose()], "graph": [triples(600, seed=5)]}, "length": 96, "rows": 12,
            "held_out_rows": 4, "measure_speed": False,
        }  # fmt: skip
        return ShrinkRequest(**(settings | changes))

    return build


def kl_of(report):
    return {(row.name, row.budget): row.quality.total.kl for row in report.rows}


def held_out_of(request):
    texts = {"text": [prose()[-4000:]], "graph": [triples(60, seed=9)]}
    return replace(request, held_out=texts)


@pytest.mark.parametrize("criterion", ["gate_mass", "frequency", "output_mass", "reap", "leave_one_out"])
def test_every_criterion_beats_a_random_choice_by_far(request_of, criterion):
    kl = kl_of(shrink(request_of("prune", 0.75, criterion=criterion)))

    assert kl["original", None] == pytest.approx(0, abs=1e-6)
    assert kl["prune", 0.75] < 0.5 * kl["random", 0.75]


def test_merging_beats_random_groups(request_of):
    kl = kl_of(shrink(request_of("merge", 0.75)))

    assert kl["merge", 0.75] < 0.8 * kl["random", 0.75]


def test_skipping_by_importance_beats_skipping_by_lot(request_of, trained_folder, tmp_path):
    report = shrink(request_of("skip", 0.7))
    kl = kl_of(report)
    result = next(row for row in report.rows if row.name == "skip")
    policy = load_policy(tmp_path / "out")
    model, _, _ = load_for_measuring(trained_folder)
    with torch.no_grad(), skipping(model, policy) as running:
        model(torch.arange(60)[None])

    assert kl["skip", 0.7] < 0.3 * kl["random", 0.7]
    assert result.calls_run == pytest.approx(0.7, abs=0.08)  # the thresholds were found on other text
    assert policy.text_threshold == result.details["text_threshold"]
    assert 0 < running.share < 1


def test_mixed_precision_beats_one_precision_of_the_same_size_and_a_shuffled_choice(request_of):
    report = shrink(request_of("mixed", 4.5, compensate=False, held_out_rows=8))
    kl = kl_of(report)
    size = {row.name: row.expert_bytes for row in report.rows}

    assert kl["mixed", 4.5] < 0.8 * kl["uniform 4", 4.5]
    assert kl["mixed", 4.5] < 0.8 * kl["random", 4.5]
    assert size["mixed"] <= size["uniform 4"] == size["original"] * 4.5 / 32


def test_compensated_rounding_beats_rounding_to_nearest(request_of, tmp_path):
    at_two_bits = [
        kl_of(shrink(request_of("mixed", 2.5, compensate=choice, out=tmp_path / str(choice))))["mixed", 2.5]
        for choice in (True, False)
    ]
    assert at_two_bits[0] < 0.8 * at_two_bits[1]


def test_what_is_written_is_what_was_judged(request_of, trained_folder):
    request = held_out_of(request_of("prune", 0.8, 0.5))
    report = shrink(request)
    model, _, _ = load_for_measuring(trained_folder)
    tokenizer = byte_tokenizer()
    held = pack_texts(lambda text: tokenizer(text), request.held_out, length=96, limit=4)
    original = reference(model, held)
    results = [row for row in report.rows if row.name == "prune"]

    assert [row.folder for row in results] == [str(request.out / "prune-0.8"), str(request.out / "prune-0.5")]
    for row in results:
        again = judge(load_shrunk(request.out / f"prune-{row.budget:g}"), held, original=original)
        assert again.total.kl == pytest.approx(row.quality.total.kl, rel=1e-3)
        assert again.by_label.keys() == {"text", "graph"}
    assert [path.name for path in request.out.parent.iterdir()] == ["out"]  # the calibration is gone


def test_a_report_is_json_a_table_and_a_picture(request_of, trained_folder, tmp_path):
    report = shrink(request_of("prune", 0.75, stock=True, measure_speed=True, dense=trained_folder))
    plot(report, tmp_path / "picture.png")
    mapping = json.loads(json.dumps(report.to_mapping()))

    assert mapping["rows"][0]["quality"]["by_label"]["graph"]["n_tokens"] > 100
    assert [row["stock"] for row in mapping["rows"] if row["name"] == "prune"] == [True]
    assert all(len(row.cells("prune")) == len(report.columns) for row in report.rows)
    assert mapping["rows"][1]["name"] == "dense"
    assert mapping["rows"][1]["speed"]["decode_ratio"] > 0
    assert (tmp_path / "picture.png").stat().st_size > 5000
    with pytest.raises(ShrinkError, match="cannot be drawn"):
        plot(report, tmp_path / "picture.strange")


def test_an_interrupted_run_goes_on_with_its_calibration(request_of):
    request, stages = request_of("prune", 0.75), []

    class StopError(Exception):
        pass

    def stop(stage, done, total):
        if (stage, done) == ("calibrating", 2):
            raise StopError

    with pytest.raises(StopError):
        shrink(request, on_progress=stop)
    assert [path.name for path in request.out.parent.iterdir()] == [".out.calibration"]
    shrink(request, on_progress=lambda stage, done, total: stages.append((stage, done)))
    assert [done for stage, done in stages if stage == "calibrating"][0] == 3


def test_perplexity_and_divergence_by_hand():
    """Two tokens of two words: p = (3/4, 1/4) at both places against q = (1/2, 1/2)."""
    p, q = (Fixed(weight) for weight in ([3.0, 1.0], [1.0, 1.0]))
    tokens = random_tokens(rows=1, length=3, n_words=2, labels=("text",))
    tokens.ids[:] = torch.tensor([[0, 0, 1]])
    quality = judge(q, tokens, original=[p(tokens.ids, None).logits[0, :2].log_softmax(-1)])

    assert quality.total.n_tokens == 2
    assert quality.total.perplexity == pytest.approx(2.0)
    assert quality.total.kl == pytest.approx(0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log())
    assert judge(p, tokens, original=None).total.perplexity == pytest.approx((4 / 3 * 4) ** 0.5)


class Fixed(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.log_weight = torch.nn.Parameter(torch.tensor(weights).log())

    def forward(self, input_ids, attention_mask):
        logits = self.log_weight.expand(*input_ids.shape, 2)
        return type("Output", (), {"logits": logits})()


def test_speeds_are_over_the_original_in_the_same_run():
    model = make()
    speed = compare_speed(model, model, torch.arange(32)[None], n_new=2, rounds=1)

    assert speed.prefill_per_s > 0
    assert 0.2 < speed.decode_ratio < 5


def test_held_out_text_too_long_to_compare_is_refused():
    tokens = random_tokens(rows=1)
    model = make(num_hidden_layers=1)
    model.config.vocab_size = 400_000_000
    with pytest.raises(ShrinkError, match="32 held-out tokens of 400000000 words are too many"):
        reference(model, tokens)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "shave"}, "no method 'shave'; choose one of merge, mixed, prune, skip"),
        ({"budgets": (1.5,)}, "a share in \\(0, 1\\], got 1.5"),
        ({"budgets": ()}, "no budget"),
        ({"method": "mixed", "budgets": (-1.0,)}, "above 0, got -1"),
        ({"criterion": "best"}, "no criterion 'best'"),
        ({"budgets": (0.1,)}, "need 6 \\(as many as a token visits"),
        ({"texts": {"text": ["short"]}}, "no row of 8 tokens"),
        ({"texts": {"text": ["a" * 200]}}, "too few to calibrate on"),
        ({"method": "mixed", "budgets": (1.0,)}, "bits per weight are too few"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(request_of, changes, words):
    request = request_of("prune", 0.75)
    with pytest.raises(ShrinkError, match=words):
        shrink(replace(request, **changes))
    assert not request.out.exists()


def test_a_folder_that_holds_something_else_is_not_replaced(request_of):
    request = request_of("prune", 0.75)
    request.out.mkdir()
    (request.out / "thesis.txt").write_text("years of work")

    with pytest.raises(ShrinkError, match="holds something else"):
        shrink(request)
    assert (request.out / "thesis.txt").read_text() == "years of work"


def test_models_that_cannot_be_loaded_are_explained(request_of, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "nothing-known"}')
    quantised = make_tiny_llama(tmp_path / "quantised")
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    half = make_tiny_llama(tmp_path / "half")
    (half / "model.safetensors").write_bytes((half / "model.safetensors").read_bytes()[:500])
    partial = make_tiny_llama(tmp_path / "partial") / "model.safetensors"
    tensors = load_file(partial)
    save_file({name: tensors[name] for name in list(tensors)[2:]}, partial, metadata={"format": "pt"})

    for name, words in (
        ("empty", "holds no config.json"), ("odd", "does not know"), ("quantised", "already quantised"),
        ("half", "no whole safetensors file"), ("partial", "lack 3 weights of the model"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=words):
            load_for_measuring(tmp_path / name)


def test_half_precision_is_computed_in_float32_and_said_so(tmp_path):
    make().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    model, stored, notes = load_for_measuring(tmp_path / "half")

    assert (model.dtype, stored) == (torch.float32, torch.bfloat16)
    assert notes == ("the weights are bfloat16; computed in float32, saved in bfloat16",)

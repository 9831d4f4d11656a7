"""The training loop: what it learns, what it refuses, and that a resumed run is the run."""

import json
from types import SimpleNamespace

import pytest
import torch

from moe_backbone.config import MoEConfig
from moe_backbone.layer import MoELayer
from moe_backbone.training.autocast import ExpertsInAutocast
from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingDivergedError, TrainingError
from moe_backbone.training.freezing import parameter_groups
from moe_backbone.training.loop import train
from tests.moe_backbone.training.tiny import tiny_data, tiny_llama, tiny_mixtral, weights


def config(*stages: StageConfig, **changes) -> TrainingConfig:
    settings = {"batch_size": 4, "micro_batch_size": 2, "sequence_length": 12, "checkpoint_every": 2}
    return TrainingConfig(stages=stages or (stage(),), **(settings | changes))


def stage(**changes) -> StageConfig:
    return StageConfig(**({"steps": 6, "learning_rate": 0.01, "warmup_steps": 2} | changes))


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class KilledError(Exception):
    pass


def kill_at(step):
    def stop(line):
        if line["step"] == step:
            raise KilledError

    return stop


@pytest.mark.parametrize("make", [tiny_mixtral, tiny_llama])
def test_a_sparse_and_a_dense_model_learn_to_count(make, tmp_path):
    report = train(make(), tiny_data(), config=config(stage(steps=40)), folder=tmp_path)

    logged = lines(tmp_path)
    assert [line["step"] for line in logged] == list(range(1, 41))
    assert logged[0]["objective"] > 3.0  # log 32 is 3.47
    assert logged[-1]["objective"] < 0.6 * logged[0]["objective"]
    assert report.steps == 40
    assert report.loss == logged[-1]["loss"]


def test_the_log_has_the_parts_of_the_loss_and_the_balance_of_each_layer(tmp_path):
    train(tiny_mixtral(), tiny_data(), config=config(stage(balance_weight=0.5, z_weight=0.25)), folder=tmp_path)

    line = lines(tmp_path)[2]
    assert line["loss"] == pytest.approx(
        line["objective"] + 0.5 * sum(line["balance_per_layer"]) / 2 + 0.25 * line["z"], rel=1e-5
    )
    assert line["objective"] == pytest.approx(line["cross_entropy"])
    assert all(0.9 < loss < 4 for loss in line["balance_per_layer"])
    assert all(0.25 <= load <= 1 for load in line["largest_load_per_layer"])
    assert (line["n_tokens"], line["n_targets"]) == (48, 44)  # 4 rows of 12; each row's first token is not predicted
    assert line["tokens_per_s"] > 0
    assert line["peak_memory_bytes"] > 0


def test_the_rate_warms_up_and_falls_along_a_cosine_to_its_final_share(tmp_path):
    train(tiny_mixtral(), tiny_data(), config=config(stage(steps=5, final_share=0.1)), folder=tmp_path)

    rates = [line["learning_rate"] for line in lines(tmp_path)]
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.0055, 0.001])  # by hand: the cosine has three points


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
def test_a_run_that_was_killed_and_resumed_ends_bit_equal_to_one_that_was_not(killed_at, tmp_path):
    """Two stages, dropout, and a micro-batch smaller than the step, so that everything there is to restore matters."""
    stages = stage(steps=3, train=("@routers",), name="routers"), stage(steps=3, name="all", bias_rate=0.001)
    settings = config(*stages, gradient_checkpointing=killed_at == 3)

    def fresh():
        return tiny_mixtral(attention_dropout=0.2)

    whole = fresh()
    train(whole, tiny_data(), config=settings, folder=tmp_path / "whole")
    with pytest.raises(KilledError):
        train(fresh(), tiny_data(), config=settings, folder=tmp_path / "cut", on_step=kill_at(killed_at))
    resumed = fresh()
    report = train(resumed, tiny_data(), config=settings, folder=tmp_path / "cut", resume=True)

    assert report.resumed_from == killed_at - 1 if killed_at % 2 else killed_at - 2  # it died before it saved
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    timeless = [
        [
            {key: value for key, value in line.items() if key not in ("tokens_per_s", "peak_memory_bytes")}
            for line in one
        ]
        for one in (lines(tmp_path / "whole"), lines(tmp_path / "cut"))
    ]
    assert timeless[0] == timeless[1]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    whole = tiny_mixtral()
    train(whole, tiny_data(), config=config(), folder=tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path / "cut", on_step=kill_at(5))
    newest = tmp_path / "cut" / "checkpoints" / "step-00000004" / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)

    resumed = tiny_mixtral()
    report = train(resumed, tiny_data(), config=config(), folder=tmp_path / "cut", resume=True)

    assert report.resumed_from == 2
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_a_half_written_checkpoint_is_none(tmp_path):
    with pytest.raises(KilledError):
        train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path, on_step=kill_at(3))
    (tmp_path / "checkpoints" / "step-00000002" / "mmkg_checkpoint.json").unlink()

    assert train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path, resume=True).resumed_from == 0


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    train(tiny_mixtral(), tiny_data(), config=config(keep_checkpoints=1), folder=tmp_path)

    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000006"]


def test_resuming_with_other_settings_or_data_names_what_changed(tmp_path):
    train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path)

    other = config(stage(learning_rate=0.02))
    with pytest.raises(TrainingError, match=r"settings\.stages\[0\]\.learning_rate was 0.01 and is 0.02"):
        train(tiny_mixtral(), tiny_data(), config=other, folder=tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"data\.all was '"):
        train(tiny_mixtral(), tiny_data(seed=4), config=config(), folder=tmp_path, resume=True)


def test_a_finished_run_is_not_overwritten(tmp_path):
    train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path)

    with pytest.raises(TrainingError, match="holds the checkpoints of a training. Resume it"):
        train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path)


def test_each_stage_changes_what_it_trains_and_nothing_else(tmp_path):
    model = tiny_mixtral()
    before, seen = weights(model), {}

    def watch(line):
        seen[line["step"]] = weights(model)

    stages = stage(name="routers", steps=2, train=("@routers",)), stage(name="experts", steps=2, train=("@experts",))
    train(model, tiny_data(), config=config(*stages), folder=tmp_path, on_step=watch)

    groups = parameter_groups(model)
    changed = [
        {n for n in one if not torch.equal(one[n], two[n])} for one, two in ((before, seen[2]), (seen[2], seen[4]))
    ]
    assert changed == [groups["@routers"], groups["@experts"]]


def test_a_loss_that_is_not_finite_stops_with_its_step_and_the_last_checkpoint_stays(tmp_path):
    model = tiny_mixtral()

    def poison(line):
        if line["step"] == 3:
            model.model.layers[0].mlp.gate.weight.data[0] = torch.nan

    with pytest.raises(TrainingDivergedError, match=r"step 4 \(stage 'all'\): the loss is nan") as caught:
        train(model, tiny_data(), config=config(), folder=tmp_path, on_step=poison)
    assert caught.value.step == 4
    assert train(tiny_mixtral(), tiny_data(), config=config(), folder=tmp_path, resume=True).resumed_from == 2


class OurModel(torch.nn.Module):
    """A language model of one layer of ours, called as those of transformers are."""

    def __init__(self, router):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(32, 16)
        self.moe = MoELayer(MoEConfig(width=16, expert_width=24, n_experts=4, top_k=2, init_std=0.2), router=router)
        self.head = torch.nn.Linear(16, 32)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        states = self.embed(input_ids)
        return SimpleNamespace(logits=self.head(states + self.moe(states)))


@pytest.mark.parametrize("router", ["top_k", "sigmoid", "null", "top_p", "margin"])
def test_a_model_of_our_layers_learns_with_any_router(router, tmp_path):
    model = OurModel(router)
    train(model, tiny_data(), config=config(stage(steps=30, learning_rate=0.02, bias_rate=0.001)), folder=tmp_path)

    logged = lines(tmp_path)
    assert logged[-1]["objective"] < 0.7 * logged[0]["objective"]
    assert 0 < logged[-1]["balance_per_layer"][0] < 5
    bias = getattr(model.moe.gate, "e_score_correction_bias", None)
    assert (bias is not None) == (router == "sigmoid")
    assert bias is None or bias.abs().max() > 0.002


def test_a_router_of_ours_whose_logits_are_no_numbers_stops_the_run_with_its_step(tmp_path):
    model = OurModel("top_k")

    def poison(line):
        if line["step"] == 2:
            model.moe.gate.weight.data[0] = torch.nan

    with pytest.raises(TrainingDivergedError, match=r"step 3 \(stage 'all'\): .*logits are NaN"):
        train(model, tiny_data(), config=config(), folder=tmp_path, on_step=poison)


def test_a_model_that_cannot_recompute_its_activations_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="OurModel has no gradient checkpointing"):
        train(OurModel("top_k"), tiny_data(), config=config(gradient_checkpointing=True), folder=tmp_path)


def test_half_precision_weights_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="half precision, first"):
        train(tiny_mixtral().bfloat16(), tiny_data(), config=config(), folder=tmp_path)


def test_bfloat16_without_hardware_falls_to_float32_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("moe_backbone.training.machine.has_fast_bfloat16", lambda device: False)
    report = train(tiny_mixtral(), tiny_data(), config=config(precision="bfloat16"), folder=tmp_path)

    assert report.precision == "float32"
    assert "no bfloat16 in hardware" in report.notes[0]


def test_bfloat16_autocast_routes_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("moe_backbone.training.machine.has_fast_bfloat16", lambda device: True)
    model, seen = tiny_mixtral(), {}
    first = model.model.layers[0]

    def watch(module, args, out):
        seen[type(module).__name__] = args[0].reshape(-1, 16), out, module.weight.clone()

    first.self_attn.q_proj.register_forward_hook(watch)
    first.mlp.gate.register_forward_hook(watch)
    report = train(model, tiny_data(), config=config(stage(steps=1), precision="bfloat16"), folder=tmp_path)

    x, (logits, *_), weight = seen["MixtralTopKRouter"]
    assert report.precision == "bfloat16"
    assert seen["Linear"][1].dtype == torch.bfloat16
    assert torch.equal(logits, x.float() @ weight.T)  # not rounded to bfloat16 on the way


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_experts_multiply_in_bfloat16_and_their_weights_and_gradients_stay_float32(implementation, monkeypatch):
    model, seen = tiny_mixtral(hidden_size=32, intermediate_size=32), []
    model.set_experts_implementation(implementation)
    experts = model.model.layers[0].mlp.experts
    ids = tiny_data().rows(slice(0, 2)).ids
    plain = model(ids, labels=ids).loss
    run = experts.act_fn.forward
    monkeypatch.setattr(experts.act_fn, "forward", lambda gate: seen.append(gate.dtype) or run(gate))
    with ExpertsInAutocast(model), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(ids, labels=ids).loss
    mixed.backward()

    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert experts.down_proj.grad.dtype == torch.float32
    assert experts.down_proj.grad.abs().max() > 0
    assert mixed.item() == pytest.approx(plain.item(), abs=0.03)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_run_in_bfloat16_learns_and_resumes(tmp_path):
    settings = config(stage(steps=40), precision="bfloat16", gradient_checkpointing=True)

    def fresh():
        return tiny_mixtral(hidden_size=32, intermediate_size=32).cuda()

    report = train(fresh(), tiny_data(), config=settings, folder=tmp_path / "whole")
    with pytest.raises(KilledError):
        train(fresh(), tiny_data(), config=settings, folder=tmp_path / "cut", on_step=kill_at(21))
    resumed = train(fresh(), tiny_data(), config=settings, folder=tmp_path / "cut", resume=True)

    assert report.precision == "bfloat16"
    assert lines(tmp_path / "whole")[-1]["objective"] < 0.6 * lines(tmp_path / "whole")[0]["objective"]
    assert resumed.resumed_from == 20
    assert resumed.loss == pytest.approx(report.loss, rel=0.05)  # index_add on CUDA adds in any order


def test_an_interrupted_run_leaves_no_changed_forward_behind(tmp_path):
    model = tiny_mixtral()
    with pytest.raises(KilledError):
        train(model, tiny_data(), config=config(), folder=tmp_path, on_step=kill_at(1))

    assert "forward" not in vars(model.model.layers[0].mlp.gate)
    assert "forward" not in vars(model.model.layers[0].mlp.experts)

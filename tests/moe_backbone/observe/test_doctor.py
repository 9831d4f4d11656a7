"""Every alarm on a model that is broken on purpose, and silence on a healthy one."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from moe_backbone.adapters import register_dispatches
from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.loading import StoredTensor
from moe_backbone.observe.alarms import Severity, equal_experts, equal_rows
from moe_backbone.observe.doctor import examine
from moe_backbone.observe.routing_alarms import balance_of
from moe_backbone.observe.weight_alarms import stored_alarms
from tests.moe_backbone.tiny_experts import FAMILIES, make_model

TOKENS = torch.randint(2, 40, (4, 150), generator=torch.Generator().manual_seed(1))
NOTES_OF_EVERY_STOCK_MODEL = {"balance_loss_off", "foreign_experts"}


def healthy(n_experts=8, **changes):
    """A Mixtral whose routers look at one feature each, so that random tokens balance them."""
    settings = {"num_local_experts": n_experts, "num_experts_per_tok": 2, "num_hidden_layers": 3} | changes
    model = make_model("mixtral", **settings)
    generator = torch.Generator().manual_seed(5)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data = torch.randn(layer.mlp.gate.weight.shape, generator=generator)
    return model


def find(model, *, batches=(("text", TOKENS),)):
    diagnosis = examine(model, batches, labels=tuple(dict.fromkeys(label for label, _ in batches)))
    return {alarm.code: alarm for alarm in diagnosis.alarms if alarm.code not in NOTES_OF_EVERY_STOCK_MODEL}


def test_a_healthy_model_raises_no_alarm():
    assert find(healthy()) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_random_model_of_every_family_is_examined_without_an_error(family):
    found = find(make_model(family))

    assert not [alarm for alarm in found.values() if alarm.severity is Severity.ERROR], found


def test_a_collapsed_layer_is_an_error_that_names_layer_and_experts():
    model = healthy()
    gate = model.model.layers[1].mlp.gate
    gate.register_forward_pre_hook(lambda module, inputs: (inputs[0].abs(),))
    gate.weight.data.zero_()
    gate.weight.data[3], gate.weight.data[5] = 2.0, 1.0
    alarm = find(model)["collapsed_layer"]

    assert alarm.severity is Severity.ERROR
    assert alarm.where == ("model.layers.1.mlp.gate",)
    assert "expert 3 takes 50 % of the slots; expert 5 takes 50 %" in alarm.evidence
    assert alarm.numbers["balance"] == pytest.approx(0.0)


def test_layers_that_collapse_to_different_experts_are_not_seen_by_the_pooled_loss():
    model = healthy(n_experts=4, num_experts_per_tok=1, num_hidden_layers=4)
    for expert, layer in enumerate(model.model.layers):
        layer.mlp.gate.register_forward_pre_hook(lambda module, inputs: (inputs[0].abs(),))
        layer.mlp.gate.weight.data = 5.0 * torch.eye(4)[expert][:, None].expand(4, 16).clone()
    found = find(model)

    assert found["collapsed_layer"].numbers["n_layers"] == 4
    blind = found["pooled_balance_blind"]
    assert blind.numbers["balance_loss"] == pytest.approx(4.0, abs=0.01)
    assert "reads 1.0" in blind.evidence  # the optimum, by transformers' loss


def test_dead_experts_are_listed_and_a_quarter_of_them_is_an_error():
    model = healthy()
    gate = model.model.layers[2].mlp.gate
    gate.register_forward_hook(lambda module, inputs, output: never(output, [6]))
    alarm = find(model)["dead_experts"]
    assert (alarm.severity, alarm.where) == (Severity.WARNING, ("model.layers.2.mlp.gate",))
    assert "1 of 8 experts got none of 600 tokens (6)" in alarm.evidence

    gate.register_forward_hook(lambda module, inputs, output: never(output, [1, 6]))
    assert find(model)["dead_experts"].severity is Severity.ERROR


def never(output, experts):
    """Choose again without some experts."""
    logits = output[0].index_fill(1, torch.tensor(experts), -9.0)
    weights, index = logits.softmax(dim=-1).topk(2, dim=-1)
    return output[0], weights / weights.sum(dim=-1, keepdim=True), index


def test_nan_in_router_and_experts_is_an_error_with_its_place():
    model = healthy()
    model.model.layers[1].mlp.gate.weight.data[2, 3] = math.nan
    model.model.layers[1].mlp.experts.down_proj.data[0, 0, 0] = math.inf
    found = find(model)

    assert found["not_finite_weights"].severity is Severity.ERROR
    assert "2 NaN or infinite weights; model.layers.1.mlp: 1 in the router 1 in the experts" in (
        found["not_finite_weights"].evidence
    )
    assert found["not_finite_logits"].where[0] == "model.layers.1.mlp.gate"
    assert "600 of 600 tokens" in found["not_finite_logits"].evidence


def test_duplicated_experts_are_told_from_copies_by_design():
    model = healthy()
    experts = model.model.layers[0].mlp.experts
    for weight in (experts.gate_up_proj.data, experts.down_proj.data):
        weight[5] = weight[1]
    alarm = find(model)["duplicated_experts"]

    assert (alarm.severity, alarm.where) == (Severity.WARNING, ("model.layers.0.mlp",))
    assert "1 experts are bit-equal copies" in alarm.evidence
    assert "model.layers.0.mlp: 1, 5" in alarm.evidence


def upcycled():
    """Two groups of the same four slices, with one router row per group, as the upcycler lays them out."""
    model = healthy(num_experts_per_tok=4)
    for layer in model.model.layers:
        for weight in (layer.mlp.experts.gate_up_proj.data, layer.mlp.experts.down_proj.data):
            weight[4:] = weight[:4]
        layer.mlp.gate.weight.data = layer.mlp.gate.weight.data[[0] * 4 + [1] * 4].clone()
    return model


def test_virtual_groups_of_an_upcycled_model_are_a_note_and_no_alarm():
    found = find(upcycled())

    assert {alarm.severity for alarm in found.values()} == {Severity.NOTE}
    assert found["virtual_groups"].numbers == {"n_groups": 2, "n_slices": 4}


def test_uneven_use_of_copies_is_a_note_until_they_differ():
    model = upcycled()
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_pre_hook(lambda module, inputs: (inputs[0].abs(),))
        layer.mlp.gate.weight.data = layer.mlp.gate.weight.data.abs() * torch.tensor([1.0] * 4 + [0.1] * 4)[:, None]
        layer.mlp.gate.weight.data[:4], layer.mlp.gate.weight.data[4:] = 1.0, 0.1
    found = find(model)
    assert "collapsed_layer" not in found
    assert found["uneven_copies"].severity is Severity.NOTE

    model.model.layers[0].mlp.experts.down_proj.data[4:] *= 1.5  # trained apart
    assert find(model)["collapsed_layer"].where == ("model.layers.0.mlp.gate",)


def test_copies_whose_router_rows_do_not_follow_are_duplicates():
    model = upcycled()
    model.model.layers[0].mlp.gate.weight.data[0] += 1.0
    found = find(model)

    assert found["duplicated_experts"].where == ("model.layers.0.mlp",)
    assert found["virtual_groups"].where == ("model.layers.1.mlp", "model.layers.2.mlp")


def test_experts_that_put_out_nothing_are_found():
    model = healthy()
    model.model.layers[0].mlp.experts.down_proj.data[3] = 0.0
    alarm = find(model)["silent_experts"]

    assert "1 experts put out zero whatever they read; model.layers.0.mlp: 3" in alarm.evidence


@pytest.mark.parametrize(("factor", "severity"), [(12.0, Severity.WARNING), (200.0, Severity.ERROR)])
def test_exploding_router_logits_are_told_with_their_size(factor, severity):
    model = healthy()
    model.model.layers[1].mlp.gate.weight.data *= factor
    alarm = find(model)["exploding_router_logits"]

    assert (alarm.severity, alarm.where) == (severity, ("model.layers.1.mlp.gate",))
    assert alarm.numbers["largest_logit"] > (256 if severity is Severity.ERROR else 64)


def test_an_untrained_router_does_not_choose_and_its_choices_are_ties():
    model = healthy()
    model.model.layers[0].mlp.gate.weight.data.zero_()
    found = find(model)

    assert found["undecided_router"].where == ("model.layers.0.mlp.gate",)
    assert "router entropy 1.0000 of 1, largest probability 0.1250 where 0.1250 is chance" in (
        found["undecided_router"].evidence
    )
    assert "100.0 % of the tokens" in found["tied_choices"].evidence
    assert found["tied_router_rows"].numbers["n_experts"] == 8


def test_two_equal_router_rows_are_told():
    model = healthy()
    weight = model.model.layers[2].mlp.gate.weight.data
    weight[7] = weight[2]
    alarm = find(model)["tied_router_rows"]

    assert "2 experts share their router row with another one; model.layers.2.mlp: 2, 7" in alarm.evidence


def test_choices_that_bfloat16_would_change_are_told():
    model = healthy()
    gate = model.model.layers[0].mlp.gate
    gate.weight.data = gate.weight.data * 0.001
    gate.register_forward_hook(lambda module, inputs, output: (output[0] + 8.0, *output[1:]))
    alarm = find(model)["ambiguous_in_bfloat16"]

    assert alarm.where == ("model.layers.0.mlp",)
    assert alarm.numbers["share"] > 0.5
    assert "route_in_float32" in alarm.advice


def test_a_clique_of_experts_is_found():
    model = healthy()
    weight = model.model.layers[1].mlp.gate.weight.data
    weight[1::2] = weight[0::2] * 1.0001  # experts go in pairs
    alarm = find(model)["coactivation_clique"]

    assert alarm.where == ("model.layers.1.mlp.gate",)
    assert "experts 0, 1 are chosen together in at least 95 % of the tokens" in alarm.evidence


def test_slots_without_an_expert_are_told():
    model = healthy()
    register_dispatches()
    model.set_experts_implementation("mmkg_looped")  # which takes the mark of no expert in every release
    with edit_routing(
        model, lambda block, hidden, index, weights: (index.masked_fill(index < 6, block.n_experts), weights)
    ):
        found = find(model)

    assert found["slots_without_expert"].numbers["skipped"] > 0.5


def test_a_label_that_uses_few_experts_is_told_where_all_together_are_balanced():
    model = healthy()
    special = torch.full((1, 150), 7)
    alarm = find(model, batches=[("text", TOKENS), ("image", special)])["one_sided_label"]

    assert "of the 150 tokens labelled 'image'" in alarm.evidence
    assert "while all tokens together are balanced" in alarm.evidence


def test_too_few_tokens_raise_no_alarm_about_loads():
    found = find(healthy(), batches=[("text", TOKENS[:1, :3])])

    assert set(found) == {"too_few_tokens"}
    assert "3 tokens are too few to judge the load of 8 experts" in found["too_few_tokens"].evidence


class Int8Linear(torch.nn.Module):
    """A Linear as weight-only quantisers make it: rows of int8 with one scale each."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight.float() * self.scale)


def test_a_quantiser_that_passes_the_experts_by_is_seen():
    model = healthy(hidden_size=32)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(module, name, Int8Linear(child))
    alarm = find(model)["experts_not_quantised"]

    experts = 3 * 8 * 3 * 8 * 32
    linears = 3 * (16 * 32 * 2 + 8 * 32 * 2) + 40 * 32  # q and o, k and v, and the head
    assert alarm.numbers["share"] == pytest.approx(experts / (experts + linears))


def test_files_of_a_quantised_checkpoint_show_experts_in_full_precision():
    packed = StoredTensor(name="model.layers.0.self_attn.q_proj.weight", dtype="U8", shape=(8, 4), size_bytes=32)
    expert = StoredTensor(name="model.layers.0.mlp.experts.0.w1.weight", dtype="BF16", shape=(8, 8), size_bytes=128)
    (alarm,) = stored_alarms([packed, expert])

    assert alarm.code == "experts_not_quantised"
    assert alarm.numbers["share"] == pytest.approx(128 / 160)
    assert stored_alarms([packed]) == []
    assert stored_alarms([expert]) == []


def test_the_balance_loss_that_is_off_is_a_note_and_none_where_it_is_on():
    model = healthy()
    codes = {alarm.code for alarm in examine(model, [("text", TOKENS)], labels=("text",)).alarms}
    assert "balance_loss_off" in codes
    model.config.output_router_logits = True
    codes = {alarm.code for alarm in examine(model, [("text", TOKENS)], labels=("text",)).alarms}
    assert "balance_loss_off" not in codes


def test_a_model_that_cannot_run_is_diagnosed_and_not_crashed():
    found = find(healthy(num_experts_per_tok=9))

    assert "top_k=9 of 8 experts" in found["cannot_run"].evidence
    assert found["forward_failed"].severity is Severity.ERROR


def test_the_worst_alarm_comes_first():
    model = healthy()
    model.model.layers[0].mlp.experts.down_proj.data[3] = 0.0
    model.model.layers[1].mlp.gate.weight.data[0, 0] = math.nan
    diagnosis = examine(model, [("text", TOKENS)], labels=("text",))
    severities = [list(Severity).index(alarm.severity) for alarm in diagnosis.alarms]

    assert severities == sorted(severities)
    assert diagnosis.worst is Severity.ERROR


def test_a_dense_model_is_refused():
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    with pytest.raises(ValueError, match="no mixture-of-experts layer"):
        examine(LlamaForCausalLM(config), [], labels=())


def test_examining_changes_nothing():
    model = healthy()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    find(model)

    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_balance_runs_from_what_top_k_allows_to_uniform():
    assert balance_of((0.5, 0.5, 0.0, 0.0), 2) == pytest.approx(0.0)
    assert balance_of((0.25,) * 4, 2) == pytest.approx(1.0)
    assert balance_of((1.0, 0.0, 0.0, 0.0), 1) == pytest.approx(0.0)
    assert balance_of((0.5, 0.5), 2) == 1.0  # every expert is always chosen


def test_equal_experts_and_rows_are_grouped_exactly():
    model = healthy(n_experts=4)
    (block, *_) = find_blocks(model)
    for weight in (block.experts.gate_up_proj.data, block.experts.down_proj.data):
        weight[2] = weight[0]
    assert equal_experts(block) == [[0, 2], [1], [3]]
    block.experts.down_proj.data[2, -1, -1] += 1e-3
    assert equal_experts(block) == [[0], [1], [2], [3]]
    assert equal_rows(torch.tensor([[1.0, 2], [0, 1], [1, 2]])) == [[0, 2], [1]]

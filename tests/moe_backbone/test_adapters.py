"""Routing statistics of stock models and of our own layer, and our dispatches inside stock models."""

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from moe_backbone.adapters import can_dispatch, implementation_name, register_dispatches, route_in_float32
from moe_backbone.config import MoEConfig
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.layer import MoELayer
from moe_backbone.observe.recorder import RoutingRecorder
from moe_backbone.sites import find_routers


def mixtral(hidden_size=16, **changes):
    torch.manual_seed(0)
    settings = {
        "vocab_size": 40, "hidden_size": hidden_size, "intermediate_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2,
        "initializer_range": 0.5, "head_dim": 8, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    return MixtralForCausalLM(MixtralConfig(**(settings | changes))).eval()


IDS = torch.arange(2, 14).reshape(1, 12)


def test_generate_is_counted_token_by_token_in_every_layer():
    model = mixtral()
    with RoutingRecorder(model) as recorder:
        model.generate(IDS, max_new_tokens=6, do_sample=False)
    stats = recorder.stats()

    assert [layer.name for layer in stats.layers] == ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    for layer in stats.layers:
        assert layer.n_tokens == 12 + 5  # the last token written is not read again
        assert sum(layer.load) == pytest.approx(1.0)
        assert layer.skipped == 0.0
        assert 0.0 < layer.router_entropy < 1.0
    model(IDS)
    assert recorder.stats() == stats  # nothing is recorded after the block


def test_load_and_entropies_are_those_worked_by_hand():
    layer = MoELayer(MoEConfig(width=4, expert_width=2, n_experts=4, top_k=1))
    layer.gate.weight.data = torch.eye(4) * 100
    with RoutingRecorder(layer) as recorder:
        layer(torch.eye(4)[[0, 0, 1, 1]])  # two tokens to expert 0, two to expert 1
    (found,) = recorder.stats().layers

    assert found.load == (0.5, 0.5, 0.0, 0.0)
    assert found.load_entropy == pytest.approx(0.5)  # ln 2 / ln 4
    assert found.router_entropy == pytest.approx(0.0, abs=1e-6)
    assert recorder.stats().collapsed(below=0.6) == ("gate",)


def test_masked_slots_count_as_skipped_and_not_as_load():
    layer = MoELayer(MoEConfig(width=4, expert_width=2, n_experts=4, top_k=2))
    layer.gate.register_forward_hook(
        lambda module, inputs, output: (output[0], output[1], output[2].index_fill(1, torch.tensor([1]), 4))
    )
    with RoutingRecorder(layer) as recorder:
        layer(torch.randn(8, 4))

    assert recorder.stats().layers[0].skipped == 0.5
    assert sum(recorder.stats().layers[0].load) == pytest.approx(1.0)


def test_a_recorder_of_one_thread_ignores_the_requests_of_others():
    model = mixtral()
    with RoutingRecorder(model, this_thread_only=True) as recorder:
        other = threading.Thread(target=lambda: model(IDS))
        other.start()
        other.join()
        with torch.no_grad():
            model(IDS[:, :5])

    assert {layer.n_tokens for layer in recorder.stats().layers} == {5}


def test_a_dense_model_has_nothing_to_record():
    dense = LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    assert list(find_routers(dense)) == []
    with pytest.raises(ValueError, match="LlamaForCausalLM has no mixture-of-experts layer"):
        RoutingRecorder(dense)


@pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered")  # Triton's interpreter
@pytest.mark.parametrize("name", [name for name in dispatch_names() if get_spec(name).exact])
def test_a_stock_mixtral_computes_the_same_through_each_of_our_dispatches(name):
    register_dispatches()
    model = mixtral()
    assert can_dispatch(model)
    with torch.no_grad():
        model.set_experts_implementation("eager")
        expected = model(IDS).logits
        model.set_experts_implementation(implementation_name(name))
        logits = model(IDS).logits

    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_stock_mixtral_of_a_width_that_torch_cannot_group_runs_through_our_dispatch():
    register_dispatches()
    model = mixtral(hidden_size=30)
    with torch.no_grad():
        model.set_experts_implementation("eager")
        expected = model(IDS).logits
        model.set_experts_implementation("mmkg_grouped")
        torch.testing.assert_close(model(IDS).logits, expected, rtol=1e-5, atol=1e-5)


def test_experts_quantised_by_others_are_refused_not_misread():
    register_dispatches()
    model = mixtral()
    experts = model.model.layers[1].mlp.experts
    experts.gate_up_proj = torch.nn.Parameter(torch.zeros(4, 96, 32, dtype=torch.int8), requires_grad=False)
    model.set_experts_implementation("mmkg_looped")

    assert not can_dispatch(model)
    with pytest.raises(ValueError, match=r"experts \(gate_up_proj is int8 of shape \(4, 96, 32\)"):
        model(IDS)


def test_skipping_a_slot_in_a_stock_model_is_the_same_as_weighing_it_zero():
    register_dispatches()
    model = mixtral()
    model.set_experts_implementation("mmkg_grouped")
    handles = []

    def run(change):
        handles.extend(layer.mlp.gate.register_forward_hook(change) for layer in model.model.layers)
        with torch.no_grad():
            logits = model(IDS).logits
        while handles:
            handles.pop().remove()
        return logits

    keep = torch.tensor([1.0, 0.0])
    zeroed = run(lambda module, inputs, output: (output[0], output[1] * keep, output[2]))
    skipped = run(lambda module, inputs, output: (output[0], output[1], torch.where(keep > 0, output[2], 4)))

    torch.testing.assert_close(skipped, zeroed, rtol=1e-5, atol=1e-5)


def test_a_half_precision_model_routes_in_float32_and_still_runs():
    model = mixtral().bfloat16()
    assert route_in_float32(model) == 2
    logits = []
    model.model.layers[0].mlp.gate.register_forward_hook(lambda module, inputs, output: logits.append(output[0]))
    with torch.no_grad():
        out = model(IDS).logits

    assert logits[0].dtype == torch.float32
    assert out.dtype == torch.bfloat16
    assert route_in_float32(model) == 0  # a second call changes nothing


def test_reloading_a_stock_model_under_our_dispatch_by_name(tmp_path):
    register_dispatches()
    mixtral().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="mmkg_looped")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, mixtral()(IDS).logits, rtol=1e-5, atol=1e-5)

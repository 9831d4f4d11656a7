"""Mixtures of LoRA experts in a whole model: nothing changes before training, files fit or are refused, balance."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_backbone.lora.adapter_file import AdapterError
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.token_mixtures import (
    load_mixture,
    mix_linears,
    mixture_balance,
    recorded_mixtures,
    save_mixture,
)
from moe_backbone.training.freezing import apply_freezing, parameter_groups
from tests.moe_backbone.training.tiny import tiny_llama, tiny_mixtral

IDS = torch.arange(12).reshape(2, 6)


def mixed(seed=0, *, rank=2, n_experts=3, top_k=2, endings=("q_proj", "down_proj")):
    model = tiny_llama(seed).eval()
    mix_linears(model, LoRAConfig(rank=rank, alpha=4.0), endings=endings, n_experts=n_experts, top_k=top_k)
    return model


def trained(model):
    """Give every adapter and router random values, as training would."""
    torch.manual_seed(3)
    for name in parameter_groups(model)["@lora"]:
        torch.nn.init.normal_(model.get_parameter(name), std=0.5)
    return model


def test_a_fresh_mixture_changes_no_output_and_freezes_the_layers():
    model = mixed()

    assert torch.equal(model(IDS).logits, tiny_llama().eval()(IDS).logits)
    names = set(apply_freezing(model, train=("@lora",)))
    assert all(name.endswith((".lora.a", ".lora.b", ".gate.weight")) for name in names)
    assert len(names) == 2 * 2 * 3  # layers, matrices of each, tensors of a mixture
    assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if ".base." in name)


def test_the_routers_of_a_mixture_are_no_routers_of_the_model_that_holds_it():
    model = tiny_mixtral()
    mix_linears(model, LoRAConfig(rank=2), endings=("q_proj",), n_experts=2, top_k=1)

    groups = parameter_groups(model)

    assert len(groups["@lora"]) == 2 * 3
    assert groups["@routers"].isdisjoint(groups["@lora"])
    assert len(groups["@routers"]) == 2


def test_a_trained_mixture_comes_back_from_its_file(tmp_path):
    model = trained(mixed())

    path = save_mixture(model, tmp_path / "mixtures.safetensors")
    other = mixed()
    load_mixture(other, path)

    assert torch.equal(other(IDS).logits, model(IDS).logits)
    assert not torch.equal(model(IDS).logits, tiny_llama().eval()(IDS).logits)
    assert [item.name for item in tmp_path.iterdir()] == ["mixtures.safetensors"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"n_experts": 4}, r"was made with .*'n_experts': 3.* but the model has .*'n_experts': 4"),
        ({"top_k": 1}, r"'top_k': 2.* but the model has .*'top_k': 1"),
        ({"endings": ("q_proj",)}, r"6 tensors differ, first model\.layers\.0\.mlp\.down_proj"),
    ],
)
def test_a_file_of_another_mixture_is_refused_and_changes_nothing(other, message, tmp_path):
    path = save_mixture(trained(mixed()), tmp_path / "mixtures.safetensors")
    model = mixed(**other)
    before = model(IDS).logits

    with pytest.raises(AdapterError, match=message):
        load_mixture(model, path)

    assert torch.equal(model(IDS).logits, before)


def test_a_damaged_file_and_one_of_another_kind_are_refused(tmp_path):
    path = save_mixture(mixed(), tmp_path / "mixtures.safetensors")
    save_file(load_file(path), tmp_path / "plain.safetensors")
    path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(AdapterError, match="cannot be read as mixtures"):
        load_mixture(mixed(), path)
    with pytest.raises(AdapterError, match="is no file of mixtures"):
        load_mixture(mixed(), tmp_path / "plain.safetensors")
    with pytest.raises(AdapterError, match="has no mixtures of low-rank experts to save"):
        save_mixture(tiny_llama(), tmp_path / "none.safetensors")
    with pytest.raises(AdapterError, match="no linear layer named wq"):
        mixed(endings=("wq",))


def test_balance_is_one_for_uniform_routers_and_e_for_collapsed_ones_and_ignores_padding():
    """Three experts of which each token takes one. By hand: 3 Σ f P is 3 · 3 · (1/3 · 1/3) = 1, and 3 · 1 · 1 = 3."""
    model = mixed(top_k=1, endings=("q_proj",))
    mask = torch.ones(2, 6, dtype=torch.bool)
    gates = [layer.self_attn.q_proj.gate for layer in model.model.layers]

    for gate in gates:
        torch.nn.init.zeros_(gate.weight)
    with recorded_mixtures(model) as record:
        model(IDS)
    assert len(record) == 2
    assert mixture_balance(record, mask=mask).item() == pytest.approx(1.0)

    states = record[0].logits.new_ones(12, 16)
    for gate in gates:
        gate.weight.data[0] = 50.0
    routings = [gate(states) for gate in gates]
    assert mixture_balance(routings, mask=mask).item() == pytest.approx(3.0)

    mask[0, 3:] = False
    kept = torch.cat([torch.arange(3), torch.arange(6, 12)])
    apart = [type(one)(one.logits[kept], one.weights[kept], one.experts[kept]) for one in record]
    expected = mixture_balance(apart, mask=torch.ones(9, dtype=torch.bool))
    assert torch.equal(mixture_balance(record, mask=mask), expected)


def test_nothing_is_recorded_outside_of_the_block():
    model = mixed()

    with recorded_mixtures(model) as record:
        pass
    model(IDS)

    assert record == []

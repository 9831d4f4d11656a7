"""Low-rank experts beside linear layers: by token, instance and skill, and rank by rank."""

import pytest
import torch
from torch import nn

from moe_backbone.lora.adapter_file import AdapterError
from moe_backbone.lora.adapters import (
    adapt_linears,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
    unmerge_adapters,
    use_skill,
)
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.mixture import InstanceLoRALinear, SkillLoRALinear, TokenLoRALinear
from moe_backbone.lora.rank_wise import RankWiseLoRALinear, reference_rank_wise
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext, routing_context
from moe_backbone.routers.null import NullConfig, NullRouter
from moe_backbone.routers.sigmoid import SigmoidConfig, SigmoidRouter
from moe_backbone.routers.top_k import TopKConfig, TopKRouter

IN, OUT, N = 8, 12, 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def router(width=IN, n_experts=N, top_k=2):
    return TopKRouter(TopKConfig(width=width, n_experts=n_experts, top_k=top_k, init_std=0.5))


def stir(module, names=("a", "b")):
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] in names:
            parameter.data = torch.randn(parameter.shape, dtype=parameter.dtype) * 0.3
    return module.double()


def materialised(layer, x_TI, weights, index):
    """Every token's own full matrix, in a plain loop."""
    rows = []
    for x, row, ids in zip(x_TI, weights, index.tolist(), strict=True):
        matrix = layer.base.weight
        for weight, expert in zip(row, ids, strict=True):
            if 0 <= expert < len(layer.lora.a):
                matrix = matrix + weight * layer.lora.scale * layer.lora.b[expert] @ layer.lora.a[expert]
        rows.append(matrix @ x + layer.base.bias)
    return torch.stack(rows)


def assert_same(layer, out, expected, x):
    """Same values, and same gradients for the input and every parameter."""
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
    leaves = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    target = torch.randn(out.shape, dtype=out.dtype)
    mine = torch.autograd.grad((out * target).sum(), leaves, allow_unused=True)
    theirs = torch.autograd.grad((expected * target).sum(), leaves, allow_unused=True)
    assert mine[0].abs().max() > 0
    for one, other in zip(mine, theirs, strict=True):
        zero = torch.zeros(1, dtype=out.dtype)
        torch.testing.assert_close(zero if one is None else one, zero if other is None else other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["top_k", "null"])
def test_token_routed_experts_equal_a_full_matrix_per_token(kind):
    chosen = router() if kind == "top_k" else NullRouter(NullConfig(width=IN, n_experts=N, top_k=3, n_null=4))
    layer = stir(TokenLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=3), chosen))
    x = torch.randn(2, 7, IN, dtype=torch.float64, requires_grad=True)
    flat = x.reshape(-1, IN)
    _, weights, index = layer.gate(flat)

    assert_same(layer, layer(x).reshape(-1, OUT), materialised(layer, flat, weights, index), x)


def test_a_fresh_mixture_changes_nothing_and_experts_that_are_not_chosen_are_not_read():
    base = nn.Linear(IN, OUT)
    layer = TokenLoRALinear(base, LoRAConfig(rank=3), router(top_k=1))
    x = torch.randn(5, IN)
    torch.testing.assert_close(layer(x), base(x))
    unused = sorted(set(range(N)) - set(layer.gate(x).experts.reshape(-1).tolist()))
    assert unused
    layer.lora.a.data[unused] = float("nan")
    layer.lora.b.data[unused] = float("nan")

    assert layer(x).isfinite().all()


def test_instance_routed_experts_are_the_same_for_all_tokens_of_a_sequence():
    layer = stir(InstanceLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=3), router()))
    x = torch.randn(3, 5, IN, dtype=torch.float64, requires_grad=True)
    _, weights, index = layer.gate(x.mean(dim=1))

    expected = materialised(layer, x.reshape(-1, IN), weights.repeat_interleave(5, 0), index.repeat_interleave(5, 0))

    assert_same(layer, layer(x).reshape(-1, OUT), expected, x)


def test_padding_does_not_choose_for_an_instance():
    layer = stir(InstanceLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=3), router()))
    x = torch.randn(2, 6, IN, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    padded = x.clone()
    padded[0, 4:] = float("nan")

    short = layer(x[:1, :4])

    torch.testing.assert_close(layer(padded, RoutingContext(mask=mask))[0, :4], short[0], rtol=0, atol=1e-12)


def test_an_instance_vector_keeps_the_choice_while_the_text_grows_and_the_mean_does_not():
    torch.manual_seed(1)
    layer = stir(InstanceLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=3), router(top_k=1)))
    x = torch.randn(1, 6, IN, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4:] = 8.0 * torch.randn(1, 2, IN, dtype=torch.float64)
    given = RoutingContext(instance=torch.randn(1, IN, dtype=torch.float64))

    torch.testing.assert_close(layer(changed, given)[:, :4], layer(x, given)[:, :4])
    assert (layer(changed)[:, :4] - layer(x)[:, :4]).abs().max() > 1e-3  # documented: the mean is not causal


def test_an_instance_router_of_another_width_asks_for_the_vector():
    layer = InstanceLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=3), router(width=5), name="mlp.up_proj")
    x = torch.randn(2, 3, IN)
    assert layer(x, RoutingContext(instance=torch.randn(2, 5))).shape == (2, 3, OUT)
    with pytest.raises(RouterError, match="mlp.up_proj: the router is for width 5, the layer takes 8: give instance"):
        layer(x)
    with pytest.raises(RouterError, match="instance has 3 rows for 2 sequences"):
        layer(x, RoutingContext(instance=torch.randn(3, 5)))
    with pytest.raises(ValueError, match=r"x must have shape \(B, L, I\), got \(3, 8\)"):
        layer(x[0])


def test_a_skill_uses_its_own_adapter_and_base_none():
    layer = stir(SkillLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=2), skills=("answer", "verify")))
    x = torch.randn(4, IN, dtype=torch.float64)
    pair = layer.sets["verify"]
    layer.sets["answer"].a.data.fill_(float("nan"))

    out = layer(x, RoutingContext(skill="verify"))

    expected = x @ (layer.base.weight + pair.delta(0)).T + layer.base.bias
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    assert torch.equal(layer(x, RoutingContext(skill="base")), layer.base(x))
    with pytest.raises(RouterError, match="the skill 'sing' is not loaded; there are base, answer, verify"):
        layer(x, RoutingContext(skill="sing"))


def test_linear_adapters_of_one_skill_are_loaded_alone(tmp_path):
    def build():
        torch.manual_seed(0)
        return nn.ModuleDict({"q_proj": nn.Linear(IN, IN), "o_proj": nn.Linear(IN, IN)})

    trained = build()
    assert adapt_linears(trained, LoRAConfig(rank=2), endings=("q_proj",), skills=("answer", "verify")) == ("q_proj",)
    for parameter in trained["q_proj"].sets.parameters():
        parameter.data = torch.randn(parameter.shape)
    save_adapter(trained, tmp_path / "v.safetensors", skill="verify")
    served = build()
    adapt_linears(served, LoRAConfig(rank=2), endings=("q_proj",))
    load_adapter(served, tmp_path / "v.safetensors")

    x = torch.randn(3, IN)
    with routing_context(skill="verify"):
        assert torch.equal(served["q_proj"](x), trained["q_proj"](x))
    assert list(served["q_proj"].sets) == ["verify"]
    with pytest.raises(RouterError, match="q_proj: no skill is named"):
        served["q_proj"](x)
    assert use_skill(served, "verify") == 1
    expected = served["q_proj"](x)  # the process serves one skill
    with pytest.raises(AdapterError, match="q_proj cannot merge 'sing'"):
        merge_adapters(served, "sing")
    assert merge_adapters(served, "verify") == 1
    torch.testing.assert_close(served["q_proj"].base(x), expected)
    torch.testing.assert_close(served["q_proj"](x), expected)
    with pytest.raises(RouterError, match="the set 'verify' is merged; unmerge it before 'base' is used"):
        served["q_proj"](x, RoutingContext(skill="base"))
    with pytest.raises(AdapterError, match="has the set 'verify' merged"):
        load_adapter(served, tmp_path / "v.safetensors")
    assert unmerge_adapters(served) == 1
    torch.testing.assert_close(served["q_proj"](x), expected)
    assert remove_adapters(served) == 1
    assert isinstance(served["q_proj"], nn.Linear)
    with pytest.raises(AdapterError, match="no linear layer named k_proj"):
        adapt_linears(served, LoRAConfig(), endings=("k_proj",))


@pytest.mark.parametrize("kind", ["sigmoid", "top_k"])
def test_rank_wise_routing_equals_a_full_matrix_per_token(kind):
    torch.manual_seed(2)
    shape = {"width": IN, "n_experts": 6, "top_k": 2, "init_std": 0.5}
    chosen = TopKRouter(TopKConfig(**shape)) if kind == "top_k" else SigmoidRouter(SigmoidConfig(**shape))
    layer = stir(RankWiseLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=6), chosen))
    x = torch.randn(2, 7, IN, dtype=torch.float64, requires_grad=True)
    flat = x.reshape(-1, IN)
    _, weights, index = layer.gate(flat)

    assert_same(layer, layer(x).reshape(-1, OUT), reference_rank_wise(layer, flat, weights, index), x)


def test_ranks_that_no_token_chose_are_not_read():
    layer = stir(RankWiseLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=6), router(n_experts=6)))
    x = torch.randn(1, IN, dtype=torch.float64)
    unused = sorted(set(range(6)) - set(layer.gate(x).experts[0].tolist()))
    layer.a.data[unused] = float("nan")
    layer.b.data[:, unused] = float("nan")

    assert layer(x).isfinite().all()
    assert layer(x[:0]).shape == (0, OUT)
    with pytest.raises(ValueError, match="router is for width 8 and 4 ranks, the layer takes 8 and has 6"):
        RankWiseLoRALinear(nn.Linear(IN, OUT), LoRAConfig(rank=6), router(n_experts=4))
    with pytest.raises(ValueError, match="the router is for width 8, the layer takes 12"):
        TokenLoRALinear(nn.Linear(OUT, IN), LoRAConfig(rank=6), router())

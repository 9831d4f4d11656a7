"""Configuration, router, experts and the whole layer."""

import pytest
import torch

from moe_backbone.config import Activation, MoEConfig, MoEConfigError, SoftmaxOrder
from moe_backbone.experts import Experts, GatedFeedForward
from moe_backbone.layer import MoELayer
from moe_backbone.routers import TopKRouter, choose_top_k


def config(**changes):
    return MoEConfig(**({"width": 8, "expert_width": 6, "n_experts": 4, "top_k": 2} | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": 5}, "top_k=5 asks for more experts per token than there are"),
        ({"n_experts": 0}, "n_experts must be a whole number >= 1, got 0"),
        ({"top_k": 0}, "top_k must be"),
        ({"width": -1}, "width must be"),
        ({"expert_width": 2.5}, "expert_width must be"),
        ({"n_experts": True}, "n_experts must be"),
        ({"shared_width": -1}, "shared_width must be a whole number >= 0"),
        ({"init_std": float("nan")}, "init_std must be finite"),
        ({"softmax": "after_top_k"}, "softmax must be one of SoftmaxOrder"),
    ],
)
def test_impossible_shapes_are_refused_with_the_number_to_change(changes, said):
    with pytest.raises(MoEConfigError, match=said):
        config(**changes)


def test_softmax_after_top_k_sums_to_one_and_before_keeps_the_global_probability():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))

    after, index = choose_top_k(logits, top_k=2, softmax=SoftmaxOrder.AFTER_TOP_K)
    before, same_index = choose_top_k(logits, top_k=2, softmax=SoftmaxOrder.BEFORE_TOP_K)

    assert index.tolist() == same_index.tolist() == [[0, 1]]
    torch.testing.assert_close(after, torch.tensor([[0.625, 0.375]]))  # 0.5 / 0.8 and 0.3 / 0.8
    torch.testing.assert_close(before, torch.tensor([[0.5, 0.3]]))


def test_a_half_precision_router_decides_as_the_float32_one():
    torch.manual_seed(0)
    router = TopKRouter(config(width=64, n_experts=8)).bfloat16()
    x = torch.randn(200, 64).bfloat16()

    logits, weights, index = router(x)

    exact = x.float() @ router.weight.float().T
    assert logits.dtype == weights.dtype == torch.float32
    assert torch.equal(index, exact.topk(2).indices)


def test_a_router_names_the_shape_it_wants():
    with pytest.raises(ValueError, match=r"must have shape \(T, 8\), got \(2, 3, 8\)"):
        TopKRouter(config())(torch.zeros(2, 3, 8))


def test_a_feed_forward_split_into_experts_that_are_all_on_equals_the_dense_one():
    torch.manual_seed(1)
    dense = GatedFeedForward(width=8, inner_width=24, activation=Activation.SILU, init_std=0.5).double()
    split = Experts(config(top_k=4)).double()  # 4 slices of 6
    for expert in range(4):
        rows = slice(6 * expert, 6 * expert + 6)
        split.gate_up_proj.data[expert] = torch.cat([dense.gate_proj.weight[rows], dense.up_proj.weight[rows]])
        split.down_proj.data[expert] = dense.down_proj.weight[:, rows]
    x = torch.randn(5, 8, dtype=torch.float64)

    y = split(x, torch.arange(4).repeat(5, 1), torch.ones(5, 4, dtype=torch.float64))

    torch.testing.assert_close(y, dense(x), rtol=0, atol=1e-12)


def test_permuting_experts_with_their_router_rows_changes_nothing():
    torch.manual_seed(2)
    layer, permuted = MoELayer(config(init_std=0.5)).double(), MoELayer(config(init_std=0.5)).double()
    order = torch.tensor([2, 0, 3, 1])
    permuted.gate.weight.data = layer.gate.weight.data[order]
    permuted.experts.gate_up_proj.data = layer.experts.gate_up_proj.data[order]
    permuted.experts.down_proj.data = layer.experts.down_proj.data[order]
    x = torch.randn(3, 7, 8, dtype=torch.float64)

    torch.testing.assert_close(permuted(x), layer(x), rtol=0, atol=1e-12)


def test_the_shared_expert_is_added_to_what_the_routed_experts_say():
    torch.manual_seed(3)
    layer = MoELayer(config(shared_width=5, init_std=0.5)).double()
    x = torch.randn(4, 8, dtype=torch.float64)
    both = layer(x)
    shared = layer.shared_expert(x)
    layer.shared_expert = None

    torch.testing.assert_close(both, layer(x) + shared, rtol=0, atol=1e-12)


def test_a_token_is_routed_alike_whatever_tokens_follow_it():
    torch.manual_seed(4)
    layer = MoELayer(config(init_std=0.5))
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] = torch.randn(1, 2, 8)

    torch.testing.assert_close(layer(changed)[:, :4], layer(x)[:, :4])


def test_gradients_reach_router_experts_and_input():
    torch.manual_seed(5)
    layer = MoELayer(config(init_std=0.5))
    x = torch.randn(6, 8, requires_grad=True)

    layer(x).square().sum().backward()

    assert all(parameter.grad.abs().max() > 0 for parameter in (*layer.parameters(), x))


def test_an_unknown_dispatch_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="no dispatch 'fast'; choose one of auto, .*looped, .*reference"):
        Experts(config(), dispatch="fast")

"""Configuration, router, experts and the whole layer."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moe_backbone.blocks import edit_routing
from moe_backbone.config import Activation, MoEConfig, MoEConfigError, SoftmaxOrder
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.experts import Experts, GatedFeedForward
from moe_backbone.layer import MoELayer
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.guard import RefuseBadRouting
from moe_backbone.routers.registry import router_names
from moe_backbone.routers.top_k import TopKConfig, TopKRouter, choose_top_k
from tests.moe_backbone.routers.made import E, H, context_for, make_router


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
    router = TopKRouter(TopKConfig(width=64, n_experts=8, top_k=2)).bfloat16()
    x = torch.randn(200, 64).bfloat16()

    logits, weights, index = router(x)

    exact = x.float() @ router.weight.float().T
    assert logits.dtype == weights.dtype == torch.float32
    assert torch.equal(index, exact.topk(2).indices)


def test_a_router_names_the_shape_it_wants():
    with pytest.raises(ValueError, match=r"must have shape \(T, 8\), got \(2, 3, 8\)"):
        TopKRouter(TopKConfig(width=8, n_experts=4, top_k=2))(torch.zeros(2, 3, 8))


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


CASES = {
    "spread": torch.randn(40, H, generator=torch.Generator().manual_seed(5)).double(),
    "one direction, so most experts are empty": torch.ones(9, H).double() * torch.arange(1, 10)[:, None] / 5,
    "one token": torch.linspace(-1, 1, H).double()[None],
    "no tokens": torch.zeros(0, H).double(),
}


SPECS = [get_spec(name) for name in dispatch_names()]
EXACT = [spec.name for spec in SPECS if spec.exact and spec.differentiable and spec.available()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dispatch", EXACT)
@pytest.mark.parametrize("name", router_names())
def test_a_layer_with_any_router_and_dispatch_equals_the_float64_reference_forward_and_backward(name, dispatch, case):
    x, shape = CASES[case], MoEConfig(width=H, expert_width=12, n_experts=E, top_k=2, shared_width=4, init_std=0.3)
    exact = MoELayer(shape, router=make_router(name), dispatch="reference").double()
    layer = MoELayer(shape, router=make_router(name), dispatch=dispatch)
    layer.load_state_dict(exact.state_dict())
    target = torch.randn(x.shape, dtype=torch.float64)
    mine, theirs = x.float().requires_grad_(), x.clone().requires_grad_()

    out, expected = layer(mine, context_for(name, len(x))), exact(theirs, context_for(name, len(x)))
    (out * target.float()).sum().backward()
    (expected * target).sum().backward()

    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)
    pairs = [(mine, theirs), *zip(layer.parameters(), exact.parameters(), strict=True)]
    grads = [[torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in pair] for pair in pairs]
    scale = max((wanted.abs().max().item() for _, wanted in grads if wanted.numel()), default=0.0)
    for grad, wanted in grads:
        torch.testing.assert_close(grad.double(), wanted, rtol=1e-5, atol=1e-5 * scale)


def test_fine_grained_experts_have_the_parameters_and_the_compute_of_the_coarse_ones():
    coarse = config(width=16, expert_width=24, n_experts=4, top_k=2)
    fine = coarse.fine_grained(granularity=4)
    shared = coarse.fine_grained(granularity=4, n_shared=2)
    assert (fine.n_experts, fine.expert_width, fine.top_k, fine.shared_width) == (16, 6, 8, 0)
    assert (shared.n_experts, shared.expert_width, shared.top_k, shared.shared_width) == (14, 6, 6, 12)

    def cost(shape):
        layer, x = MoELayer(shape, dispatch="looped"), torch.randn(10, 16)  # torch counts no grouped product
        experts = sum(p.numel() for name, p in layer.named_parameters() if not name.startswith("gate"))
        counter = FlopCounterMode(display=False)
        with counter:
            layer(x)
        return experts, counter.get_total_flops() - 2 * 10 * 16 * shape.n_experts  # the router's own product

    assert cost(coarse) == cost(fine) == cost(shared)
    assert cost(coarse)[0] == 3 * 16 * 24 * 4
    assert cost(coarse)[1] == 2 * 10 * 2 * 3 * 16 * 24  # tokens · top k · three projections


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"granularity": 5}, "granularity=5 does not divide expert_width=6"),
        ({"granularity": 0}, "granularity must be"),
        ({"granularity": 2, "n_shared": 4}, "n_shared=4 leaves no routed expert to a token that visits 4"),
        ({"granularity": 2, "n_shared": -1}, "n_shared must be"),
    ],
)
def test_a_granularity_that_does_not_fit_is_refused(settings, said):
    with pytest.raises(MoEConfigError, match=said):
        config().fine_grained(**settings)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: e(torch.zeros(3, 7), torch.zeros(3, 2).long(), torch.ones(3, 2)), r"shape \(T, 8\), got \(3, 7\)"),
        (lambda e: e(torch.zeros(3, 8), torch.zeros(3, 2).long(), torch.ones(3, 1)), r"\(3, K\), got \(3, 2\) and"),
        (lambda e: e(torch.zeros(3, 8), torch.zeros(2, 2).long(), torch.ones(2, 2)), r"\(3, K\), got \(2, 2\)"),
        (lambda e: e(torch.zeros(3, 8), torch.zeros(3, 2), torch.ones(3, 2)), "whole numbers, got torch.float32"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_the_experts_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(Experts(config()))


def test_the_guard_names_the_block_of_a_model_whose_router_went_wrong():
    model = torch.nn.ModuleDict({"one": MoELayer(config()), "two": MoELayer(config())})
    x = torch.randn(3, 8)
    with edit_routing(model, RefuseBadRouting()):
        model["two"](model["one"](x))
        model["two"](x[:0])
        experts = model["two"].experts
        with pytest.raises(RouterError, match=r"^two: the router's weights are NaN or infinite for 1 of 3 .*token 2"):
            experts(x, torch.zeros(3, 1).long(), torch.tensor([[1.0], [1.0], [float("nan")]]))
        with pytest.raises(RouterError, match="two: expert ids reach from 0 to 5; there are 4 experts, and 4"):
            experts(x, torch.tensor([[0], [4], [5]]), torch.ones(3, 1))
        with pytest.raises(RouterError, match=r"two: 3 tokens were routed with ids \(2, 1\)"):
            experts(x, torch.zeros(2, 1).long(), torch.ones(2, 1))


@pytest.mark.parametrize("name", [name for name in router_names() if name not in ("modality", "expert_choice")])
def test_routing_works_on_the_meta_device_where_nothing_can_be_read(name):
    router = make_router(name).to("meta")

    routing = router(torch.empty(5, H, device="meta"), context_for(name, 5))

    assert routing.weights.shape == routing.experts.shape
    assert routing.experts.is_meta


def test_gradients_reach_router_experts_and_input():
    torch.manual_seed(5)
    layer = MoELayer(config(init_std=0.5))
    x = torch.randn(6, 8, requires_grad=True)

    layer(x).square().sum().backward()

    assert all(parameter.grad.abs().max() > 0 for parameter in (*layer.parameters(), x))


def test_an_unknown_dispatch_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="no dispatch 'fast'; choose one of auto, .*looped, .*reference"):
        Experts(config(), dispatch="fast")

"""The same on a GPU: routers, layers, losses and adapters give there what they give on the CPU in float64."""

import pytest
import torch

from moe_backbone.config import MoEConfig
from moe_backbone.layer import MoELayer
from moe_backbone.lora.fused import LoRAFusedExperts
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.mixture import TokenLoRALinear
from moe_backbone.lora.rank_wise import RankWiseLoRALinear
from moe_backbone.losses.balance import load_balance_loss, routing_totals
from moe_backbone.losses.bias import update_biases
from moe_backbone.losses.modality import global_entropy_loss, routing_divergence_loss
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.registry import router_names
from moe_backbone.routers.top_k import TopKConfig, TopKRouter
from moe_backbone.soft import SoftMoEConfig, SoftMoELayer
from tests.moe_backbone.routers.made import E, H, make_router

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CONTEXT = RoutingContext(modality=torch.arange(40) % 3, skill="verify")


@pytest.fixture(autouse=True)
def _exact_and_seeded():
    torch.manual_seed(0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def assert_same_on_both(module, x, *args):
    """Forward and backward: float64 on the CPU against float32 on the GPU."""
    target = torch.randn(x.shape[:-1] + (module(x, *args).shape[-1],), dtype=torch.float64)
    exact_x, gpu_x = x.double().requires_grad_(), x.cuda().requires_grad_()
    exact = module.double()
    expected = exact(exact_x, *(a.double() if torch.is_tensor(a) and a.is_floating_point() else a for a in args))
    (expected * target).sum().backward()
    wanted = [None if p.grad is None else p.grad.clone() for p in exact.parameters()]
    module.zero_grad()
    on_gpu = module.float().cuda()
    moved = []
    for a in args:
        if isinstance(a, RoutingContext):
            a = RoutingContext(modality=None if a.modality is None else a.modality.cuda(), skill=a.skill)
        moved.append(a.cuda() if torch.is_tensor(a) else a)
    out = on_gpu(gpu_x, *moved)
    (out * target.float().cuda()).sum().backward()
    torch.testing.assert_close(out.double().cpu(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gpu_x.grad.double().cpu(), exact_x.grad, rtol=1e-4, atol=1e-4)
    for parameter, grad in zip(on_gpu.parameters(), wanted, strict=True):
        if grad is not None:
            torch.testing.assert_close(parameter.grad.double().cpu(), grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dispatch", ["grouped", "looped"])
@pytest.mark.parametrize("name", router_names())
def test_a_layer_with_any_router(name, dispatch):
    shape = MoEConfig(width=H, expert_width=16, n_experts=E, top_k=2, shared_width=4, init_std=0.3)
    assert_same_on_both(MoELayer(shape, router=make_router(name), dispatch=dispatch), torch.randn(40, H), CONTEXT)


def test_a_soft_layer():
    layer = SoftMoELayer(SoftMoEConfig(width=8, expert_width=8, n_experts=3, slots_per_expert=2, init_std=0.5))
    assert_same_on_both(layer, torch.randn(2, 6, 8))


def test_nan_is_refused():
    layer = MoELayer(MoEConfig(width=H, expert_width=16, n_experts=E, top_k=2), name="two").cuda()
    with pytest.raises(RouterError, match="two: .* for 1 of 3 tokens"):
        layer(torch.tensor([[0.0] * H, [float("nan")] * H, [1.0] * H], device="cuda"))


@pytest.mark.parametrize("rank", [4, 3])
def test_adapters(rank):
    shape = MoEConfig(width=16, expert_width=16, n_experts=E, top_k=2, init_std=0.3)
    wrapper = LoRAFusedExperts(MoELayer(shape).experts, LoRAConfig(rank=rank))
    token = TokenLoRALinear(
        torch.nn.Linear(16, 16), LoRAConfig(rank=rank), TopKRouter(TopKConfig(width=16, n_experts=4, top_k=2))
    )
    ranks = RankWiseLoRALinear(
        torch.nn.Linear(16, 16), LoRAConfig(rank=6), TopKRouter(TopKConfig(width=16, n_experts=6, top_k=2))
    )
    for module in (wrapper, token, ranks):
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2] in ("a", "b"):
                parameter.data.normal_(std=0.2)
    index = torch.rand(9, E).topk(2).indices
    assert_same_on_both(wrapper, torch.randn(9, 16), index, torch.rand(9, 2))
    assert_same_on_both(token, torch.randn(9, 16))
    assert_same_on_both(ranks, torch.randn(9, 16))


def test_losses_and_the_bias():
    logits, modality = [torch.randn(40, E)], torch.arange(40) % 2
    for loss in (
        lambda where: load_balance_loss([logits[0].to(where)], top_k=2, mask=(modality.to(where) == 0)),
        lambda where: global_entropy_loss([logits[0].to(where)], modality=modality.to(where), n_modalities=2).sum(),
        lambda where: routing_divergence_loss([logits[0].to(where)], modality=modality.to(where), n_modalities=2),
    ):
        torch.testing.assert_close(loss("cuda").cpu(), loss("cpu"))
    totals = routing_totals([logits[0].cuda()], top_k=2)
    bias = torch.zeros(E, device="cuda")
    update_biases([bias], totals)
    assert bias.abs().max().item() == pytest.approx(0.001)

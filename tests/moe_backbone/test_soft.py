"""The soft mixture: equal to its naive reference, blind to padding, and not causal."""

import pytest
import torch

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.context import RoutingContext
from moe_backbone.soft import SoftMoEConfig, SoftMoELayer, reference_soft_moe


def layer(dispatch="grouped", **changes):
    torch.manual_seed(0)
    shape = {"width": 8, "expert_width": 6, "n_experts": 3, "slots_per_expert": 2, "init_std": 0.5} | changes
    made = SoftMoELayer(SoftMoEConfig(**shape), dispatch=dispatch)
    made.scale.data.fill_(4.0)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dispatch", ["grouped", "looped", "reference"])
def test_it_equals_the_naive_reference_forward_and_backward(dispatch, dtype):
    exact, made = layer().double(), layer(dispatch).to(dtype)
    x, target = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    out = made(x.to(dtype))
    expected = torch.stack([reference_soft_moe(exact, sequence) for sequence in x])
    (out * target.to(dtype)).sum().backward()
    (expected * target).sum().backward()

    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(made.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance)


def test_padding_fills_no_slot_whatever_it_holds():
    made = layer().double()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    x[0, 4:] = float("nan")
    mask = torch.arange(7) < torch.tensor([[4], [7]])

    out = made(x, RoutingContext(mask=mask))

    torch.testing.assert_close(out[0, :4], made(x[:1, :4])[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(out[1], made(x[1:])[0], rtol=0, atol=1e-12)
    assert torch.equal(out[0, 4:], torch.zeros(3, 8, dtype=torch.float64))
    assert torch.equal(made(x, RoutingContext(mask=torch.zeros(2, 7))), torch.zeros_like(x))


def test_a_changed_future_token_changes_the_past_as_documented():
    made = layer()
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 5] = torch.randn(8)

    assert (made(changed)[:, :5] - made(x)[:, :5]).abs().max() > 1e-3


def test_no_tokens_and_no_sequences_are_fine():
    assert layer()(torch.zeros(2, 0, 8)).shape == (2, 0, 8)
    assert layer()(torch.zeros(0, 4, 8)).shape == (0, 4, 8)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(B, L, 8\), got \(3, 8\)"):
        layer()(torch.zeros(3, 8))
    with pytest.raises(MoEConfigError, match="slots_per_expert must be"):
        SoftMoEConfig(width=8, expert_width=6, n_experts=3, slots_per_expert=0)
    with pytest.raises(MoEConfigError, match="n_experts must be a whole number >= 1, got 0"):
        SoftMoEConfig(width=8, expert_width=6, n_experts=0)

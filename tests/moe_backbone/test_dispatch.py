"""Every dispatch equals the float64 reference, forward and backward, in the awkward cases too."""

import pytest
import torch
from torch.nn.functional import silu

from moe_backbone.dispatch.grouped import can_group, grouped_experts
from moe_backbone.dispatch.reference import reference_experts
from moe_backbone.dispatch.registry import dispatch_names, get_dispatch, get_spec

# Unused rows of a block hold whatever was in memory; Triton's interpreter multiplies, does not store, and warns.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered")
E, H, WIDTH, K = 5, 8, 12, 2
RUNNABLE = [
    name
    for name in dispatch_names()
    if get_spec(name).available()
    and get_spec(name).supports(torch.zeros(1, H), torch.zeros(E, 2 * WIDTH, H), torch.zeros(E, H, WIDTH))
]
FAST = [name for name in RUNNABLE if name != "reference"]
EXACT = [name for name in FAST if get_spec(name).exact]
APPROXIMATE = [name for name in FAST if not get_spec(name).exact]
TRAINABLE = [name for name in RUNNABLE if get_spec(name).differentiable]


def relative(got, expected):
    return float((got.double() - expected).norm() / expected.norm().clamp(min=1e-30))


def routing(case, n_tokens=9):
    generator = torch.Generator().manual_seed(3)
    if case == "spread":
        index = torch.rand(n_tokens, E, generator=generator).topk(K).indices
    elif case == "one token":
        index = torch.tensor([[3, 0]])
    elif case == "one token, one slot without expert":
        index = torch.tensor([[E, 2]])
    elif case == "empty experts":
        index = torch.tensor([[1, 3]]).repeat(n_tokens, 1)
    elif case == "all tokens to one expert":
        index = torch.full((n_tokens, 1), 4)
    elif case == "some slots without expert":
        index = torch.rand(n_tokens, E, generator=generator).topk(K).indices
        index[::2, 1] = E  # the sentinel of transformers
        index[1, :] = -1
    elif case == "no slot with an expert":
        index = torch.full((n_tokens, K), E)
    else:
        index = torch.zeros(0, K, dtype=torch.int64)
    return index, torch.rand(index.shape, generator=generator)


CASES = ["spread", "empty experts", "all tokens to one expert", "some slots without expert", "no slot with an expert",
         "no tokens", "one token", "one token, one slot without expert"]  # fmt: skip


def operands_of(index, dtype, *, width=H):
    generator = torch.Generator().manual_seed(7)
    shapes = [(index.shape[0], width), (E, 2 * WIDTH, width), (E, width, WIDTH)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def run(dispatch, index, weights, dtype, *, width=H):
    operands = [tensor.requires_grad_() for tensor in operands_of(index, dtype, width=width)]
    weights = weights.to(dtype).requires_grad_()
    target = torch.randn(operands[0].shape, generator=torch.Generator().manual_seed(8)).to(dtype)
    out = dispatch(*operands, index, weights, silu)
    (out * target).sum().backward()
    zeros = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in (*operands, weights)]
    return out.detach(), zeros


@pytest.mark.parametrize("width", [8, 6], ids=["aligned rows", "rows torch cannot group"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXACT)
def test_dispatch_equals_the_float64_reference_forward_and_backward(name, case, dtype, width):
    index, weights = routing(case)
    expected, expected_grads = run(reference_experts, index, weights, torch.float64, width=width)

    out, grads = run(get_dispatch(name), index, weights, dtype, width=width)

    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert relative(out, expected) <= tolerance
    for grad, wanted in zip(grads, expected_grads, strict=True):
        assert relative(grad, wanted) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXACT)
def test_dispatch_equals_the_float64_reference_in_inference_too(name, case, dtype):
    index, weights = routing(case)
    operands = operands_of(index, dtype)
    with torch.inference_mode():
        expected = reference_experts(*(tensor.double() for tensor in operands), index, weights.double(), silu)
        out = get_dispatch(name)(*operands, index, weights, silu)

    assert out.dtype == dtype
    assert relative(out, expected) <= {torch.float32: 1e-5, torch.float64: 1e-7, torch.bfloat16: 0.02}[dtype]


@pytest.mark.parametrize("width", [8, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", APPROXIMATE)
def test_an_approximate_dispatch_equals_the_naive_form_of_its_own_arithmetic(name, case, dtype, width):
    index, weights = routing(case)
    operands = operands_of(index, dtype, width=width)
    with torch.no_grad():
        expected = get_spec(name).reference(*operands, index, weights, silu)
        exact = reference_experts(*(tensor.double() for tensor in operands), index, weights.double(), silu)
        out = get_dispatch(name)(*operands, index, weights, silu)

    assert out.dtype == dtype
    assert relative(out, expected) <= 1e-3
    assert relative(out, exact) <= 0.1
    assert exact.norm() == 0 or relative(out, exact) >= 1e-4  # or it would be called exact


@pytest.mark.parametrize("name", [name for name in FAST if not get_spec(name).differentiable])
def test_a_dispatch_without_gradient_refuses_to_be_trained_through(name):
    index, weights = routing("spread")
    operands = operands_of(index, torch.float32)
    operands[1].requires_grad_()

    with pytest.raises(ValueError, match="have no gradient, and one is asked for"):
        get_dispatch(name)(*operands, index, weights, silu)


@pytest.mark.parametrize("name", TRAINABLE)
def test_gradients_agree_with_finite_differences(name):
    index, weights = routing("some slots without expert", n_tokens=3)
    generator = torch.Generator().manual_seed(1)
    operands = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in [(3, 2), (E, 4, 2), (E, 2, 2)]
    ]
    weights = weights.double().requires_grad_()

    def call(hidden, gate_up, down, w):
        return get_dispatch(name)(hidden, gate_up, down, index, w, silu)

    assert torch.autograd.gradcheck(call, (*operands, weights))


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_token_without_experts_gets_exactly_zero(name):
    hidden = torch.full((2, H), 1e30)
    index = torch.tensor([[E, -1], [E, E]])
    out = get_dispatch(name)(
        hidden, torch.ones(E, 2 * WIDTH, H), torch.ones(E, H, WIDTH), index, torch.ones(2, 2), silu
    )

    assert torch.equal(out, torch.zeros(2, H))


@pytest.mark.parametrize("name", EXACT)
def test_half_precision_stays_near_the_reference_and_keeps_its_dtype(name):
    index, weights = routing("spread")
    expected, _ = run(reference_experts, index, weights, torch.float64)
    out, _ = run(get_dispatch(name), index, weights, torch.bfloat16)

    assert out.dtype == torch.bfloat16
    assert (out.double() - expected).norm() / expected.norm() < 0.03  # bfloat16 has 8 bits: 2^-8 a product


def test_float64_narrow_rows_and_mixed_dtypes_are_not_given_to_torchs_grouped_product():
    aligned = torch.zeros(4, 8)
    gate_up, down = torch.zeros(2, 8, 8), torch.zeros(2, 8, 4)
    assert not can_group(aligned.double(), gate_up.double(), down.double())
    assert not can_group(torch.zeros(4, 6), torch.zeros(2, 8, 6), torch.zeros(2, 6, 4))
    assert not can_group(aligned, gate_up.bfloat16(), down)
    assert not can_group(aligned, torch.zeros(2, 8, 8, 2)[..., 0], down)  # no dimension is contiguous


def test_the_grouped_dispatch_calls_torchs_grouped_product_where_it_can(monkeypatch):
    if not hasattr(torch.nn.functional, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    calls = []
    real = torch.nn.functional.grouped_mm
    monkeypatch.setattr(torch.nn.functional, "grouped_mm", lambda *a, **k: calls.append(1) or real(*a, **k))
    index, weights = routing("spread")

    run(grouped_experts, index, weights, torch.float32)

    assert len(calls) == 2

"""Adapters around fused experts: equal to materialised deltas, active experts alone, merged exactly, around stock."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GptOssConfig, MixtralConfig, MixtralForCausalLM
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts

from moe_backbone.blocks import find_blocks
from moe_backbone.config import MoEConfig, MoEConfigError
from moe_backbone.experts import Experts
from moe_backbone.layer import MoELayer
from moe_backbone.lora.adapter_file import AdapterError
from moe_backbone.lora.adapters import (
    adapt_experts,
    load_adapter,
    remove_adapters,
    save_adapter,
    skill_parameters,
    use_skill,
)
from moe_backbone.lora.fused import LoRAFusedExperts
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import routing_context

E, H, WIDTH = 6, 16, 12


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def experts(dtype=torch.float64, **changes):
    config = MoEConfig(**({"width": H, "expert_width": WIDTH, "n_experts": E, "top_k": 2, "init_std": 0.3} | changes))
    return Experts(config, dispatch="reference").to(dtype)


def stir(wrapper, seed=0):
    """Adapters that have learned something: B is zero when fresh."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in wrapper.sets.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.2
    return wrapper


def with_deltas(base, wrapper, skill="default"):
    """The same experts with every adapter's delta written out in full."""
    full = experts()
    for which in ("gate_up", "down"):
        pair = wrapper.sets[skill][which]
        weight = getattr(base, f"{which}_proj") + pair.scale * torch.einsum("eor,eri->eoi", pair.b, pair.a)
        getattr(full, f"{which}_proj").data = weight.detach().double()
    return full


ROUTES = {
    "spread": torch.rand(9, E, generator=torch.Generator().manual_seed(0)).topk(2).indices,
    "empty experts": torch.tensor([[1, 3]]).repeat(7, 1),
    "all tokens to one": torch.full((7, 1), 4),
    "slots without expert": torch.tensor([[E, 2], [0, -1], [E, E]]),
    "one token": torch.tensor([[5, 0]]),
    "no tokens": torch.zeros(0, 2, dtype=torch.int64),
}


@pytest.mark.parametrize("rank", [4, 3], ids=["rows torch can group", "rows it cannot"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("route", ROUTES)
def test_active_adapters_equal_the_materialised_deltas_forward_and_backward(route, dtype, rank):
    base = experts(dtype)
    wrapper = stir(LoRAFusedExperts(base, LoRAConfig(rank=rank, alpha=6.0)))
    full = with_deltas(base, wrapper)
    index = ROUTES[route]
    weights = torch.rand(index.shape, dtype=torch.float64)
    x, target = torch.randn(len(index), H, dtype=torch.float64), torch.randn(len(index), H, dtype=torch.float64)
    mine, theirs = x.to(dtype, copy=True).requires_grad_(), x.clone().requires_grad_()

    out, expected = wrapper(mine, index, weights.to(dtype)), full(theirs, index, weights)
    (out * target.to(dtype)).sum().backward()
    (expected * target).sum().backward()

    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance)
    for which in ("gate_up", "down"):  # dL/dB = scale · dL/dΔ Aᵀ, and dL/dA = scale · Bᵀ dL/dΔ
        pair, weight = wrapper.sets["default"][which], getattr(full, f"{which}_proj")
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        b_grad = pair.scale * grad @ pair.a.double().transpose(1, 2)
        a_grad = pair.scale * pair.b.double().transpose(1, 2) @ grad
        torch.testing.assert_close(pair.b.grad.double(), b_grad, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(pair.a.grad.double(), a_grad, rtol=tolerance, atol=tolerance)
    assert base.gate_up_proj.grad is None  # frozen


class Allocations(TorchDispatchMode):
    """Notes the size of every storage that an operator makes."""

    def __init__(self):
        super().__init__()
        self.seen, self.sizes = set(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, torch.Tensor) and item.untyped_storage().data_ptr() not in inputs | self.seen:
                self.sizes.append(item.untyped_storage().nbytes() // item.element_size())
        return result


@pytest.mark.parametrize("rank", [4, 3])
def test_no_delta_is_ever_materialised_neither_forward_nor_backward(rank):
    wide = {"width": 128, "expert_width": 128, "n_experts": 8}
    wrapper = stir(LoRAFusedExperts(experts(torch.float32, **wide), LoRAConfig(rank=rank)))
    index, weights = torch.tensor([[2, 5], [5, 2], [2, 5]]), torch.rand(3, 2)
    x = torch.randn(3, 128, requires_grad=True)

    with Allocations() as noted:
        (wrapper(x, index, weights) * torch.randn(3, 128)).sum().backward()

    one_delta = 128 * 128  # of one expert's down projection; gate_up is twice that, all experts eight times
    assert max(noted.sizes) < one_delta
    assert max(noted.sizes) >= 8 * 128 * rank  # the gradient of B for all experts was noted: the meter works


def test_adapters_of_inactive_experts_are_not_read():
    wrapper = stir(LoRAFusedExperts(experts(), LoRAConfig(rank=2)))
    for parameter in wrapper.sets.parameters():
        parameter.data[[0, 1, 3, 4]] = float("nan")

    out = wrapper(torch.randn(5, H).double(), torch.tensor([[2, 5]]).repeat(5, 1), torch.rand(5, 2).double())

    assert out.isfinite().all()


def test_fresh_adapters_change_nothing():
    base = experts(torch.float32)
    x, index, weights = torch.randn(5, H), ROUTES["spread"][:5], torch.rand(5, 2)
    before = base(x, index, weights)

    torch.testing.assert_close(LoRAFusedExperts(base, LoRAConfig())(x, index, weights), before)


def test_merging_adds_the_deltas_and_unmerging_takes_them_out():
    base = experts(torch.float32)
    original = base.gate_up_proj.detach().clone()
    wrapper = stir(LoRAFusedExperts(base, LoRAConfig(rank=3)))
    x, index, weights = torch.randn(9, H), ROUTES["spread"], torch.rand(9, 2)
    apart = wrapper(x, index, weights)

    wrapper.merge()
    torch.testing.assert_close(wrapper(x, index, weights), apart, rtol=1e-5, atol=1e-6)
    assert (base.gate_up_proj - original).abs().max() > 0.01
    with pytest.raises(ValueError, match="cannot merge 'default': merged is 'default'"):
        wrapper.merge()

    wrapper.unmerge()
    torch.testing.assert_close(base.gate_up_proj.detach(), original, rtol=0, atol=1e-6)
    torch.testing.assert_close(wrapper(x, index, weights), apart, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="no merged set"):
        wrapper.unmerge()


def test_half_precision_stays_near_the_exact_adapters():
    exact = stir(LoRAFusedExperts(experts(), LoRAConfig(rank=8)))
    half = LoRAFusedExperts(experts(), LoRAConfig(rank=8))
    half.load_state_dict(exact.state_dict())
    half = half.bfloat16()
    x, index, weights = torch.randn(9, H), ROUTES["spread"], torch.rand(9, 2)

    out, expected = half(x.bfloat16(), index, weights), exact(x.double(), index, weights.double())

    assert out.dtype == torch.bfloat16
    assert (out.double() - expected).norm() / expected.norm() < 0.03  # bfloat16 has 8 bits: 2^-8 a product


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_the_wrapper_computes_as_the_stock_experts_do_whatever_their_layout(kind):
    if kind == "mixtral":
        stock = MixtralExperts(MixtralConfig(hidden_size=H, intermediate_size=WIDTH, num_local_experts=E))
    else:  # transposed, interleaved, clipped, with biases
        stock = GptOssExperts(GptOssConfig(hidden_size=H, intermediate_size=WIDTH, num_local_experts=E))
    for parameter in stock.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.3
    x, index, weights = torch.randn(9, H), ROUTES["spread"], torch.rand(9, 2)
    expected = stock(x, index, weights)
    wrapper = LoRAFusedExperts(stock, LoRAConfig(rank=4))

    torch.testing.assert_close(wrapper(x, index, weights), expected, rtol=1e-5, atol=1e-5)
    stir(wrapper)
    apart = wrapper(x, index, weights)
    assert (apart - expected).abs().max() > 0.01
    wrapper.merge()
    torch.testing.assert_close(stock(x, index, weights), apart, rtol=1e-4, atol=1e-5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


TOKENS = torch.tensor([[1, 5, 9, 2, 7]])


def test_a_stock_model_trains_one_skill_and_leaves_the_others_and_itself_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        plain = model(TOKENS).logits
    names = adapt_experts(model, LoRAConfig(rank=2), skills=("answer", "verify"))
    assert names == ("model.layers.0.mlp.experts", "model.layers.1.mlp.experts")
    assert [block.n_experts for block in find_blocks(model)] == [4, 4]
    parameters = [parameter for _, parameter in skill_parameters(model, "answer")]
    assert len(parameters) == 2 * 4
    optimizer = torch.optim.AdamW(parameters, lr=0.05)
    losses = []
    for _ in range(8):
        with routing_context(skill="answer"):
            loss = model(TOKENS, labels=TOKENS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    assert losses[-1] < losses[0]
    with torch.no_grad():
        with routing_context(skill="verify"):
            torch.testing.assert_close(model(TOKENS).logits, plain, rtol=1e-4, atol=1e-5)
        with routing_context(skill="base"):
            torch.testing.assert_close(model(TOKENS).logits, plain, rtol=1e-4, atol=1e-5)
        with routing_context(skill="answer"):
            assert (model(TOKENS).logits - plain).abs().max() > 1e-3
    with pytest.raises(RouterError, match=r"layers.0.mlp.experts: no skill is named; there are base, answer, verify"):
        model(TOKENS)
    use_skill(model, "answer")  # a backward pass that runs the calls again is outside of any context
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    model.train()(TOKENS, labels=TOKENS).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in parameters)
    assert all(parameter.grad is None for _, parameter in skill_parameters(model, "verify"))
    assert remove_adapters(model) == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_skill_is_loaded_from_its_file_and_the_others_are_never_there(model, tmp_path):
    adapt_experts(model, LoRAConfig(rank=2), skills=("answer", "verify"))
    for seed, (_, parameter) in enumerate([*skill_parameters(model, "answer"), *skill_parameters(model, "verify")]):
        torch.manual_seed(seed)
        parameter.data = torch.randn(parameter.shape) * 0.1
    for skill in ("answer", "verify"):
        save_adapter(model, tmp_path / f"{skill}.safetensors", skill=skill)
    with torch.no_grad(), routing_context(skill="verify"):
        expected = model(TOKENS).logits
    remove_adapters(model)
    (tmp_path / "answer.safetensors").unlink()  # nothing of it can be read

    adapt_experts(model, LoRAConfig(rank=2), skills=None)
    assert load_adapter(model, tmp_path / "verify.safetensors") == "verify"

    with torch.no_grad(), routing_context(skill="verify"):
        assert torch.equal(model(TOKENS).logits, expected)
    held = {name for name, _ in model.named_parameters() if ".sets." in name}
    assert all(".sets.verify." in name for name in held)
    assert [path.name for path in tmp_path.iterdir()] == ["verify.safetensors"]  # no unfinished file is left
    with (
        pytest.raises(RouterError, match="the skill 'answer' is not loaded; there are base, verify"),
        routing_context(skill="answer"),
    ):
        model(TOKENS)


def test_files_that_do_not_fit_are_refused_and_leave_the_model_alone(model, tmp_path):
    adapt_experts(model, LoRAConfig(rank=2), skills=("answer",))
    path = save_adapter(model, tmp_path / "answer.safetensors", skill="answer")
    half = tmp_path / "half.safetensors"
    half.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AdapterError, match="cannot be read as an adapter"):
        load_adapter(model, half)
    with pytest.raises(AdapterError, match="cannot be read as an adapter"):
        load_adapter(model, tmp_path / "none.safetensors")
    remove_adapters(model)
    adapt_experts(model, LoRAConfig(rank=3), skills=None)
    with pytest.raises(AdapterError, match=r"was made with \{'rank': 2"):
        load_adapter(model, path)
    other = MoELayer(MoEConfig(width=8, expert_width=4, n_experts=2, top_k=1))
    adapt_experts(other, LoRAConfig(rank=2))
    with pytest.raises(AdapterError, match="does not fit the model: experts.down.a is missing in the file"):
        load_adapter(other, path)
    assert list(other.experts.sets) == ["default"]
    with pytest.raises(AdapterError, match="no adapters of the skill 'sing' to save"):
        save_adapter(other, tmp_path / "x.safetensors", skill="sing")


def test_what_cannot_be_adapted_is_refused_with_the_reason(model):
    with pytest.raises(AdapterError, match="Linear has no mixture-of-experts block"):
        adapt_experts(torch.nn.Linear(2, 2), LoRAConfig())
    adapt_experts(model, LoRAConfig())
    with pytest.raises(AdapterError, match=r"layers.0.mlp.experts is adapted already"):
        adapt_experts(model, LoRAConfig())
    with pytest.raises(ValueError, match="Linear holds no fused gate_up_proj"):
        LoRAFusedExperts(torch.nn.Linear(2, 2), LoRAConfig())
    quantised = torch.nn.Module()
    quantised.gate_up_proj = torch.zeros(2, 4, 4, dtype=torch.int8)
    quantised.down_proj = torch.zeros(2, 4, 2, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"experts are quantised \(torch.int8\)"):
        LoRAFusedExperts(quantised, LoRAConfig())
    with pytest.raises(MoEConfigError, match="rank must be"):
        LoRAConfig(rank=0)
    with pytest.raises(MoEConfigError, match="alpha must be"):
        LoRAConfig(alpha=0.0)

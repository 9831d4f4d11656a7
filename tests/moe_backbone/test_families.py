"""Our dispatches inside the stock families of experts, whatever layout each stores its weights in."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.moe import (
    grouped_mm_experts_forward,
    use_experts_implementation,
)

from moe_backbone.adapters import can_dispatch, implementation_name, register_dispatches
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from tests.moe_backbone.families import FAMILIES, states, tiny

IDS = torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(0))
EXACT = [name for name in dispatch_names() if get_spec(name).exact and get_spec(name).available()]
READS_LAYOUTS = [name for name in EXACT if get_spec(name).reads_layouts]


def dispatches_experts(model):
    return any(hasattr(module, "is_transposed") for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["auto", "grouped"])
def test_a_stock_model_of_any_family_computes_the_same_through_our_dispatch(family, name):
    register_dispatches()
    model = tiny(family)
    if not dispatches_experts(model):
        pytest.skip("this version of transformers runs this family's experts by code of its own")
    assert can_dispatch(model)
    model.set_experts_implementation("eager")
    expected = states(model, IDS)
    model.set_experts_implementation(implementation_name(name))

    got = states(model, IDS)

    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    assert expected.std() > 0.01


def test_a_saved_model_is_loaded_with_our_dispatch_by_its_name(tmp_path):
    register_dispatches()
    model = tiny("Mixtral")
    model.save_pretrained(tmp_path)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="mmkg_auto")

    assert loaded.config._experts_implementation == "mmkg_auto"
    torch.testing.assert_close(states(loaded, IDS), states(model, IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", READS_LAYOUTS)
@pytest.mark.parametrize(
    "flags",
    [
        {"is_transposed": True},
        {"has_bias": True},
        {"is_transposed": True, "has_bias": True},
        {"has_gate": False},
        {"has_gate": False, "has_bias": True, "is_transposed": True},
        {"has_post_expert_norm": True},
        {"own_gate": True, "is_concatenated": False, "is_transposed": True, "has_bias": True},
    ],
    ids=lambda flags: "+".join(flags),
)
@pytest.mark.parametrize("n_tokens", [1, 2, 9])
def test_every_layout_that_transformers_knows_is_computed_as_its_own_backend_does(name, flags, n_tokens):
    experts = fake_experts(**flags)
    hidden = torch.randn(n_tokens, 16)
    index, weights = torch.rand(n_tokens, 4).topk(2).indices, torch.rand(n_tokens, 2)
    expected = grouped_mm_experts_forward(experts, hidden, index, weights)
    experts.config._experts_implementation = implementation_name(name)
    register_dispatches()

    out = experts(hidden, index, weights)
    (out * torch.arange(16)).sum().backward()
    grads = {key: parameter.grad for key, parameter in experts.named_parameters()}
    experts.zero_grad()
    (grouped_mm_experts_forward(experts, hidden, index, weights) * torch.arange(16)).sum().backward()

    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    for key, parameter in experts.named_parameters():
        torch.testing.assert_close(grads[key], parameter.grad, rtol=1e-4, atol=1e-4)


def fake_experts(*, own_gate=False, **flags):
    """Build an experts class as transformers declares one, in the layout that ``flags`` say."""
    if flags.get("has_post_expert_norm") and "has_post_expert_norm" not in use_experts_implementation.__kwdefaults__:
        pytest.skip("this version of transformers knows no norm after an expert")

    class FakeExperts(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.num_experts = 4
            self.act_fn = torch.nn.SiLU()
            first, rows = ("up_proj", 8) if flags.get("has_gate") is False else ("gate_up_proj", 16)
            shapes = {first: (4, rows, 16), "down_proj": (4, 16, 8)}
            for name, shape in shapes.items():
                if flags.get("has_bias"):
                    setattr(self, f"{name}_bias", torch.nn.Parameter(torch.randn(shape[:2])))
                shape = (4, shape[2], shape[1]) if flags.get("is_transposed") else shape
                setattr(self, name, torch.nn.Parameter(torch.randn(shape) / 3))
            if flags.get("has_post_expert_norm"):
                self.post_expert_norm = torch.nn.RMSNorm(16)

        def forward(self, hidden_states, top_k_index, top_k_weights):
            raise NotImplementedError

    if own_gate:
        FakeExperts._apply_gate = lambda self, both: both[..., ::2].clamp(max=1) * (both[..., 1::2] + 1)
    torch.manual_seed(1)
    config = type("Config", (), {"_experts_implementation": "eager"})()
    return use_experts_implementation(FakeExperts, **flags)(config)

"""The automatic choice of a dispatch: what is chosen, why, and that it is said once."""

import logging

import pytest
import torch
from torch.nn.functional import silu

from moe_backbone.adapters import register_dispatches
from moe_backbone.dispatch import backends, processor, products
from moe_backbone.dispatch.backends import BACKENDS
from moe_backbone.dispatch.choice import auto_experts, choose_dispatch
from moe_backbone.dispatch.looped import looped_experts
from moe_backbone.dispatch.reference import reference_experts
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.dispatch.spec import DispatchSpec, ExpertLayout
from tests.moe_backbone.families import states, tiny

E, H, I, K = 4, 16, 8, 2  # noqa: E741
LOGGER = "moe_backbone.dispatch.choice"


def operands(dtype=torch.float32, device="cpu", n_tokens=3):
    generator = torch.Generator().manual_seed(0)
    shapes = [(n_tokens, H), (E, 2 * I, H), (E, H, I)]
    return [torch.randn(shape, generator=generator).to(device=device, dtype=dtype) for shape in shapes]


def routing(n_tokens=3):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n_tokens, E, generator=generator).topk(K).indices, torch.rand(n_tokens, K, generator=generator)


def fake(name, **changes):
    says = {"run": looped_experts, "why": "", "prefer": lambda situation: f"{name} wants it"}
    return DispatchSpec(name=name, **(says | changes))


def test_the_cpu_runs_one_product_per_expert_in_any_float():
    for dtype in (torch.float32, torch.float64):
        assert choose_dispatch(*operands(dtype), top_k=K).name == "looped"


def test_another_device_runs_grouped_products_where_rows_are_aligned_and_loops_where_not():
    assert choose_dispatch(*operands(torch.bfloat16, "meta"), top_k=K).name == "grouped"
    assert choose_dispatch(*operands(torch.float64, "meta"), top_k=K).name == "looped"
    narrow = [torch.zeros(shape, device="meta") for shape in [(3, 30), (E, 2 * I, 30), (E, 30, I)]]
    assert choose_dispatch(*narrow, top_k=K).name == "looped"


def test_half_precision_that_the_processor_lacks_falls_to_float32_and_says_so(monkeypatch):
    monkeypatch.setattr(backends, "cpu_multiplies", lambda dtype: dtype is not torch.bfloat16)

    choice = choose_dispatch(*operands(torch.bfloat16), top_k=K)

    assert choice.name == "float32"
    assert "this processor multiplies no bfloat16 (no AVX512-BF16, AMX)" in choice.reason
    assert choose_dispatch(*operands(torch.float32), top_k=K).name == "looped"


def test_half_precision_in_float32_products_is_nearer_to_the_exact_result_than_in_its_own():
    hidden, gate_up, down = operands(torch.bfloat16, n_tokens=64)
    index, weights = routing(64)
    index[:] = torch.tensor([0, 1])  # 64 rows an expert: more than the few that are multiplied as they are
    exact = reference_experts(hidden.double(), gate_up.double(), down.double(), index, weights.double(), silu)
    with torch.inference_mode():
        out = get_spec("float32").run(hidden, gate_up, down, index, weights, silu)

    assert out.dtype == torch.bfloat16
    assert (out.double() - exact).norm() / exact.norm() < 5e-3  # rounding of 8 bits, in and out


def test_a_processor_that_lacks_half_precision_is_recognised(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_amx_fp16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    answers = [processor.cpu_multiplies.__wrapped__(d) for d in (torch.float32, torch.bfloat16, torch.float16)]

    assert answers == [True, False, False]


def test_the_first_entry_that_is_available_supports_the_operands_and_gives_a_reason_is_chosen():
    table = (
        fake("not here", available=lambda: False),
        fake("other operands", supports=lambda hidden, gate_up, down: hidden.dtype == torch.float64),
        fake("no reason", prefer=lambda situation: None),
        fake("approximate", reference=reference_experts),
        fake("few tokens", prefer=lambda situation: "decoding" if situation.n_tokens <= 2 else None),
        fake("last"),
    )

    assert choose_dispatch(*operands(n_tokens=3), top_k=K, backends=table).name == "last"
    assert choose_dispatch(*operands(n_tokens=2), top_k=K, backends=table).reason == "decoding"
    assert choose_dispatch(*operands(torch.float64), top_k=K, backends=table).name == "other operands"


def test_a_dispatch_without_gradient_or_without_layouts_is_passed_over_where_they_are_needed():
    table = (fake("inference", differentiable=False), fake("plain"), fake("general", reads_layouts=True))
    hidden, gate_up, down = operands()

    def name(**more):
        return choose_dispatch(hidden, gate_up, down, top_k=K, backends=table, **more).name

    assert name() == "inference"
    assert name(weights_TK=torch.ones(3, K, requires_grad=True)) == "plain"  # only the router is trained
    assert name(layout=ExpertLayout(down_bias=torch.zeros(E, H))) == "general"
    gate_up.requires_grad_()
    assert name() == "plain"
    with torch.no_grad():
        assert name() == "inference"


def test_a_table_that_runs_nothing_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"none of the dispatches a, b runs Situation\(device='cpu'"):
        choose_dispatch(*operands(), top_k=K, backends=(fake("a", available=lambda: False), fake("b", reference=print)))


def test_the_table_ends_with_a_dispatch_that_runs_anything():
    assert any(spec.name == "looped" and spec.reads_layouts and spec.differentiable for spec in BACKENDS)
    assert {spec.name for spec in BACKENDS} | {"auto"} == set(dispatch_names())
    assert all(spec.why for spec in BACKENDS)


def test_each_module_says_once_which_dispatch_it_runs_and_why(caplog):
    register_dispatches()
    model = tiny("Mixtral")
    model.set_experts_implementation("mmkg_auto")
    ids = torch.tensor([[5, 6, 7]])
    with caplog.at_level(logging.INFO, LOGGER):
        states(model, ids)
        states(model, ids)

    said = "experts 4x48x32 float32: dispatch looped (one product per busy expert runs on any device, dtype and width)"
    assert [record.getMessage() for record in caplog.records] == [said] * 2  # two modules


def test_the_automatic_dispatch_is_the_one_it_chose():
    index, weights = routing()
    assert torch.equal(
        auto_experts(*operands(), index, weights, silu), looped_experts(*operands(), index, weights, silu)
    )


@pytest.mark.skipif(not products._has_onednn(), reason="this torch has no oneDNN")
def test_large_matrices_are_multiplied_by_onednn_in_inference_and_by_torch_with_gradients(monkeypatch):
    torch.manual_seed(0)
    weight, rows = torch.randn(1024, 1024), torch.randn(5, 1024)
    expected = rows.double() @ weight.double().T

    out = products.multiply(rows, weight)
    weight.requires_grad_()
    trained = products.multiply(rows, weight)

    for product in (out, trained):
        assert (product.double() - expected).norm() / expected.norm() < 1e-6
    assert trained.requires_grad
    monkeypatch.setattr(torch.nn.functional, "linear", None)
    with torch.no_grad():
        assert torch.equal(products.multiply(rows, weight), out)  # not by linear

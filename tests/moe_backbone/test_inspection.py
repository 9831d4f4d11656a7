"""What is found out about the tiny models of every family, without a table of names."""

import pytest
import torch
import transformers
from torch import nn

from moe_backbone.blocks import find_blocks
from moe_backbone.config import MoEConfig, SoftmaxOrder
from moe_backbone.inspection import inspect_model
from moe_backbone.layer import MoELayer
from moe_backbone.loading import StoredTensor
from moe_backbone.routers.registry import router_names
from moe_backbone.sites import find_foreign, find_sites
from tests.moe_backbone.routers.made import E, H, make_router
from tests.moe_backbone.tiny_experts import FAMILIES, make_model

KEPT = "softmax, renormalised over the kept"
ALL = "softmax over all, as they are"
# family: blocks, experts, per token, shared width, router, layout — from the configurations, by hand
EXPECTED = {
    "olmoe": (2, 8, 2, 0, ALL, "usual"),
    "mixtral": (2, 4, 2, 0, KEPT, "usual"),
    "qwen2_moe": (2, 8, 2, 12, ALL, "usual"),
    "qwen3_moe": (2, 8, 2, 0, KEPT, "usual"),
    "qwen3_vl_moe": (2, 8, 2, 0, KEPT, "usual"),
    "deepseek_v2": (1, 8, 3, 16, f"{ALL}, × 16, from 2 of 4 groups", "usual"),
    "deepseek_v3": (
        1, 8, 3, 16, "sigmoid, renormalised over the kept, × 2.5, from 2 of 4 groups, selection bias", "usual",
    ),
    "glm4_moe": (1, 8, 3, 8, "sigmoid, renormalised over the kept, selection bias", "usual"),
    "granitemoe": (2, 4, 2, 0, KEPT, "usual"),
    "aria": (2, 4, 2, 16, KEPT, "transposed"),
    "gpt_oss": (2, 4, 2, 0, f"{KEPT}, logit bias", "transposed, gate interleaved, bias"),
}  # fmt: skip
OLD_ARIA = not hasattr(transformers.models.aria.modeling_aria, "AriaTextTopKRouter")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param, make_model(request.param)


def test_every_family_is_described_by_what_its_modules_do(family):
    name, model = family
    if name == "aria" and OLD_ARIA:
        pytest.skip("this release keeps Aria's experts outside the interface")
    report = inspect_model(model)

    n_blocks, n_experts, top_k, shared, router, layout = EXPECTED[name]
    assert len(report.layers) == n_blocks
    for layer in report.layers:
        found = (layer.n_experts, layer.router.top_k, layer.shared_width, layer.router.summary, layer.layout.summary)
        assert found == (n_experts, top_k, shared, router, layout)
        assert (layer.width, layer.expert_width) == (16, 8)
    assert report.problems == ()


def test_parameters_are_counted_as_the_modules_hold_them(family):
    name, model = family
    report = inspect_model(model)

    experts = [module for path, module in model.named_modules() if path.endswith(".experts")]
    routed = sum(parameter.numel() for module in experts for parameter in module.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    n_experts, top_k = EXPECTED[name][1:3]
    assert report.n_parameters == total
    assert report.expert_share == pytest.approx(routed / total)
    assert report.n_active == total - routed * (n_experts - top_k) // n_experts


def test_routers_that_compute_in_float32_are_told_from_those_that_do_not(family):
    name, model = family
    if name == "aria" and OLD_ARIA:
        pytest.skip("this release keeps Aria's experts outside the interface")
    found = {layer.router.in_float32 for layer in inspect_model(model).layers}

    assert found == {name in ("deepseek_v2", "deepseek_v3", "glm4_moe")}


def test_inspection_changes_nothing_in_the_model():
    model = make_model("deepseek_v3")
    before = {name: one.clone() for name, one in model.state_dict().items()}
    inspect_model(model)

    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


def test_a_structure_without_weights_is_described_the_same():
    model = make_model("glm4_moe")
    with torch.device("meta"):
        structure = type(model)(model.config)

    assert inspect_model(structure) == inspect_model(model)


def test_a_dense_model_has_no_experts():
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    report = inspect_model(transformers.LlamaForCausalLM(config))

    assert not report.has_experts
    assert report.n_active == report.n_parameters


@pytest.mark.parametrize(
    ("order", "renormalised"), [(SoftmaxOrder.AFTER_TOP_K, True), (SoftmaxOrder.BEFORE_TOP_K, False)]
)
def test_a_layer_of_ours_is_read_as_it_was_built(order, renormalised):
    layer = MoELayer(MoEConfig(width=8, expert_width=4, n_experts=6, top_k=2, softmax=order, shared_width=12))
    (found,) = inspect_model(layer).layers

    assert (found.router.kind, found.router.renormalised, found.router.top_k) == ("softmax", renormalised, 2)
    assert found.shared_width == 12


@pytest.mark.parametrize("name", router_names())
def test_every_router_of_ours_is_described_or_said_to_be_unknown_with_a_reason(name):
    layer = MoELayer(MoEConfig(width=H, expert_width=3, n_experts=E, top_k=2), router=make_router(name))
    router = inspect_model(layer).layers[0].router

    assert router.kind in ("softmax", "sigmoid") or router.note
    assert router.variable == (name in ("margin", "null", "top_p"))


def test_one_expert_per_token_still_shows_its_function():
    report = inspect_model(make_model("qwen3_moe", num_experts_per_tok=1, norm_topk_prob=False))

    assert {layer.router.summary for layer in report.layers} == {ALL}
    assert {layer.router.top_k for layer in report.layers} == {1}


def test_more_experts_per_token_than_experts_is_a_problem_with_both_numbers():
    report = inspect_model(make_model("mixtral", num_experts_per_tok=5))

    assert len(report.problems) == 2
    assert "top_k=5 of 4 experts" in report.problems[0]


def test_zero_experts_is_a_problem_and_no_crash():
    report = inspect_model(make_model("mixtral", num_local_experts=0))

    assert "it has no experts" in report.problems[0]
    assert report.expert_share == 0.0


def test_rows_that_the_grouped_product_refuses_are_named():
    report = inspect_model(make_model("mixtral", hidden_size=30))

    assert "rows of gate_up_proj are 120 bytes" in report.dispatches["grouped_mm"]
    assert report.dispatches["mmkg_looped"] == ""


def test_files_that_hold_too_few_numbers_are_a_problem():
    stored = (StoredTensor(name="a", dtype="F32", shape=(4, 5), size_bytes=80),)
    report = inspect_model(make_model("mixtral"), stored=stored)

    assert report.problems == ("the files hold 20 numbers and the model has 6,096 parameters: the checkpoint is "
                               "incomplete.",)  # fmt: skip
    assert report.size_bytes == {"float32": 80}


class ListedExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))


def test_experts_outside_the_interface_are_named_with_what_was_found():
    model = nn.Sequential(ListedExperts())
    report = inspect_model(model)

    assert report.layers == ()
    assert report.foreign == (("0", "3 modules of Linear, not fused"),)
    assert report.has_experts
    assert find_sites(model) == ()


def test_experts_packed_by_a_quantiser_are_told():
    model = make_model("mixtral")
    experts = model.model.layers[0].mlp.experts
    packed = nn.Parameter(torch.zeros(4, 16, 16, dtype=torch.int8), requires_grad=False)
    experts.gate_up_proj = packed

    assert inspect_model(model).quantised == "experts are stored as torch.int8"


def test_sites_name_the_router_and_cover_every_block(family):
    name, model = family
    sites = find_sites(model)
    blocks = len(find_blocks(model)) + len(find_foreign(model))

    assert len(sites) == blocks == EXPECTED[name][0]
    assert all(dict(model.named_modules())[site.name] is site.router for site in sites)


def test_dispatches_are_asked_whether_they_read_the_layout_and_the_automatic_one_says_why():
    usual, odd = inspect_model(make_model("mixtral")), inspect_model(make_model("gpt_oss"))

    assert usual.dispatches["mmkg_looped"] == odd.dispatches["mmkg_looped"] == ""
    assert odd.dispatches["mmkg_triton"] != ""
    assert usual.dispatches["mmkg_auto"] == ""
    assert len(usual.automatic) == len(odd.automatic) == 2
    for report in (usual, odd):
        for situation, choice in report.automatic.items():
            name, _, reason = choice.partition(": ")
            assert report.dispatches[name] == ""
            assert reason
            assert situation.split(" on ")[0] in ("1 token", "512 tokens")


def test_packed_experts_are_run_by_none_of_our_dispatches():
    model = make_model("mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.gate_up_proj = nn.Parameter(torch.zeros(4, 16, 16, dtype=torch.int8), requires_grad=False)

    assert inspect_model(model).dispatches["mmkg_looped"] == "these experts hold no plain floating-point weights"

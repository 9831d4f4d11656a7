"""What is particular to one router: values worked by hand, stock routers, groups, skills and null experts."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Config, DeepseekV3TopkRouter

from moe_backbone.config import MoEConfig, MoEConfigError
from moe_backbone.layer import MoELayer
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.margin import MarginConfig, MarginRouter
from moe_backbone.routers.modality import ModalityConfig
from moe_backbone.routers.null import NullConfig, NullRouter
from moe_backbone.routers.sigmoid import SigmoidConfig, SigmoidRouter
from moe_backbone.routers.task import TaskConfig, experts_of, only_skill
from moe_backbone.routers.top_p import TopPConfig, TopPRouter

NOTHING = RoutingContext()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def choose(router, *probabilities):
    weights, index = router.choose(torch.tensor(probabilities).log(), NOTHING)
    return [[round(weight, 6) for weight in row] for row in weights.tolist()], index.tolist()


def test_top_p_keeps_the_fewest_experts_that_reach_the_threshold():
    router = TopPRouter(TopPConfig(width=2, n_experts=4, top_k=3, threshold=0.7))

    weights, index = choose(router, (0.8, 0.1, 0.05, 0.05), (0.3, 0.5, 0.1, 0.1), (0.25, 0.25, 0.3, 0.2))

    assert index[0] == [0, 4, 4]  # 0.8 reaches 0.7 alone; 4 is "no expert"
    assert weights[0] == [0.8, 0.0, 0.0]
    assert index[1] == [1, 0, 4]  # 0.5 + 0.3
    assert index[2][0] == 2  # 0.3 + 0.25 + 0.25 is the first sum to reach it, and three is the most
    assert sum(weights[2]) == pytest.approx(0.8)


def test_the_second_expert_is_used_only_within_the_margin():
    router = MarginRouter(MarginConfig(width=2, n_experts=3, margin=0.2))

    weights, index = choose(router, (0.7, 0.2, 0.1), (0.4, 0.35, 0.25))

    assert index == [[0, 3], [0, 1]]  # 0.5 apart: one; 0.05 apart: two
    assert weights == [[0.7, 0.0], [0.4, 0.35]]


def test_null_experts_take_slots_and_leave_the_weights_of_the_true_ones_summing_to_one():
    router = NullRouter(NullConfig(width=2, n_experts=2, top_k=2, n_null=2))

    weights, index = choose(router, (0.1, 0.3, 0.5, 0.1), (0.5, 0.25, 0.2, 0.05), (0.1, 0.1, 0.4, 0.4))

    assert index == [[2, 1], [0, 1], [2, 2]]
    assert weights == [[0.0, 1.0], [0.666667, 0.333333], [0.0, 0.0]]


def test_a_token_of_null_experts_alone_gets_exactly_zero_and_costs_no_matrix_product(monkeypatch):
    config = MoEConfig(width=4, expert_width=8, n_experts=2, top_k=2)
    layer = MoELayer(config, router=NullConfig(width=4, n_experts=2, top_k=2, n_null=2), dispatch="looped")
    layer.gate.weight.data = torch.cat([torch.eye(2, 4), torch.eye(4)[2:]])
    true, null = torch.tensor([[9.0, 9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    rows = []
    real = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda x, w, *a: (rows.append(len(x)) if w.ndim == 2 else None) or real(x, w, *a)
    )

    out = layer(torch.cat([null, true, null]))

    assert torch.equal(out[[0, 2]], torch.zeros(2, 4))
    assert out[1].abs().max() > 0
    assert rows == [3, 1, 1, 1, 1]  # the router sees 3 tokens, each projection of 2 experts the true one alone


def test_null_slots_pass_no_gradient_and_no_nan_to_the_router():
    router = NullRouter(NullConfig(width=4, n_experts=2, top_k=2, n_null=2))
    router.weight.data = torch.eye(4)
    weights = router(torch.tensor([[0.0, 0.0, 9.0, 9.0]])).weights

    weights.sum().backward()

    assert torch.equal(router.weight.grad, torch.zeros(4, 4))


def test_the_sigmoid_router_routes_as_that_of_deepseek_v3_in_transformers():
    stock_config = DeepseekV3Config(
        hidden_size=16, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2,
        routed_scaling_factor=2.5, norm_topk_prob=True,
    )  # fmt: skip
    stock = DeepseekV3TopkRouter(stock_config)
    ours = SigmoidRouter(SigmoidConfig(width=16, n_experts=8, top_k=3, n_groups=4, top_groups=2, scale=2.5))
    state = {"weight": torch.randn(8, 16), "e_score_correction_bias": 0.3 * torch.randn(8)}
    stock.load_state_dict(state)
    ours.load_state_dict(state)
    x = torch.randn(50, 16)

    logits, weights, index = ours(x)
    stock_logits, stock_weights, stock_index = stock(x)

    torch.testing.assert_close(logits, stock_logits)
    stock_order, our_order = stock_index.argsort(dim=-1), index.argsort(dim=-1)
    assert torch.equal(index.gather(1, our_order), stock_index.gather(1, stock_order))
    torch.testing.assert_close(weights.gather(1, our_order), stock_weights.gather(1, stock_order))


def test_the_selection_bias_moves_the_choice_and_never_the_weights():
    router = SigmoidRouter(SigmoidConfig(width=3, n_experts=3, top_k=1, normalise=False))
    router.weight.data = torch.eye(3)
    x = torch.tensor([[2.0, 1.0, 0.0]])
    assert router(x).experts.tolist() == [[0]]

    router.e_score_correction_bias[2] = 1.0
    chosen = router(x)

    assert chosen.experts.tolist() == [[2]]
    assert chosen.weights.tolist() == [[0.5]]  # sigmoid(0), without the bias
    assert [name for name, _ in router.named_parameters()] == ["weight"]  # the bias takes no gradient step


def test_the_bias_stays_in_float32_when_the_model_is_halved():
    router = SigmoidRouter(SigmoidConfig(width=4, n_experts=3, top_k=1))
    router.e_score_correction_bias += 0.501

    half = router.to(torch.bfloat16)

    assert half.weight.dtype == torch.bfloat16
    assert half.e_score_correction_bias.tolist() == pytest.approx([0.501] * 3)
    assert half.double().e_score_correction_bias.dtype == torch.float64


@pytest.mark.parametrize("softmax", ["after_top_k", "before_top_k"])
@pytest.mark.parametrize("dispatch", ["auto", "grouped", "looped"])
def test_text_computes_bit_for_bit_the_same_when_experts_of_another_modality_are_added(dispatch, softmax):
    from moe_backbone.config import SoftmaxOrder

    shape = {"width": 16, "top_k": 2, "init_std": 0.5}
    small_groups, groups = (("text", 3), ("image", 2)), (("text", 3), ("image", 2), ("graph", 4))
    layers = []
    for chosen, n_experts in ((small_groups, 7), (groups, 11)):
        router = ModalityConfig(**shape, n_experts=n_experts, groups=chosen, n_shared=2, softmax=SoftmaxOrder(softmax))
        config = MoEConfig(**shape, n_experts=n_experts, expert_width=8)
        layers.append(MoELayer(config, router=router, dispatch=dispatch))
    small, large = layers
    large.gate.load_state_dict(small.gate.state_dict(), strict=False)
    large.experts.gate_up_proj.data[:7] = small.experts.gate_up_proj.data
    large.experts.down_proj.data[:7] = small.experts.down_proj.data
    text = RoutingContext(modality=torch.zeros(2, 33, dtype=torch.int64))
    x, y = torch.randn(2, 33, 16, requires_grad=True), torch.randn(2, 33, 16)

    before, after = small(x, text), large(x, text)

    assert torch.equal(before, after)
    (gradient,) = torch.autograd.grad((before * y).sum(), x)
    (same_gradient,) = torch.autograd.grad((after * y).sum(), x)
    assert torch.equal(gradient, same_gradient)


def test_each_modality_stays_among_its_own_experts_and_the_pool():
    groups = (("graph", 2), ("text", 2))  # in any order
    router = ModalityConfig(width=4, n_experts=5, top_k=2, groups=groups, n_shared=1)
    layer = MoELayer(MoEConfig(width=4, expert_width=4, n_experts=5, top_k=2), router=router)

    chosen = layer.gate(torch.randn(60, 4), RoutingContext(modality=torch.tensor([0, 2]).repeat(30))).experts

    assert set(chosen[::2].unique().tolist()) <= {0, 3, 4}  # text
    assert set(chosen[1::2].unique().tolist()) <= {0, 1, 2}  # graph
    with pytest.raises(RouterError, match="has no experts for modality 'image'; it has groups for graph, text"):
        layer(torch.randn(1, 4), RoutingContext(modality=torch.tensor([1])))
    with pytest.raises(RouterError, match="no experts for modality 'id 7'"):
        layer(torch.randn(1, 4), RoutingContext(modality=torch.tensor([7])))
    with pytest.raises(RouterError, match="modality has 3 elements for 1 tokens"):
        layer(torch.randn(1, 4), RoutingContext(modality=torch.zeros(3, dtype=torch.int64)))
    with pytest.raises(RouterError, match="routes by modality: give modality"):
        layer(torch.randn(1, 4))


SKILLS = (("answer", 2), ("complete", 2), ("extract", 3), ("verify", 2))


def skilled_layer():
    shape = {"width": 8, "n_experts": 10, "top_k": 2, "init_std": 0.5}
    return MoELayer(MoEConfig(**shape, expert_width=6), router=TaskConfig(**shape, groups=SKILLS, n_shared=1))


def test_the_experts_of_other_skills_are_never_touched():
    layer = skilled_layer()
    others = [expert for expert in range(10) if expert not in experts_of(layer.gate.config, "extract")]
    x = torch.randn(20, 8)
    clean = layer(x, RoutingContext(skill="extract"))
    for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
        weight.data[others] = float("nan")  # whatever reads them shows it
    for name in ("answer", "complete", "verify"):
        layer.gate.get_parameter(f"weight_group_{name}").data.fill_(float("nan"))

    out = layer(x, RoutingContext(skill="extract"))
    out.sum().backward()

    assert torch.equal(out, clean)
    assert layer.experts.down_proj.grad[others].abs().max() == 0
    assert layer.gate.weight_group_extract.grad.isfinite().all()


def test_a_layer_that_loads_one_skills_experts_alone_computes_bit_for_bit_what_the_whole_layer_does(tmp_path):
    layer = skilled_layer()
    save_file({name: value.contiguous() for name, value in layer.state_dict().items()}, tmp_path / "all.safetensors")
    config = only_skill(layer.gate.config, "extract")
    rows = experts_of(layer.gate.config, "extract")
    assert rows == [0, 5, 6, 7]  # the pool, then the third group

    served = MoELayer(MoEConfig(width=8, expert_width=6, n_experts=4, top_k=2), router=config)
    with safe_open(tmp_path / "all.safetensors", framework="pt") as file:
        read = {name: file.get_tensor(f"gate.{name}") for name, _ in served.gate.named_parameters()}
        served.gate.load_state_dict(read)
        for name in ("gate_up_proj", "down_proj"):
            weights = file.get_slice(f"experts.{name}")
            served.experts.get_parameter(name).data = torch.cat([weights[row : row + 1] for row in rows])

    x, skill = torch.randn(20, 8), RoutingContext(skill="extract")
    assert torch.equal(served(x, skill), layer(x, skill))
    with pytest.raises(RouterError, match="no experts for the skill 'answer'; it has extract"):
        served(x, RoutingContext(skill="answer"))


def test_a_shared_pool_alone_serves_a_skill_without_experts_of_its_own():
    shape = {"width": 4, "n_experts": 3, "top_k": 2}
    router = TaskConfig(**shape, groups=(("answer", 1), ("verify", 0)), n_shared=2)
    layer = MoELayer(MoEConfig(**shape, expert_width=4), router=router)

    assert set(layer.gate(torch.randn(9, 4), RoutingContext(skill="verify")).experts.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ModalityConfig(width=4, n_experts=2, top_k=1, groups=(("smell", 2),)), "no modality 'smell'"),
        (lambda: TaskConfig(width=4, n_experts=2, top_k=1, groups=(("a", 1), ("a", 1))), "name each group once"),
        (lambda: TaskConfig(width=4, n_experts=3, top_k=1, groups=(("a", 1), ("b", 1))), "hold 2 experts, but"),
        (lambda: TaskConfig(width=4, n_experts=3, top_k=2, groups=(("a", 2), ("b", 1))), "fewer than top_k=2"),
        (lambda: MarginConfig(width=4, n_experts=3, top_k=1), "top_k must be 2"),
        (lambda: MarginConfig(width=4, n_experts=3, margin=1.5), "margin must be in"),
        (lambda: TopPConfig(width=4, n_experts=3, top_k=1, threshold=0.0), "threshold must be in"),
        (lambda: NullConfig(width=4, n_experts=3, top_k=1, n_null=0), "n_null must be"),
        (lambda: NullConfig(width=4, n_experts=3, top_k=6, n_null=2), "top_k=6 asks for more experts"),
        (lambda: SigmoidConfig(width=4, n_experts=6, top_k=1, n_groups=4), "does not divide"),
        (lambda: SigmoidConfig(width=4, n_experts=6, top_k=1, n_groups=3, top_groups=4), "more than n_groups"),
        (lambda: SigmoidConfig(width=4, n_experts=6, top_k=3, n_groups=3, top_groups=1), "more than the 2 experts"),
    ],
)  # fmt: skip
def test_groups_and_thresholds_that_do_not_fit_are_refused(build, said):
    with pytest.raises(MoEConfigError, match=said):
        build()


def test_expert_choice_gives_every_expert_its_share_and_padding_none():
    from moe_backbone.routers.expert_choice import ExpertChoiceConfig, ExpertChoiceRouter

    router = ExpertChoiceRouter(ExpertChoiceConfig(width=8, n_experts=4, top_k=2))
    x, mask = torch.randn(12, 8), torch.arange(12) < 8

    index = router(x, RoutingContext(mask=mask)).experts

    assert (index[8:] == 4).all()
    assert torch.bincount(index[index < 4], minlength=4).tolist() == [4, 4, 4, 4]  # 2 · 8 / 4 each
    assert torch.equal(index[:8], router(x[:8]).experts)
    with pytest.raises(ValueError, match=r"mask must have one element for each of \(12,\) tokens, got \(3,\)"):
        router(x, RoutingContext(mask=torch.ones(3)))


def test_experts_that_no_dispatch_would_find_are_refused_before_they_are_built():
    router = TopPRouter(TopPConfig(width=4, n_experts=3, top_k=1))
    with pytest.raises(MoEConfigError, match="router is for width 4 and 3 experts, the layer has width 4 and 5"):
        MoELayer(MoEConfig(width=4, expert_width=4, n_experts=5, top_k=1), router=router)

"""What holds of every router in the registry."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from moe_backbone.config import MoEConfig, MoEConfigError
from moe_backbone.layer import MoELayer, name_layers
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext, current_context, routing_context
from moe_backbone.routers.cosine import reference_cosine_logits
from moe_backbone.routers.expert_choice import reference_expert_choice
from moe_backbone.routers.groups import reference_grouped
from moe_backbone.routers.margin import reference_margin
from moe_backbone.routers.null import reference_null
from moe_backbone.routers.registry import build_router, get_router, router_config, router_names
from moe_backbone.routers.sigmoid import reference_sigmoid
from moe_backbone.routers.top_k import TopKConfig, reference_top_k
from moe_backbone.routers.top_p import reference_top_p
from tests.moe_backbone.routers.made import SETTINGS, E, H, as_mappings, context_for, make_router


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


CAUSAL = [name for name in router_names() if get_router(name).router.is_causal]


def grouped_weight(router):
    return torch.cat(
        [router.weight_shared, *(router.get_parameter(f"weight_group_{n}") for n in router.config.names)]
    ).detach()


def reference(name, router, x, logits):
    config = router.config
    if name in ("top_k", "cosine"):
        return reference_top_k(logits, top_k=config.top_k, softmax=config.softmax)
    if name == "sigmoid":
        return reference_sigmoid(logits, router.e_score_correction_bias, config)
    if name in ("modality", "task"):
        modality = ("text", "image", "graph")
        groups = [modality[token % 3] if name == "modality" else "verify" for token in range(len(x))]
        return reference_grouped(x, groups, grouped_weight(router), config)
    plain = {"expert_choice": reference_expert_choice, "margin": reference_margin, "null": reference_null,
             "top_p": reference_top_p}  # fmt: skip
    return plain[name](logits, config)


def test_every_router_of_the_registry_is_tested_here_and_only_expert_choice_is_not_causal():
    assert set(SETTINGS) == set(router_names())
    assert set(router_names()) - set(CAUSAL) == {"expert_choice"}


@pytest.mark.parametrize("name", router_names())
def test_a_router_chooses_and_weighs_as_its_naive_reference(name):
    router = make_router(name)
    x = torch.randn(40, H, generator=torch.Generator().manual_seed(1))

    logits, weights, index = router(x, context_for(name, 40))

    wanted = reference(name, router, x, logits.detach())
    got = as_mappings(weights, index)
    assert [set(token) for token in got] == [set(token) for token in wanted]
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine == {expert: pytest.approx(weight, abs=1e-5) for expert, weight in theirs.items()}
    assert (weights[index == E] == 0).all()  # a slot without expert weighs nothing


def test_cosine_logits_are_cosines_over_the_temperature():
    router = make_router("cosine", temperature=0.25)
    x = torch.randn(9, H)
    x[3] = 0.0  # no direction

    logits = router(x).logits

    expected = reference_cosine_logits(x, router.projection.detach(), router.weight.detach(), 0.25)
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(router(7.0 * x).logits, logits)  # the length of a token does not count


@pytest.mark.parametrize("name", router_names())
def test_no_tokens_are_routed_nowhere(name):
    router = make_router(name)
    logits, weights, index = router(torch.zeros(0, H), context_for(name, 0))

    assert logits.shape[0] == weights.shape[0] == index.shape[0] == 0
    assert weights.shape == index.shape


@pytest.mark.parametrize("name", router_names())
def test_a_half_precision_router_routes_in_float32_also_under_autocast(name):
    router = make_router(name).bfloat16()
    x = torch.randn(30, H).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, weights, index = router(x, context_for(name, 30))

    exact = make_router(name).float()
    exact.load_state_dict({key: value.float() for key, value in router.state_dict().items()})
    wanted = exact(x.float(), context_for(name, 30))
    assert logits.dtype == weights.dtype == torch.float32
    assert index.dtype == torch.int64
    assert torch.equal(index, wanted.experts)
    torch.testing.assert_close(weights, wanted.weights)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", router_names())
def test_logits_that_are_no_numbers_are_refused_with_the_name_of_the_layer(name, poison):
    router = make_router(name)
    config = MoEConfig(width=H, expert_width=4, n_experts=E, top_k=2)
    model = torch.nn.ModuleDict({"mlp": MoELayer(config, router=router)})
    assert name_layers(model) == ("mlp",)
    x = torch.randn(5, H)
    x[3, 2] = poison

    with pytest.raises(RouterError, match=r"^mlp: .* NaN or infinite for 1 of 5 tokens \(first: token 3\)"):
        model["mlp"](x, context_for(name, 5))


def test_a_nan_in_the_routers_weight_is_refused_too():
    router = make_router("top_k")
    router.weight.data[0, 0] = float("nan")

    with pytest.raises(RouterError, match="5 of 5 tokens"):
        router(torch.randn(5, H))


@pytest.mark.parametrize("name", CAUSAL)
def test_changing_future_tokens_never_changes_past_routing(name):
    router = make_router(name).eval()
    x = torch.randn(12, H)
    changed = x.clone()
    changed[8:] = torch.randn(4, H)

    before, after = router(x, context_for(name, 12)), router(changed, context_for(name, 12))

    assert torch.equal(before.experts[:8], after.experts[:8])
    torch.testing.assert_close(before.weights[:8], after.weights[:8])
    alone = router(x[:8], context_for(name, 8))
    assert torch.equal(alone.experts, before.experts[:8])


def test_expert_choice_routes_the_past_by_the_future_so_it_refuses_to_run_in_eval_mode():
    router = make_router("expert_choice")
    x = torch.randn(12, H)
    changed = x.clone()
    changed[8:] = 3.0 * torch.randn(4, H)

    assert not torch.equal(router(x).experts[:8], router(changed).experts[:8])
    with pytest.raises(RouterError, match="later tokens and cannot run in eval mode"):
        router.eval()(x)


@pytest.mark.parametrize("name", router_names())
def test_gradients_reach_every_parameter_of_the_router(name):
    router = make_router(name)
    x = torch.randn(64, H)
    _, weights, _ = router(x, RoutingContext(modality=torch.arange(64) % 3, skill="verify"))

    (weights * torch.randn(weights.shape)).sum().backward()

    for parameter_name, parameter in router.named_parameters():
        if parameter_name == "weight_group_answer":
            assert parameter.grad is None  # another skill's experts: never touched
        else:
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["cosine", "expert_choice", "margin", "null", "sigmoid", "top_k", "top_p"])
def test_permuting_experts_with_their_router_rows_changes_nothing(name):
    config = MoEConfig(width=H, expert_width=4, n_experts=E, top_k=2, init_std=0.5)
    layer, permuted = (MoELayer(config, router=make_router(name)).double() for _ in range(2))
    order = torch.tensor([2, 0, 3, 1, 5, 4])
    rows = torch.cat([order, torch.arange(E, len(layer.gate.weight))])  # null experts keep their places
    permuted.gate.weight.data = layer.gate.weight.data[rows]
    if name == "sigmoid":
        permuted.gate.e_score_correction_bias = layer.gate.e_score_correction_bias[order]
    permuted.experts.gate_up_proj.data = layer.experts.gate_up_proj.data[order]
    permuted.experts.down_proj.data = layer.experts.down_proj.data[order]
    x = torch.randn(3, 7, H, dtype=torch.float64)

    torch.testing.assert_close(permuted(x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", router_names())
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_experts": 0}, "n_experts must be a whole number >= 1, got 0"),
        ({"top_k": 99}, "top_k"),
        ({"top_k": 0}, "top_k must be"),
        ({"width": 0}, "width must be"),
        ({"init_std": -1.0}, "init_std must be finite"),
        ({"colour": 3}, "has no setting 'colour'; it has"),
    ],
)
def test_impossible_settings_are_refused_with_the_number_to_change(name, changes, said):
    with pytest.raises(MoEConfigError, match=said):
        router_config(name, **({"width": H, "n_experts": E} | SETTINGS[name] | changes))


def test_unknown_names_and_missing_settings_are_refused_with_what_there_is():
    with pytest.raises(MoEConfigError, match="no router 'best'; choose one of cosine, expert_choice"):
        get_router("best")
    with pytest.raises(MoEConfigError, match="router 'modality' needs more settings: .*'groups'"):
        router_config("modality", width=H, n_experts=E, top_k=2)
    with pytest.raises(MoEConfigError, match="no router takes a OtherConfig"):
        build_router(type("OtherConfig", (TopKConfig,), {})(width=H, n_experts=E, top_k=2))


def test_requests_in_two_threads_do_not_see_each_others_skill():
    router, x = make_router("task"), torch.randn(50, H)
    both_inside = threading.Barrier(2)

    def ask(skill):
        with routing_context(skill=skill):
            both_inside.wait(timeout=20)
            return set(router(x).experts.unique().tolist())

    with ThreadPoolExecutor(2) as pool:
        answer, verify = pool.map(ask, ("answer", "verify"))

    assert answer == {0, 1, 2}
    assert verify == {0, 3, 4, 5}


def test_the_context_is_the_one_given_or_the_innermost_one_set():
    router = make_router("task")
    x = torch.randn(4, H)
    with routing_context(skill="answer"):
        answer = router(x)
        with routing_context(skill="verify"):
            verify = router(x)
        assert torch.equal(router(x, RoutingContext(skill="verify")).experts, verify.experts)
    assert set(answer.experts.unique().tolist()) <= {0, 1, 2}
    assert set(verify.experts.unique().tolist()) <= {0, 3, 4, 5}
    assert current_context().skill is None
    with pytest.raises(RouterError, match="routes by skill: name one of answer, verify"):
        router(x)

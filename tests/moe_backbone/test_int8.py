"""Experts of int8 weights: rounding, packing, the cache of packed weights, and models whose experts are replaced."""

import copy
import gc
import weakref

import pytest
import torch
from torch.nn.functional import silu

from moe_backbone.adapters import register_dispatches
from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.dispatch import int8, quantised
from moe_backbone.dispatch.int8_matrices import (
    EncodedRows,
    Int8Kind,
    Int8Matrices,
    activation_levels,
    encode_rows,
    quantise_rows,
)
from moe_backbone.dispatch.processor import has_int8_products
from moe_backbone.dispatch.quantised import QuantisedExperts, quantise_experts
from moe_backbone.dispatch.registry import get_dispatch, get_spec
from moe_backbone.dispatch.spec import ExpertLayout
from tests.moe_backbone.families import states, tiny

pytestmark = pytest.mark.skipif(not has_int8_products(), reason="this torch has no int8 product here")

IDS = torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(0))
E, H, I = 3, 16, 8  # noqa: E741


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return torch.nn.Parameter(torch.randn(E, 2 * I, H)), torch.nn.Parameter(torch.randn(E, H, I))


@pytest.fixture
def packed(monkeypatch):
    """Return a list with an entry for each set of matrices that was packed."""
    made = []

    class Counting(Int8Matrices):
        def __init__(self, matrices):
            super().__init__(matrices)
            made.append(weakref.ref(self))

    monkeypatch.setattr(int8, "Int8Matrices", Counting)
    return made


def run(weights, name="int8", n_tokens=4):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(n_tokens, H, generator=generator)
    index = torch.rand(n_tokens, E, generator=generator).topk(2).indices
    with torch.inference_mode():
        return get_dispatch(name)(hidden, *weights, index, torch.full((n_tokens, 2), 0.5), silu)


def test_a_row_of_weights_is_rounded_to_127_steps_on_each_side_of_its_largest():
    rounded, scale = quantise_rows(torch.tensor([[1.27, -0.634, 0.004], [0.0, 0.0, 0.0]]))

    assert rounded.tolist() == [[127, -63, 0], [0, 0, 0]]  # -63.4 and 0.4 steps of 0.01
    assert scale[0] == pytest.approx(0.01)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        quantise_rows(torch.tensor([[1.0, float("nan")]]))


def test_a_row_of_states_is_two_whole_numbers_of_steps_where_weights_alone_are_rounded():
    levels = activation_levels()
    rows = encode_rows(torch.tensor([[2.0 * levels, 3.0, -1.0]]), Int8Kind.W8)  # steps of 2: levels, 1.5 and -0.5

    assert rows.step.tolist() == [[2.0]]
    assert rows.parts[0, 0].tolist() == [levels, 2, 0]  # halves go to the even number
    assert rows.parts[0, 1].tolist() == [0, -levels, -levels]  # -0.5 and -0.5 steps, in 1 / (2 levels)
    again = (rows.parts[:, 0] + rows.parts[:, 1] / (2 * levels)) * rows.step
    assert again.tolist() == [[2.0 * levels, 3.0, -1.0]]


def test_a_packed_product_is_the_product_of_the_whole_numbers():
    torch.manual_seed(2)
    weight = torch.randn(1, 5, 9)
    matrices = Int8Matrices(weight)
    whole = torch.randint(-activation_levels(), activation_levels() + 1, (3, 1, 9)).float()

    product = matrices.multiply(EncodedRows(whole, torch.full((3, 1), 0.5)), [0], [3])

    rounded, scale = quantise_rows(weight[0])
    assert torch.equal(matrices.unpacked(0)[0], rounded)
    expected = (whole[:, 0].double() @ rounded.double().T) * scale * 0.5
    torch.testing.assert_close(product.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["int8", "int8_weights"])
def test_a_tokens_result_does_not_depend_on_the_tokens_beside_it(name, weights):
    torch.manual_seed(3)
    hidden = torch.randn(20, H) * torch.logspace(-3, 3, 20)[:, None]  # one scale for all would lose the small ones
    index, weight = torch.rand(20, E).topk(2).indices, torch.rand(20, 2)
    dispatch = get_dispatch(name)
    with torch.inference_mode():
        together = dispatch(hidden, *weights, index, weight, silu)
        alone = torch.cat([dispatch(hidden[t : t + 1], *weights, index[t : t + 1], weight[t : t + 1], silu)
                           for t in range(20)])  # fmt: skip

    assert torch.equal(together, alone)


@pytest.mark.parametrize("name", ["int8", "int8_weights"])
def test_biases_and_a_gate_of_its_own_are_computed_as_the_naive_form_does(name, weights):
    torch.manual_seed(4)
    hidden, index, weight = torch.randn(6, H), torch.rand(6, E).topk(2).indices, torch.rand(6, 2)
    layout = ExpertLayout(
        combine=lambda both: both[:, ::2].clamp(max=1) * (both[:, 1::2] + 1),
        gate_up_bias=torch.randn(E, 2 * I),
        down_bias=torch.randn(E, H),
        finish=torch.nn.functional.normalize,
    )
    with torch.inference_mode():
        expected = get_spec(name).reference(hidden, *weights, index, weight, silu, layout=layout)
        out = get_dispatch(name)(hidden, *weights, index, weight, silu, layout=layout)

    assert (out - expected).norm() / expected.norm() < 1e-3


@pytest.mark.parametrize("name", ["int8", "int8_weights"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_shows_in_its_own_token_only(name, bad, weights):
    torch.manual_seed(5)
    hidden, index, weight = torch.randn(3, H), torch.tensor([[0, 1]] * 3), torch.ones(3, 2)
    spoilt = hidden.clone()
    spoilt[1, 2] = bad
    with torch.inference_mode():
        good = get_dispatch(name)(hidden, *weights, index, weight, silu)
        out = get_dispatch(name)(spoilt, *weights, index, weight, silu)

    assert torch.equal(out[[0, 2]], good[[0, 2]])
    assert not torch.isfinite(out[1]).any()


def test_weights_are_packed_once_and_again_only_when_they_were_written(weights, packed):
    first = run(weights)
    assert torch.equal(run(weights), first)
    assert len(packed) == 2  # gate_up and down

    with torch.no_grad():
        weights[0].mul_(2)  # its version shows it
    changed = run(weights)
    assert len(packed) == 3
    assert not torch.equal(changed, first)

    weights[1].data.neg_()  # its version does not
    assert torch.equal(run(weights), -changed)
    assert len(packed) == 4

    weights[0].data = weights[0].data.clone()  # the same numbers in another place
    run(weights)
    assert len(packed) == 5


def test_weights_made_in_inference_mode_have_no_version_and_are_watched_by_their_values(packed):
    torch.manual_seed(0)
    with torch.inference_mode():
        weights = torch.randn(E, 2 * I, H), torch.randn(E, H, I)
        first = run(weights)
        assert torch.equal(run(weights), first)
        assert len(packed) == 2
        weights[1].neg_()
        assert torch.equal(run(weights), -first)


def test_a_transposed_view_is_packed_once_though_it_is_new_at_each_call(packed):
    torch.manual_seed(0)
    stored = torch.nn.Parameter(torch.randn(E, H, 2 * I)), torch.nn.Parameter(torch.randn(E, I, H))
    for _ in range(3):
        run([weight.transpose(1, 2) for weight in stored])

    assert len(packed) == 2


def test_packed_weights_are_freed_with_the_float_weights(packed):
    weights = [torch.nn.Parameter(torch.randn(E, 2 * I, H)), torch.nn.Parameter(torch.randn(E, H, I))]
    run(weights)
    weights.clear()
    gc.collect()

    assert [matrices() for matrices in packed] == [None, None]


def test_operands_that_int8_cannot_run_are_refused_with_what_to_use(weights):
    with pytest.raises(ValueError, match=r"not torch.float32 on meta.*Use the dispatch 'auto'"), torch.no_grad():
        get_dispatch("int8")(
            torch.zeros(1, H, device="meta"), *weights, torch.zeros(1, 1).long(), torch.ones(1, 1), silu
        )


@pytest.mark.parametrize("kind", Int8Kind)
@pytest.mark.parametrize("family", ["Mixtral", "GptOss"])
def test_replaced_experts_compute_what_the_int8_dispatch_does_at_a_fourth_of_the_bytes(family, kind):
    register_dispatches()
    model = tiny(family)
    model.set_experts_implementation("mmkg_int8" if kind is Int8Kind.W8A8 else "mmkg_int8_weights")
    expected = states(model, IDS)
    float_weights = [weakref.ref(block.experts.down_proj) for block in find_blocks(model)]
    seen = []

    report = quantise_experts(model, kind, progress=lambda done, total: seen.append((done, total)))
    gc.collect()

    assert torch.equal(states(model, IDS), expected)
    assert [weight() for weight in float_weights] == [None, None]
    assert seen == [(1, 2), (2, 2)]
    # 2 layers of 4 experts: 48 x 32 and 32 x 24 weights; a packed row has 12 bytes beside one per weight
    assert report.bytes_before == 2 * 4 * (48 * 32 + 32 * 24) * 4
    assert report.bytes_after == 2 * 4 * (48 * (32 + 12) + 32 * (24 + 12))
    assert report.model_bytes_before - report.model_bytes_after == report.bytes_before - report.bytes_after
    assert report.n_layers == 2


def test_replaced_experts_stay_near_the_float_model_and_change_kind_without_packing_again():
    model = tiny("Mixtral")
    exact = states(model, IDS)
    quantise_experts(model, "w8")
    errors = []
    for kind in Int8Kind:
        for block in find_blocks(model):
            block.experts.kind = kind
        errors.append(float((states(model, IDS) - exact).norm() / exact.norm()))

    w8a8, w8 = errors
    assert 1e-4 < w8 < w8a8 < 0.1


def test_a_copy_of_replaced_experts_computes_the_same():
    model = tiny("Mixtral")
    quantise_experts(model)

    assert torch.equal(states(copy.deepcopy(model), IDS), states(model, IDS))


def test_the_routing_of_replaced_experts_can_be_edited():
    model = tiny("Mixtral")
    quantise_experts(model)
    blocks = find_blocks(model)
    assert [(block.n_experts, block.width, block.expert_width) for block in blocks] == [(4, 32, 24)] * 2

    with edit_routing(model, lambda block, hidden, index, weights: (torch.full_like(index, 4), weights)):
        skipped = states(model, IDS)
    with edit_routing(model, lambda block, hidden, index, weights: (index, torch.zeros_like(weights))):
        zeroed = states(model, IDS)

    torch.testing.assert_close(skipped, zeroed, rtol=0, atol=1e-5)


def test_a_model_quantised_already_is_refused_with_what_was_found():
    model = tiny("Mixtral")
    quantise_experts(model, "w8a8")
    with pytest.raises(ValueError, match=r"experts of model.layers.0.mlp are quantised already \(w8a8\)"):
        quantise_experts(model)


def test_a_model_quantised_by_others_is_refused_and_unchanged():
    model = tiny("Mixtral")
    last = find_blocks(model)[-1].experts
    last.down_proj = torch.nn.Parameter(last.down_proj.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ValueError, match=r"layers.1.mlp are no plain .* \(down_proj is float8_e4m3fn of shape"):
        quantise_experts(model)

    assert not any(isinstance(block.experts, QuantisedExperts) for block in find_blocks(model))


def test_a_model_without_experts_or_with_weights_that_are_not_finite_is_refused():
    with pytest.raises(ValueError, match="Linear has no mixture-of-experts block"):
        quantise_experts(torch.nn.Linear(2, 2))
    model = tiny("Mixtral")
    find_blocks(model)[1].experts.gate_up_proj.data[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"first projection of model.layers.1.mlp holds weights that are not finite"):
        quantise_experts(model)
    with pytest.raises(ValueError, match="'int4' is not a valid Int8Kind"):
        quantise_experts(model, "int4")


def test_replaced_experts_refuse_to_be_trained_through_or_saved():
    model = tiny("Mixtral")
    quantise_experts(model)
    with pytest.raises(ValueError, match="quantised experts have no gradient"):
        model(IDS)
    with pytest.raises(RuntimeError, match="live in memory only"):
        model.state_dict()


def test_a_machine_without_int8_products_says_so_and_leaves_the_model_alone(monkeypatch):
    monkeypatch.setattr(quantised, "has_int8_products", lambda: False)
    model = tiny("Mixtral")
    with pytest.raises(RuntimeError, match="no int8 matrix product here .* the model is unchanged"):
        quantise_experts(model)

    states(model, IDS)

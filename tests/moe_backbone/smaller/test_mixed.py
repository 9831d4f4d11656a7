"""Mixed precision: the integer program against brute force, and packed experts against their dense values."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_backbone.blocks import find_blocks
from moe_backbone.smaller.calibration import calibrate
from moe_backbone.smaller.masking import routed_output
from moe_backbone.smaller.mixed import BitCosts, choose_bits, measure_bit_costs, mix_precision
from moe_backbone.smaller.packed_experts import PackedExperts, pack_experts
from moe_backbone.smaller.packing import quantise
from moe_backbone.smaller.surgery import ShrinkError, expert_bytes, require_blocks, shared_copy
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens


def brute_force(costs, budget_bytes):
    """Try every choice: the least cost that fits, or infinity."""
    cost, size = torch.cat(costs.cost), torch.cat(costs.size)
    counts = [len(layer) for layer in costs.cost]
    best = float("inf")
    for places in itertools.product(range(len(costs.bits)), repeat=len(cost)):
        at = list(enumerate(places))
        if sum(int(size[e, p]) for e, p in at) > budget_bytes:
            continue
        layers = [places[sum(counts[:layer]) : sum(counts[: layer + 1])] for layer in range(len(counts))]
        pruned = [sum(costs.bits[p] == 0 for p in own) for own in layers]
        if all(n <= most for n, most in zip(pruned, costs.spare, strict=True)):
            best = min(best, sum(float(cost[e, p]) for e, p in at))
    return best


@settings(max_examples=40)
@given(st.data())
def test_chosen_bits_cost_as_little_as_brute_force_finds(data):
    bits = data.draw(st.sampled_from([(2, 3, 4), (0, 2, 4), (2, 4, 8)]))
    three = st.lists(st.integers(1, 1000), min_size=3, max_size=3)
    errors = [data.draw(st.lists(three, min_size=3, max_size=3)) for _ in range(2)]
    costs = BitCosts(
        bits=bits,
        cost=tuple(torch.tensor(layer).double() for layer in errors),
        size=tuple(torch.tensor([[100 * width + 50 * bool(width) for width in bits]] * 3) for _ in range(2)),
        n_weights=(800, 800),
        spare=(1, 2),
    )
    average = data.draw(st.floats(2.6, 9.0))
    best = brute_force(costs, average / 8 * 6 * 800)
    chosen = choose_bits(costs, average_bits=average)
    size = sum(100 * width + 50 * bool(width) for own in chosen for width in own)
    found = sum(
        float(layer[expert, bits.index(width)])
        for layer, own in zip(costs.cost, chosen, strict=True)
        for expert, width in enumerate(own)
    )

    assert size <= average / 8 * 6 * 800
    assert found == pytest.approx(best)
    assert [own.count(0) <= spare for own, spare in zip(chosen, costs.spare, strict=True)] == [True, True]


def test_a_budget_below_the_fewest_bits_is_refused():
    model, tokens = make(), random_tokens(rows=8)
    costs = measure_bit_costs(model, calibrate(model, tokens), bits=(2, 4))

    # groups of 32 and 48 inputs: 32 bits of scales each. gate_up 96 x 32 and down 32 x 48: 3 and 2.67 bits
    with pytest.raises(ShrinkError, match=r"2\.8 bits per weight are too few.*2-bit weights take 2\.89"):
        choose_bits(costs, average_bits=2.8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_packed_experts_compute_what_their_dense_values_compute(family, implementation):
    model, ids = make(family), random_tokens(rows=2).ids
    bits = (2, 3, 4, 8, 4, 3, 2, 8)
    model.set_experts_implementation(implementation)
    dense = shared_copy(model)
    for block in find_blocks(dense):
        experts, transposed = block.experts, bool(getattr(block.experts, "is_transposed", False))
        for name in ("gate_up_proj", "down_proj"):
            rows = [weight.T if transposed else weight for weight in experts.get_parameter(name).detach()]
            rows = [quantise(row, width).values(row.shape[1]) for row, width in zip(rows, bits, strict=True)]
            stacked = torch.stack([row.T if transposed else row for row in rows]).contiguous()
            experts._parameters[name] = torch.nn.Parameter(stacked)
    packed = mix_precision(model, [bits] * len(find_blocks(model)))
    with torch.no_grad():
        assert torch.allclose(packed(ids).logits, dense(ids).logits, atol=1e-5)
        one = ids[:1, :1]
        assert torch.allclose(packed(one).logits, dense(one).logits, atol=1e-5)
    assert expert_bytes(packed) < 0.25 * expert_bytes(model)


def test_slots_without_an_expert_add_nothing_to_packed_experts():
    block = find_blocks(make())[0]
    packed = pack_experts(block.experts, [8] * 8)
    hidden = torch.randn(3, 32)
    index, weights = torch.tensor([[0, 8], [8, 8], [3, 8]]), torch.ones(3, 2)
    out = packed(hidden, index, weights)

    assert torch.allclose(out[[0, 2]], packed(hidden[[0, 2]], index[[0, 2], :1], weights[[0, 2], :1]))
    assert torch.equal(out[1], torch.zeros(32))


def test_costs_are_the_measured_errors_of_the_block_and_more_bits_cost_less():
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=16)
    calibration = calibrate(model, tokens, n_sampled=512)
    costs = measure_bit_costs(model, calibration, bits=(8, 2, 4))
    (block,), layer = require_blocks(model), calibration.layers[0]
    full = routed_output(block, layer.hidden, layer.index, layer.weights)
    one = mix_precision(model, [[2, *[8] * 7]])  # expert 0 in two bits; eight bits are as good as exact here
    packed = next(module for module in one.modules() if isinstance(module, PackedExperts))
    with torch.no_grad():
        changed = packed(layer.hidden, layer.index, layer.weights)
    error = float((changed - full).double().pow(2).sum() / full.double().pow(2).sum())

    assert costs.bits == (2, 4, 8)
    assert float(costs.cost[0][0, 0]) == pytest.approx(error, rel=0.02)
    assert bool((costs.cost[0][:, 0] > costs.cost[0][:, 1]).all())


def test_no_bits_prune_an_expert():
    model, tokens = make(), random_tokens(rows=8)
    shrunk = mix_precision(model, [[0, *[8] * 7], [8] * 8], calibrate(model, tokens))
    with torch.no_grad():
        assert torch.isfinite(shrunk(tokens.ids[:2]).logits).all()
    assert [len(m.bits) for m in shrunk.modules() if isinstance(m, PackedExperts)] == [7, 8]


def test_bits_for_other_numbers_of_experts_are_refused():
    with pytest.raises(ShrinkError, match=r"bits for \[8, 7\] experts"):
        mix_precision(make(), [[4] * 8, [4] * 7])

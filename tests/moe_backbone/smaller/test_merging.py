"""Merging: exact for experts that do the same, clusters and maps by hand, alignment of inner units."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.smaller.calibration import calibrate
from moe_backbone.smaller.merging import (
    cluster_experts,
    map_slots,
    merge,
    merge_costs,
    random_groups,
    squared_gates,
)
from moe_backbone.smaller.surgery import ShrinkError, expert_bytes, require_blocks
from moe_backbone.smaller.units import aligned, expert_tensors, permuted, run_dense, run_slots
from tests.moe_backbone.smaller.test_pruning import virtual_groups
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens

TWINS = ((0, 5), (1, 3), (2,), (4,), (6,), (7,))


def with_twins(family):
    """Expert 5 is expert 0 with its inner units in another order, and expert 3 is expert 1."""
    model = make(family)
    generator = torch.Generator().manual_seed(0)
    for block in find_blocks(model):
        order = torch.randperm(block.expert_width, generator=generator)
        for name, tensor in permuted(block.experts, expert_tensors(block.experts, 0), order).items():
            block.experts.get_parameter(name).data[5] = tensor
        for name, tensor in expert_tensors(block.experts, 1).items():
            block.experts.get_parameter(name).data[3] = tensor
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_inner_units_is_free_and_is_found_again(family):
    block = find_blocks(make(family))[0]
    order = torch.randperm(block.expert_width, generator=torch.Generator().manual_seed(0))
    anchor = expert_tensors(block.experts, 2)
    moved = permuted(block.experts, anchor, order)
    x_NH = torch.randn(6, block.width)
    expected = run_slots(block, x_NH, torch.full((6,), 2))

    assert torch.allclose(run_dense(block.experts, moved, x_NH), expected, atol=1e-5)
    assert not torch.equal(moved["down_proj"], anchor["down_proj"])
    for name, tensor in aligned(block.experts, anchor, moved).items():
        assert torch.equal(tensor, anchor[name]), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_merging_experts_that_do_the_same_changes_nothing(family, implementation):
    model, tokens = with_twins(family), random_tokens(rows=8)
    calibration = calibrate(model, tokens, n_sampled=200)
    pairs = list(zip(require_blocks(model), calibration.layers, strict=True))
    costs = [merge_costs(block, layer) for block, layer in pairs]
    used = [squared_gates(layer, 8) for _, layer in pairs]
    groups = cluster_experts(costs, used, share=0.75)  # two merges a layer
    model.set_experts_implementation(implementation)
    merged = merge(model, groups, calibration)
    with torch.no_grad():
        whole, after = model(tokens.ids).logits, merged(tokens.ids).logits
        unaligned = merge(model, groups, align=False)(tokens.ids).logits

    assert groups == [TWINS] * len(pairs)
    assert (whole - after).abs().max() < 1e-5
    assert (whole - unaligned).abs().max() > 0.1  # averages of units in another order are something else
    assert expert_bytes(merged) < 0.76 * expert_bytes(model)


def test_a_stock_merge_of_two_equal_groups_of_an_upcycled_model_is_free():
    model, tokens = virtual_groups(), random_tokens(rows=4)
    merged = merge(model, [((0, 4), (1, 5), (2, 6), (3, 7))] * 2, stock=True)
    with torch.no_grad():
        assert (model(tokens.ids).logits - merged(tokens.ids).logits).abs().max() < 2e-5
    assert [block.n_experts for block in find_blocks(merged)] == [4, 4]
    assert all(len(block.router.weight) == 4 for block in find_blocks(merged))


def test_merged_weights_are_averages_by_use():
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=8)
    calibration = calibrate(model, tokens)
    calibration.layers[0].label = torch.zeros(0)  # nothing to compare the average with its first member on
    merged = merge(model, [((0, 1), *((n,) for n in range(2, 8)))], calibration, align=False)
    count = calibration.layers[0].counts.sum(0)
    down = find_blocks(model)[0].experts.down_proj
    expected = (count[0] * down[0] + count[1] * down[1]) / (count[0] + count[1])

    assert torch.allclose(find_blocks(merged)[0].experts.down_proj[0], expected.float(), atol=1e-6)


def test_two_chosen_experts_that_became_one_are_run_once_with_both_weights():
    index = torch.tensor([[0, 5, 2], [5, 1, 0], [8, 3, 1]])  # 8: no expert
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.9, 0.7, 0.2]])
    new_of = torch.tensor([0, 1, 2, 1, 3, 0, 4, 5])

    ids, gates = map_slots(index, weights, new_of, n_merged=6)

    assert ids.tolist() == [[0, 6, 2], [0, 1, 6], [6, 1, 6]]
    expected = [[0.8, 0.0, 0.2], [0.7, 0.3, 0.0], [0.0, 0.9, 0.0]]
    assert torch.allclose(gates, torch.tensor(expected))


def test_an_edit_of_the_routing_sees_merged_ids():
    model, ids = make(), random_tokens(rows=2).ids
    merged, seen = merge(model, [TWINS] * 2), set()

    def look(block, hidden, index, weights):
        seen.update(index.unique().tolist())
        return index, weights

    with torch.no_grad(), edit_routing(merged, look):
        merged(ids)
    assert seen <= set(range(7))  # six experts, and 6 for none


def test_the_most_used_member_stands_for_a_group_whose_average_is_worse():
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=8)
    calibration = calibrate(model, tokens)
    count = calibration.layers[0].counts.sum(0)
    anchor = int(count[:2].argmax())
    merged = merge(model, [((0, 1), *((n,) for n in range(2, 8)))], calibration)

    # Two experts of random weights: their average does nothing that either does.
    before, after = find_blocks(model)[0].experts.down_proj, find_blocks(merged)[0].experts.down_proj
    assert torch.equal(after[0], before[anchor])


def test_the_cost_of_joining_two_experts_is_what_it_changes_of_the_output():
    """With every token going to both experts, the block's output moves from f and g to their weighted mean."""
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=4)
    (block,) = require_blocks(model)
    layer = calibrate(model, tokens, n_sampled=64, least_tokens=1).layers[0]
    layer.index[:, 0], layer.index[:, 1] = 2, 5
    layer.weights[:, 0], layer.weights[:, 1] = 0.75, 0.25
    f, g = (run_dense(block.experts, expert_tensors(block.experts, e), layer.hidden).double() for e in (2, 5))
    u, v = 0.75**2, 0.25**2
    mean = (u * f + v * g) / (u + v)
    changed = u * (f - mean).pow(2).sum() + v * (g - mean).pow(2).sum()

    cost = merge_costs(block, layer)
    assert float(cost[2, 5]) == pytest.approx(float(changed / (0.75 * f + 0.25 * g).pow(2).sum()), rel=1e-5)
    assert float(cost[0, 1]) < 1e-6  # never used
    assert torch.equal(cost, cost.T)


def test_the_cheapest_merges_of_all_layers_come_first():
    near = torch.tensor([[0.0, 0.1, 9.0], [0.1, 0.0, 9.0], [9.0, 9.0, 0.0]], dtype=torch.float64)
    far = torch.tensor([[0.0, 5.0, 0.3], [5.0, 0.0, 5.0], [0.3, 5.0, 0.0]], dtype=torch.float64)

    def groups(share, **options):
        return cluster_experts([near, far], [torch.ones(3)] * 2, share=share, **options)

    assert groups(5 / 6) == [((0, 1), (2,)), ((0,), (1,), (2,))]
    assert groups(4 / 6) == [((0, 1), (2,)), ((0, 2), (1,))]
    # The last expert joins at (2 * 9 + 2 * 9 - 0.1) / 3 = 11.97 and at (2 * 5 + 2 * 5 - 0.3) / 3 = 6.57.
    assert groups(3 / 6) == [((0, 1), (2,)), ((0, 1, 2),)]
    assert groups(2 / 3, per_layer=True) == [((0, 1), (2,)), ((0, 2), (1,))]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 7))
def test_every_join_is_the_one_that_adds_least_to_the_squares_within_groups(seed, n):
    """Against the naive greedy search over weighted sums of squares of points."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    costs = weights[:, None] * weights / (weights[:, None] + weights) * (points[:, None] - points).pow(2).sum(-1)

    def within(group):
        ids = list(group)
        mean = (weights[ids, None] * points[ids]).sum(0) / weights[ids].sum()
        return float((weights[ids] * (points[ids] - mean).pow(2).sum(1)).sum())

    groups = [(point,) for point in range(n)]
    for n_groups in range(n - 1, 0, -1):
        joins = [(one, other) for place, one in enumerate(groups) for other in groups[:place]]
        one, other = min(joins, key=lambda join: within(join[0] + join[1]) - within(join[0]) - within(join[1]))
        groups = [group for group in groups if group not in (one, other)] + [tuple(sorted(one + other))]
        assert cluster_experts([costs], [weights], share=n_groups / n) == [tuple(sorted(groups))]


def test_random_groups_have_the_wanted_numbers_and_every_expert_once():
    for groups in random_groups([(8, 3), (8, 8)], seed=0):
        assert sorted(expert for group in groups for expert in group) == list(range(8))
    assert [len(groups) for groups in random_groups([(8, 3), (8, 8)], seed=0)] == [3, 8]


def test_impossible_merges_are_refused():
    model = make()
    with pytest.raises(ShrinkError, match="do not hold each of 8 experts once"):
        merge(model, [((0, 1),)] * 2)
    with pytest.raises(ShrinkError, match="1 groups are fewer than the experts a token visits"):
        merge(model, [(tuple(range(8)),)] * 2, stock=True)
    with pytest.raises(ShrinkError, match="needs 5 merges, and 4 are possible"):
        cluster_experts([torch.ones(3, 3)] * 2, [torch.ones(3)] * 2, share=1 / 6)

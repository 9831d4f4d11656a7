"""Skipping: the mark for no expert equals weight zero and costs nothing; thresholds by kind; the frontier search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from moe_backbone.adapters import implementation_name, register_dispatches
from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.smaller.calibration import calibrate
from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.frontier import frontier_search, grid_search
from moe_backbone.smaller.skipping import (
    SkipPolicy,
    find_policy,
    layer_importance,
    skipping,
    skipping_at_random,
    threshold_candidates,
)
from moe_backbone.smaller.surgery import ShrinkError
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens


def policy_of(text, evidence=0.0, *, importance=(1.0, 1.0)):
    return SkipPolicy(layer_importance=importance, text_threshold=text, evidence_threshold=evidence)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_skipping_equals_a_weight_of_zero(family, implementation):
    model, ids = make(family), random_tokens(rows=4).ids
    model.set_experts_implementation(implementation)
    n_blocks = len(find_blocks(model))
    flag = [getattr(block.experts, "_is_expert_parallel", None) for block in find_blocks(model)]

    threshold = 1.2 if family == "deepseek" else 0.45  # DeepSeek scales its weights by 2.5

    def zero(block, hidden, index, weights):
        return index, weights.masked_fill(weights < threshold, 0.0)

    with torch.no_grad():
        with edit_routing(model, zero):
            zeroed = model(ids).logits
        with skipping(model, policy_of(threshold, importance=(1.0,) * n_blocks)) as running:
            skipped = model(ids).logits
        plain = model(ids).logits

    assert 0.05 < running.share < 0.95
    assert (zeroed - skipped).abs().max() <= 1e-5
    assert not torch.allclose(plain, skipped, atol=0.01)
    assert [getattr(block.experts, "_is_expert_parallel", None) for block in find_blocks(model)] == flag


def test_skipped_calls_cost_no_matrix_product():
    model, ids = make(), random_tokens(rows=8).ids
    register_dispatches()
    model.set_experts_implementation(implementation_name("looped"))  # the counter does not know grouped products

    def flops(run):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    def skipped():
        with skipping(model, policy_of(0.4, 0.4)) as running:
            model(ids)
        skipped_calls.append(running.n_skipped)

    skipped_calls = []
    whole, part = flops(lambda: model(ids)), flops(skipped)
    one_call = 2 * (96 * 32 + 32 * 48)

    assert 100 < skipped_calls[0] < 2 * 256 * 2
    # each of the two blocks tries one real call before the run, to learn whether it understands "no expert"
    assert whole - part == (skipped_calls[0] - 2) * one_call


def test_text_and_evidence_have_thresholds_of_their_own_and_decoding_is_text():
    model, tokens = make(), random_tokens(rows=4)
    seen = []

    def look(block, hidden, index, weights):
        seen.append((block.layer, index >= block.n_experts))
        return index, weights

    with torch.no_grad(), skipping(model, policy_of(0.0, 2.0)) as running, edit_routing(model, look):
        running.set_labels(tokens)
        model(tokens.ids)
        assert all(torch.equal(gone.all(1), tokens.label.reshape(-1) == 1) for _, gone in seen)
        assert running.share == pytest.approx(float((tokens.label == 1).float().mean()))
        model(tokens.ids[:, :1])  # another number of tokens: a step of decoding
        assert not seen[-1][1].any()


def test_padding_counts_as_text():
    model, tokens = make(), random_tokens(rows=4)
    padded = LabelledTokens(
        labels=tokens.labels, ids=tokens.ids, label=torch.where(tokens.label == 0, -1, tokens.label)
    )
    with torch.no_grad(), skipping(model, policy_of(0.0, 2.0)) as running:
        running.set_labels(padded)
        model(tokens.ids)
    assert running.n_skipped == 2 * 2 * int((tokens.label == 1).sum())


def test_a_layer_that_adds_nothing_has_no_importance():
    model, tokens = make(), random_tokens(rows=2)
    find_blocks(model)[1].experts.down_proj.data.zero_()
    importance = layer_importance(model, tokens)

    assert importance == (1.0, pytest.approx(0.0, abs=1e-9))


def test_layer_importance_is_the_divergence_without_the_layer():
    model, tokens = make(), random_tokens(rows=2)

    def log_p(layer):
        def zero(block, hidden, index, weights):
            return index, weights * (block.layer != layer)

        with torch.no_grad(), edit_routing(model, zero):
            return model(tokens.ids).logits.log_softmax(-1)

    plain = log_p(-1)
    kls = [float((plain.exp() * (plain - log_p(layer))).sum(-1).mean()) for layer in (0, 1)]
    assert layer_importance(model, tokens) == pytest.approx([kl / max(kls) for kl in kls], rel=1e-4)


def test_candidates_skip_even_shares_of_each_kind():
    model, tokens = make(), random_tokens(rows=16)
    calibration = calibrate(model, tokens, n_sampled=4096)
    text, evidence = threshold_candidates(calibration, (1.0, 1.0), steps=4)
    assert text == sorted(text)
    assert text[0] == evidence[0] == 0.0
    weights = torch.cat([layer.weights[layer.label == 0] for layer in calibration.layers]).reshape(-1)

    assert [float((weights < value).float().mean()) for value in text] == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.01)


def test_a_policy_found_runs_no_more_than_asked_and_skips_less_important_calls_than_chance_does():
    model, tokens = make(), random_tokens(rows=16)
    calibration = calibrate(model, tokens)
    batch = tokens.rows(slice(0, 4))
    policy, found = find_policy(model, calibration, batch, run=0.7, importance=layer_importance(model, batch))

    def divergence(context):
        with torch.no_grad():
            plain = model(batch.ids).logits.log_softmax(-1)
            with context as running:
                if running is not None:
                    running.set_labels(batch)
                changed = model(batch.ids).logits.log_softmax(-1)
        return float((plain.exp() * (plain - changed)).sum(-1).mean())

    assert found.skipped >= 0.3 - 1e-6
    assert found.n_evaluations <= 15
    assert divergence(skipping(model, policy)) == pytest.approx(found.loss, rel=1e-3)
    assert found.loss < 0.5 * divergence(skipping_at_random(model, found.skipped, seed=0))
    assert SkipPolicy.from_mapping(policy.to_mapping()) == policy


def test_a_policy_of_another_depth_is_refused():
    with (
        pytest.raises(ShrinkError, match="knows 3 layers and the model has 2"),
        skipping(make(), policy_of(0.1, importance=(1.0, 1.0, 1.0))),
    ):
        pass


def test_the_frontier_search_finds_the_grid_search_s_pair_with_a_third_of_its_evaluations():
    """Skips (i + j) / 14, loses i² + 2 j²: of the pairs with i + j >= 7, (5, 2) loses 33, (4, 3) 34 and (6, 1) 38."""
    calls = []

    def evaluate(i, j):
        calls.append((i, j))
        return (i + j) / 14, i**2 + 2 * j**2

    found = frontier_search(8, 8, evaluate, target=0.5)
    n_walked = len(calls)
    grid = grid_search(8, 8, evaluate, target=0.5)

    assert (found.first, found.second, found.loss) == (grid.first, grid.second, grid.loss) == (5, 2, 33)
    assert found.n_evaluations == n_walked <= 64 / 3
    assert len(calls) - n_walked == grid.n_evaluations == 64


@settings(max_examples=200)
@given(st.data())
def test_on_any_monotone_grid_the_frontier_search_loses_no_more_than_the_grid_search(data):
    n, m = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    steps = st.lists(st.integers(0, 3), min_size=n * m, max_size=n * m)

    def monotone(values):
        grid = torch.tensor(values).view(n, m).cumsum(0).cumsum(1)
        return grid / max(1, int(grid.max()))

    skipped, loss = monotone(data.draw(steps)), monotone(data.draw(steps))
    target = data.draw(st.floats(0, 1.2))

    def evaluate(i, j):
        return float(skipped[i, j]), float(loss[i, j])

    found, grid = (search(n, m, evaluate, target=target) for search in (frontier_search, grid_search))
    assert (found is None) == (grid is None)
    if found is not None:
        assert found.loss == grid.loss
        assert found.skipped >= target
        assert found.n_evaluations <= n + m - 1

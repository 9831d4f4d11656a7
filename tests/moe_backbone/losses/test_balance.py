"""Balance and z-loss: hand-worked values, collapse per layer, padding, micro-batches, gradients."""

import math

import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from moe_backbone.losses.balance import load_balance_loss, load_balance_per_layer, routing_totals
from moe_backbone.losses.bias import update_biases, updated_bias
from moe_backbone.losses.per_token import router_z_loss
from moe_backbone.routers.sigmoid import SigmoidConfig, SigmoidRouter


def sure_of(expert, *, n_experts=8, n_tokens=16):
    logits = torch.zeros(n_tokens, n_experts)
    logits[:, expert] = 50.0
    return logits


def test_loss_of_a_small_batch_is_the_one_worked_by_hand():
    # Two tokens, two experts, top 1. p = (3/4, 1/4) and (1/3, 2/3): one slot each, P = (13/24, 11/24).
    logits = torch.log(torch.tensor([[0.75, 0.25], [1 / 3, 2 / 3]]))
    assert load_balance_loss([logits], top_k=1).item() == pytest.approx(2 * (0.5 * 13 / 24 + 0.5 * 11 / 24))
    # A third token of p = (3/4, 1/4): f = (2/3, 1/3), P = (11/18, 7/18).
    logits = torch.cat([logits, logits[:1]])
    assert load_balance_loss([logits], top_k=1).item() == pytest.approx(2 * (2 / 3 * 11 / 18 + 1 / 3 * 7 / 18))


def test_a_model_whose_every_layer_collapsed_onto_another_expert_scores_the_worst_not_the_best():
    layers = [sure_of(expert) for expert in range(8)]
    uniform = [torch.eye(8).repeat(2, 1) * 50.0] * 8
    stock = load_balancing_loss_func(tuple(layers), num_experts=8, top_k=1)
    assert stock.item() == pytest.approx(1.0)  # transformers pools the layers: as good as perfect balance
    assert load_balancing_loss_func(tuple(uniform), num_experts=8, top_k=1).item() == pytest.approx(1.0)
    assert load_balance_loss(uniform, top_k=1).item() == pytest.approx(1.0)
    assert load_balance_loss(layers, top_k=1).item() == pytest.approx(8.0)
    assert load_balance_per_layer(layers[:3], top_k=1).tolist() == pytest.approx([8.0, 8.0, 8.0])


def test_one_collapsed_layer_among_balanced_ones_is_named_by_its_loss():
    balanced = torch.eye(8).repeat(2, 1) * 50.0
    assert load_balance_per_layer([balanced, sure_of(3), balanced], top_k=1).tolist() == pytest.approx([1.0, 8.0, 1.0])


def test_padding_tokens_change_neither_loss_nor_gradient():
    torch.manual_seed(0)
    real = [torch.randn(6, 4) for _ in range(2)]
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    padded = [torch.full((8, 4), math.nan) for _ in range(2)]
    for with_padding, without in zip(padded, real, strict=True):
        with_padding[mask.reshape(-1).bool()] = without
        with_padding.requires_grad_()

    balance, z = load_balance_loss(padded, top_k=2, mask=mask), router_z_loss(padded, mask=mask)
    (balance + z).backward()

    unpadded = [layer.clone().requires_grad_() for layer in real]
    balance_alone, z_alone = load_balance_loss(unpadded, top_k=2), router_z_loss(unpadded)
    (balance_alone + z_alone).backward()
    assert torch.equal(balance, balance_alone)  # to the bit
    assert torch.equal(z, z_alone)
    for layer, alone in zip(padded, unpadded, strict=True):
        assert torch.equal(layer.grad[mask.reshape(-1).bool()], alone.grad)
    assert all(layer.grad[~mask.reshape(-1).bool()].abs().max() == 0 for layer in padded)


def test_losses_and_gradients_of_uneven_micro_batches_add_up_to_those_of_the_whole_batch():
    torch.manual_seed(1)
    whole = [torch.randn(10, 4, dtype=torch.float64) for _ in range(3)]
    mask = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 0, 1])
    full = [layer.clone().requires_grad_() for layer in whole]
    at_once = load_balance_loss(full, top_k=2, mask=mask) + router_z_loss(full, mask=mask)
    at_once.backward()

    cuts = [slice(0, 3), slice(3, 9), slice(9, 10)]
    totals = [routing_totals([layer[cut] for layer in whole], top_k=2, mask=mask[cut]) for cut in cuts]
    total = totals[0] + totals[1] + totals[2]
    in_parts = [layer.clone().requires_grad_() for layer in whole]
    added = 0.0
    for cut in cuts:
        part = [layer[cut] for layer in in_parts]
        loss = load_balance_loss(part, top_k=2, mask=mask[cut], totals=total)
        loss = loss + router_z_loss(part, mask=mask[cut], n_tokens=total.n_tokens)
        loss.backward()
        added += loss.item()

    assert added == pytest.approx(at_once.item(), abs=1e-12)
    for one, many in zip(full, in_parts, strict=True):
        torch.testing.assert_close(many.grad, one.grad, rtol=0, atol=1e-12)


def test_z_loss_is_the_squared_log_partition():
    assert router_z_loss([torch.zeros(3, 4)]).item() == pytest.approx(math.log(4) ** 2)


def test_a_step_down_the_gradient_takes_tokens_from_the_crowded_expert():
    logits = torch.zeros(5, 3)
    logits[:, 1] = 1.0
    logits.requires_grad_()

    load_balance_loss([logits], top_k=1).backward()

    assert (logits.grad[:, 1] > 0).all()  # descent lowers the crowded expert's logit
    assert (logits.grad[:, [0, 2]] < 0).all()  # and raises the others'


def test_a_batch_of_padding_alone_costs_nothing():
    assert load_balance_loss([torch.randn(3, 4)], top_k=1, mask=torch.zeros(3)).item() == 0.0


def test_the_choice_of_the_router_counts_not_the_top_k_of_its_logits():
    logits = torch.zeros(4, 2)
    logits[:, 0] = math.log(3)  # p = (3/4, 1/4), but a bias sends every token to expert 1
    chosen = torch.ones(4, 1, dtype=torch.int64)

    assert load_balance_loss([logits], top_k=1).item() == pytest.approx(2 * 0.75)
    assert load_balance_loss([logits], top_k=1, experts=[chosen]).item() == pytest.approx(2 * 0.25)


def test_unused_slots_are_no_load_and_null_experts_share_theirs():
    chosen = torch.tensor([[0, 2], [1, 2]])  # 2 is "no expert"
    assert routing_totals([torch.zeros(2, 2)], top_k=1, experts=[chosen]).counts.tolist() == [[1.0, 1.0]]
    with_null = routing_totals([torch.zeros(2, 6)], top_k=2, experts=[chosen], null_experts=4)
    assert with_null.counts.tolist() == [[1.0, 1.0, 0.5, 0.5, 0.5, 0.5]]
    # f = (1/4, 1/4, 1/8 ×4) and P uniform over 6: 6 · (1/4 + 1/4 + 4/8) / 6
    assert load_balance_loss([torch.zeros(2, 6)], top_k=2, experts=[chosen], null_experts=4).item() == pytest.approx(1)


def test_sigmoid_scores_are_normalised_before_they_are_averaged():
    logits = torch.tensor([[math.log(3), 0.0]])  # sigmoids 3/4 and 1/2, normalised 3/5 and 2/5

    assert load_balance_loss([logits], top_k=1, scores="sigmoid").item() == pytest.approx(2 * 0.6)


def test_the_bias_rises_for_idle_experts_and_falls_for_busy_ones_by_the_rate():
    moved = updated_bias(torch.tensor([0.5, 0.0, -0.5]), torch.tensor([9.0, 6.0, 3.0]), rate=0.01)

    torch.testing.assert_close(moved, torch.tensor([0.49, 0.0, -0.49]))


def test_updating_the_bias_over_micro_batches_balances_a_router_without_any_gradient():
    torch.manual_seed(3)
    router = SigmoidRouter(SigmoidConfig(width=8, n_experts=6, top_k=2, init_std=0.3))
    router.weight.data[0] += 0.5  # one expert that most tokens prefer
    weight = router.weight.detach().clone()
    halves = [torch.randn(200, 8) + 0.5, torch.randn(100, 8) + 0.5]

    def totals():
        made = [router(x) for x in halves]
        parts = [routing_totals([r.logits], top_k=2, experts=[r.experts]) for r in made]
        return parts[0] + parts[1]

    before = totals().counts[0]
    for _ in range(300):
        update_biases([router.e_score_correction_bias], totals(), rate=0.002)
    after = totals().counts[0]

    assert before.max() / before.mean() > 2
    assert after.max() / after.mean() < 1.1
    assert torch.equal(router.weight, weight)


ONE_LAYER = routing_totals([torch.zeros(2, 4)], top_k=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: load_balance_loss([], top_k=1), "logits is empty"),
        (lambda: load_balance_loss([torch.zeros(2, 4), torch.zeros(3, 4)], top_k=1), "one shape"),
        (lambda: load_balance_loss([torch.zeros(2, 4)], top_k=5), "top_k must be between 1 and the 4"),
        (lambda: router_z_loss([torch.zeros(2, 4)], mask=torch.ones(3)), "one element for each of the 2 tokens"),
        (lambda: load_balance_loss([torch.zeros(2, 4)], top_k=1, experts=[]), r"experts must hold 1 layers of shape"),
        (lambda: load_balance_loss([torch.zeros(2, 4)], top_k=1, scores="cosine"), "scores must be 'softmax' or"),
        (lambda: load_balance_loss([torch.zeros(2, 4)] * 2, top_k=1, totals=ONE_LAYER), "totals count"),
        (lambda: updated_bias(torch.zeros(3), torch.zeros(4)), r"must both have shape \(E,\)"),
        (lambda: updated_bias(torch.zeros(3), torch.zeros(3), rate=0.0), "rate must be > 0"),
        (lambda: updated_bias(torch.zeros(3).half(), torch.zeros(3)), "float16, in which steps of 0.001 vanish"),
        (lambda: update_biases([torch.zeros(4)] * 2, ONE_LAYER), "2 biases and totals of 1 layers"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()

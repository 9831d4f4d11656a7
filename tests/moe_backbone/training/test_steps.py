"""The gradient of a step: micro-batches, padding and checkpointing change nothing, to float64's last digits."""

import copy

import pytest
import torch

from moe_backbone.losses.balance import load_balance_loss
from moe_backbone.losses.per_token import router_z_loss
from moe_backbone.routers.context import current_context
from moe_backbone.training.config import StageConfig, TrainingError
from moe_backbone.training.data import IGNORED, Batch
from moe_backbone.training.machine import recompute_activations
from moe_backbone.training.objectives import Distillation, NextToken
from moe_backbone.training.routing import RouterTap, count_routing, update_router_biases
from moe_backbone.training.steps import accumulate_gradient
from tests.moe_backbone.training.tiny import VOCABULARY, tiny_data, tiny_mixtral

STAGE = StageConfig(balance_weight=0.7, z_weight=0.3)


@pytest.fixture
def model():
    return tiny_mixtral().double()


def batch(n_rows=6) -> Batch:
    rows = tiny_data().rows(torch.arange(n_rows))
    labels = rows.labels.clone()
    labels[0, :7] = IGNORED  # so that micro-batches have unequal numbers of targets
    return Batch(ids=rows.ids, labels=labels, mask=rows.mask)


def gradient(model, micro_batches, *, objective=None, **changes):
    model.zero_grad(set_to_none=True)
    with RouterTap(model) as tap:
        result = accumulate_gradient(
            model, micro_batches, objective=objective or NextToken(), stage=STAGE, tap=tap, **changes
        )
    return result, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_the_gradient_of_micro_batches_is_that_of_the_whole_batch(model):
    whole, expected = gradient(model, [batch()])
    for size in (1, 2, 4):
        parted, got = gradient(model, batch().split(size))

        assert largest_difference(got, expected) < 1e-14
        assert parted.loss == pytest.approx(whole.loss, abs=1e-13)
        assert parted.balance == pytest.approx(whole.balance, abs=1e-13)
        assert (parted.n_targets, parted.n_tokens) == (whole.n_targets, whole.n_tokens) == (60, 72)


def test_balancing_each_micro_batch_alone_is_another_gradient(model):
    """What the pass without a gradient is for: without it the routers are pushed elsewhere."""
    _, expected = gradient(model, [batch()])
    _, alone = gradient(model, batch().split(1), whole_batch_balance=False)

    assert largest_difference(alone, expected) > 1e-4


def test_the_gradient_is_that_of_the_losses_written_out(model):
    result, got = gradient(model, batch().split(2))

    model.zero_grad(set_to_none=True)
    whole = batch()
    output = model(input_ids=whole.ids, labels=whole.labels, output_router_logits=True)
    cross_entropy = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].reshape(-1, VOCABULARY), whole.labels[:, 1:].reshape(-1), ignore_index=IGNORED
    )
    balance = load_balance_loss(output.router_logits, top_k=2)
    z = router_z_loss(output.router_logits)
    loss = cross_entropy + 0.7 * balance + 0.3 * z
    loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters()}

    assert largest_difference(got, expected) < 1e-13
    assert result.loss == pytest.approx(float(loss.detach()), abs=1e-12)


def test_padding_changes_no_gradient(model):
    plain = batch(3)
    padding = torch.full((3, 5), 7)
    padded = Batch(
        ids=torch.cat((plain.ids, padding), 1),
        labels=torch.cat((plain.labels, torch.full((3, 5), IGNORED)), 1),
        mask=torch.cat((plain.mask, torch.zeros(3, 5, dtype=torch.bool)), 1),
    )
    _, expected = gradient(model, [plain])
    result, got = gradient(model, padded.split(2))

    assert largest_difference(got, expected) < 1e-13
    assert result.n_tokens == 36


def test_recomputing_activations_changes_no_gradient_and_counts_no_token_twice(model):
    model.train()
    plain, expected = gradient(model, batch().split(2))
    recompute_activations(model)
    recomputed, got = gradient(model, batch().split(2))

    assert largest_difference(got, expected) < 1e-13
    assert [total.n_tokens for total in recomputed.totals] == [72, 72]
    assert recomputed.balance == pytest.approx(plain.balance, abs=1e-12)


def test_the_counting_pass_draws_the_random_numbers_of_the_pass_it_counts():
    model = tiny_mixtral(attention_dropout=0.5).double().train()
    torch.manual_seed(1)
    result, _ = gradient(model, batch().split(2))
    torch.manual_seed(1)
    alone, _ = gradient(model, batch().split(2), whole_batch_balance=False)

    assert all(torch.equal(a.counts, b.counts) for a, b in zip(result.totals, alone.totals, strict=True))
    assert result.objective == alone.objective


def test_a_distillation_is_exact_over_micro_batches_too(model):
    teacher = tiny_mixtral(seed=5).double().eval()
    objective = Distillation(teacher, temperature=2.0, top_k=4, hard_weight=0.25)
    _, expected = gradient(model, [batch()], objective=objective)
    _, got = gradient(model, batch().split(1), objective=objective)

    assert largest_difference(got, expected) < 1e-14
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_modality_padding_and_skill_of_a_micro_batch_reach_the_routers(model):
    rows = batch(2)
    modality = torch.ones_like(rows.ids)
    labelled = Batch(ids=rows.ids, labels=rows.labels, mask=rows.mask, modality=modality, skill=2 * modality)
    seen = []
    model.model.layers[0].mlp.gate.register_forward_pre_hook(lambda module, args: seen.append(current_context()))
    gradient(model, labelled.split(1))
    mixed = Batch(ids=rows.ids, labels=rows.labels, mask=rows.mask, skill=torch.stack((modality[0], 2 * modality[0])))
    gradient(model, [mixed])

    assert [context.skill for context in seen] == [*["extract"] * 4, None]  # two micro-batches, each also counted
    assert torch.equal(seen[0].modality, modality[:1])
    assert torch.equal(seen[0].mask, rows.mask[:1])
    assert current_context().skill is None


def test_a_further_loss_of_the_routers_adds_up_over_micro_batches_where_it_is_a_mean_over_tokens(model):
    def entropy(layers, rows):
        p = torch.cat([layer.logits for layer in layers]).softmax(-1)
        return -0.5 * (p * p.log()).sum(-1).mean()

    _, without = gradient(model, [batch()])
    whole, expected = gradient(model, [batch()], routing_loss=entropy)
    parted, got = gradient(model, batch().split(4), routing_loss=entropy)

    assert largest_difference(got, expected) < 1e-14
    assert largest_difference(got, without) > 1e-4
    assert parted.parts["routing_loss"] == pytest.approx(whole.parts["routing_loss"], abs=1e-13)


def test_a_step_without_a_label_is_refused(model):
    unlabelled = batch(1)
    unlabelled.labels.fill_(IGNORED)

    with pytest.raises(TrainingError, match="no token of this step has a label"):
        gradient(model, [unlabelled])


def test_counts_are_of_what_was_chosen_not_of_the_largest_logits(model):
    with RouterTap(model) as tap, tap.recording() as layers:
        model(input_ids=batch(1).ids)
    layers[0].index.fill_(3)
    layers[0].index[0, 0] = 4  # no expert

    counts = count_routing(layers, mask=torch.ones(12, dtype=torch.bool))[0].counts
    assert counts.tolist() == [[0, 0, 0, 23]]


def test_the_bias_of_an_expert_with_less_than_the_mean_load_rises(model):
    with RouterTap(model) as tap, tap.recording() as layers:
        model(input_ids=batch(1).ids)
    totals = count_routing(layers, mask=torch.ones(12, dtype=torch.bool))
    totals[0].counts.copy_(torch.tensor([[12.0, 6.0, 4.0, 2.0]]))  # the mean is 6
    copied = copy.deepcopy(model)
    copied.model.layers[0].mlp.gate.register_buffer("e_score_correction_bias", torch.zeros(4))
    with RouterTap(copied) as tap:
        n_changed = update_router_biases(tap.blocks, totals, rate=0.001)

    assert n_changed == 1
    bias = copied.model.layers[0].mlp.gate.e_score_correction_bias
    assert bias.tolist() == pytest.approx([-0.001, 0.0, 0.001, 0.001])

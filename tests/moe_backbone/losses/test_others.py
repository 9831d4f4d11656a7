"""Entropies, divergence, variance and orthogonality: worked values, padding to the bit, micro-batches, gradients."""

import math

import pytest
import torch

from moe_backbone.losses.diversity import router_orthogonality_loss, score_totals, score_variance_loss
from moe_backbone.losses.modality import (
    global_entropy_loss,
    local_entropy_loss,
    modality_totals,
    routing_divergence_loss,
)
from moe_backbone.losses.per_token import router_entropy_loss
from moe_backbone.routers.top_p import TopPConfig, TopPRouter

TEXT, IMAGE = 0, 1


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def log(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def by_modality(loss, **settings):
    def call(logits, mask, modality, totals):
        return loss(logits, mask=mask, modality=modality, n_modalities=2, totals=totals, **settings).sum()

    return call


LOSSES = {
    "entropy": lambda logits, mask, modality, totals: router_entropy_loss(
        logits, mask=mask, n_tokens=None if totals is None else sum(totals.n_tokens)
    ),
    "local entropy": by_modality(local_entropy_loss),
    "global entropy": by_modality(global_entropy_loss),
    "global entropy, threshold that is missed": by_modality(global_entropy_loss, threshold=9.0),
    "global entropy, threshold that is met": by_modality(global_entropy_loss, threshold=0.01),
    "divergence": by_modality(routing_divergence_loss),
    "divergence, too small": by_modality(routing_divergence_loss, low=5.0, high=math.inf),
}


def test_local_entropy_is_the_mean_over_the_modalitys_tokens():
    logits = log([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3])

    local = local_entropy_loss([logits], modality=torch.tensor([0, 0, 1]), n_modalities=3)

    assert local.tolist() == pytest.approx([math.log(2) / 2, math.log(3), 0.0])
    assert router_entropy_loss([logits]).item() == pytest.approx((math.log(2) + math.log(3)) / 3)


def test_global_entropy_is_that_of_the_mean_distribution():
    logits = log([1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0])  # text uses both experts, image one
    modality = torch.tensor([0, 0, 1, 1])

    spread = global_entropy_loss([logits], modality=modality, n_modalities=2)
    capped = global_entropy_loss([logits], modality=modality, n_modalities=2, threshold=0.5)

    assert spread.tolist() == pytest.approx([-math.log(2), 0.0])
    assert capped.tolist() == pytest.approx([0.0, 0.5])  # log 2 is enough; image lacks 0.5


def test_divergence_is_the_symmetric_kl_of_the_mean_distributions():
    logits = log([0.9, 0.1], [0.7, 0.3], [0.2, 0.8])  # text mean (0.8, 0.2), image (0.2, 0.8)
    modality = torch.tensor([TEXT, TEXT, IMAGE])
    d = 0.6 * math.log(4)  # (0.8 - 0.2) · log(0.8 / 0.2), the same for both experts, halved

    def loss(**band):
        return routing_divergence_loss([logits], modality=modality, n_modalities=2, **band).item()

    assert loss() == pytest.approx(d)
    assert loss(low=0.1, high=2.0) == 0.0
    assert loss(low=0.0, high=0.5) == pytest.approx(d - 0.5)
    assert loss(low=1.0, high=2.0) == pytest.approx(1.0 - d)
    alone = routing_divergence_loss([logits], modality=torch.zeros(3, dtype=torch.int64), n_modalities=2)
    assert alone.item() == 0.0  # one modality diverges from nothing


def test_variance_and_orthogonality_are_those_worked_by_hand():
    varied = score_variance_loss([log([1.0, 0.0], [0.0, 1.0])])  # each expert: mean 1/2, variance 1/4
    constant = score_variance_loss([log([0.7, 0.3], [0.7, 0.3])])
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])  # cosines 0, 1/√2, 1/√2

    assert varied.item() == pytest.approx(-0.5)
    assert constant.item() == pytest.approx(0.0, abs=1e-12)
    assert router_orthogonality_loss([rows]).item() == pytest.approx(1 / 3)
    assert router_orthogonality_loss([torch.eye(4)]).item() == 0.0


def test_a_router_trained_on_its_entropy_gives_fewer_experts_to_a_token_under_top_p():
    router = TopPRouter(TopPConfig(width=8, n_experts=8, top_k=8, threshold=0.7, init_std=0.1))
    x = torch.randn(64, 8)
    optimizer = torch.optim.Adam(router.parameters(), lr=0.05)
    before = (router(x).experts < 8).sum(dim=-1).float().mean()

    for _ in range(40):
        router_entropy_loss([router(x).logits]).backward()
        optimizer.step()
        optimizer.zero_grad()

    assert before > 4  # nearly uniform: 0.7 needs most of the eight
    assert (router(x).experts < 8).sum(dim=-1).float().mean() < 2


@pytest.mark.parametrize("name", [*LOSSES, "variance"])
def test_padding_changes_neither_value_nor_gradient_by_one_bit(name):
    real = [torch.randn(9, 5) for _ in range(2)]
    keep = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 1]).bool()
    modality = torch.randint(0, 2, (12,))
    padded = []
    for layer in real:
        full = torch.full((12, 5), math.nan)  # padding may hold anything
        full[keep] = layer
        padded.append(full.requires_grad_())
    unpadded = [layer.clone().requires_grad_() for layer in real]

    if name == "variance":
        one, other = score_variance_loss(padded, mask=keep), score_variance_loss(unpadded)
    else:
        one = LOSSES[name](padded, keep, modality, None)
        other = LOSSES[name](unpadded, None, modality[keep], None)
    one.backward()
    other.backward()

    assert torch.equal(one, other)
    for with_padding, without in zip(padded, unpadded, strict=True):
        assert torch.equal(with_padding.grad[keep], without.grad)
        assert (with_padding.grad[~keep] == 0).all()


@pytest.mark.parametrize("name", [*LOSSES, "variance"])
def test_uneven_micro_batches_add_up_to_the_whole_batch_in_value_and_gradient(name):
    whole = [2.0 * torch.randn(12, 5, dtype=torch.float64) for _ in range(3)]
    mask = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]).bool()
    modality = torch.tensor([0, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1])
    cuts = [slice(0, 3), slice(3, 10), slice(10, 12)]  # the first holds one modality alone

    def loss(logits, cut, totals):
        if name == "variance":
            return score_variance_loss(logits, mask=mask[cut], totals=totals)
        return LOSSES[name](logits, mask[cut], modality[cut], totals)

    def totals(cut):
        part = [layer[cut] for layer in whole]
        if name == "variance":
            return score_totals(part, mask=mask[cut])
        return modality_totals(part, modality=modality[cut], n_modalities=2, mask=mask[cut])

    full = [layer.clone().requires_grad_() for layer in whole]
    at_once = loss(full, slice(0, 12), None)
    at_once.backward()
    summed = totals(cuts[0]) + totals(cuts[1]) + totals(cuts[2])
    parts = [layer.clone().requires_grad_() for layer in whole]
    added = 0.0
    for cut in cuts:
        part = loss([layer[cut] for layer in parts], cut, summed)
        part.backward()
        added += part.item()

    assert added == pytest.approx(at_once.item(), abs=1e-12)
    for one, many in zip(full, parts, strict=True):
        torch.testing.assert_close(many.grad, one.grad, rtol=0, atol=1e-12)


def test_a_loss_that_is_no_mean_over_tokens_does_not_add_up_without_the_totals():
    logits = log([1.0, 0.0], [0.0, 1.0])
    modality = torch.zeros(2, dtype=torch.int64)
    whole = global_entropy_loss([logits], modality=modality, n_modalities=1)
    halves = sum(global_entropy_loss([logits[i : i + 1]], modality=modality[:1], n_modalities=1) / 2 for i in range(2))

    assert whole.item() == pytest.approx(-math.log(2))
    assert halves.item() == pytest.approx(0.0)  # as documented


@pytest.mark.parametrize("name", LOSSES)
def test_experts_that_a_token_may_not_use_give_no_nan(name):
    logits = torch.randn(6, 4, dtype=torch.float64)
    logits[:3, 3] = -math.inf
    logits.requires_grad_()

    loss = LOSSES[name]([logits], None, torch.tensor([0, 0, 0, 1, 1, 1]), None)
    loss.backward()

    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_no_tokens_cost_nothing(name):
    logits = torch.zeros(0, 4, requires_grad=True)

    loss = LOSSES[name]([logits], None, torch.zeros(0, dtype=torch.int64), None)
    loss.backward()

    assert loss.item() == 0.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: local_entropy_loss([x], modality=torch.zeros(3), n_modalities=1), "one id for each of the 2 tokens"),
        (lambda x: local_entropy_loss([x], modality=torch.tensor([0, 2]), n_modalities=2), r"in 0 … 1, got \[0, 2\]"),
        (lambda x: routing_divergence_loss([x], modality=torch.tensor([0, 1]), n_modalities=2, low=2.0), "low <= high"),
        (lambda x: router_orthogonality_loss([]), "weights must be layers"),
        (lambda x: router_orthogonality_loss([x[:1]]), "weights must be layers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.zeros(2, 4))

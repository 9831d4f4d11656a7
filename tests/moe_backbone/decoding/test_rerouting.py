"""Re-routing by neighbours: the targets by hand, and the model that follows them."""

import math

import pytest
import torch

from moe_backbone.decoding.rerouting import (
    Neighbours,
    follow_gradient,
    kernel_weights,
    record_routing,
    rerouted,
    seek_mode,
)
from tests.moe_backbone.decoding.test_masks import IDS, logits, mixtral


def neighbours(weights, similarity):
    return Neighbours(
        ids=tuple(f"n{i}" for i in range(len(similarity))),
        weights=torch.tensor(weights, dtype=torch.float32),
        similarity=torch.tensor(similarity),
    )


def test_nearer_neighbours_weigh_more_by_a_gaussian_of_their_distance():
    found = neighbours([[[1.0, 0.0]], [[0.0, 1.0]]], [1.0, 0.875])  # squared distances 0 and 0.25

    share = 1 / (1 + math.exp(-0.25 / (2 * 0.25)))
    assert kernel_weights(found, bandwidth=0.5)[0].tolist() == pytest.approx([share, 1 - share])


def test_the_mode_is_that_of_the_cluster_where_the_request_stands():
    found = neighbours([[[0.9, 0.1]], [[0.88, 0.12]], [[0.1, 0.9]]], [0.5, 0.5, 0.9])

    near = seek_mode(torch.tensor([[0.7, 0.3]]), found, bandwidth=0.1)
    assert near[0].tolist() == pytest.approx([0.89, 0.11], abs=0.005)
    far = seek_mode(torch.tensor([[0.2, 0.8]]), found, bandwidth=0.1)
    assert far[0].tolist() == pytest.approx([0.1, 0.9], abs=0.005)


def test_the_gradient_moves_weight_to_the_expert_that_the_neighbours_need():
    found = neighbours([[[0.5, 0.5]]], [1.0])
    moved = follow_gradient(
        torch.tensor([[0.5, 0.5]]), found, lambda case, weights: -weights[0, 1], rate=1.0, n_steps=3
    )

    assert moved[0, 1] > 0.6
    assert float(moved.sum()) == pytest.approx(1.0)


def test_one_step_of_the_gradient_by_hand():
    """d(-w₁)/d logits of a softmax at (½, ½) is (¼, -¼), so at rate 2 the logits move by (-½, +½)."""
    moved = follow_gradient(
        torch.tensor([[0.5, 0.5]]), neighbours([[[0.5, 0.5]]], [1.0]), lambda case, w: -w[0, 1], rate=2.0, n_steps=1
    )

    assert moved[0].tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])


def test_the_recorded_routing_is_that_of_the_last_token():
    model, outputs = mixtral(), []
    model.model.layers[1].mlp.gate.register_forward_hook(lambda module, args, out: outputs.append(out) or None)
    with record_routing(model) as read:
        logits(model)
    weights = read()

    _, top_weights, top_index = outputs[0]
    assert weights.shape == (2, 4)
    assert weights.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert torch.allclose(weights[1, top_index[-1]], top_weights[-1])


def test_share_zero_is_the_own_routing_to_the_bit():
    model = mixtral()
    plain = logits(model)
    with rerouted(model, torch.rand(2, 4), share=0.0):
        assert torch.equal(logits(model), plain)


def test_the_own_routing_as_target_changes_nothing():
    model = mixtral()
    with record_routing(model) as read:
        plain = logits(model)
    with rerouted(model, read(), share=0.5):
        assert torch.allclose(logits(model), plain, atol=1e-5)


def test_share_one_sends_the_last_token_to_the_target_and_leaves_the_others():
    model, seen = mixtral(), []
    plain = logits(model)
    target = torch.tensor([[0.0, 0.0, 0.75, 0.25], [0.25, 0.75, 0.0, 0.0]])
    with rerouted(model, target, share=1.0):
        for layer in model.model.layers:
            layer.mlp.experts.register_forward_pre_hook(lambda module, args: seen.append(args[1:]))
        moved = logits(model)

    assert [(index[-1].tolist(), weights[-1].tolist()) for index, weights in seen] == [
        ([2, 3], pytest.approx([0.75, 0.25])),
        ([1, 0], pytest.approx([0.75, 0.25])),
    ]
    assert torch.allclose(moved[:, :-1], plain[:, :-1], atol=1e-6)
    assert not torch.allclose(moved[:, -1], plain[:, -1], atol=1e-3)


def test_only_the_named_layers_move():
    model = mixtral()
    target = torch.tensor([[0.0, 0.0, 0.75, 0.25], [0.25, 0.75, 0.0, 0.0]])
    with rerouted(model, target, share=1.0, layers=[1]), record_routing(model) as read:
        logits(model)
    with record_routing(model) as plain:
        logits(model)

    assert torch.equal(read()[0], plain()[0])
    assert read()[1].tolist() == pytest.approx([0.25, 0.75, 0.0, 0.0])


def test_a_gradient_through_the_model_lowers_the_loss_of_a_known_answer():
    model = mixtral()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    answer = torch.tensor([[7, 8, 9]])
    ids = torch.cat((IDS, answer), dim=1)

    def loss(case, weights):
        with rerouted(model, weights, share=1.0, last_tokens=4):
            scores = model(ids).logits[0, -4:-1]
        return torch.nn.functional.cross_entropy(scores, answer[0])

    with record_routing(model) as read:
        logits(model)
    start = read()
    moved = follow_gradient(start, neighbours([start.tolist()], [1.0]), loss, rate=2.0, n_steps=4)

    with torch.no_grad():
        assert float(loss("", moved)) < float(loss("", start)) - 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(2, 3)}, r"shape \(2, 4\), got \(2, 3\)"),
        ({"share": 1.5}, "share must be between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    target = change.pop("target", torch.zeros(2, 4))
    with pytest.raises(ValueError, match=message), rerouted(mixtral(), target, **change):
        pass


def test_no_neighbour_is_no_target():
    with pytest.raises(ValueError, match="there is no neighbour"):
        kernel_weights(Neighbours(ids=(), weights=torch.zeros(0, 1, 2), similarity=torch.zeros(0)))

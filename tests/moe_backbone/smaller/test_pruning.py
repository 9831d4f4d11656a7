"""Pruning: equal to masking, criteria by hand and against naive references, uneven counts with a floor."""

import pytest
import torch

from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.smaller.calibration import Calibration, LayerCalibration, calibrate
from moe_backbone.smaller.criteria import choose_experts, leave_one_out_errors, score_experts
from moe_backbone.smaller.masking import route_among, routed_output
from moe_backbone.smaller.pruning import prune
from moe_backbone.smaller.surgery import ShrinkError, require_blocks
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens


def masked_logits(model, kept, ids):
    """The naive reference: minus infinity for the logits of pruned experts, written out for softmax routers."""

    def mask(block, hidden, index, weights):
        logits = hidden @ block.router.weight.T
        gone = [expert for expert in range(block.n_experts) if expert not in kept[block.layer]]
        logits[:, gone] = -torch.inf
        weights, index = logits.softmax(-1).topk(2)
        if getattr(block.router, "norm_topk_prob", True):
            weights = weights / weights.sum(-1, keepdim=True)
        return index, weights

    with torch.no_grad(), edit_routing(model, mask):
        return model(ids).logits


@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_a_pruned_model_equals_the_model_with_those_experts_masked(family):
    model, ids = make(family), random_tokens(rows=4).ids
    kept = [(0, 2, 3, 5), (1, 2, 3, 4, 5, 7)]  # uneven
    with torch.no_grad():
        pruned = prune(model, kept)(ids).logits
        whole = model(ids).logits

    assert (pruned - masked_logits(model, kept, ids)).abs().max() <= 1e-6 * pruned.abs().max()
    assert not torch.allclose(pruned, whole, atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pruned_model_routes_as_the_whole_block_would_among_the_kept_experts(family):
    model, ids = make(family), random_tokens(rows=4).ids
    kept = (0, 2, 3, 5, 6)
    routes = [route_among(block, kept) for block in find_blocks(model)]
    with torch.no_grad():
        pruned = prune(model, [kept] * len(routes))(ids).logits
        with edit_routing(model, lambda block, hidden, *_: routes[block.layer](hidden)):
            masked = model(ids).logits

    assert torch.equal(pruned, masked)


def test_keeping_all_experts_changes_nothing():
    model, ids = make(), random_tokens(rows=2).ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, prune(model, [range(8)] * 2)(ids).logits)


def hand_made(counts, gates, reaps, tokens=(10, 30)):
    block = require_blocks(make(num_hidden_layers=1, num_local_experts=2, num_experts_per_tok=1))[0]
    layer = LayerCalibration(
        name=block.name, n_seen=40, counts=torch.tensor(counts).double(), gates=torch.tensor(gates).double(),
        reaps=torch.tensor(reaps).double(), hidden=torch.zeros(0, 32), index=torch.zeros(0, 1),
        weights=torch.zeros(0, 1), label=torch.zeros(0),
    )  # fmt: skip
    calibration = Calibration(
        model_sha256="", text_sha256="", labels=("text", "graph"), tokens=tokens, n_batches=1, layers=[layer]
    )
    return (block,), calibration


def test_scores_by_hand():
    blocks, calibration = hand_made([[8, 2], [12, 18]], [[4, 1], [3, 8]], [[8, 6], [12, 14]])

    def score(criterion, **options):
        return score_experts(blocks, calibration, criterion, **options)[0].tolist()

    assert score("frequency") == pytest.approx([0.5, 0.5])  # 20 and 20 of 40
    assert score("gate_mass") == pytest.approx([7 / 16, 9 / 16])
    assert score("output_mass") == pytest.approx([0.5, 0.5])  # 20 and 20
    assert score("reap") == pytest.approx([0.5, 0.5])  # 20 / 20 and 20 / 20
    # text alone: 8 and 2 of its tokens; REAP 8 / 8 = 1 and 6 / 2 = 3
    assert score("frequency", label_weights={"text": 1}) == pytest.approx([0.8, 0.2])
    assert score("reap", label_weights={"text": 1}) == pytest.approx([0.25, 0.75])
    assert score("output_mass", label_weights={"text": 1}) == pytest.approx([8 / 14, 6 / 14])
    # both alike: 8/10 + 12/30 = 1.2 and 2/10 + 18/30 = 0.8
    assert score("frequency", label_weights={"text": 1, "graph": 1}) == pytest.approx([0.6, 0.4])


def test_unknown_criteria_and_labels_are_refused_with_those_that_exist():
    blocks, calibration = hand_made([[1, 1]] * 2, [[1, 1]] * 2, [[1, 1]] * 2)

    with pytest.raises(ShrinkError, match="no criterion 'best'; choose one of frequency"):
        score_experts(blocks, calibration, "best")
    with pytest.raises(ShrinkError, match="no label image; it has text, graph"):
        score_experts(blocks, calibration, "reap", label_weights={"image": 1})


def test_leave_one_out_equals_running_the_block_with_and_without_each_expert():
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=8)
    (block,) = require_blocks(model)
    layer = calibrate(model, tokens, n_sampled=300).layers[0]
    full = routed_output(block, layer.hidden, layer.index, layer.weights)
    expected = []
    for expert in range(8):
        logits = layer.hidden @ block.router.weight.T.detach()
        logits[:, expert] = -torch.inf
        weights, index = logits.topk(2)
        without = routed_output(block, layer.hidden, index, weights.softmax(-1))
        expected.append(float((without - full).double().pow(2).sum() / full.double().pow(2).sum()))

    assert leave_one_out_errors(block, layer).tolist() == pytest.approx(expected, rel=1e-4)


def test_experts_are_ranked_over_all_layers_with_a_floor_in_each():
    scores = [torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.97, 0.01, 0.01, 0.01])]

    # 5 of 8 with floors of 2: 0 and 1 of each layer, and the best of the rest, 0.2 in the first
    assert choose_experts(scores, share=5 / 8, floors=[2, 2]) == [(0, 1, 2), (0, 1)]
    assert choose_experts(scores, share=0.5, floors=[1, 1]) == [(0, 1, 2), (0,)]
    assert choose_experts(scores, share=0.5, floors=[1, 1], per_layer=True) == [(0, 1), (0, 1)]
    assert choose_experts(scores, share=1, floors=[2, 2]) == [(0, 1, 2, 3)] * 2


def test_ties_keep_the_lower_ids():
    assert choose_experts([torch.ones(4), torch.ones(4)], share=0.5, floors=[1, 1]) == [(0, 1, 2), (0,)]


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "must be in"), (1.5, "must be in"), (0.25, "need 4.*0.500 or more")]
)
def test_shares_that_cannot_be_kept_are_refused(share, words):
    with pytest.raises(ShrinkError, match=words):
        choose_experts([torch.ones(4)] * 2, share=share, floors=[2, 2])


def virtual_groups():
    """8 experts that are 2 copies of 4 slices, each token routed to the 4 slices of one group: an upcycled model."""
    model = make(num_experts_per_tok=4)
    for block in find_blocks(model):
        for tensor in (block.experts.gate_up_proj, block.experts.down_proj):
            tensor.data[4:] = tensor.data[:4]
        rows = block.router.weight.data
        rows[:4], rows[4:] = rows[0].clone(), rows[4].clone()
    return model


@pytest.mark.parametrize("criterion", ["frequency", "gate_mass"])
def test_pruning_one_of_two_equal_groups_of_an_upcycled_model_is_free(criterion):
    model, tokens = virtual_groups(), random_tokens(rows=16)
    blocks = require_blocks(model)
    scores = score_experts(blocks, calibrate(model, tokens), criterion)
    kept = choose_experts(scores, share=0.5, floors=[4, 4])
    with torch.no_grad():
        whole, pruned = model(tokens.ids).logits, prune(model, kept)(tokens.ids).logits

    assert set(kept) <= {(0, 1, 2, 3), (4, 5, 6, 7)}
    assert (whole - pruned).abs().max() < 2e-5

"""Experts added to and taken from existing mixtures: when nothing changes, and when that is impossible."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_backbone.blocks import edit_routing
from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from moe_backbone.upcycle.growing import add_experts, remove_experts
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.upcycle.models import load, logits_of, random_ids, save_glm4, save_mixtral


def edit(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_an_expert_added_to_a_trained_glm4_is_never_chosen_and_changes_nothing(tmp_path):
    model = save_glm4(tmp_path / "model")
    grown = add_experts(model, tmp_path / "grown", copies=[2, 2, 0])
    ids = random_ids(4, 60)
    highest = []

    def look(block, hidden, index, weights):
        highest.append(int(index.max()))
        return index, weights

    network = load(grown)
    with torch.no_grad(), edit_routing(network, look) as blocks:
        logits = network(ids).logits
    assert [block.n_experts for block in blocks] == [9]  # of two layers, the first is dense

    assert (logits - logits_of(model, ids)).abs().max() <= 2e-5
    assert max(highest) == 5
    bias = load_file(grown / "model.safetensors")["model.layers.1.mlp.gate.e_score_correction_bias"]
    assert bias[6:].tolist() == pytest.approx([bias[:6].min().item() - 2.0] * 3)


def test_raising_its_bias_lets_the_new_expert_of_a_glm4_in(tmp_path):
    model = save_glm4(tmp_path / "model")
    network = load(add_experts(model, tmp_path / "grown", copies=[0]))
    ids, chosen = random_ids(2, 40), []

    def look(block, hidden, index, weights):
        chosen.append((index == 6).any(dim=-1).float().mean().item())
        return index, weights

    with torch.no_grad():
        network.model.layers[1].mlp.gate.e_score_correction_bias[6] += 4.0
        with edit_routing(network, look):
            network(ids)

    assert chosen == [1.0]


def test_an_expert_added_to_an_untrained_upcycled_mixtral_changes_nothing(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    moe = upcycle(dense, tmp_path / "moe", UpcycleRecipe(slices=4, groups=3))
    grown = add_experts(moe, tmp_path / "grown", copies=[5])
    ids = random_ids(4, 60)

    assert load(grown).config.num_local_experts == 13
    assert (logits_of(grown, ids) - logits_of(moe, ids)).abs().max() <= 2e-5


def test_an_expert_added_to_a_top_1_mixtral_changes_nothing(tmp_path):
    model = save_mixtral(tmp_path / "model", num_experts_per_tok=1)
    grown = add_experts(model, tmp_path / "grown", copies=[0])
    ids = random_ids(4, 60)

    assert (logits_of(grown, ids) - logits_of(model, ids)).abs().max() <= 2e-5


def test_a_trained_top_2_mixtral_cannot_be_extended_exactly_and_inexactly_only_on_request(tmp_path):
    model = save_mixtral(tmp_path / "model", num_experts_per_tok=2)
    with pytest.raises(CheckpointError, match=r"no row that loses on every token.*exact=False"):
        add_experts(model, tmp_path / "grown", copies=[0])
    assert not (tmp_path / "grown").exists()

    grown = add_experts(model, tmp_path / "grown", copies=[0], exact=False)
    ids = random_ids(2, 40)
    assert (logits_of(grown, ids) - logits_of(model, ids)).abs().max() > 1e-3


@pytest.mark.parametrize("save", [save_mixtral, save_glm4], ids=["mixtral", "glm4"])
def test_a_model_without_some_experts_equals_the_model_with_them_masked(tmp_path, save):
    model = save(tmp_path / "model", num_experts_per_tok=3)
    smaller = remove_experts(model, tmp_path / "smaller", experts={1, 4})
    masked = load(model)
    for layer in masked.model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.register_forward_hook(mask_experts)
    ids = random_ids(2, 40)
    with torch.no_grad():
        expected = masked(ids).logits

    assert (logits_of(smaller, ids) - expected).abs().max() <= 2e-5
    assert (logits_of(smaller, ids) - logits_of(model, ids)).abs().max() > 1e-2


def mask_experts(router, inputs, output):
    """Choose again from the logits, by hand, without experts 1 and 4."""
    logits, _, _ = output
    gone = torch.tensor([1, 4])
    if hasattr(router, "e_score_correction_bias"):
        scores = logits.sigmoid()
        index = (scores + router.e_score_correction_bias).index_fill(1, gone, float("-inf")).topk(3).indices
    else:
        scores = logits.softmax(dim=-1)
        index = scores.index_fill(1, gone, 0.0).topk(3).indices
    weights = scores.gather(1, index)
    return logits, weights / weights.sum(dim=-1, keepdim=True), index


def test_removing_what_was_added_gives_back_the_weights_bit_for_bit(tmp_path):
    model = save_glm4(tmp_path / "model")
    grown = add_experts(model, tmp_path / "grown", copies=[0, 3])
    again = remove_experts(grown, tmp_path / "again", experts=[6, 7])
    before, after = (load_file(folder / "model.safetensors") for folder in (model, again))

    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((again / "config.json").read_text()) == json.loads((model / "config.json").read_text())


def test_removing_a_whole_group_of_an_untrained_upcycled_model_changes_nothing(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    recipe = UpcycleRecipe(slices=3, groups=3, target=Target.GLM4_MOE)
    smaller = remove_experts(upcycle(dense, tmp_path / "moe", recipe), tmp_path / "smaller", experts=[2, 3])
    ids = random_ids(2, 40)

    assert (logits_of(smaller, ids) - logits_of(dense, ids)).abs().max() <= 2e-5


def test_too_few_experts_and_unknown_ones_are_refused(tmp_path):
    model = save_mixtral(tmp_path / "model", num_experts_per_tok=3)
    with pytest.raises(CheckpointError, match="2 experts would stay .* each token visits 3"):
        remove_experts(model, tmp_path / "out", experts=[0, 1, 2, 3])
    with pytest.raises(CheckpointError, match=r"experts 0 to 5 .* got \[6\]"):
        add_experts(model, tmp_path / "out", copies=[6])
    with pytest.raises(CheckpointError, match="experts must name some"):
        remove_experts(model, tmp_path / "out", experts=[])


def test_damaged_mixtures_are_refused(tmp_path):
    model = save_mixtral(tmp_path / "model", num_experts_per_tok=2)
    gate = "model.layers.1.block_sparse_moe.gate.weight"
    good = (model / "model.safetensors").read_bytes()

    def refused(said, change):
        edit(model, change)
        with pytest.raises(CheckpointError, match=said):
            remove_experts(model, tmp_path / "out", experts=[0])
        (model / "model.safetensors").write_bytes(good)

    refused(r"layers.1.*gate.weight .* not finite \(NaN", lambda weights: weights[gate].view(-1)[3:4].fill_(torch.nan))
    refused("has 5 rows, but its config.json speaks of 6", lambda weights: weights.update({gate: weights[gate][:5]}))
    refused("speaks of 6 experts, but", lambda weights: weights.pop(gate.replace("gate", "experts.5.w1")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "olmoe"}, "is a 'olmoe' model; experts can be added"),
        ({"num_experts_per_tok": 7}, "asks for 7 of 6 experts"),
        ({"num_local_experts": 0}, "asks for 2 of 0 experts"),
        ({"quantization_config": {"bits": 4}}, "is quantised"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, changes, said):
    model = save_mixtral(tmp_path / "model", num_experts_per_tok=2)
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(CheckpointError, match=said):
        add_experts(model, tmp_path / "out", copies=[0])


def test_a_choice_among_groups_of_equal_size_is_refused(tmp_path):
    model = save_glm4(tmp_path / "model", n_group=2, topk_group=1, num_experts_per_tok=2)
    with pytest.raises(CheckpointError, match="n_group=2"):
        add_experts(model, tmp_path / "out", copies=[0])

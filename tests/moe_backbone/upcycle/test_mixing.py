"""Several fine-tuned checkpoints as one mixture, and routers that start from example texts."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from moe_backbone.blocks import edit_routing
from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle import Target, UpcycleRecipe
from moe_backbone.upcycle.gates import gates_from_texts, rows_from_means
from moe_backbone.upcycle.mixing import mix
from tests.moe_backbone.tiny_llama import byte_tokenizer, make_tiny_llama
from tests.moe_backbone.upcycle.models import exact_logits, load, logits_of, random_ids

BTX = UpcycleRecipe(slices=1, groups=2, groups_per_token=2)
LETTERS = ["thecatsatonthematandlookedatthemoon", "aquietharbourwithboatsandnets"]  # no spaces: digits have them too
DIGITS = ["188712401893314159271828", "0112358132134558914423"]


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    """A base and two checkpoints that were trained away from it, here by noise."""
    folder = tmp_path_factory.mktemp("branches")
    base = make_tiny_llama(folder / "base")
    made = []
    for number in (1, 2):
        branch = folder / f"branch{number}"
        make_tiny_llama(branch)
        draw = torch.Generator().manual_seed(number)
        weights = {
            name: value + 0.05 * torch.randn(value.shape, generator=draw)
            for name, value in load_file(base / "model.safetensors").items()
        }
        save_file(weights, branch / "model.safetensors", metadata={"format": "pt"})
        made.append(branch)
    return base, made


def test_experts_are_the_branches_networks_and_the_rest_is_their_average(branches, tmp_path):
    _, (one, two) = branches
    mixed = load_file(mix([one, two], tmp_path / "moe", BTX) / "model.safetensors")
    ours, theirs = (load_file(branch / "model.safetensors") for branch in (one, two))

    gate, attention = "model.layers.1.mlp.gate_proj.weight", "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(mixed["model.layers.1.block_sparse_moe.experts.0.w1.weight"], ours[gate])
    assert torch.equal(mixed["model.layers.1.block_sparse_moe.experts.1.w1.weight"], theirs[gate])
    assert (mixed[attention] - (ours[attention] + theirs[attention]) / 2).abs().max() <= 1e-7

    first = load_file(mix([one, two], tmp_path / "first", BTX, average=False) / "model.safetensors")
    assert torch.equal(first[attention], ours[attention])


@pytest.mark.parametrize(
    "recipe",
    [BTX, UpcycleRecipe(slices=3, groups=2, target=Target.GLM4_MOE), UpcycleRecipe(slices=2, groups=2, permute=True)],
    ids=["Branch-Train-MiX", "glm4 in slices", "mixtral in slices"],
)
def test_equal_branches_mix_to_the_dense_model_itself(branches, tmp_path, recipe):
    base, _ = branches
    moe = mix([base, base], tmp_path / "moe", recipe)
    ids = random_ids(1, 30)

    assert (exact_logits(moe, ids) - exact_logits(base, ids)).abs().max() <= 1e-5
    assert (logits_of(moe, ids) - logits_of(base, ids)).abs().max() <= 2e-5


def test_in_slices_a_token_visits_one_branch_whole_to_begin_with(branches, tmp_path):
    _, sources = branches
    model = load(mix(sources, tmp_path / "moe", UpcycleRecipe(slices=4, groups=2)))
    chosen = []

    def look(block, hidden, index, weights):
        chosen.extend((index // 4).tolist())
        return index, weights

    with torch.no_grad(), edit_routing(model, look):
        model(random_ids(1, 40))

    assert {tuple(set(row)) for row in chosen} == {(0,), (1,)}


def test_a_router_from_texts_sends_each_kind_of_text_to_its_own_expert(branches, tmp_path):
    _, sources = branches
    moe = mix(sources, tmp_path / "moe", UpcycleRecipe(slices=4, groups=2), texts=[LETTERS, DIGITS])
    model, tokenizer = load(moe), byte_tokenizer()
    layer_shares = []
    for expert, text in enumerate(("netsandboatsatthequietmoon", "8135211240271893")):
        seen = []
        hook = model.model.layers[0].mlp.gate.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out[2]))
        with torch.no_grad():
            model(tokenizer(text, return_tensors="pt")["input_ids"])
        hook.remove()
        layer_shares.append((seen[0][1:, 0] // 4 == expert).float().mean().item())

    assert min(layer_shares) > 0.8  # by chance half


def test_rows_lead_by_the_spread_on_their_own_texts_and_ignore_what_texts_share():
    means = torch.tensor([[10.0, 2.0, 0.0], [10.0, 0.0, 2.0], [10.0, -2.0, -2.0]])
    rows = rows_from_means(means, spread=3.0)

    assert rows.sum(dim=0).abs().max() < 1e-6
    assert (rows @ torch.tensor([10.0, 0.0, 0.0])).abs().max() < 1e-5
    # Away from the shared (10, 0, 0) the squared lengths are 4, 4 and 8, on average 16/3: rows are scaled by 9/16.
    assert rows[0].tolist() == pytest.approx([0.0, 1.125, 0.0])
    assert (rows * means).sum(dim=1).mean().item() == pytest.approx(3.0)


def test_texts_that_cannot_be_told_apart_or_are_missing_are_refused(branches):
    base, _ = branches
    with pytest.raises(CheckpointError, match="have the same states"):
        gates_from_texts(base, [LETTERS, LETTERS])
    with pytest.raises(CheckpointError, match="expert 1 has no example text"):
        gates_from_texts(base, [LETTERS, ["a"]])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 40}, "hidden_size=40 .* has 32"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps=1e-05"),
        ({"num_hidden_layers": 3}, "num_hidden_layers=3"),
    ],
)
def test_branches_of_another_shape_are_refused_by_what_differs(branches, tmp_path, changes, said):
    base, _ = branches
    other = make_tiny_llama(tmp_path / "other", **changes)
    with pytest.raises(CheckpointError, match=said):
        mix([base, other], tmp_path / "moe", BTX)
    assert not (tmp_path / "moe").exists()


def test_branches_stored_in_another_precision_are_refused(branches, tmp_path):
    base, _ = branches
    other = make_tiny_llama(tmp_path / "other")
    weights = {name: value.bfloat16() for name, value in load_file(other / "model.safetensors").items()}
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"embed_tokens.weight is float32 \(259, 32\) in .* and bfloat16"):
        mix([base, other], tmp_path / "moe", BTX)


def test_branches_with_another_tokenizer_are_refused_by_the_token_that_differs(branches, tmp_path):
    base, _ = branches
    other = make_tiny_llama(tmp_path / "other")
    told = json.loads((other / "tokenizer.json").read_text())
    vocabulary = told["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(told))

    with pytest.raises(CheckpointError, match="differ in 2 tokens, first 'a'"):
        mix([base, other], tmp_path / "moe", BTX)


def test_the_number_of_checkpoints_and_of_texts_must_fit_the_groups(branches, tmp_path):
    base, (one, two) = branches
    with pytest.raises(CheckpointError, match="3 checkpoints were given for groups=2"):
        mix([base, one, two], tmp_path / "moe", BTX)
    with pytest.raises(CheckpointError, match="texts for 1 experts"):
        mix([one, two], tmp_path / "moe", BTX, texts=[LETTERS])


def test_the_same_mix_is_not_written_twice_and_another_text_makes_another(branches, tmp_path):
    _, sources = branches
    out = mix(sources, tmp_path / "moe", BTX, texts=[LETTERS, DIGITS])
    before = (out / "model.safetensors").stat().st_ino
    mix(sources, out, BTX, texts=[LETTERS, DIGITS])
    assert (out / "model.safetensors").stat().st_ino == before

    mix(sources, out, BTX, texts=[DIGITS, LETTERS])
    assert (out / "model.safetensors").stat().st_ino != before

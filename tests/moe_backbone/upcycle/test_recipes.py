"""Permuted slices, copies, drop-upcycling and noise: what each preserves, and whose router can learn."""

import json

import pytest
import torch
from safetensors.torch import load_file

from moe_backbone.checkpoint import MANIFEST_NAME, CheckpointError
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.upcycle.models import exact_logits, load, logits_of, random_ids

COPIES = UpcycleRecipe(slices=1, groups=4, groups_per_token=2)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("recipes") / "dense", tokenizer=False)


def router_gradient(folder):
    model = load(folder)
    ids = random_ids(2, 30)
    model(ids, labels=ids).loss.backward()
    return max(layer.mlp.gate.weight.grad.abs().max().item() for layer in model.model.layers)


def expert(weights, number, part, *, layer=0):
    return weights[f"model.layers.{layer}.block_sparse_moe.experts.{number}.{part}.weight"]


@pytest.mark.parametrize(
    "recipe",
    [
        UpcycleRecipe(slices=4, groups=3, permute=True),
        UpcycleRecipe(slices=2, groups=4, groups_per_token=3),
        UpcycleRecipe(slices=4, groups=2, router_std=0.5, seed=3),
        COPIES,
    ],
    ids=["permuted", "three groups a token", "wide router", "copies"],
)
def test_a_recipe_that_preserves_the_function_does(dense, tmp_path, recipe):
    moe = upcycle(dense, tmp_path / "moe", recipe)
    ids = random_ids(2, 40)

    assert recipe.preserves_function
    assert (logits_of(moe, ids) - logits_of(dense, ids)).abs().max() <= 2e-5
    # The router's softmax is float32 in every precision: weights that are no power of two carry its rounding.
    bound = 1e-10 if recipe.groups_per_token == 1 else 1e-5
    assert (exact_logits(moe, ids) - exact_logits(dense, ids)).abs().max() <= bound


def test_permuted_groups_hold_the_same_neurons_in_other_slices(dense, tmp_path):
    moe = load_file(upcycle(dense, tmp_path / "moe", UpcycleRecipe(permute=True)) / "model.safetensors")
    source = load_file(dense / "model.safetensors")["model.layers.0.mlp.gate_proj.weight"]
    first, second = (torch.cat([expert(moe, e, "w1") for e in experts]) for experts in (range(4), range(4, 8)))

    assert torch.equal(first, source)
    assert not torch.equal(second, source)
    order = [int((source == row).all(dim=1).nonzero()) for row in second]
    assert sorted(order) == list(range(48))
    assert torch.equal(torch.cat([expert(moe, e, "w3") for e in range(4, 8)]),
                       load_file(dense / "model.safetensors")["model.layers.0.mlp.up_proj.weight"][order])  # fmt: skip


def test_slices_give_the_router_a_gradient_and_identical_copies_do_not(dense, tmp_path):
    sliced = UpcycleRecipe(slices=4, groups=2)
    alive = router_gradient(upcycle(dense, tmp_path / "sliced", sliced))
    dead = router_gradient(upcycle(dense, tmp_path / "copies", COPIES))
    dropped = UpcycleRecipe(slices=1, groups=4, groups_per_token=2, drop=0.5)
    redrawn = router_gradient(upcycle(dense, tmp_path / "drop", dropped))

    assert (sliced.router_learns, COPIES.router_learns, dropped.router_learns) == (True, False, True)
    assert alive > 1e-2
    assert redrawn > 1e-2
    assert dead < 1e-5 * alive


def test_dropping_redraws_the_same_neurons_of_all_three_projections_with_their_statistics(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False, intermediate_size=400, num_hidden_layers=1)
    recipe = UpcycleRecipe(slices=1, groups=3, groups_per_token=2, drop=0.25)
    moe = load_file(upcycle(dense, tmp_path / "moe", recipe) / "model.safetensors")
    source = load_file(dense / "model.safetensors")
    gate, down = (source[f"model.layers.0.mlp.{part}.weight"] for part in ("gate_proj", "down_proj"))

    chosen = []
    for number in range(3):
        w1, w2 = expert(moe, number, "w1"), expert(moe, number, "w2")
        changed = (w1 != gate).any(dim=1)
        assert changed.sum() == 100  # a quarter of 400
        assert torch.equal((w2 != down).any(dim=0), changed)
        assert w1[changed].std().item() == pytest.approx(gate[changed].std().item(), rel=0.06)
        assert abs(w1[changed].mean() - gate[changed].mean()) < 4 * gate.std() / (100 * 32) ** 0.5
        chosen.append(tuple(changed.tolist()))
    assert len(set(chosen)) == 3  # each expert loses others


def test_dropping_and_noise_are_not_function_preserving_and_say_so(dense, tmp_path):
    ids = random_ids(1, 30)
    expected = logits_of(dense, ids)
    for name, changes in (("drop", {"drop": 0.5}), ("noise", {"noise": 0.1})):
        recipe = UpcycleRecipe(slices=1, groups=4, groups_per_token=2, **changes)
        moe = upcycle(dense, tmp_path / name, recipe)

        assert not recipe.preserves_function
        assert (logits_of(moe, ids) - expected).abs().max() > 0.05
        assert json.loads((moe / MANIFEST_NAME).read_text())["recipe"][name] == changes[name]


def test_noise_has_the_deviation_that_was_asked_for(dense, tmp_path):
    recipe = UpcycleRecipe(slices=1, groups=2, groups_per_token=2, noise=0.1)
    moe = load_file(upcycle(dense, tmp_path / "moe", recipe) / "model.safetensors")
    source = load_file(dense / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    noise = expert(moe, 1, "w3", layer=1) - source

    assert noise.std().item() == pytest.approx(0.1 * source.std().item(), rel=0.1)
    assert not torch.equal(expert(moe, 0, "w3", layer=1), expert(moe, 1, "w3", layer=1))


def test_permuting_experts_with_their_router_rows_changes_nothing(dense, tmp_path):
    model = load(upcycle(dense, tmp_path / "moe", UpcycleRecipe(slices=4, groups=2, drop=0.5)))
    ids = random_ids(1, 30)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for layer in model.model.layers:  # rows of a group are equal: without this, ties would choose
            layer.mlp.gate.weight.add_(torch.randn(8, 32, generator=torch.Generator().manual_seed(4)))
        expected = model(ids).logits
        for layer in model.model.layers:
            for weight in (layer.mlp.gate.weight, layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                weight.copy_(weight[order].clone())
        again = model(ids).logits

    assert (again - expected).abs().max() <= 2e-5


def test_the_manifest_of_todays_default_is_what_it_was_before_there_were_options():
    assert UpcycleRecipe().stamp(source_sha256="ab") == {
        "kind": "upcycle-virtual-groups", "version": 1, "source_sha256": "ab", "slices": 4, "groups": 2, "seed": 0,
        "router_std": 0.02,
    }  # fmt: skip
    assert UpcycleRecipe(target=Target.GLM4_MOE, permute=True).stamp(source_sha256="ab").items() >= {
        "target": "glm4_moe", "permute": True,
    }.items()  # fmt: skip


def test_progress_ends_at_the_total(dense, tmp_path):
    seen = []
    moe = upcycle(dense, tmp_path / "moe", on_progress=lambda done, total: seen.append((done, total)))
    size = (moe / "model.safetensors").stat().st_size

    assert seen[-1][0] == seen[-1][1]
    assert 0 < size - seen[-1][0] < 20_000  # the header
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("changes", [{"drop": 1.0}, {"drop": -0.1}, {"noise": float("nan")}, {"groups_per_token": 3}])
def test_shares_and_counts_out_of_range_are_refused(changes):
    with pytest.raises(CheckpointError, match=next(iter(changes))):
        UpcycleRecipe(**changes)

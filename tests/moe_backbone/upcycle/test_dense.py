"""Upcycled checkpoints: stock classes load them, and they compute what their dense source computes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM, MixtralForCausalLM

from moe_backbone.adapters import register_dispatches
from moe_backbone.checkpoint import MANIFEST_NAME, CheckpointError, verify
from moe_backbone.upcycle import UpcycleRecipe, upcycle
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.upcycle.models import load, random_ids

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 700.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upcycle")
    dense = make_tiny_llama(folder / "dense")
    return dense, upcycle(dense, folder / "moe", UpcycleRecipe(slices=4, groups=2))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False},
        {"rope_parameters": LLAMA3_ROPE},
        {"hidden_act": "gelu", "head_dim": 8, "num_key_value_heads": 4},
    ],
    ids=["defaults", "untied head", "scaled rotary positions", "other activation and heads"],
)
@pytest.mark.parametrize(("slices", "groups"), [(4, 2), (2, 8), (3, 2)])
def test_the_mixtral_computes_the_logits_of_its_dense_source(tmp_path, changes, slices, groups):
    dense = make_tiny_llama(tmp_path / "dense", **changes)
    moe = upcycle(dense, tmp_path / "moe", UpcycleRecipe(slices=slices, groups=groups))
    ids = random_ids(2, 40)
    with torch.no_grad():
        expected, logits = load(dense)(ids).logits, load(moe)(ids).logits

    assert logits.std() > 0.1  # the comparison is of something
    assert (logits - expected).abs().max() <= 2e-5


def test_in_float64_the_two_agree_to_rounding(pair):
    register_dispatches()
    dense, moe = pair
    ids = random_ids(2, 60)
    with torch.no_grad():
        expected = load(dense, dtype=torch.float64)(ids).logits
        logits = load(moe, dtype=torch.float64, experts_implementation="mmkg_looped")(ids).logits

    assert (logits - expected).abs().max() <= 1e-12


def test_greedy_text_is_the_same_for_64_tokens_with_cache_and_with_padding(pair):
    dense, moe = (load(folder) for folder in pair)
    ids = random_ids(2, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0  # the second prompt is shorter, padded on the left
    ids[1, :5] = 258
    options = {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False, "use_cache": True}

    expected = dense.generate(ids, attention_mask=mask, **options)
    written = moe.generate(ids, attention_mask=mask, **options)
    alone = moe.generate(ids[1:, 5:], attention_mask=mask[1:, 5:], **options)

    assert written.shape == (2, 76)
    assert torch.equal(written, expected)
    assert torch.equal(alone[0, 7:], written[1, 12:])


def test_saving_and_loading_again_changes_no_bit(pair, tmp_path):
    _, moe = pair
    model = load(moe)
    model.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")

    assert isinstance(again, MixtralForCausalLM)
    ids = random_ids(1, 20)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    ours, theirs = load_file(moe / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_setting_that_the_function_depends_on_is_carried_over(pair):
    dense, moe = (json.loads((folder / "config.json").read_text()) for folder in pair)

    for field in ("head_dim", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "num_key_value_heads",
                  "max_position_embeddings", "vocab_size", "eos_token_id", "hidden_act"):  # fmt: skip
        assert moe[field] == dense[field], field
    assert moe["sliding_window"] is None
    assert (moe["intermediate_size"], moe["num_local_experts"], moe["num_experts_per_tok"]) == (12, 8, 4)
    assert {path.name for path in pair[1].iterdir()} >= {
        "tokenizer.json",
        "generation_config.json",
        "chat_template.jinja",
    }


def test_a_sliding_window_goes_along(tmp_path):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=4, initializer_range=0.4, max_position_embeddings=64,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path / "dense")
    moe = load(upcycle(tmp_path / "dense", tmp_path / "moe"))
    ids = random_ids(1, 24) % 64
    with torch.no_grad():
        logits, expected = moe(ids).logits, load(tmp_path / "dense")(ids).logits

    assert moe.config.sliding_window == 4
    assert (logits - expected).abs().max() <= 2e-5


def test_the_router_has_a_gradient_from_the_first_step(pair):
    model = load(pair[1])
    ids = random_ids(2, 30)

    model(ids, labels=ids).loss.backward()

    for layer in model.model.layers:
        assert layer.mlp.gate.weight.grad.abs().max() > 1e-3


def test_each_token_visits_all_slices_of_one_group_with_equal_weight(pair):
    model = load(pair[1])
    seen = []
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_hook(lambda module, inputs, output: seen.append(output[1:]))
    with torch.no_grad():
        model(random_ids(2, 30))

    for weights, index in seen:
        assert (weights == 0.25).all()
        assert {tuple(sorted(row)) for row in index.tolist()} == {(0, 1, 2, 3), (4, 5, 6, 7)}


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_another_router(pair, tmp_path):
    dense, moe = pair
    same = upcycle(dense, tmp_path / "same", UpcycleRecipe(slices=4, groups=2))
    other = upcycle(dense, tmp_path / "other", UpcycleRecipe(slices=4, groups=2, seed=1))

    assert (same / "model.safetensors").read_bytes() == (moe / "model.safetensors").read_bytes()
    name = "model.layers.0.block_sparse_moe.gate.weight"
    routers = [load_file(folder / "model.safetensors")[name] for folder in (moe, other)]
    assert not torch.equal(*routers)
    assert all(torch.equal(router[:4], router[:1].expand(4, -1)) for router in routers)


def test_the_manifest_tells_source_recipe_and_seed_and_its_hashes_hold(pair):
    manifest = json.loads((pair[1] / MANIFEST_NAME).read_text())

    assert {key: manifest["recipe"][key] for key in ("kind", "slices", "groups", "seed", "router_std")} == {
        "kind": "upcycle-virtual-groups", "slices": 4, "groups": 2, "seed": 0, "router_std": 0.02,
    }  # fmt: skip
    assert len(manifest["recipe"]["source_sha256"]) == 64
    assert verify(pair[1]) == ()


def test_a_second_call_writes_nothing_and_a_changed_source_is_converted_anew(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    moe = upcycle(dense, tmp_path / "moe")
    before = (moe / "model.safetensors").stat().st_ino
    upcycle(dense, moe)
    assert (moe / "model.safetensors").stat().st_ino == before

    make_tiny_llama(dense, tokenizer=False, seed=9)
    upcycle(dense, moe)
    ids = random_ids(1, 10)
    with torch.no_grad():
        assert (load(moe)(ids).logits - load(dense)(ids).logits).abs().max() <= 2e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "moe"]


def test_bfloat16_weights_are_scaled_without_rounding(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    weights = {name: value.bfloat16() for name, value in load_file(dense / "model.safetensors").items()}
    save_file(weights, dense / "model.safetensors", metadata={"format": "pt"})

    moe = load_file(upcycle(dense, tmp_path / "moe") / "model.safetensors")

    down = weights["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(moe["model.layers.1.block_sparse_moe.experts.5.w2.weight"] / 4, down[:, 12:24])
    with pytest.raises(CheckpointError, match="scaling it by 3 slices would round"):
        upcycle(dense, tmp_path / "three", UpcycleRecipe(slices=3))


@pytest.mark.parametrize(
    ("changes", "recipe", "said"),
    [
        ({"attention_bias": True}, {}, "no place for .*self_attn.o_proj.bias"),
        ({"mlp_bias": True}, {}, "no place for .*mlp.down_proj.bias"),
        ({}, {"slices": 5}, "48 cannot be cut into 5 equal slices"),
    ],
)
def test_what_cannot_be_upcycled_exactly_is_refused_and_leaves_nothing(tmp_path, changes, recipe, said):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False, **changes)
    with pytest.raises(CheckpointError, match=said):
        upcycle(dense, tmp_path / "moe", UpcycleRecipe(**recipe))
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]


def test_a_source_that_is_half_written_quantised_unknown_or_of_the_wrong_shape_is_refused(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    settings = json.loads((dense / "config.json").read_text())

    def refused(said, **changes):
        (dense / "config.json").write_text(json.dumps(settings | changes))
        with pytest.raises(CheckpointError, match=said):
            upcycle(dense, tmp_path / "moe")

    refused("is quantised", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    refused("cannot be read by transformers.*nonesuch", model_type="nonesuch")
    refused("is a 'gemma' model; only llama, mistral", model_type="gemma")
    refused(r"gate_proj.weight .* has shape \(48, 32\), but its config.json makes it \(64, 32\)", intermediate_size=64)
    refused("lacks 9 tensors, first model.layers.2", num_hidden_layers=3)
    (dense / "config.json").write_text(json.dumps(settings))
    whole = (dense / "model.safetensors").read_bytes()
    (dense / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        upcycle(dense, tmp_path / "moe")
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]


def test_a_source_whose_files_differ_from_its_manifest_is_refused(pair, tmp_path):
    dense = tmp_path / "dense"
    shutil.copytree(pair[0], dense)
    (dense / MANIFEST_NAME).write_text(json.dumps({"recipe": {}, "files": {"gone.safetensors": {"size_bytes": 1}}}))

    with pytest.raises(CheckpointError, match="is not complete"):
        upcycle(dense, tmp_path / "moe")


def test_nothing_is_written_over_the_source_or_over_a_folder_of_something_else(tmp_path):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    (tmp_path / "empty").mkdir()

    with pytest.raises(CheckpointError, match="is the source itself"):
        upcycle(dense, dense)
    with pytest.raises(CheckpointError, match="was not made by a conversion"):
        upcycle(dense, tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["a.txt"]
    assert (upcycle(dense, tmp_path / "empty") / "config.json").is_file()


def test_a_mixture_of_experts_or_an_empty_folder_is_no_source(pair, tmp_path):
    with pytest.raises(CheckpointError, match="is a 'mixtral' model"):
        upcycle(pair[1], tmp_path / "moe")
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        upcycle(tmp_path, tmp_path / "moe")


@pytest.mark.parametrize("changes", [{"slices": 1}, {"groups": 1}, {"router_std": 0.0}, {"slices": 2.0}])
def test_recipes_with_a_dead_router_are_refused(changes):
    with pytest.raises(CheckpointError, match=next(iter(changes))):
        UpcycleRecipe(**changes)

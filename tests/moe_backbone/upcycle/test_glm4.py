"""The GLM4-MoE target: one shared expert beside groups of routed ones, a sigmoid router, biases and norms kept."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import Glm4MoeForCausalLM, MistralConfig, MistralForCausalLM

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from moe_backbone.upcycle.checking import whole_group_share
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.upcycle.models import exact_logits, load, logits_of, random_ids, save_qwen

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 700.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 700.0, "factor": 4.0, "original_max_position_embeddings": 32}


def recipe(**changes):
    return UpcycleRecipe(**{"target": Target.GLM4_MOE, "slices": 3, "groups": 4} | changes)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glm4")
    dense = make_tiny_llama(folder / "dense")
    return dense, upcycle(dense, folder / "moe", recipe())


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, {}),
        ({"tie_word_embeddings": False}, {"permute": True}),
        ({"rope_parameters": LLAMA3_ROPE}, {"slices": 4}),
        ({"rope_parameters": YARN_ROPE}, {"groups_per_token": 2}),
        ({"hidden_act": "gelu", "head_dim": 8, "num_key_value_heads": 4}, {"groups": 8, "permute": True}),
    ],
    ids=["defaults", "untied head", "scaled rotary positions", "yarn", "other activation and heads"],
)
def test_the_glm4_computes_the_logits_of_its_dense_source(tmp_path, changes, how):
    dense = make_tiny_llama(tmp_path / "dense", tokenizer=False, **changes)
    moe = upcycle(dense, tmp_path / "moe", recipe(**how))
    ids = random_ids(2, 40)
    logits, expected = logits_of(moe, ids), logits_of(dense, ids)

    assert isinstance(load(moe), Glm4MoeForCausalLM)
    assert expected.std() > 0.1  # the comparison is of something
    assert (logits - expected).abs().max() <= 2e-5


def test_in_float64_the_two_agree_to_rounding(pair):
    dense, moe = pair
    ids = random_ids(2, 60)

    assert (exact_logits(moe, ids) - exact_logits(dense, ids)).abs().max() <= 1e-10


@pytest.mark.parametrize("version", [2, 3], ids=["qwen2: biases of q, k and v", "qwen3: norms of q and k"])
def test_biases_and_norms_of_the_attention_go_along(tmp_path, version):
    dense = save_qwen(tmp_path / "dense", version=version)
    moe = upcycle(dense, tmp_path / "moe", recipe())
    ids = random_ids(2, 40)
    settings = json.loads((moe / "config.json").read_text())

    assert (exact_logits(moe, ids) - exact_logits(dense, ids)).abs().max() <= 1e-10
    assert (settings["attention_bias"], settings["use_qk_norm"]) == (version == 2, version == 3)
    with pytest.raises(CheckpointError, match=r"biases of q.*no place|norms of q.*no place"):
        upcycle(dense, tmp_path / "mixtral")


def test_greedy_text_is_the_same_for_64_tokens_with_cache_and_with_padding(pair):
    dense, moe = (load(folder) for folder in pair)
    ids = random_ids(2, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0  # the second prompt is shorter, padded on the left
    options = {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False, "use_cache": True}

    expected = dense.generate(ids, attention_mask=mask, **options)
    written = moe.generate(ids, attention_mask=mask, **options)

    assert written.shape == (2, 76)
    assert torch.equal(written, expected)


def test_saving_and_loading_again_changes_no_bit(pair, tmp_path):
    _, moe = pair
    model = load(moe)
    model.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")
    ids = random_ids(1, 20)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)

    ours, theirs = load_file(moe / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def test_the_head_is_untied_and_the_settings_are_those_that_vllm_reads(pair):
    settings = json.loads((pair[1] / "config.json").read_text())
    weights = load_file(pair[1] / "model.safetensors")

    assert settings["tie_word_embeddings"] is False
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    assert {key: settings[key] for key in (
        "first_k_dense_replace", "num_nextn_predict_layers", "n_group", "topk_group", "norm_topk_prob",
        "n_shared_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
        "routed_scaling_factor", "partial_rotary_factor",
    )} == {
        "first_k_dense_replace": 0, "num_nextn_predict_layers": 0, "n_group": 1, "topk_group": 1,
        "norm_topk_prob": True, "n_shared_experts": 1, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "routed_scaling_factor": 2.0, "partial_rotary_factor": 1.0,
    }  # fmt: skip
    assert settings["rope_parameters"]["partial_rotary_factor"] == 1.0


def test_the_router_has_a_gradient_from_the_first_step(pair):
    model = load(pair[1])
    ids = random_ids(2, 30)

    model(ids, labels=ids).loss.backward()

    for layer in model.model.layers:
        assert layer.mlp.gate.weight.grad.abs().max() > 1e-3


def test_in_bfloat16_every_token_visits_whole_groups(pair):
    model = load(pair[1], dtype=torch.bfloat16)

    share, decisions = whole_group_share(model, random_ids(8, 100), slices=2)

    assert (share, decisions) == (1.0, 1600)  # 800 tokens through 2 layers
    assert model.model.layers[0].mlp.gate.e_score_correction_bias.dtype == torch.float32


def test_the_share_of_whole_groups_sees_a_router_that_mixes_them(pair):
    model = load(pair[1])
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.copy_(torch.randn(8, 32, generator=torch.Generator().manual_seed(1)))

    share, _ = whole_group_share(model, random_ids(2, 50), slices=2)

    assert share < 0.5  # of the 28 pairs of 8 experts, 4 are groups


def test_a_sliding_window_is_refused_and_one_that_never_ends_is_not(tmp_path):
    torch.manual_seed(0)
    settings = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
    }  # fmt: skip
    for name, window in (("short", 4), ("long", 64)):
        MistralForCausalLM(MistralConfig(**settings, sliding_window=window)).save_pretrained(tmp_path / name)

    with pytest.raises(CheckpointError, match=r"looks back 4 tokens only .*target mixtral can"):
        upcycle(tmp_path / "short", tmp_path / "moe", recipe())
    ids = random_ids(1, 24) % 64
    moe = upcycle(tmp_path / "long", tmp_path / "moe", recipe())
    assert (logits_of(moe, ids) - logits_of(tmp_path / "long", ids)).abs().max() <= 2e-5


@pytest.mark.parametrize("changes", [{"slices": 1}, {"slices": 2}, {"groups": 1}, {"groups_per_token": 5}])
def test_recipes_that_cannot_be_are_refused(changes):
    with pytest.raises(CheckpointError, match=next(iter(changes))):
        recipe(**changes)

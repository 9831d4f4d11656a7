"""Banning experts for one call: each meaning of a mask, against a model that has it built in."""

import threading

import pytest
import torch
from transformers import (
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from moe_backbone.adapters import register_dispatches
from moe_backbone.blocks import find_blocks
from moe_backbone.config import MoEConfig
from moe_backbone.decoding.masks import ExpertMask, MaskError, Masking, masked_experts
from moe_backbone.layer import MoELayer

SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
IDS = torch.arange(1, 11)[None]


def mixtral(n_experts=4, top_k=2):
    torch.manual_seed(0)
    config = MixtralConfig(**SIZES, num_local_experts=n_experts, num_experts_per_tok=top_k)
    return MixtralForCausalLM(config).eval()


def glm4(n_experts=4, top_k=2, **changes):
    torch.manual_seed(0)
    settings = {"moe_intermediate_size": 24, "n_shared_experts": 1, "first_k_dense_replace": 0, "n_group": 1} | changes
    config = Glm4MoeConfig(
        **SIZES, **settings, head_dim=8, n_routed_experts=n_experts, num_experts_per_tok=top_k, pad_token_id=0
    )
    model = Glm4MoeForCausalLM(config).eval()
    for block in find_blocks(model):
        torch.nn.init.normal_(block.router.weight)
        block.router.e_score_correction_bias.copy_(torch.linspace(-0.2, 0.2, n_experts))
    return model


def gpt_oss(n_experts=4, top_k=2):
    torch.manual_seed(0)
    config = GptOssConfig(**SIZES, head_dim=8, num_local_experts=n_experts, num_experts_per_tok=top_k, pad_token_id=0)
    model = GptOssForCausalLM(config).eval()
    for block in find_blocks(model):
        torch.nn.init.normal_(block.router.weight)
        torch.nn.init.normal_(block.router.bias)
        torch.nn.init.normal_(block.experts.gate_up_proj_bias)
    return model


@torch.no_grad()
def pruned(make, kept, **sizes):
    """The model that has only the ``kept`` experts of every layer, row by row."""
    whole, small = make(), make(n_experts=len(kept), **sizes)
    rows = whole.state_dict()
    small.load_state_dict(
        {name: rows[name][kept] if rows[name].shape != value.shape else rows[name] for name, value in
         small.state_dict().items()}
    )  # fmt: skip
    return small


@torch.no_grad()
def logits(model):
    return model(IDS).logits


@pytest.mark.parametrize("make", [mixtral, glm4, gpt_oss])
@pytest.mark.parametrize("kept", [[0, 2, 3], [1, 3]])
def test_rechoosing_equals_the_pruned_model(make, kept):
    model = make()
    plain = logits(model)
    with masked_experts(model, ExpertMask(allowed={0: frozenset(kept), 1: frozenset(kept)})):
        masked = logits(model)

    assert torch.allclose(masked, logits(pruned(make, kept)), atol=1e-5)
    assert not torch.allclose(masked, plain, atol=1e-3)
    assert torch.equal(logits(model), plain)


def test_with_fewer_experts_left_than_are_chosen_all_that_are_left_are_used():
    model = mixtral()
    with masked_experts(model, ExpertMask.banning(model, {0: [0, 1, 3], 1: [0, 1, 3]})):
        masked = logits(model)

    assert torch.allclose(masked, logits(pruned(mixtral, [2], top_k=1)), atol=1e-5)


@pytest.mark.parametrize("router", ["top_k", "sigmoid"])
def test_a_layer_of_ours_is_rechosen_too(router):
    torch.manual_seed(0)
    layer = MoELayer(MoEConfig(width=8, expert_width=12, n_experts=4, top_k=2, init_std=0.5), router=router)
    small = MoELayer(MoEConfig(width=8, expert_width=12, n_experts=3, top_k=2), router=router)
    small.load_state_dict({name: value[[0, 1, 3]] for name, value in layer.state_dict().items()})
    x = torch.randn(6, 8)
    with torch.no_grad(), masked_experts(layer, ExpertMask.banning(layer, {0: [2]})):
        assert torch.allclose(layer(x), small(x), atol=1e-6)


@pytest.mark.parametrize("router", ["null", "margin"])
def test_a_router_of_ours_that_is_more_than_its_rows_is_not_cut(router):
    layer = MoELayer(MoEConfig(width=8, expert_width=12, n_experts=4, top_k=2), router=router)
    with (
        pytest.raises(MaskError, match="cannot be cut. Use 'drop'"),
        masked_experts(layer, ExpertMask.banning(layer, {0: [2]})),
    ):
        pass


def record(model, mask, masking):
    seen, plain = [], []
    hook = model.model.layers[0].mlp.gate.register_forward_hook(lambda m, a, out: plain.append(out[1:]) or None)
    with masked_experts(model, mask, masking=masking):
        inner = model.model.layers[0].mlp.experts.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(args), with_kwargs=True
        )
        logits(model)
    hook.remove()
    inner.remove()
    return plain[0], seen[0]


def test_dropping_keeps_the_weights_of_the_other_experts():
    (weights, index), (_, masked_index, masked_weights) = record(
        model := mixtral(), ExpertMask.banning(model, {0: [1]}), Masking.DROP
    )

    banned = index == 1
    assert banned.any()
    assert not banned.all(-1).any()
    assert torch.equal(masked_index, index)  # the stock experts may not know "no expert"
    assert torch.equal(masked_weights, torch.where(banned, 0, weights))


def test_renormalising_gives_the_others_the_sum_that_was():
    (weights, index), (_, masked_index, masked_weights) = record(
        model := mixtral(), ExpertMask.banning(model, {0: [1]}), Masking.RENORMALISE
    )

    banned = (index == 1).any(-1)
    assert torch.allclose(masked_weights[banned].sum(-1), weights[banned].sum(-1))
    assert torch.equal(masked_weights[~banned], weights[~banned])
    assert torch.equal(masked_weights == 0, index == 1)


def test_a_dispatch_of_ours_skips_what_is_masked_and_computes_the_same():
    register_dispatches()
    stock, ours = mixtral(), mixtral()
    ours.set_experts_implementation("mmkg_looped")
    mask = ExpertMask.banning(stock, {0: [1], 1: [0, 2]})
    (_, index), (_, masked_index, _) = record(ours, mask, Masking.DROP)
    with masked_experts(stock, mask, masking=Masking.DROP):
        expected = logits(stock)
    with masked_experts(ours, mask, masking=Masking.DROP):
        got = logits(ours)

    assert torch.equal(masked_index, torch.where(index == 1, 4, index))
    assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("masking", [Masking.DROP, Masking.RENORMALISE])
def test_a_token_without_any_expert_passes_by_the_residual_stream(masking):
    model = mixtral()
    silent = mixtral()
    with torch.no_grad():
        for block in find_blocks(silent):
            block.experts.down_proj.zero_()
    with masked_experts(model, ExpertMask.banning(model, {0: range(4), 1: range(4)}), masking=masking):
        assert torch.allclose(logits(model), logits(silent), atol=1e-6)


def test_skills_name_their_experts_and_are_united():
    skills = {"answer": {0: [0, 1]}, "extract": {0: [1, 2], 1: [3]}}

    assert ExpertMask.for_skills(skills, ["answer", "extract"]).allowed == {
        0: frozenset({0, 1, 2}),
        1: frozenset({3}),
    }
    with pytest.raises(MaskError, match=r"skills \['verify'\] are not known. Choose among answer, extract"):
        ExpertMask.for_skills(skills, ["verify"])


def test_threads_that_share_a_model_see_their_own_masks_only():
    model = mixtral()
    plain = logits(model)
    masks = [ExpertMask.banning(model, {0: [expert], 1: [expert]}) for expert in range(4)]
    expected = []
    for mask in masks:
        with masked_experts(model, mask):
            expected.append(logits(model))
    results, ready = {}, threading.Barrier(5)

    def ask(number):
        ready.wait()
        for _ in range(5):
            if number == 4:
                results.setdefault(number, []).append(logits(model))
                continue
            with masked_experts(model, masks[number]):
                results.setdefault(number, []).append(logits(model))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(torch.equal(one, wanted) for number, wanted in enumerate([*expected, plain]) for one in results[number])


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ({2: [0]}, "there is no block 2: the model has 2"),
        ({0: [4]}, r"block 0 has no experts \[4\]: it has 4"),
        ({1: []}, "block 1: no expert is left to choose"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(allowed, message):
    model = mixtral()
    mask = ExpertMask(allowed={layer: frozenset(experts) for layer, experts in allowed.items()})
    with pytest.raises(MaskError, match=message), masked_experts(model, mask):
        pass


def test_a_router_that_chooses_among_groups_is_not_cut():
    model = glm4(n_group=2, topk_group=1)
    with (
        pytest.raises(MaskError, match="chooses among groups"),
        masked_experts(model, ExpertMask.banning(model, {0: [1]})),
    ):
        pass

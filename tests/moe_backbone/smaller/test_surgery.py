"""Copies that share weights, experts kept in any family, and what is refused."""

import pytest
import torch
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM, LlamaConfig, LlamaForCausalLM

from moe_backbone.blocks import find_blocks
from moe_backbone.config import MoEConfig
from moe_backbone.layer import MoELayer
from moe_backbone.smaller.packed_experts import pack_experts
from moe_backbone.smaller.surgery import (
    ShrinkError,
    expert_bytes,
    experts_per_token,
    keep_experts,
    require_blocks,
    shared_copy,
)
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make


def test_a_copy_shares_every_weight_and_a_change_of_it_leaves_the_source_alone():
    model = make()
    ids = torch.arange(12)[None]
    with torch.no_grad():
        before = model(ids).logits
        copied = shared_copy(model)
        shared = [a.data_ptr() == b.data_ptr() for a, b in zip(model.parameters(), copied.parameters(), strict=True)]
        keep_experts(find_blocks(copied)[0], [0, 1, 2])
        after = model(ids).logits

    assert all(shared)
    assert torch.equal(before, after)
    assert [block.n_experts for block in find_blocks(copied)] == [3, 8]
    assert [block.n_experts for block in find_blocks(model)] == [8, 8]


@pytest.mark.parametrize("family", FAMILIES)
def test_permuting_experts_with_their_router_rows_changes_nothing(family):
    model = make(family)
    ids = torch.arange(12)[None]
    permuted = shared_copy(model)
    for block in require_blocks(permuted):
        keep_experts(block, [3, 1, 0, 2, 7, 6, 5, 4])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, permuted(ids).logits, atol=2e-5)


def test_a_layer_of_ours_loses_experts_too():
    torch.manual_seed(0)
    layer = MoELayer(MoEConfig(width=8, expert_width=12, n_experts=4, top_k=2))
    (block,) = require_blocks(layer)

    assert experts_per_token(block) == 2
    keep_experts(block, [0, 2, 3])
    assert layer(torch.randn(5, 8)).shape == (5, 8)
    assert expert_bytes(layer) == 3 * (24 * 8 + 8 * 12) * 4


def test_a_dense_model_is_refused_with_what_was_looked_for_and_found():
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32,
    )  # fmt: skip
    with pytest.raises(ShrinkError, match="looked for modules with `experts`.*found LlamaMLP.*upcycled"):
        require_blocks(LlamaForCausalLM(config))


def test_a_router_with_nan_is_refused():
    model = make()
    find_blocks(model)[1].router.weight.data[0, 0] = float("nan")

    with pytest.raises(ShrinkError, match=r"layers\.1.*NaN or infinity"):
        require_blocks(model)


def test_a_router_of_another_number_of_rows_is_refused():
    model = make()
    router = find_blocks(model)[0].router
    router.weight = torch.nn.Parameter(router.weight[:5])

    with pytest.raises(ShrinkError, match="8 experts and its router has rows.*disagree"):
        require_blocks(model)


def test_more_experts_per_token_than_experts_are_refused():
    model = make()
    find_blocks(model)[0].router.top_k = 9

    with pytest.raises(ShrinkError, match="routes each token to 9 experts and has 8"):
        require_blocks(model)


def test_no_experts_are_refused():
    model = make()
    experts = find_blocks(model)[0].experts
    experts.gate_up_proj, experts.down_proj = (
        torch.nn.Parameter(tensor[:0]) for tensor in (experts.gate_up_proj, experts.down_proj)
    )

    with pytest.raises(ShrinkError, match="has no experts"):
        require_blocks(model)


def test_quantised_experts_are_refused_whether_ours_or_in_one_byte():
    ours, bytes_ = make(), make()
    block = find_blocks(ours)[0]
    block.block.experts = pack_experts(block.experts, [4] * 8)
    experts = find_blocks(bytes_)[0].experts
    experts._parameters["down_proj"] = torch.nn.Parameter(experts.down_proj.to(torch.int8), requires_grad=False)

    for model in (ours, bytes_):
        with pytest.raises(ShrinkError, match=r"quantised already \(model\.layers\.0"):
            require_blocks(model)


@pytest.mark.parametrize(
    ("kept", "words"),
    [([0], "at least 2 experts"), ([0, 0, 1], "not different experts"), ([0, 8], "not different experts of 0 … 7")],
)
def test_impossible_choices_of_experts_are_refused(kept, words):
    with pytest.raises(ShrinkError, match=words):
        keep_experts(require_blocks(make())[0], kept)


def test_a_router_that_chooses_in_groups_is_not_pruned():
    config = Glm4MoeConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, n_routed_experts=8, n_group=2, topk_group=1, first_k_dense_replace=0,
        moe_intermediate_size=16, num_experts_per_tok=2, max_position_embeddings=32,
    )  # fmt: skip
    (block,) = require_blocks(Glm4MoeForCausalLM(config))

    with pytest.raises(ShrinkError, match="routes in 2 groups"):
        keep_experts(block, [0, 1, 2])

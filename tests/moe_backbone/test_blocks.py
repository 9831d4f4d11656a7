"""Finding mixture-of-experts blocks in stock models, and editing what their routers chose."""

import sys
import threading
from contextlib import nullcontext

import pytest
import torch
from transformers import GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM

from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.config import MoEConfig
from moe_backbone.layer import MoELayer


@pytest.fixture(scope="module")
def mixtral():
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=32,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


def test_blocks_of_a_stock_model_are_found_with_their_sizes(mixtral):
    blocks = find_blocks(mixtral)

    assert [block.layer for block in blocks] == [0, 1]
    assert [(block.n_experts, block.width, block.expert_width) for block in blocks] == [(4, 16, 24)] * 2
    assert all(block.router is block.block.gate for block in blocks)


def test_sizes_of_transposed_experts_are_not_swapped():
    config = GptOssConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=32,
    )  # fmt: skip
    blocks = find_blocks(GptOssForCausalLM(config))

    assert {(block.n_experts, block.width, block.expert_width) for block in blocks} == {(4, 16, 24)}


def test_a_lone_layer_of_ours_is_a_block():
    (block,) = find_blocks(MoELayer(MoEConfig(width=8, expert_width=12, n_experts=3, top_k=2)))

    assert (block.name, block.n_experts, block.width, block.expert_width) == ("", 3, 8, 12)


def test_an_edit_that_changes_nothing_leaves_the_logits_bit_equal(mixtral):
    ids = torch.arange(6)[None]
    with torch.no_grad():
        plain = mixtral(ids).logits
        with edit_routing(mixtral, lambda block, hidden, index, weights: (index, weights)):
            same = mixtral(ids).logits

    assert torch.equal(plain, same)


def test_an_edit_holds_inside_the_block_only_and_sees_every_layer(mixtral):
    seen, ids = [], torch.arange(6)[None]

    def silence(block, hidden, index, weights):
        seen.append((block.layer, tuple(index.shape)))
        return index, torch.zeros_like(weights)

    with torch.no_grad():
        plain = mixtral(ids).logits
        with edit_routing(mixtral, silence):
            silent = mixtral(ids).logits
        after = mixtral(ids).logits

    assert seen == [(0, (6, 2)), (1, (6, 2))]
    assert not torch.allclose(plain, silent)
    assert torch.equal(plain, after)


def test_a_dense_model_is_refused():
    with (
        pytest.raises(ValueError, match="Linear has no mixture-of-experts block"),
        edit_routing(torch.nn.Linear(2, 2), lambda *args: args[2:]),
    ):
        pass


def test_edits_of_many_threads_come_and_go_while_others_call_the_model(mixtral):
    ids = torch.arange(6)[None]

    def silence(block, hidden, index, weights):
        return index, torch.zeros_like(weights)

    with torch.no_grad():
        plain = mixtral(ids).logits
        with edit_routing(mixtral, silence):
            silent = mixtral(ids).logits
    wrong = []

    def ask(edited):
        for _ in range(40):
            try:
                with torch.no_grad(), edit_routing(mixtral, silence) if edited else nullcontext():
                    if not torch.allclose(mixtral(ids).logits, silent if edited else plain):
                        wrong.append(edited)
            except TypeError as error:  # a hook of another thread, met while it was put in or taken out
                wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []

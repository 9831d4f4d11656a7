"""Adapters around the experts of stock families: they change nothing when fresh, and merged they compute the same."""

import pytest
import torch
import transformers

from moe_backbone.lora.adapters import adapt_experts, merge_adapters, remove_adapters, skill_parameters
from moe_backbone.lora.low_rank import LoRAConfig

COMMON = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "num_experts_per_tok": 2,
}  # fmt: skip
ROUTED = {"num_experts": 6, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
LATENT = {
    "n_routed_experts": 6, "moe_intermediate_size": 24, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "n_group": 1, "topk_group": 1, "q_lora_rank": None, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
FAMILIES = {
    "DeepseekV2": LATENT,
    "DeepseekV3": LATENT,
    "Glm4Moe": {"n_routed_experts": 6, "moe_intermediate_size": 24, "first_k_dense_replace": 1, "head_dim": 8,
                "n_group": 1, "topk_group": 1},
    "GptOss": {"num_local_experts": 6, "head_dim": 8, "layer_types": ["full_attention"] * 2},
    "GraniteMoe": {"num_local_experts": 6},
    "Mixtral": {"num_local_experts": 6},
    "Olmoe": {"num_experts": 6},
    "Qwen2Moe": ROUTED | {"shared_expert_intermediate_size": 24},
    "Qwen3Moe": ROUTED | {"head_dim": 8},
}  # fmt: skip
TOKENS = torch.tensor([[3, 9, 27, 17, 51, 25]])


def build(family):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(COMMON | FAMILIES[family]))
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        if not parameter.isfinite().all() or parameter.ndim == 3:
            parameter.data = torch.randn(parameter.shape) * 0.2  # fused experts are not always initialised
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_experts_of_a_stock_family_are_adapted_merged_and_given_back(family):
    model = build(family)
    with torch.no_grad():
        plain = model(TOKENS).logits
    names = adapt_experts(model, LoRAConfig(rank=4))
    assert len(names) == (1 if "first_k_dense_replace" in FAMILIES[family] else 2)
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits, plain, rtol=1e-4, atol=1e-4)
    for _, parameter in skill_parameters(model):
        parameter.data = torch.randn(parameter.shape) * 0.15
    model(TOKENS, labels=TOKENS).loss.backward()
    assert all(parameter.grad.abs().max() > 0 for _, parameter in skill_parameters(model))
    with torch.no_grad():
        adapted = model(TOKENS).logits
        greedy = model.generate(TOKENS, max_new_tokens=6, do_sample=False)
    assert (adapted - plain).abs().max() > 1e-2

    merge_adapters(model)
    remove_adapters(model)

    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits, adapted, rtol=1e-3, atol=1e-4)
        assert torch.equal(model.generate(TOKENS, max_new_tokens=6, do_sample=False), greedy)

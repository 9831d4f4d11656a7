"""Tiny random models of the stock families of experts, each with its class's own quirks on."""

import torch
import transformers

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 8,
    "initializer_range": 0.3,
}  # fmt: skip
_MLA = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
        "head_dim": 8, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 0,
        "num_key_value_heads": 4}  # fmt: skip
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "intermediate_size": 24}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "intermediate_size": 24}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 24}

FAMILIES = {
    "Olmoe": _MOE,
    "Mixtral": _LOCAL,
    "Qwen2Moe": _MOE | {"shared_expert_intermediate_size": 24},
    "Qwen3Moe": _MOE,
    "DeepseekV2": _ROUTED | _MLA | {"topk_method": "greedy"},
    "DeepseekV3": _ROUTED | _MLA,
    "Glm4Moe": _ROUTED | {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 0},
    "GraniteMoe": _LOCAL,
    "GptOss": _LOCAL | {"sliding_window": 16, "layer_types": ["full_attention", "full_attention"]},
    "AriaText": {"moe_num_experts": 4, "moe_topk": 2, "intermediate_size": 24, "moe_num_shared_experts": 1},
    "Qwen3VLMoe": _MOE,
}


def tiny(family, **changes):
    """Return a model of that family for text, with every parameter random (biases too)."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}TextConfig" if family == "Qwen3VLMoe" else f"{family}Config")(
        **(_SMALL | FAMILIES[family] | changes)
    )
    name = "Qwen3VLMoeTextModel" if family == "Qwen3VLMoe" else f"{family}ForCausalLM"
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


def states(model, ids):
    """Return the logits, or the last states of a model without a head."""
    with torch.no_grad():
        out = model(ids)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state

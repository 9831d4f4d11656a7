"""Tiny random models of the real classes of the mixture-of-experts families that the library is used with."""

from typing import Any

import torch
import transformers

TOKENS = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 8, "q_lora_rank": None, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "head_dim": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
NARROW = {"intermediate_size": 24, "moe_intermediate_size": 8}
GROUPED = {"n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 2, "first_k_dense_replace": 1,
           "n_group": 4, "topk_group": 2}  # fmt: skip

SETTINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "olmoe": ("OlmoeForCausalLM", "OlmoeConfig",
              {"intermediate_size": 8, "num_experts": 8, "num_experts_per_tok": 2}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig",
                {"intermediate_size": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", "Qwen2MoeConfig",
                  NARROW | {"shared_expert_intermediate_size": 12, "num_experts": 8, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig",
                  NARROW | {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True}),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "DeepseekV2Config",
                    NARROW | LATENT | GROUPED | {"topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", NARROW | LATENT | GROUPED),
    "glm4_moe": ("Glm4MoeForCausalLM", "Glm4MoeConfig",
                 NARROW | GROUPED | {"n_group": 1, "topk_group": 1, "n_shared_experts": 1}),
    "granitemoe": ("GraniteMoeForCausalLM", "GraniteMoeConfig",
                   {"intermediate_size": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("GptOssForCausalLM", "GptOssConfig",
                {"intermediate_size": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
}  # fmt: skip
FAMILIES = (*sorted(SETTINGS), "aria", "qwen3_vl_moe")


def make_model(family: str, **changes: Any) -> Any:
    """Return a random model in evaluation mode.

    :param family: One of :data:`FAMILIES`.
    :param changes: Changed settings of the language part.
    """
    torch.manual_seed(0)
    model = {"aria": _aria, "qwen3_vl_moe": _qwen3_vl_moe}.get(family, _plain)(family, changes)
    with torch.no_grad():
        for parameter in model.parameters():  # some families start their routers at zero
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    return model.eval()


def _plain(family: str, changes: dict[str, Any]) -> Any:
    model_class, config_class, settings = SETTINGS[family]
    config = getattr(transformers, config_class)(**(TOKENS | settings | changes))
    return getattr(transformers, model_class)(config)


def _aria(family: str, changes: dict[str, Any]) -> Any:
    from transformers.models.aria.modeling_aria import AriaTextConfig, AriaTextForCausalLM

    experts = {"intermediate_size": 8, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 2}
    return AriaTextForCausalLM(AriaTextConfig(**(TOKENS | experts | changes)))


def _qwen3_vl_moe(family: str, changes: dict[str, Any]) -> Any:
    text = TOKENS | NARROW | {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16,
              "deepstack_visual_indexes": [0], "num_position_embeddings": 16}  # fmt: skip
    config = transformers.Qwen3VLMoeConfig(
        text_config=text | changes, vision_config=vision, image_token_id=30, video_token_id=31,
        vision_start_token_id=32, vision_end_token_id=33,
    )  # fmt: skip
    return transformers.Qwen3VLMoeForConditionalGeneration(config)

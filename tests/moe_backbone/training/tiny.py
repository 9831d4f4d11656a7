"""Models and data small enough that a step takes milliseconds."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from moe_backbone.training.data import PackedTokens, TokenSequence

VOCABULARY = 32


def tiny_mixtral(seed: int = 0, **changes: Any) -> MixtralForCausalLM:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2,
        "max_position_embeddings": 64, "initializer_range": 0.2,
    }  # fmt: skip
    return MixtralForCausalLM(MixtralConfig(**(settings | changes), experts_implementation="eager"))  # takes float64


def tiny_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "initializer_range": 0.2,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes)))


def tiny_data(n_tokens: int = 400, length: int = 12, seed: int = 3) -> PackedTokens:
    """Counting modulo nine with a little noise: learnable in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(n_tokens, generator=generator) < 0.1
    ids = torch.where(noise, torch.randint(VOCABULARY, (n_tokens,), generator=generator), torch.arange(n_tokens) % 9)
    return PackedTokens([TokenSequence(ids=ids.tolist())], length=length)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}

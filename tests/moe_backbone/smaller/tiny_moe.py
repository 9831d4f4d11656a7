"""Mixtures of experts small enough for unit tests: of every family, and one that was trained until they differ."""

import random
from pathlib import Path

import torch
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from moe_backbone.smaller.data import LabelledTokens
from tests.moe_backbone.tiny_llama import byte_tokenizer

ROOT = Path(__file__).resolve().parents[3]
_COMMON = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_SLIM = {"moe_intermediate_size": 48, "num_experts_per_tok": 2}
_MAKERS = {
    "mixtral": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "olmoe": (OlmoeForCausalLM, OlmoeConfig, {"num_experts": 8, "num_experts_per_tok": 2}),
    "qwen2": (Qwen2MoeForCausalLM, Qwen2MoeConfig, {"num_experts": 8, "shared_expert_intermediate_size": 32, **_SLIM}),
    "qwen3": (Qwen3MoeForCausalLM, Qwen3MoeConfig, {"num_experts": 8, "head_dim": 16, **_SLIM}),
    "glm4": (
        Glm4MoeForCausalLM,
        Glm4MoeConfig,
        {"n_routed_experts": 8, "head_dim": 16, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, **_SLIM},
    ),
    "gpt_oss": (
        GptOssForCausalLM,
        GptOssConfig,
        {
            "num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "granite": (GraniteMoeForCausalLM, GraniteMoeConfig, {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "deepseek": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config,
        {
            "n_routed_experts": 8, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 16,
            "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, **_SLIM,
        },
    ),
}  # fmt: skip
FAMILIES = tuple(_MAKERS)


def make(family="mixtral", *, seed=0, **changes):
    """A stock model of random weights, large enough that every choice of experts shows in the logits."""
    torch.manual_seed(seed)
    model_class, config_class, own = _MAKERS[family]
    model = model_class(config_class(**{**_COMMON, **own, **changes})).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def random_tokens(*, rows=16, length=32, n_words=64, labels=("text", "graph"), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LabelledTokens(
        labels=labels,
        ids=torch.randint(n_words, (rows, length), generator=generator),
        label=torch.randint(len(labels), (rows, length), generator=generator),
    )


def prose():
    """Plain English that no change of the project touches, so that what is trained on it stays the same model."""
    return (ROOT / "LICENSE").read_text("utf-8")


def handbook():
    """More English than :func:`prose`, for measurements; it changes with the project."""
    return "\n".join((ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "ARCHITECTURE.md"))


def triples(n=400, *, seed=0):
    """Lines of graph evidence, as a retriever would hand them on."""
    draw = random.Random(seed)
    names = ("Velmara", "Brun Hill", "Port Aldis", "Norrvind", "Grenholm", "Sunniva Dahl", "Halden", "Isbrand")
    relations = ("built_by", "part_of", "works_for", "north_of", "owned_by")
    return "".join(f"({draw.choice(names)}, {draw.choice(relations)}, {draw.choice(names)})\n" for _ in range(n))


def trained_moe(folder, *, text, steps=150, seed=0, n_experts=8, top_k=2):
    """Train a byte-level Mixtral for some seconds on a text and on triples, until its experts differ; save it."""
    torch.manual_seed(seed)
    config = MixtralConfig(
        vocab_size=259, hidden_size=64, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, num_local_experts=n_experts, num_experts_per_tok=top_k,
        router_aux_loss_coef=0.01, output_router_logits=True, tie_word_embeddings=True, bos_token_id=257,
        eos_token_id=258, pad_token_id=258,
    )  # fmt: skip
    model = train(MixtralForCausalLM(config), text=text, steps=steps)
    model.config.output_router_logits = False
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def train(model, *, text, steps):
    """Train a byte-level model on rows of the text and of triples, half and half; in evaluation mode after it."""
    tokenizer = byte_tokenizer()
    streams = [torch.tensor(tokenizer(part)["input_ids"]) for part in (text, triples(4000, seed=1))]
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=4e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        rows = []
        for stream in streams:
            rows += [stream[start : start + 96] for start in torch.randint(len(stream) - 96, (6,)).tolist()]
        ids = torch.stack(rows)
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()

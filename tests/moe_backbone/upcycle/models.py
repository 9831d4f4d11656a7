"""Loading, running and comparing tiny checkpoints."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from moe_backbone.blocks import find_blocks
from moe_backbone.upcycle.checking import compute_in_float64

WIDTHS = {
    "vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "initializer_range": 0.4, "bos_token_id": 257, "eos_token_id": 258,
}  # fmt: skip


def load(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def random_ids(*shape):
    return torch.randint(0, 257, shape, generator=torch.Generator().manual_seed(5))


def logits_of(folder, ids):
    with torch.no_grad():
        return load(folder)(ids).logits


def exact_logits(folder, ids):
    """Logits in float64 throughout; stock classes, stock experts."""
    model = load(folder)
    if find_blocks(model):
        model.set_experts_implementation("eager")
    with torch.no_grad():
        return compute_in_float64(model)(ids).logits


def save_qwen(folder, *, version, **changes):
    """A Qwen2 (biases of q, k and v) or a Qwen3 (norms of q and k), with values that matter."""
    torch.manual_seed(3)
    settings = {
        "vocab_size": 259, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.4,
        "rms_norm_eps": 3e-3, "tie_word_embeddings": True, "bos_token_id": 257, "eos_token_id": 258,
        "pad_token_id": 258,
    } | changes  # fmt: skip
    if version == 2:
        model = Qwen2ForCausalLM(Qwen2Config(**settings))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=8, **settings))
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "q_norm.weight", "k_norm.weight")):
            torch.nn.init.normal_(parameter, mean=0.5, std=0.5)
    model.save_pretrained(folder)
    return folder


def save_mixtral(folder, **changes):
    torch.manual_seed(0)
    config = MixtralConfig(**WIDTHS, **({"intermediate_size": 24, "num_local_experts": 6} | changes))
    MixtralForCausalLM(config).save_pretrained(folder)
    return folder


def save_glm4(folder, **changes):
    """A GLM4-MoE as training leaves one: every expert another, and a bias that sways the choice."""
    torch.manual_seed(1)
    settings = {
        "moe_intermediate_size": 24, "n_routed_experts": 6, "num_experts_per_tok": 3, "first_k_dense_replace": 1,
        "intermediate_size": 64, "head_dim": 8, "num_nextn_predict_layers": 0,
    } | changes  # fmt: skip
    model = Glm4MoeForCausalLM(Glm4MoeConfig(**WIDTHS, **settings))
    torch.nn.init.normal_(model.model.layers[1].mlp.gate.e_score_correction_bias, std=0.5)
    model.save_pretrained(folder)
    return folder

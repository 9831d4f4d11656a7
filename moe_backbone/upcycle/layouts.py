"""How each target names its tensors and settings, and what of a dense model it has no place for.

Layer: ``moe_backbone``; imports transformers (configuration classes only).
Experts are written one by one under the names that ``save_pretrained`` writes and that vLLM's loaders read; fused names
are never written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import Glm4MoeConfig, MixtralConfig

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle.recipe import Target, UpcycleRecipe
from moe_backbone.upcycle.sources import DenseSource

__all__ = ["Layout", "layout_of"]

_CARRIED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "use_cache", "pad_token_id",
    "bos_token_id", "eos_token_id", "tie_word_embeddings", "attention_dropout", "rope_parameters",
)  # fmt: skip
_MIXTRAL_FIELDS = (
    "sliding_window", "intermediate_size", "num_local_experts", "num_experts_per_tok", "output_router_logits",
    "router_jitter_noise", "router_aux_loss_coef",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The names of one target.

    :param target: Which.
    :param block: The mixture of a layer, as a pattern with ``{layer}``.
    :param expert_parts: What the gate, up and down projections of an expert are called.
    :param shared: The shared expert inside the block; ``""`` if there is none.
    :param bias: The bias that only the choice of experts sees; ``""`` if there is none.
    :param unties_head: Whether the head is written even where the source ties it to the embedding.
    :param settings: Makes the configuration.
    :param refuse: Raises if a source has what the target lacks.
    """

    target: Target
    block: str
    expert_parts: Mapping[str, str]
    shared: str
    bias: str
    unties_head: bool
    settings: Callable[[DenseSource, UpcycleRecipe], dict[str, Any]]
    refuse: Callable[[DenseSource], None]

    def expert(self, layer: int, expert: int, part: str) -> str:
        """Return the name of an expert's ``gate_proj``, ``up_proj`` or ``down_proj``."""
        return f"{self.block.format(layer=layer)}.experts.{expert}.{self.expert_parts[part]}.weight"

    def router(self, layer: int) -> str:
        """Return the name of the router's rows."""
        return f"{self.block.format(layer=layer)}.gate.weight"

    def choice_bias(self, layer: int) -> str:
        """Return the name of the bias of the choice."""
        return f"{self.block.format(layer=layer)}.{self.bias}"

    def shared_expert(self, layer: int, part: str) -> str:
        """Return the name of a projection of the shared expert."""
        return f"{self.block.format(layer=layer)}.{self.shared}.{part}.weight"


def layout_of(target: Target) -> Layout:
    """Return the names and settings of ``target``."""
    return _LAYOUTS[target]


def _refuse_for_mixtral(source: DenseSource) -> None:
    found = [("biases of q, k and v", source.qkv_bias), ("norms of q and k", source.qk_norm)]
    odd = [what for what, there in found if there]
    if odd:
        name = sorted(n for n in source.reader.names if n.endswith((".bias", "_norm.weight")) and "self_attn" in n)[0]
        raise CheckpointError(
            f"{source.folder} has {' and '.join(odd)}, which a Mixtral has no place for ({name}). "
            "The target glm4_moe has."
        )


def _refuse_for_glm4(source: DenseSource) -> None:
    if source.sliding_window is not None and source.sliding_window < source.config.max_position_embeddings:
        raise CheckpointError(
            f"{source.folder} looks back {source.sliding_window} tokens only (sliding_window), which a GLM4-MoE "
            "cannot. The target mixtral can."
        )


def _carried(source: DenseSource) -> dict[str, Any]:
    config = source.config
    carried = {field: getattr(config, field, None) for field in _CARRIED}
    carried["head_dim"] = carried["head_dim"] or config.hidden_size // config.num_attention_heads
    return carried


def _mixtral_settings(source: DenseSource, recipe: UpcycleRecipe) -> dict[str, Any]:
    target = MixtralConfig(
        **_carried(source),
        sliding_window=source.sliding_window,
        intermediate_size=source.inner_width // recipe.slices,
        num_local_experts=recipe.n_experts,
        num_experts_per_tok=recipe.top_k,
        output_router_logits=False,
        router_jitter_noise=0.0,
    )
    settings = {field: getattr(target, field) for field in (*_CARRIED, *_MIXTRAL_FIELDS)}
    return {**settings, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}


def _glm4_settings(source: DenseSource, recipe: UpcycleRecipe) -> dict[str, Any]:
    carried = _carried(source)
    carried["rope_parameters"] = {**carried["rope_parameters"], "partial_rotary_factor": 1.0}
    settings = {
        **carried,
        "tie_word_embeddings": False,  # vLLM does not tie the head of a GLM4-MoE
        "attention_bias": source.qkv_bias,
        "use_qk_norm": source.qk_norm,
        "intermediate_size": source.inner_width,  # of dense layers, of which there are none
        "moe_intermediate_size": source.inner_width // recipe.slices,
        "n_routed_experts": recipe.n_experts,
        "num_experts_per_tok": recipe.top_k,
        "n_shared_experts": 1,
        "routed_scaling_factor": float(recipe.routed_slices),
        "norm_topk_prob": True,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "num_nextn_predict_layers": 0,
        "partial_rotary_factor": 1.0,
        "output_router_logits": False,
    }
    Glm4MoeConfig(**settings)  # checks the types of all fields
    return {**settings, "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe"}


_LAYOUTS: Mapping[Target, Layout] = MappingProxyType(
    {
        Target.MIXTRAL: Layout(
            target=Target.MIXTRAL,
            block="model.layers.{layer}.block_sparse_moe",
            expert_parts=MappingProxyType({"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}),
            shared="",
            bias="",
            unties_head=False,
            settings=_mixtral_settings,
            refuse=_refuse_for_mixtral,
        ),
        Target.GLM4_MOE: Layout(
            target=Target.GLM4_MOE,
            block="model.layers.{layer}.mlp",
            expert_parts=MappingProxyType({part: part for part in ("gate_proj", "up_proj", "down_proj")}),
            shared="shared_experts",
            bias="gate.e_score_correction_bias",
            unties_head=True,
            settings=_glm4_settings,
            refuse=_refuse_for_glm4,
        ),
    }
)

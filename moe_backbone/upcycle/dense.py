"""Turn a dense Llama-family checkpoint into a stock mixture of experts that computes the same function.

Layer: ``moe_backbone``; imports torch, safetensors and transformers (configuration classes only).
Source: "virtual groups", Upcycling LLMs into Mixture of Experts, arXiv:2410.07524, section 4.

Each feed-forward network is cut into S slices of its inner width, and the slices are laid out R times (R groups):
expert ``r·S + s`` is slice s of group r. Router rows are equal inside a group and drawn from N(0, 0.02) between groups,
so the S best experts of a token are the S slices of one group, each with weight 1/S: exactly for S = 2 and 4, otherwise
up to the rounding of stock routers, which add up their weights in float32 in every precision. A Mixtral's ``down_proj``
is scaled by S to undo that weight, a GLM4-MoE has ``routed_scaling_factor`` for it. Unlike plain copies, whose router
has no gradient, the router can learn from the first step. **What is preserved is the function; no quality is claimed.**
"""

from __future__ import annotations

from pathlib import Path

from moe_backbone.checkpoint import CheckpointError, is_complete, source_sha256
from moe_backbone.upcycle.recipe import UpcycleRecipe
from moe_backbone.upcycle.sources import read_dense
from moe_backbone.upcycle.writing import OnProgress, write_experts

__all__ = ["upcycle"]


def upcycle(
    dense: Path, out: Path, recipe: UpcycleRecipe | None = None, *, on_progress: OnProgress | None = None
) -> Path:
    """Write the mixture of experts of a dense checkpoint. If ``out`` is already that checkpoint, do nothing.

    :param dense: Folder of a Llama, Mistral, Qwen2 or Qwen3 checkpoint in safetensors, unquantised.
    :param out: Folder to make; it is complete or absent, never half-written.
    :param recipe: Target, slices, groups, seed and so on; ``None`` takes the defaults.
    :param on_progress: Called as ``on_progress(done_bytes, total_bytes)`` after each tensor.
    :returns: ``out``.
    :raises CheckpointError: If the checkpoint cannot be upcycled exactly, or the disk is too small.
    """
    recipe = recipe if recipe is not None else UpcycleRecipe()
    if not (dense / "config.json").is_file():
        raise CheckpointError(f"{dense} holds no config.json: it is no checkpoint folder.")
    stamp = recipe.stamp(source_sha256=source_sha256(dense))
    if is_complete(out, recipe=stamp):
        return out
    source = read_dense(dense)
    write_experts([source] * recipe.groups, out, recipe, stamp=stamp, on_progress=on_progress)
    return out

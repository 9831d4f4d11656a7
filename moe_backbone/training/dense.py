"""Start a dense student from the experts of a mixture: by their load-weighted mean, or by joining the most used ones.

Layer: ``moe_backbone``; imports torch and transformers.
The student is a stock model of the family that the mixture descends from, so everything but the experts is copied; what
would be lost is refused. Its feed-forward network takes one of two starts:

- ``mean``: one network of the experts' width, the mean of their weights by load. Neurons of experts that were trained
  apart do not correspond, so this is a start to train from, not a model to use.
- ``join``: the neurons of the most used experts side by side, each expert's output scaled by its share of the weight.
  With as many experts as a token uses, the width is the active width. It restores the dense source of an upcycled
  mixture exactly, and is blind to which token wanted which expert.

Joining undoes the split of LLaMA-MoE, arXiv:2406.16554, section 3.1; the mean is that of model soups,
arXiv:2203.05482. What follows is distillation (:mod:`moe_backbone.training.objectives`).

Shape suffixes: L layers, T tokens, H model width, E experts, I inner width of an expert, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing, find_blocks
from moe_backbone.misfit import first_misfit
from moe_backbone.training.config import TrainingError
from moe_backbone.training.data import Batch

__all__ = ["STARTS", "ExpertUse", "dense_from_experts", "fresh_like", "measure_use"]

STARTS = ("join", "mean")
_FAMILIES = {
    "mixtral": "MistralForCausalLM",
    "qwen3_moe": "Qwen3ForCausalLM",
    "granitemoe": "GraniteForCausalLM",
    "glm4_moe": "LlamaForCausalLM",
}
_NOT_CARRIED = {"model_type", "architectures", "transformers_version", "intermediate_size", "dtype", "torch_dtype"}


class ExpertUse:
    """How much weight each expert of a block was given, and by how many tokens the block was passed.

    :param n_experts: Experts E.
    """

    def __init__(self, n_experts: int) -> None:
        self.weight_E = torch.zeros(n_experts, dtype=torch.float64)
        self.n_tokens = 0

    def add(self, index_TK: Tensor, weights_TK: Tensor, keep_T: Tensor) -> None:
        """Count the choices of the tokens that ``keep_T`` marks."""
        index, weights = index_TK[keep_T].reshape(-1).cpu(), weights_TK[keep_T].reshape(-1).double().cpu()
        real = (index >= 0) & (index < len(self.weight_E))
        self.weight_E.index_add_(0, index[real].long(), weights[real])
        self.n_tokens += int(keep_T.sum())


@torch.no_grad()
def measure_use(model: nn.Module, batches: Iterable[Batch]) -> list[ExpertUse]:
    """Run ``model`` over some data and add up the weights of its experts.

    :param model: A mixture of experts.
    :param batches: The data, on the model's device.
    :returns: The use of each block.
    :raises TrainingError: If there is no data.
    """
    uses = [ExpertUse(block.n_experts) for block in find_blocks(model)]
    keep: list[Tensor] = []

    def watch(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        uses[block.layer].add(index_TK, weights_TK, keep[-1])
        return index_TK, weights_TK

    called: Any = model
    was_training = model.training
    model.eval()
    with edit_routing(model, watch):
        for batch in batches:
            keep.append(batch.mask.reshape(-1))
            called(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False)
    model.train(was_training)
    if not keep:
        raise TrainingError("the use of experts cannot be measured without data.")
    return uses


@torch.no_grad()
def dense_from_experts(
    model: nn.Module, uses: list[ExpertUse], *, start: str = "join", n_joined: int | None = None
) -> nn.Module:
    """Make a dense student of a mixture.

    :param model: A Mixtral, Qwen3-MoE, Granite-MoE or GLM4-MoE; it is only read.
    :param uses: What :func:`measure_use` measured.
    :param start: ``join`` or ``mean``.
    :param n_joined: Of ``join``: experts of each layer; ``None`` takes as many as a token uses.
    :returns: The student, on the CPU, in the dtype of ``model``.
    :raises TrainingError: If the family has no dense one that it descends from, or something would be lost.
    """
    if start not in STARTS:
        raise TrainingError(f"start must be one of {', '.join(STARTS)}, got {start!r}.")
    config: Any = model.config
    blocks = find_blocks(model)
    _require_family(config, blocks)
    top_k = int(config.num_experts_per_tok)
    n_joined = top_k if n_joined is None else n_joined
    if not 1 <= n_joined <= blocks[0].n_experts:
        raise TrainingError(f"n_joined must be between 1 and {blocks[0].n_experts}, got {n_joined}.")
    prefixes = tuple(f"{block.name}." for block in blocks)
    rows = {name: value.cpu() for name, value in model.state_dict().items() if not name.startswith(prefixes)}
    for block, use in zip(blocks, uses, strict=True):
        gate_IH, up_IH, down_HI = _join(block, use, n_joined) if start == "join" else _mean(block, use)
        shared = getattr(block.block, "shared_experts", None)
        if isinstance(shared, nn.Module):
            gate_IH = torch.cat((gate_IH, shared.get_parameter("gate_proj.weight").cpu()))
            up_IH = torch.cat((up_IH, shared.get_parameter("up_proj.weight").cpu()))
            down_HI = torch.cat((down_HI, shared.get_parameter("down_proj.weight").cpu()), dim=1)
        layer = block.name.rpartition(".")[0]
        rows |= {f"{layer}.mlp.gate_proj.weight": gate_IH, f"{layer}.mlp.up_proj.weight": up_IH}
        rows[f"{layer}.mlp.down_proj.weight"] = down_HI
    student = _empty_student(config, inner_width=len(gate_IH))
    wanted = {name: tuple(value.shape) for name, value in student.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in rows.items()}
    misfit = first_misfit(given, wanted, given_in="the mixture", wanted_in="the dense model")
    if misfit is not None:
        raise TrainingError(f"{type(model).__name__} cannot become a {type(student).__name__}: {misfit}.")
    student.load_state_dict(rows)
    return student.to(next(model.parameters()).dtype)


def _require_family(config: Any, blocks: tuple[MoEBlock, ...]) -> None:
    if config.model_type not in _FAMILIES:
        raise TrainingError(
            f"a {config.model_type!r} has no dense family that its experts could become. Known are "
            f"{', '.join(_FAMILIES)}; give a student of your own instead."
        )
    if len(blocks) != config.num_hidden_layers:
        raise TrainingError(
            f"only {len(blocks)} of {config.num_hidden_layers} layers have experts; one dense width cannot fit both."
        )
    if config.model_type == "glm4_moe":
        rotary = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0)
        if config.use_qk_norm or config.attention_bias or rotary != 1.0:
            raise TrainingError("a GLM4-MoE with query-key norms, biases or partial rotation is no Llama.")


def _pieces(block: MoEBlock) -> tuple[Tensor, Tensor, Tensor]:
    experts: Any = block.experts
    gate_EIH, up_EIH = experts.gate_up_proj.detach().cpu().chunk(2, dim=1)
    return gate_EIH, up_EIH, experts.down_proj.detach().cpu()


def _join(block: MoEBlock, use: ExpertUse, n_joined: int) -> tuple[Tensor, Tensor, Tensor]:
    gate_EIH, up_EIH, down_EHI = _pieces(block)
    # Stable, so that equal experts keep their order and the joined slices of an upcycled model belong to one group.
    chosen = use.weight_E.argsort(descending=True, stable=True)[:n_joined].sort().values
    total = float(use.weight_E.sum()) / max(use.n_tokens, 1)
    share_N = total * use.weight_E[chosen] / use.weight_E[chosen].sum().clamp(min=1e-30)
    down_NHI = down_EHI[chosen] * share_N.to(down_EHI.dtype)[:, None, None]
    return (
        gate_EIH[chosen].flatten(0, 1),
        up_EIH[chosen].flatten(0, 1),
        down_NHI.permute(1, 0, 2).flatten(1, 2).contiguous(),
    )


def _mean(block: MoEBlock, use: ExpertUse) -> tuple[Tensor, Tensor, Tensor]:
    gate_EIH, up_EIH, down_EHI = _pieces(block)
    total = float(use.weight_E.sum()) / max(use.n_tokens, 1)
    share_E = (use.weight_E / use.weight_E.sum().clamp(min=1e-30)).to(gate_EIH.dtype)
    gate_IH, up_IH, down_HI = (torch.einsum("e,eab->ab", share_E, part) for part in (gate_EIH, up_EIH, down_EHI))
    return gate_IH, up_IH, down_HI * total


def _empty_student(config: Any, *, inner_width: int) -> nn.Module:
    kind: Any = getattr(transformers, _FAMILIES[config.model_type])
    known = kind.config_class().to_dict()
    carried = {name: value for name, value in config.to_dict().items() if name in known and name not in _NOT_CARRIED}
    student: nn.Module = kind(kind.config_class(**carried, intermediate_size=inner_width))
    return student


def fresh_like(model: nn.Module, *, seed: int) -> nn.Module:
    """Return a model of the same shape with fresh weights: the baseline of a student that was given a start.

    :param model: A stock model.
    :param seed: Seed of the weights.
    :returns: The model, on the CPU, in float32.
    """
    torch.manual_seed(seed)
    make: Callable[[Any], nn.Module] = type(model)
    return make(model.config)

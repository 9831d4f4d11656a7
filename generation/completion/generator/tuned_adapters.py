"""Give a generator the low-rank experts that are tuned, and read and write them.

Layer: ``generation``; imports torch. The base model's own weights are frozen.

Linear layers get one adapter each, or a mixture of them with a router; the experts of a mixture-of-experts model get an
adapter each under the model's own router. Single adapters belong to the skill ``complete``
(:data:`moe_backbone.routers.context.SKILLS`), so a model that serves other skills can hold them beside those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from generation.completion.generator.tuning_config import TuningConfig
from kg.errors import CompletionError
from moe_backbone.blocks import find_blocks
from moe_backbone.lora.adapter_file import AdapterError
from moe_backbone.lora.adapters import (
    adapt_experts,
    adapt_linears,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
    use_skill,
)
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.mixture import TokenLoRALinear
from moe_backbone.lora.token_mixtures import load_mixture, mix_linears, save_mixture
from moe_backbone.sites import find_routers
from moe_backbone.training.freezing import parameter_groups

__all__ = [
    "ADAPTER_FILE",
    "MIXTURE_FILE",
    "SKILL",
    "adapt",
    "count_tuned",
    "merge",
    "read_adapters",
    "write_adapters",
]

SKILL = "complete"
ADAPTER_FILE = "adapter.safetensors"
MIXTURE_FILE = "mixtures.safetensors"


def adapt(model: nn.Module, config: TuningConfig) -> tuple[str, ...]:
    """Wrap the layers that are tuned; the model's output does not change before training.

    :param model: A causal or an encoder-decoder model. Changed in place.
    :param config: Which layers, and how.
    :returns: Names of the wrapped modules.
    :raises CompletionError: If the model has no layer of the wanted names, or holds its experts in a form that cannot
        be adapted.
    """
    lora = LoRAConfig(rank=config.rank, alpha=config.alpha)
    endings = config.targets or _linear_endings(model)
    is_mixed = config.lora_experts > 1
    if is_mixed and getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise CompletionError(
            "tuning.lora_experts: mixtures of LoRA experts are kept in balance over the tokens of one text, so they "
            "need a causal model; this one is an encoder-decoder. Set lora_experts to 1."
        )
    try:
        names = adapt_experts(model, lora, skills=(SKILL,)) if find_blocks(model) else ()
        if not endings and names:
            return names
        if is_mixed:
            names += mix_linears(model, lora, endings=endings, n_experts=config.lora_experts, top_k=config.lora_top_k)
        else:
            names += adapt_linears(model, lora, endings=endings, skills=(SKILL,))
    except (AdapterError, ValueError) as error:
        raise CompletionError(f"{type(model).__name__} cannot be adapted: {error}") from error
    use_skill(model, SKILL)
    return names


def count_tuned(model: nn.Module) -> int:
    """Return how many parameters the tuned experts of an adapted model have, their routers included."""
    tuned = parameter_groups(model)["@lora"]
    return sum(parameter.numel() for name, parameter in model.named_parameters() if name in tuned)


def write_adapters(model: nn.Module, folder: Path) -> tuple[Path, ...]:
    """Write the tuned experts; each file appears complete or not at all.

    :param model: An adapted model.
    :param folder: An existing folder.
    :returns: The files.
    """
    written = []
    if use_skill(model, SKILL):
        written.append(save_adapter(model, folder / ADAPTER_FILE, skill=SKILL))
    if _has_mixtures(model):
        written.append(save_mixture(model, folder / MIXTURE_FILE))
    return tuple(written)


def read_adapters(model: nn.Module, folder: Path) -> None:
    """Load the tuned experts that :func:`write_adapters` wrote.

    :param model: A model adapted with the same settings. Changed in place.
    :param folder: The folder.
    :raises CompletionError: If a file is missing or damaged, or does not fit the model.
    """
    try:
        if use_skill(model, SKILL):
            load_adapter(model, folder / ADAPTER_FILE, skill=SKILL)
        if _has_mixtures(model):
            load_mixture(model, folder / MIXTURE_FILE)
    except AdapterError as error:
        raise CompletionError(f"{error} Tune again, or take another copy of the folder.") from error


def merge(model: nn.Module) -> bool:
    """Add single adapters to the weights and take the wrappers off, so that the tuned model costs what its base does.

    :param model: An adapted model. Changed in place: its weights are then its own. Mixtures stay as they are.
    :returns: Whether the model is now a stock one.
    """
    merge_adapters(model, SKILL)
    remove_adapters(model)
    return not _has_mixtures(model)


def _has_mixtures(model: nn.Module) -> bool:
    return any(isinstance(module, TokenLoRALinear) for module in model.modules())


def _linear_endings(model: nn.Module) -> tuple[str, ...]:
    """Return the last parts of the names of all linear layers but heads and routers."""
    called: Any = model
    head = called.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    left_out = {id(head), *(id(part) for _, router in find_routers(model) for part in router.modules())}
    found = {
        name.rpartition(".")[2]: None
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in left_out
    }
    return tuple(found)

"""Put mixtures of low-rank experts beside the linear layers of a model, save and load them, and record their routing.

Layer: ``moe_backbone``; imports torch and safetensors.
Source: LoRAMoE, arXiv:2312.09979: the layers stay frozen, each gets E adapters and a router that weighs them per token.
A mixture depends on the token, so unlike a single adapter it cannot be merged into the weights.

Shape suffixes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from moe_backbone.lora.adapter_file import AdapterError, read_adapter_file, write_adapter_file
from moe_backbone.lora.adapters import linears_named, replace_module
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.mixture import TokenLoRALinear
from moe_backbone.losses.balance import load_balance_loss
from moe_backbone.routers.base import Routing
from moe_backbone.routers.top_k import TopKConfig, TopKRouter

__all__ = ["load_mixture", "mix_linears", "mixture_balance", "recorded_mixtures", "save_mixture"]

_FORMAT = "mmkg_lora_mixture_1"


def mix_linears(
    model: nn.Module, config: LoRAConfig, *, endings: Iterable[str], n_experts: int, top_k: int
) -> tuple[str, ...]:
    """Give linear layers a mixture of low-rank experts each; the model's output does not change before training.

    :param model: Any model. Changed in place; the layers are frozen.
    :param config: Rank and scale of each expert.
    :param endings: Last parts of the names of the layers, as ``("q_proj", "v_proj")``.
    :param n_experts: Experts E of each layer.
    :param top_k: Experts of each token K, between 1 and E.
    :returns: Names of the layers.
    :raises AdapterError: If no linear layer has such a name.
    """
    found = linears_named(model, endings)
    for name, linear in found:
        router = TopKRouter(TopKConfig(width=linear.in_features, n_experts=n_experts, top_k=top_k))
        router.to(linear.weight.device)  # in float32, whatever the layer is
        replace_module(model, name, TokenLoRALinear(linear, config, router, name=name))
    return tuple(name for name, _ in found)


@contextmanager
def recorded_mixtures(model: nn.Module) -> Iterator[list[Routing]]:
    """Yield a list that the router of every mixture adds to, in the order in which they run.

    :param model: A model, with mixtures or without.
    :yields: The list; logits keep their gradient.
    """
    record: list[Routing] = []

    def keep(_: nn.Module, __: Any, routing: Routing) -> None:
        record.append(routing)

    handles = [mixture.gate.register_forward_hook(keep) for _, mixture in _mixtures(model)]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def mixture_balance(record: list[Routing], *, mask: Tensor) -> Tensor:
    """Return the load-balance loss of recorded mixtures, the mean over layers: 1 is uniform, E is collapsed.

    :param record: What :func:`recorded_mixtures` recorded in one forward pass; not empty.
    :param mask: True for a real token, False for padding. Any shape with T elements.
    :returns: The loss, with gradient. *Shape:* ``()``.
    """
    return load_balance_loss(
        [routing.logits for routing in record],
        top_k=record[0].experts.shape[-1],
        mask=mask,
        experts=[routing.experts for routing in record],
    )


def save_mixture(model: nn.Module, path: Path) -> Path:
    """Write the experts and routers of all mixtures to a file, which appears complete or not at all.

    :param model: A model with mixtures.
    :param path: A ``.safetensors`` file to make; its folder must exist.
    :returns: ``path``.
    :raises AdapterError: If the model has none.
    """
    tensors = {name: parameter.detach().contiguous() for name, parameter in _parameters(model)}
    if not tensors:
        raise AdapterError(f"{type(model).__name__} has no mixtures of low-rank experts to save.")
    about = {"format": _FORMAT, "config": json.dumps(_settings(model))}
    write_adapter_file(path, tensors, about=about)
    return path


def load_mixture(model: nn.Module, path: Path) -> None:
    """Load experts and routers of mixtures from a file.

    :param model: A model with the same layers mixed, with the same settings. Changed in place.
    :param path: A file that :func:`save_mixture` wrote.
    :raises AdapterError: If the file is none, is damaged, or does not fit the model; the model is then unchanged.
    """
    about, tensors = read_adapter_file(path, wanted=_FORMAT, kind="mixtures", kind_of_file="file of mixtures")
    settings = json.loads(about["config"])
    if settings != _settings(model):
        raise AdapterError(f"{path} was made with {settings}, but the model has {_settings(model)}.")
    expected = {name: tuple(parameter.shape) for name, parameter in _parameters(model)}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != given:
        differing = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise AdapterError(
            f"{path} does not fit the model: {len(differing)} tensors differ, first {differing[0]} (model "
            f"{expected.get(differing[0])}, file {given.get(differing[0])})."
        )
    for name, parameter in _parameters(model):
        parameter.data.copy_(tensors[name])


def _mixtures(model: nn.Module) -> Iterator[tuple[str, TokenLoRALinear]]:
    for name, module in model.named_modules():
        if isinstance(module, TokenLoRALinear):
            yield name, module


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for name, mixture in _mixtures(model):
        for part in ("lora", "gate"):
            for inner, parameter in mixture.get_submodule(part).named_parameters():
                yield f"{name}.{part}.{inner}", parameter


def _settings(model: nn.Module) -> dict[str, Any]:
    for _, mixture in _mixtures(model):
        top_k = mixture.gate.config.top_k if isinstance(mixture.gate, TopKRouter) else None
        return {"n_experts": mixture.gate.n_experts, "top_k": top_k, "scale": mixture.lora.scale}
    return {}

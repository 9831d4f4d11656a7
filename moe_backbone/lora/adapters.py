"""Put low-rank adapters into a model, and save, load, merge and remove them; one small file per skill.

Layer: ``moe_backbone``; imports torch and safetensors.
A file holds one skill's tensors and, in its header, rank and scale; loading it reads nothing of other skills.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import nn

from moe_backbone.blocks import find_blocks
from moe_backbone.lora.adapter_file import AdapterError, read_adapter_file, write_adapter_file
from moe_backbone.lora.fused import LoRAFusedExperts
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.lora.mixture import SkillLoRALinear
from moe_backbone.lora.skills import DEFAULT, SkillAdapter
from moe_backbone.misfit import first_misfit

__all__ = [
    "adapt_experts",
    "adapt_linears",
    "linears_named",
    "load_adapter",
    "merge_adapters",
    "remove_adapters",
    "replace_module",
    "save_adapter",
    "skill_parameters",
    "unmerge_adapters",
    "use_skill",
]

_FORMAT = "mmkg_lora_1"


def adapt_experts(model: nn.Module, config: LoRAConfig, *, skills: Iterable[str] | None = ()) -> tuple[str, ...]:
    """Wrap the experts of every mixture-of-experts block of ``model``; its output does not change before training.

    :param model: A stock model or one with our layers. Changed in place; its experts are frozen.
    :param config: Rank and scale.
    :param skills: Skills with a set each; ``()`` makes one set that every call uses, ``None`` none (load some).
    :returns: Names of the wrapped modules.
    :raises AdapterError: If the model has no block, or one is adapted already.
    """
    blocks = find_blocks(model)
    if not blocks:
        raise AdapterError(f"{type(model).__name__} has no mixture-of-experts block to adapt.")
    names, skills = [], None if skills is None else tuple(skills)
    for block in blocks:
        name = f"{block.name}.experts" if block.name else "experts"
        if isinstance(block.experts, LoRAFusedExperts):
            raise AdapterError(f"{name} is adapted already; remove its adapters first (remove_adapters).")
        block.block.experts = LoRAFusedExperts(block.experts, config, skills=skills, name=name)
        names.append(name)
    return tuple(names)


def adapt_linears(
    model: nn.Module, config: LoRAConfig, *, endings: Iterable[str], skills: Iterable[str] = ()
) -> tuple[str, ...]:
    """Give linear layers an adapter per skill; the model's output does not change before training.

    :param model: Any model. Changed in place; the layers are frozen.
    :param config: Rank and scale.
    :param endings: Last parts of the names of the layers, as ``("q_proj", "v_proj")``.
    :param skills: Skills that get a fresh adapter; others can be loaded.
    :returns: Names of the adapted layers.
    :raises AdapterError: If no linear layer has such a name.
    """
    skills = tuple(skills)
    found = linears_named(model, endings)
    for name, linear in found:
        replace_module(model, name, SkillLoRALinear(linear, config, skills=skills, name=name))
    return tuple(name for name, _ in found)


def linears_named(model: nn.Module, endings: Iterable[str]) -> list[tuple[str, nn.Linear]]:
    """Find the linear layers of a model whose last name is one of those given.

    :param model: The model.
    :param endings: Last names, as ``q_proj``.
    :returns: Whole names and layers, at least one.
    :raises AdapterError: If there is none.
    """
    wanted = tuple(endings)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in wanted
    ]
    if not found:
        raise AdapterError(f"{type(model).__name__} has no linear layer named {' or '.join(wanted)}.")
    return found


def remove_adapters(model: nn.Module) -> int:
    """Put the wrapped modules back in their places, as they are (a merged set stays in the weights).

    :param model: Changed in place. Its parameters stay frozen.
    :returns: How many were put back.
    """
    adapters = list(_adapters(model))
    for name, adapter in adapters:
        replace_module(model, name, adapter.base)
    return len(adapters)


def merge_adapters(model: nn.Module, skill: str = DEFAULT) -> int:
    """Add one skill's adapters to the weights of every adapted module, so that calls cost nothing more.

    :param model: An adapted model. Changed in place.
    :param skill: The skill.
    :returns: How many modules were changed.
    :raises AdapterError: If a module does not have it, or has one merged; the model is then unchanged.
    """
    adapters = list(_adapters(model))
    for name, adapter in adapters:
        if adapter.merged is not None or skill not in adapter.sets:
            raise AdapterError(
                f"{name} cannot merge {skill!r}: merged is {adapter.merged!r}, sets {list(adapter.sets)}."
            )
    for _, adapter in adapters:
        adapter.merge(skill)
    return len(adapters)


def unmerge_adapters(model: nn.Module) -> int:
    """Take the merged adapters out of the weights again, to rounding.

    :param model: An adapted model. Changed in place.
    :returns: How many modules were changed.
    """
    merged = [adapter for _, adapter in _adapters(model) if adapter.merged is not None]
    for adapter in merged:
        adapter.unmerge()
    return len(merged)


def use_skill(model: nn.Module, skill: str | None) -> int:
    """Set the skill of calls whose context names none: for training, and for a process that serves one skill.

    :param model: An adapted model. Changed in place.
    :param skill: The skill; ``None`` asks every call to name one again.
    :returns: How many modules were set.
    """
    adapters = [adapter for _, adapter in _adapters(model)]
    for adapter in adapters:
        adapter.skill = skill
    return len(adapters)


def skill_parameters(model: nn.Module, skill: str = DEFAULT) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of one skill's adapters, by which an optimiser trains that skill alone.

    :param model: An adapted model.
    :param skill: The skill.
    :yields: Name in the model, and parameter.
    """
    for name, adapter in _adapters(model):
        if skill in adapter.sets:
            for inner, parameter in adapter.sets[skill].named_parameters():
                yield f"{name}.{inner}", parameter


def save_adapter(model: nn.Module, path: Path, *, skill: str = DEFAULT) -> Path:
    """Write one skill's adapters to a file, which appears complete or not at all.

    :param model: An adapted model.
    :param path: A ``.safetensors`` file to make; its folder must exist.
    :param skill: The skill.
    :returns: ``path``.
    :raises AdapterError: If the model has no adapters of this skill.
    """
    tensors = {name: parameter.detach().contiguous() for name, parameter in skill_parameters(model, skill)}
    if not tensors:
        raise AdapterError(f"{type(model).__name__} has no adapters of the skill {skill!r} to save.")
    config = next(adapter.config for _, adapter in _adapters(model))
    about = {"format": _FORMAT, "skill": skill, "config": json.dumps({"rank": config.rank, "alpha": config.alpha})}
    write_adapter_file(path, tensors, about=about)
    return path


def load_adapter(model: nn.Module, path: Path, *, skill: str | None = None) -> str:
    """Load one skill's adapters from a file, replacing them if they are there. Nothing else is read or changed.

    :param model: A model with the same modules adapted, of the same rank and scale.
    :param path: A file that :func:`save_adapter` wrote.
    :param skill: Name to give them; ``None`` keeps the one in the file.
    :returns: The skill's name.
    :raises AdapterError: If the file is no adapter, is damaged, or does not fit the model; the model is then unchanged.
    """
    about, tensors = read_adapter_file(path, wanted=_FORMAT, kind="an adapter", kind_of_file="adapter file")
    skill = about["skill"] if skill is None else skill
    adapters = dict(_adapters(model))
    settings = json.loads(about["config"])
    expected: dict[str, tuple[int, ...]] = {}
    for name, adapter in adapters.items():
        if adapter.merged is not None:
            raise AdapterError(f"{name} has the set {adapter.merged!r} merged; unmerge it before one is loaded.")
        if {"rank": adapter.config.rank, "alpha": adapter.config.alpha} != settings:
            raise AdapterError(f"{path} was made with {settings}, but {name} has {adapter.config}.")
        expected |= {f"{name}.{inner}": tuple(value.shape) for inner, value in adapter.fresh_set().named_parameters()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    misfit = first_misfit(given, expected, given_in="the file", wanted_in="the model")
    if misfit is not None:
        raise AdapterError(f"{path} does not fit the model: {misfit}.")
    for adapter in adapters.values():
        if skill not in adapter.sets:
            adapter.add_set(skill)
    for name, parameter in skill_parameters(model, skill):
        parameter.data.copy_(tensors[name])
    return skill


def _adapters(model: nn.Module) -> Iterator[tuple[str, SkillAdapter]]:
    for name, module in model.named_modules():
        if isinstance(module, SkillAdapter):
            yield name, module


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put another module in the place of the one of this name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)

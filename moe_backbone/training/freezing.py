"""Say which parameters of a model are trained, by patterns and by what they are.

Layer: ``moe_backbone``; imports torch only.
A pattern is a glob over parameter names (``model.layers.0.*``), or one of the groups that :func:`parameter_groups`
finds by the shape of the model, not by names of architectures: ``@routers``, ``@experts``, ``@shared`` (the rest of
the mixture-of-experts blocks), ``@norms`` (every vector outside those), ``@lora`` (low-rank adapters, and the routers
of mixtures of them). What an adapter wraps stays frozen whatever a pattern says, so ``@experts`` of an adapted model
are its adapters.
Source of the three-stage preset: MoE-LLaVA, arXiv:2401.15947, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from moe_backbone.blocks import find_blocks
from moe_backbone.lora.fused import LoRAFusedExperts
from moe_backbone.lora.mixture import SkillLoRALinear, TokenLoRALinear
from moe_backbone.training.config import StageConfig, TrainingError

__all__ = ["PRESETS", "apply_freezing", "parameter_groups", "preset_stages"]

_WRAPPED = "@wrapped"
PRESETS: dict[str, tuple[dict[str, tuple[str, ...] | str], ...]] = {
    "all": ({"name": "all", "train": ("*",)},),
    "routers": ({"name": "routers", "train": ("@routers",)},),
    "experts": ({"name": "experts", "train": ("@routers", "@experts")},),
    "gradual": (
        {"name": "routers", "train": ("@routers",)},
        {"name": "experts", "train": ("@routers", "@experts")},
        {"name": "all", "train": ("*",)},
    ),
    "moe-llava": (
        {"name": "projector", "train": ("*projector*",)},
        {"name": "language", "train": ("*",), "freeze": ("*vision*", "@routers")},
        {"name": "experts", "train": ("@routers", "@experts")},
    ),
}
"""Freeze maps by name. ``moe-llava`` needs a model with a projector; its second stage trains the language model before
its routers, as the paper trains it before it has any."""


def parameter_groups(model: nn.Module) -> dict[str, frozenset[str]]:
    """Return the names of the parameters of each ``@group``; a group may be empty."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def of(module: nn.Module | None) -> set[str]:
        return set() if module is None else {names[id(p)] for p in module.parameters() if id(p) in names}

    blocks = find_blocks(model)
    kinds = (LoRAFusedExperts, SkillLoRALinear, TokenLoRALinear)
    adapters = [module for module in model.modules() if isinstance(module, kinds)]
    wrapped: set[str] = set().union(*(of(adapter.base) for adapter in adapters))
    low_rank = set().union(*(of(adapter) for adapter in adapters)) - wrapped
    routers: set[str] = set().union(*(of(block.router) for block in blocks))
    experts: set[str] = set().union(*(of(block.experts) for block in blocks))
    shared: set[str] = set().union(*(of(block.block) for block in blocks)) - routers - experts
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim <= 1}
    return {
        "@routers": frozenset(routers),
        "@experts": frozenset(experts - wrapped),
        "@shared": frozenset(shared),
        "@norms": frozenset(vectors - routers - experts - shared),
        "@lora": frozenset(low_rank),
        _WRAPPED: frozenset(wrapped),
    }


def apply_freezing(model: nn.Module, *, train: Sequence[str], freeze: Sequence[str] = ()) -> tuple[str, ...]:
    """Let the parameters that ``train`` names and ``freeze`` does not require a gradient, and no others.

    :param model: The model; ``requires_grad`` of its parameters is set.
    :param train: Patterns to train, at least one.
    :param freeze: Patterns that stay frozen; they win.
    :returns: The names of the trained parameters, in the order of the model.
    :raises TrainingError: If a pattern of ``train`` matches nothing, or nothing is left to train.
    """
    groups = parameter_groups(model)
    parameters = dict(model.named_parameters())
    wanted: set[str] = set()
    for pattern in train:
        found = _matching(pattern, parameters, groups)
        if not found:
            raise TrainingError(
                f"train: {pattern!r} names no parameter of {type(model).__name__}. Groups are "
                f"{', '.join(sorted(groups))}; names look like {next(iter(parameters), 'none')!r}."
            )
        wanted |= found
    for pattern in (*freeze, _WRAPPED):
        wanted -= _matching(pattern, parameters, groups)
    if not wanted:
        raise TrainingError(f"train={list(train)} without freeze={list(freeze)} leaves nothing to train.")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in wanted)
    return tuple(name for name in parameters if name in wanted)


def preset_stages(name: str, *, base: StageConfig) -> tuple[StageConfig, ...]:
    """Return the stages of a preset, each with the other settings of ``base``.

    :param name: A key of :data:`PRESETS`.
    :param base: Gives every setting but name and patterns; its steps are those of each stage.
    :returns: The stages.
    :raises TrainingError: If there is no such preset.
    """
    if name not in PRESETS:
        raise TrainingError(f"stage: there is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")
    settings = {field: getattr(base, field) for field in base.__dataclass_fields__}
    return tuple(StageConfig(**(settings | {"freeze": ()} | stage)) for stage in PRESETS[name])


def _matching(pattern: str, names: dict[str, nn.Parameter], groups: dict[str, frozenset[str]]) -> set[str]:
    if pattern.startswith("@"):
        if pattern not in groups:
            raise TrainingError(f"there is no group {pattern!r}. Groups are {', '.join(sorted(groups))}.")
        return set(groups[pattern])
    return {name for name in names if fnmatchcase(name, pattern)}

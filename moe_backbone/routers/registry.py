"""One table of routers, so that a layer names its router and a test runs them all.

Layer: ``moe_backbone``; imports torch only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.base import Router, RouterConfig
from moe_backbone.routers.cosine import CosineConfig, CosineRouter
from moe_backbone.routers.expert_choice import ExpertChoiceConfig, ExpertChoiceRouter
from moe_backbone.routers.margin import MarginConfig, MarginRouter
from moe_backbone.routers.modality import ModalityConfig, ModalityRouter
from moe_backbone.routers.null import NullConfig, NullRouter
from moe_backbone.routers.sigmoid import SigmoidConfig, SigmoidRouter
from moe_backbone.routers.task import TaskConfig, TaskRouter
from moe_backbone.routers.top_k import TopKConfig, TopKRouter
from moe_backbone.routers.top_p import TopPConfig, TopPRouter

__all__ = ["RouterKind", "build_router", "get_router", "router_config", "router_names"]


@dataclass(frozen=True, slots=True)
class RouterKind:
    """A router's two classes: what it is told, and what it is."""

    config: type[RouterConfig]
    router: type[Router]


_ROUTERS: dict[str, RouterKind] = {
    "cosine": RouterKind(CosineConfig, CosineRouter),
    "expert_choice": RouterKind(ExpertChoiceConfig, ExpertChoiceRouter),
    "margin": RouterKind(MarginConfig, MarginRouter),
    "modality": RouterKind(ModalityConfig, ModalityRouter),
    "null": RouterKind(NullConfig, NullRouter),
    "sigmoid": RouterKind(SigmoidConfig, SigmoidRouter),
    "task": RouterKind(TaskConfig, TaskRouter),
    "top_k": RouterKind(TopKConfig, TopKRouter),
    "top_p": RouterKind(TopPConfig, TopPRouter),
}


def router_names() -> tuple[str, ...]:
    """Return the names that :func:`get_router` knows, sorted."""
    return tuple(sorted(_ROUTERS))


def get_router(name: str) -> RouterKind:
    """Return the router called ``name``.

    :param name: One of :func:`router_names`.
    :returns: Its configuration class and its class.
    :raises MoEConfigError: If there is none of that name.
    """
    try:
        return _ROUTERS[name]
    except KeyError:
        raise MoEConfigError(f"there is no router {name!r}; choose one of {', '.join(router_names())}.") from None


def router_config(name: str, **settings: Any) -> RouterConfig:
    """Return the configuration of the router called ``name``.

    :param name: One of :func:`router_names`.
    :param **settings: Fields of its configuration class.
    :returns: The configuration.
    :raises MoEConfigError: If the name or a field is unknown, a field without default is missing, or a value does not
        fit.
    """
    kind = get_router(name).config
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(settings) - known):
        raise MoEConfigError(f"router {name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    try:
        return kind(**settings)
    except TypeError as error:  # a field without default is missing; dataclasses say which
        raise MoEConfigError(f"router {name!r} needs more settings: {error}.") from error


def build_router(config: RouterConfig) -> Router:
    """Return a fresh router for ``config``, chosen by the configuration's class.

    :param config: A configuration of one of :func:`router_names`.
    :returns: The router.
    :raises MoEConfigError: If no router takes this class.
    """
    for kind in _ROUTERS.values():
        if type(config) is kind.config:
            return kind.router(config)
    raise MoEConfigError(f"no router takes a {type(config).__name__}; see moe_backbone.routers.registry.")

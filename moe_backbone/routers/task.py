"""Route all tokens of a request among the experts of the skill that it names, and a shared pool.

Layer: ``moe_backbone``; imports torch only.
Source: Kudugunta et al. 2021, Beyond Distillation: Task-level Mixture-of-Experts for Efficient Inference,
arXiv:2110.03742 (all tokens of a task go to its experts, so one task's sub-network can be served alone).

The experts of other skills are never touched. They need not even be loaded: :func:`only_skill` gives the configuration
of a layer that holds one skill's experts, and :func:`experts_of` the rows of the fused weights to read for it.

Shape suffixes: T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import RoutingContext
from moe_backbone.routers.groups import GroupedConfig, GroupedRouter

__all__ = ["TaskConfig", "TaskRouter", "experts_of", "only_skill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig(GroupedConfig):
    """A :class:`~moe_backbone.routers.groups.GroupedConfig` whose groups are skills, named freely.

    The skills of this service are :data:`~moe_backbone.routers.context.SKILLS`.
    """


class TaskRouter(GroupedRouter):
    """A grouped router that reads ``skill`` of the context.

    :param config: Settings; see :class:`TaskConfig`.
    """

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)

    def members(self, n_tokens: int, context: RoutingContext) -> Iterator[tuple[str, Tensor | None]]:
        """Yield the named skill with all tokens.

        :param n_tokens: Not read.
        :param context: Must hold ``skill``.
        :yields: The skill once.
        :raises RouterError: If no skill is named, or one that this layer does not have.
        """
        names = ", ".join(self.config.names)
        if context.skill is None:
            raise RouterError(f"{self.name} routes by skill: name one of {names} (routing_context(skill=...)).")
        if context.skill not in self.config.names:
            raise RouterError(f"{self.name} has no experts for the skill {context.skill!r}; it has {names}.")
        yield context.skill, None


def only_skill(config: TaskConfig, skill: str) -> TaskConfig:
    """Return the configuration of the layer that holds the pool and the experts of ``skill`` alone.

    :param config: Configuration of the whole layer.
    :param skill: One of its groups.
    :returns: The smaller configuration.
    :raises MoEConfigError: If there is no such skill.
    """
    size = len(config.own(skill))
    return replace(config, groups=((skill, size),), n_experts=config.n_shared + size)


def experts_of(config: TaskConfig, skill: str) -> list[int]:
    """Return the rows of the whole layer's fused weights that the layer of :func:`only_skill` holds, in its order.

    :param config: Configuration of the whole layer.
    :param skill: One of its groups.
    :returns: Expert ids, rising.
    :raises MoEConfigError: If there is no such skill.
    """
    return config.allowed(skill)

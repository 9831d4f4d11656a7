"""Route each token among the experts of its modality (text, image, graph) and a shared pool.

Layer: ``moe_backbone``; imports torch only.
Source: MoIIE, arXiv:2508.09779 (experts within and between modalities: an own group and a shared pool for each token);
MoMa, arXiv:2407.21770 (groups by modality). Both know text and image; graph tokens are this library's addition.

Text routed through a layer without image tokens computes bit for bit what it computed before experts of another
modality were appended.

Shape suffixes: T tokens, N tokens of one modality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_backbone.config import MoEConfigError
from moe_backbone.routers.base import RouterError
from moe_backbone.routers.context import MODALITIES, RoutingContext
from moe_backbone.routers.groups import GroupedConfig, GroupedRouter

__all__ = ["ModalityConfig", "ModalityRouter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityConfig(GroupedConfig):
    """A :class:`~moe_backbone.routers.groups.GroupedConfig` whose groups are modalities.

    ``groups`` may hold some of :data:`~moe_backbone.routers.context.MODALITIES`, in any order; a modality without a
    group of its own is refused when one of its tokens comes. Append a group to a trained layer; do not insert it.

    :raises MoEConfigError: If a group is no modality, or its numbers do not fit.
    """

    def __post_init__(self) -> None:
        GroupedConfig.__post_init__(self)
        if unknown := [name for name in self.names if name not in MODALITIES]:
            raise MoEConfigError(f"there is no modality {unknown[0]!r}; choose of {', '.join(MODALITIES)}.")


class ModalityRouter(GroupedRouter):
    """A grouped router that reads ``modality`` of the context.

    :param config: Settings; see :class:`ModalityConfig`.
    """

    def __init__(self, config: ModalityConfig) -> None:
        super().__init__(config)

    def members(self, n_tokens: int, context: RoutingContext) -> Iterator[tuple[str, Tensor | None]]:
        """Yield the tokens of each modality.

        :param n_tokens: T.
        :param context: Must hold ``modality`` with T elements.
        :yields: Modality and positions ``(N,)``.
        :raises RouterError: If the modalities are missing, do not fit, or one has no group here.
        """
        if context.modality is None:
            raise RouterError(f"{self.name} routes by modality: give modality, the id of each token in {MODALITIES}.")
        modality_T = context.modality.reshape(-1)
        if len(modality_T) != n_tokens:
            raise RouterError(f"{self.name}: modality has {len(modality_T)} elements for {n_tokens} tokens.")
        for modality in torch.unique(modality_T).tolist():
            name = MODALITIES[modality] if 0 <= modality < len(MODALITIES) else f"id {modality}"
            if name not in self.config.names:
                raise RouterError(
                    f"{self.name} has no experts for modality {name!r}; it has groups for "
                    f"{', '.join(self.config.names)}."
                )
            yield name, (modality_T == modality).nonzero().reshape(-1)

"""What is done to a dense checkpoint: the numbers of an upcycling, checked, and the identity of its result.

Layer: ``moe_backbone``; the standard library, and the error of :mod:`moe_backbone.checkpoint`.
Sources: virtual groups, arXiv:2410.07524, section 4; copies with noise, arXiv:2212.05055; drop-upcycling,
arXiv:2502.19261, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from moe_backbone.checkpoint import CheckpointError

__all__ = ["Target", "UpcycleRecipe"]


class Target(StrEnum):
    """The stock architecture to write.

    ``MIXTRAL`` takes the softmax over the k chosen experts. ``GLM4_MOE`` has one shared expert beside the routed ones,
    a sigmoid router in float32 with a bias that only the choice sees, and room for qkv biases and q/k norms.
    """

    GLM4_MOE = "glm4_moe"
    MIXTRAL = "mixtral"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpcycleRecipe:
    """How a dense model becomes experts.

    Every group holds the whole feed-forward network, cut into slices; a token visits all routed slices of the groups
    that it chooses. ``slices=1`` (Mixtral) or ``2`` (GLM4-MoE, whose shared expert is one slice) makes copies.

    :param slices: Parts that each feed-forward network is cut into, at least 1. In a GLM4-MoE one of them is the shared
        expert and the others are routed; in a Mixtral all are routed. Two or four routed slices are exact beyond
        float32, so prefer 3 or 5 to 4 in a GLM4-MoE whose inner width they divide.
    :param groups: Times the routed slices are laid out, at least 2: with one there is nothing to choose. The default
        keeps the packaged model small; arXiv:2410.07524 uses 8.
    :param seed: Seed of everything random.
    :param router_std: Standard deviation between the groups' router rows, > 0. 0.02 is the initialisation of
        the Llama family.
    :param target: The architecture to write.
    :param groups_per_token: Groups that a token visits, between 1 and ``groups``.
    :param permute: Cut each group after the first along another order of the inner neurons: the same function, other
        slices, so that groups differ from the first step on.
    :param drop: Share of each expert's inner neurons to draw anew from the mean and deviation of the weights that they
        replace, in [0, 1). 0.5 is the best of arXiv:2502.19261. **Not function-preserving** unless 0.
    :param noise: Standard deviation of noise on each expert's weights, relative to that of the matrix, >= 0.
        **Not function-preserving** unless 0.
    :raises CheckpointError: If a number is out of its range, or the router could never learn.
    """

    slices: int = 4
    groups: int = 2
    seed: int = 0
    router_std: float = 0.02
    target: Target = Target.MIXTRAL
    groups_per_token: int = 1
    permute: bool = False
    drop: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field, least in (("slices", 1 + self.n_shared), ("groups", 2), ("groups_per_token", 1)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CheckpointError(f"{field} must be a whole number >= {least}, got {value!r}.")
        if self.groups_per_token > self.groups:
            raise CheckpointError(
                f"groups_per_token={self.groups_per_token} asks for more groups than there are (groups={self.groups})."
            )
        if self.top_k < 2:
            raise CheckpointError(
                f"slices={self.slices} and groups_per_token={self.groups_per_token} leave one expert per token, whose "
                "normalised weight is always 1: the router could never learn. Use more slices or groups per token."
            )
        if not (self.router_std > 0 and math.isfinite(self.router_std)):
            raise CheckpointError(
                f"router_std must be > 0, or every expert ties with every other; got {self.router_std!r}."
            )
        if not 0 <= self.drop < 1:
            raise CheckpointError(f"drop must be a share in [0, 1), got {self.drop!r}.")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise CheckpointError(f"noise must be finite and >= 0, got {self.noise!r}.")

    @property
    def n_shared(self) -> int:
        """Slices that every token visits: 1 in a GLM4-MoE, 0 in a Mixtral."""
        return 1 if self.target == Target.GLM4_MOE else 0

    @property
    def routed_slices(self) -> int:
        """Routed experts of one group."""
        return self.slices - self.n_shared

    @property
    def n_experts(self) -> int:
        """Routed experts of each layer, E = routed slices · groups."""
        return self.routed_slices * self.groups

    @property
    def top_k(self) -> int:
        """Routed experts per token, K = routed slices · groups per token."""
        return self.routed_slices * self.groups_per_token

    @property
    def preserves_function(self) -> bool:
        """Whether the result computes what its one dense source computes, up to rounding."""
        return self.drop == 0 and self.noise == 0

    @property
    def router_learns(self) -> bool:
        """Whether the router has a gradient at the first step: not where all that it chooses between is equal."""
        return self.routed_slices > 1 or not self.preserves_function

    def stamp(self, *, source_sha256: str) -> dict[str, Any]:
        """Return what a manifest says of the result; two results with equal stamps are interchangeable.

        Options at their defaults are left out, so that a checkpoint made before an option existed is still recognised.

        :param source_sha256: Hash of the source.
        :returns: JSON values.
        """
        always = ("slices", "groups", "seed", "router_std")
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {field.name for field in fields(self) if given[field.name] != field.default}
        said = {name: value for name, value in given.items() if name in always or name in changed}
        if "target" in said:
            said["target"] = str(said["target"])
        return {"kind": "upcycle-virtual-groups", "version": 1, "source_sha256": source_sha256, **said}

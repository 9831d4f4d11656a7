"""The frozen, validated shape of a mixture-of-experts layer.

Layer: ``moe_backbone``; the standard library only.
Source: Shazeer et al. 2017, arXiv:1701.06538 (top-k routing); DeepSeekMoE, arXiv:2401.06066 (fine-grained and
shared experts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Activation", "MoEConfig", "MoEConfigError", "SoftmaxOrder", "require_count", "require_member"]


class MoEConfigError(ValueError):
    """A mixture-of-experts shape that cannot be built; the message says which number to change."""


class SoftmaxOrder(StrEnum):
    """Where the softmax stands relative to the choice of the top k experts.

    ``AFTER_TOP_K`` takes it over the kept logits only, so the weights sum to 1 (Mixtral; ``norm_topk_prob=True``).
    ``BEFORE_TOP_K`` takes it over all experts, so the kept weights sum to at most 1 (OLMoE; ``norm_topk_prob=False``).
    """

    AFTER_TOP_K = "after_top_k"
    BEFORE_TOP_K = "before_top_k"


class Activation(StrEnum):
    """The non-linearity of a gated feed-forward network."""

    SILU = "silu"
    GELU = "gelu"
    RELU = "relu"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEConfig:
    """The shape of one mixture-of-experts layer.

    :param width: Model width H, at least 1.
    :param expert_width: Inner width I of each routed expert, at least 1.
    :param n_experts: Routed experts E, at least 1.
    :param top_k: Experts per token K, between 1 and ``n_experts``.
    :param softmax: Where the softmax stands; the default is Mixtral's.
    :param activation: Non-linearity of the experts; ``silu`` is that of the Llama family.
    :param shared_width: Inner width of one expert that every token visits; 0 builds none.
    :param init_std: Standard deviation of fresh weights, >= 0. 0.02 is the value of GPT-2 and of the Llama family.
    :raises MoEConfigError: If a number is out of its range.
    """

    width: int
    expert_width: int
    n_experts: int
    top_k: int
    softmax: SoftmaxOrder = SoftmaxOrder.AFTER_TOP_K
    activation: Activation = Activation.SILU
    shared_width: int = 0
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for field in ("width", "expert_width", "n_experts", "top_k"):
            require_count(field, getattr(self, field), minimum=1)
        require_count("shared_width", self.shared_width, minimum=0)
        if self.top_k > self.n_experts:
            raise MoEConfigError(
                f"top_k={self.top_k} asks for more experts per token than there are (n_experts={self.n_experts}). "
                "Lower top_k or add experts."
            )
        require_member("softmax", self.softmax, SoftmaxOrder)
        require_member("activation", self.activation, Activation)
        if not (math.isfinite(self.init_std) and self.init_std >= 0):
            raise MoEConfigError(f"init_std must be finite and >= 0, got {self.init_std!r}.")

    def fine_grained(self, *, granularity: int, n_shared: int = 0) -> MoEConfig:
        """Cut every expert into ``granularity`` finer ones, at equal parameters and equal compute of the experts.

        There are G times as many experts of 1/G of the width, and a token visits G times as many. ``n_shared`` of them
        become one expert that every token visits; they leave both the routed experts and the experts per token. The
        router alone grows, by G rows for one.

        :param granularity: G, at least 1; a divisor of ``expert_width``. DeepSeekMoE, section 3.1, writes it ``m``.
        :param n_shared: Fine experts that every token visits; fewer than ``granularity * top_k``. Section 3.2.
        :returns: The shape of the fine-grained layer.
        :raises MoEConfigError: If a number does not fit.
        """
        require_count("granularity", granularity, minimum=1)
        require_count("n_shared", n_shared, minimum=0)
        if self.expert_width % granularity:
            raise MoEConfigError(
                f"granularity={granularity} does not divide expert_width={self.expert_width}. Choose a divisor."
            )
        if n_shared >= granularity * self.top_k:
            raise MoEConfigError(
                f"n_shared={n_shared} leaves no routed expert to a token that visits {granularity * self.top_k} fine "
                "ones. Lower n_shared."
            )
        fine_width = self.expert_width // granularity
        return replace(
            self,
            expert_width=fine_width,
            n_experts=granularity * self.n_experts - n_shared,
            top_k=granularity * self.top_k - n_shared,
            shared_width=self.shared_width + n_shared * fine_width,
        )


def require_count(field: str, value: object, *, minimum: int) -> None:
    """Refuse what is no whole number of at least ``minimum``.

    :param field: Name of the setting, for the message.
    :param value: What was given.
    :param minimum: The least that is allowed.
    :raises MoEConfigError: If it is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise MoEConfigError(f"{field} must be a whole number >= {minimum}, got {value!r}.")


def require_member(field: str, value: object, kind: type[StrEnum]) -> None:
    """Refuse what is no member of an enumeration.

    :param field: Name of the setting, for the message.
    :param value: What was given.
    :param kind: The enumeration.
    :raises MoEConfigError: If it is not a member.
    """
    if not isinstance(value, kind):
        names = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
        raise MoEConfigError(f"{field} must be one of {names}, got {value!r}.")

"""The frozen, validated shape of a mixture-of-experts layer.

Layer: ``moe_backbone``; the standard library only.
Source: Shazeer et al. 2017, arXiv:1701.06538 (top-k routing); DeepSeekMoE, arXiv:2401.06066 (the shared expert).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Activation", "MoEConfig", "MoEConfigError", "SoftmaxOrder"]


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
            _require_count(field, getattr(self, field), minimum=1)
        _require_count("shared_width", self.shared_width, minimum=0)
        if self.top_k > self.n_experts:
            raise MoEConfigError(
                f"top_k={self.top_k} asks for more experts per token than there are (n_experts={self.n_experts}). "
                "Lower top_k or add experts."
            )
        for field, kind in (("softmax", SoftmaxOrder), ("activation", Activation)):
            if not isinstance(getattr(self, field), kind):
                names = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
                raise MoEConfigError(f"{field} must be one of {names}, got {getattr(self, field)!r}.")
        if not (math.isfinite(self.init_std) and self.init_std >= 0):
            raise MoEConfigError(f"init_std must be finite and >= 0, got {self.init_std!r}.")


def _require_count(field: str, value: object, *, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise MoEConfigError(f"{field} must be a whole number >= {minimum}, got {value!r}.")

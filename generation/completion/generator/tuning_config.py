"""Settings of fine-tuning a generator on link-aware contexts.

Layer: ``generation``; the standard library, ``kg.errors`` and ``contexts`` only.
Sources: adapters on every linear layer, and rates of 2e-4 and above: QLoRA, arXiv:2305.14314, section 4 and appendix B;
balance weight 0.01: Switch Transformers, arXiv:2101.03961, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from generation.completion.generator.contexts import ARMS
from kg.errors import ConfigError

__all__ = ["TuningConfig"]

_PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """How a generator is tuned; its own weights stay frozen.

    :param context: Whose texts prompts hold, one of :data:`~generation.completion.generator.contexts.ARMS`.
    :param max_neighbours: The most neighbours in a prompt.
    :param max_words_per_text: Where texts are cut.
    :param max_tokens: The most tokens of a prompt with its answer; neighbours are left out until it fits.
    :param examples: The most questions to learn from; ``None`` is as many as the steps take, each seen once.
    :param balance: How far rare relations are preferred when questions are chosen, in [0, 1]: a question's chance is
        proportional to ``count(relation) ** -balance``. 0 draws triples alike, 1 relations.
    :param context_dropout: Share of prompts with the texts of a lesser arm, in [0, 1].
    :param unseen: Share of prompts without any neighbour, as of an entity that train has never seen, in [0, 1].
    :param premise: Share of prompts that are their last line alone, in [0, 1]: what is probable without any context,
        which scoring by mutual information takes off.
    :param learn_neighbours: Learn the names in the neighbours' lines too, each given the lines before it (causal
        models with a fast tokenizer only).
    :param steps: The most optimiser steps.
    :param batch_size: Questions of a step.
    :param micro_batch_size: Questions of one forward pass.
    :param learning_rate: Peak learning rate, > 0.
    :param rank: Rank of an adapter.
    :param alpha: Numerator of the adapters' scale ``alpha / rank``, > 0.
    :param targets: Last parts of the names of the linear layers that are adapted; ``()`` takes all but the output head.
    :param lora_experts: Adapters of each linear layer; above 1 a router, trained with them, weighs them per token. The
        experts of a mixture-of-experts model have an adapter each in any case, under the model's own router.
    :param lora_top_k: Adapters that a token uses, where there are several.
    :param balance_weight: Weight of the load-balance loss of those routers, >= 0.
    :param validate_every: Steps between two looks at validation, which are also the checkpoints.
    :param validation_examples: The most questions of a look.
    :param patience: Looks without a lower loss after which tuning stops.
    :param precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the machine multiplies it in hardware. The
        adapters and their optimiser are float32 in any case.
    :param seed: Seed of everything random.
    :raises ConfigError: If a value is out of its range.
    """

    context: str = "both"
    max_neighbours: int = 12
    max_words_per_text: int = 32
    max_tokens: int = 320
    examples: int | None = None
    balance: float = 0.0
    context_dropout: float = 0.1
    unseen: float = 0.1
    premise: float = 0.1
    learn_neighbours: bool = False
    steps: int = 400
    batch_size: int = 8
    micro_batch_size: int = 4
    learning_rate: float = 5e-4
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    lora_experts: int = 1
    lora_top_k: int = 2
    balance_weight: float = 0.01
    validate_every: int = 50
    validation_examples: int = 200
    patience: int = 4
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.context in ARMS, "context", self.context, f"one of {', '.join(ARMS)}")
        _require(self.precision in _PRECISIONS, "precision", self.precision, f"one of {', '.join(_PRECISIONS)}")
        least = {"max_neighbours": 0, "max_tokens": 8, "seed": 0}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" or (field.type == "int | None" and value is not None):
                bound = least.get(field.name, 1)
                whole = isinstance(value, int) and not isinstance(value, bool)
                _require(whole and value >= bound, field.name, value, f"a whole number from {bound}")
            elif field.type == "float":
                number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                _require(number, field.name, value, "a finite number")
        shares = ("context_dropout", "unseen", "premise")
        for name in ("balance", *shares):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        total = sum(getattr(self, name) for name in shares)
        _require(total <= 1, " + ".join(shares), total, "shares that sum to 1 at most")
        learns = self.learn_neighbours
        _require(isinstance(learns, bool), "learn_neighbours", learns, "true or false")
        for name in ("learning_rate", "alpha"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(self.balance_weight >= 0, "balance_weight", self.balance_weight, "at least 0")
        known = isinstance(self.targets, tuple) and all(isinstance(name, str) and name for name in self.targets)
        _require(known, "targets", self.targets, "a list of names of linear layers")
        if self.lora_experts > 1:
            fits = self.lora_top_k <= self.lora_experts
            _require(fits, "lora_top_k", self.lora_top_k, f"at most lora_experts ({self.lora_experts})")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> TuningConfig:
        """Make a configuration from a mapping, as YAML or JSON gives it.

        :param values: Field names and values; those left out keep their defaults.
        :returns: The configuration.
        :raises ConfigError: If a key is unknown or a value unusable.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(str(key) for key in set(values) - known)
        if unknown:
            raise ConfigError(f"tuning: unknown settings {unknown}. Known are {sorted(known)}.")
        if isinstance(values.get("targets"), list):
            values = {**values, "targets": tuple(values["targets"])}  # type: ignore[arg-type]
        return cls(**values)  # type: ignore[arg-type]

    def to_mapping(self) -> dict[str, object]:
        """Return the settings as a plain mapping that :meth:`from_mapping` reads back."""
        return {**asdict(self), "targets": list(self.targets)}


def _require(fits: bool, setting: str, value: object, wanted: str) -> None:
    if not fits:
        raise ConfigError(f"tuning.{setting}: got {value!r}. Give {wanted}.")

"""Settings of link prediction; every default that may vary does so with measured sizes, never with a data set's name.

Layer: ``generation``; the standard library and ``kg.errors`` only.
Sources: Lacroix et al. 2018, arXiv:1806.07297 (N3, reciprocal relations, full softmax, Adagrad at 0.1, initial values
of 1e-3); Chen et al. 2021, arXiv:2110.02834 (relation prediction as a second task).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from kg.errors import ConfigError

__all__ = ["CompletionConfig"]

_DENSE_DEGREE = 10.0
_SMALL_GRAPH = 5_000
_STEPS_PER_EPOCH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionConfig:
    """How a link predictor is trained; ``None`` means "from the sizes of the graph", see :meth:`resolve`.

    ``rank`` is the number of complex numbers in an embedding, so a row holds ``2 * rank`` floats. ``regularisation`` is
    the weight of the N3 penalty and ``relation_weight`` that of relation prediction (0, the default, turns it off: at
    weight 1 it slowed learning on a sparse graph of 169 relations; Chen et al. gain on dense ones). Training stops
    after ``patience`` validations without a better validation MRR, at the latest after ``max_epochs``; with no
    validation part it runs ``max_epochs`` epochs. ``validation_limit`` bounds the triples that one validation ranks.
    ``valid_fraction`` of train is carved for validation where a folder brings none. ``precision`` is ``float32``,
    ``bfloat16`` (the three large products of the softmax only; parameters, optimiser and evaluation stay float32) or
    ``auto`` (bfloat16 where the processor multiplies it in hardware and the graph is large).

    :raises ConfigError: If a number is out of its range or a word unknown.
    """

    rank: int | None = None
    max_epochs: int = 100
    patience: int = 5
    batch_size: int | None = None
    learning_rate: float = 0.1
    regularisation: float | None = None
    relation_weight: float = 0.0
    init_scale: float = 1e-3
    validate_every: int = 1
    validation_limit: int = 5_000
    valid_fraction: float = 0.05
    precision: str = "auto"
    threads: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("rank", "max_epochs", "patience", "batch_size", "validate_every", "validation_limit", "threads"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"completion.{name}: got {value!r}. Give a whole number from 1.")
        for name in ("learning_rate", "init_scale"):
            _require_number(name, getattr(self, name), positive=True)
        for name in ("regularisation", "relation_weight", "valid_fraction"):
            if name != "regularisation" or self.regularisation is not None:
                _require_number(name, getattr(self, name), positive=False)
        if self.valid_fraction >= 1.0:
            raise ConfigError(f"completion.valid_fraction: got {self.valid_fraction!r}. Give a fraction below 1.")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"completion.precision: got {self.precision!r}. Use auto, float32 or bfloat16.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> CompletionConfig:
        """Make a configuration from a mapping, as YAML or JSON gives it.

        :param values: Field names and values; those left out keep their defaults.
        :returns: The configuration.
        :raises ConfigError: If a key is unknown or a value unusable.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"completion: unknown settings {unknown}. Known are {sorted(known)}.")
        return cls(**values)  # type: ignore[arg-type]

    def to_mapping(self) -> dict[str, object]:
        """Return the settings as a plain mapping that :meth:`from_mapping` reads back."""
        return asdict(self)

    def resolve(self, *, n_entities: int, n_train: int) -> CompletionConfig:
        """Return a copy without ``None``: what was left open is chosen from the sizes of the graph.

        Sparse graphs (fewer than 10 train triples per entity, counted at both ends) are regularised twice as much, as
        Lacroix et al. do for WN18RR (0.1, degree 4) against FB15k-237 (0.05, degree 37). A batch is a
        fiftieth of an epoch between 32 and the 1,000 of that paper, so that a graph of hundreds of triples gets enough
        steps too.

        :param n_entities: Number of entities, at least 1.
        :param n_train: Number of train triples, at least 1.
        :returns: A configuration in which ``rank``, ``batch_size`` and ``regularisation`` are set.
        """
        degree = 2.0 * n_train / max(1, n_entities)
        small = n_train < _SMALL_GRAPH
        batch = min(1_000, max(32, 2 * n_train // _STEPS_PER_EPOCH))
        sparse_weight = 0.1 if degree < _DENSE_DEGREE else 0.05
        return replace(
            self,
            rank=self.rank or (64 if small else 256),
            batch_size=self.batch_size or batch,
            regularisation=sparse_weight if self.regularisation is None else self.regularisation,
        )


def _require_number(name: str, value: object, *, positive: bool) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(str(value)) if is_number else math.nan
    if not math.isfinite(number) or number < 0.0 or (positive and number == 0.0):
        bound = "above 0" if positive else "from 0"
        raise ConfigError(f"completion.{name}: got {value!r}. Give a finite number {bound}.")

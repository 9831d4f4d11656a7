"""Settings of the generator as an expert; none varies with a data set's name.

Layer: ``generation``; the standard library and ``kg.errors`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from generation.completion.generator.contexts import ARMS
from kg.errors import ConfigError

__all__ = ["GeneratorSettings"]

_LENGTHS = ("pmi", "mean", "sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """What a sequence model is shown, and what it scores.

    ``arm``, ``max_neighbours`` and ``max_words_per_text`` make the context (see ``contexts``), ``length`` evens out the
    length of answers (see ``scoring``). ``shortlist`` is how many of the blend's best answers are scored; ``beam``, if
    not 0, adds as many names that the model writes itself, held to the names of the graph. ``questions`` bounds the
    validation questions that the weight is fitted on: on one core, 200 take a model of 135 M parameters about ten
    minutes. ``seed`` draws them, and neighbours of equal rank.

    :raises ConfigError: If a number is out of its range or a word unknown.
    """

    arm: str = "both"
    shortlist: int = 50
    length: str = "pmi"
    beam: int = 0
    max_neighbours: int = 12
    max_words_per_text: int = 32
    questions: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise ConfigError(f"generator.arm: got {self.arm!r}. Use one of {', '.join(ARMS)}.")
        if self.length not in _LENGTHS:
            raise ConfigError(f"generator.length: got {self.length!r}. Use one of {', '.join(_LENGTHS)}.")
        least = {"shortlist": 2, "beam": 0, "max_neighbours": 0, "max_words_per_text": 1, "questions": 1, "seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < bound:
                raise ConfigError(f"generator.{name}: got {value!r}. Give a whole number from {bound}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> GeneratorSettings:
        """Make settings from a mapping, as JSON gives it.

        :param values: Field names and values; those left out keep their defaults.
        :returns: The settings.
        :raises ConfigError: If a key is unknown or a value unusable.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"generator: unknown settings {unknown}. Known are {sorted(known)}.")
        return cls(**values)  # type: ignore[arg-type]

    def to_mapping(self) -> dict[str, object]:
        """Return the settings as a plain mapping that :meth:`from_mapping` reads back."""
        return asdict(self)

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

__all__ = ["EXPERTS", "STRUCTURAL", "TEXT_BLOCKS", "CompletionConfig"]

EXPERTS = ("structure", "twin", "rules", "text", "image", "numbers")
"""The experts there are, in the order in which they are trained."""
STRUCTURAL = ("structure", "twin")
"""Those that know an entity by a row of its own."""
TEXT_BLOCKS = ("name", "text", "letters", "words")

_DENSE_DEGREE = 10.0
_SMALL_GRAPH = 5_000
_MEDIUM_GRAPH = 20_000
_VERY_DENSE_DEGREE = 25.0
_STEPS_PER_EPOCH = 50
_MOST_STEPS_PER_EPOCH = 160
_MOST_VALUES = 200_000_000
_TWIN_SHARE = 0.4
_TWIN_CANDIDATES = 2_000
_RETIRED = ("patience",)
"""Settings that saved models of earlier versions may name; they only said how to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionConfig:
    """How a link predictor is trained; ``None`` means "from the sizes of the graph", see :meth:`resolve`.

    ``rank`` is the number of complex numbers in an embedding, so a row holds ``2 * rank`` floats. ``regularisation`` is
    the weight of the N3 penalty and ``relation_weight`` that of relation prediction. Training takes ``max_epochs``
    epochs, over which the rate falls from ``learning_rate`` to nearly 0 (:mod:`generation.completion.schedule`), and
    keeps the one of the best validation MRR, the last where there is no validation part. ``validation_limit`` bounds
    the triples that one validation ranks, ``gate_limit`` those that the gate is fitted to. ``valid_fraction`` of train
    is carved for validation where a folder brings none; when it has done its work, training goes on for
    ``refit_epochs`` over all of train (:mod:`generation.completion.epochs`).
    Where there is no validation part, ``folds`` above 1 fit the gate to experts trained without each of so many folds
    (:mod:`generation.completion.cross_fitting`), which takes as many trainings more.
    ``precision`` is ``float32``, ``bfloat16`` (the three large products of the softmax only; parameters, optimiser and
    evaluation stay float32) or ``auto`` (bfloat16 where the processor multiplies it in hardware and the graph is
    large). ``softmax_bytes`` bounds the scores held at once. ``candidates`` is the most entities drawn for one batch to
    compare its answers with; where there are more, the draw stands for all (:mod:`generation.completion.candidates`);
    ``feature_candidates`` is that number of the feature experts, which map each candidate anew.

    ``experts`` are the ones to train and blend, where the graph has what they need. The ``twin`` is a second, smaller
    structural expert that differs in what it is taught: relation prediction where the first has none, and none where it
    has (:meth:`twin_of`); ``twin_rank`` 0 leaves it out. ``text_blocks`` is what the text expert reads: ``name`` and
    ``text`` (the name with the text, as of the entity's pictures) through the text encoder, ``letters`` of the name and
    ``words`` of the text (:mod:`generation.completion.experts.lexical`). The ``feature_`` settings are of the experts
    over frozen vectors (text, image, numbers): ``feature_rank`` as ``rank``, ``feature_hidden`` the width of the hidden
    layer beside the linear map (0: none), ``feature_dropout`` the share of numbers dropped, and ``modality_dropout``
    that of whole blocks (a name, a text), while they are trained.

    :raises ConfigError: If a number is out of its range or a word unknown.
    """

    rank: int | None = None
    max_epochs: int = 20
    batch_size: int | None = None
    learning_rate: float = 0.2
    regularisation: float | None = None
    relation_weight: float | None = None
    init_scale: float = 1e-3
    validate_every: int = 1
    validation_limit: int = 5_000
    gate_limit: int = 20_000
    valid_fraction: float = 0.05
    refit_epochs: int = 4
    folds: int = 0
    precision: str = "auto"
    threads: int | None = None
    device: str = "auto"
    softmax_bytes: int = 256 * 2**20
    candidates: int = 5_000
    experts: tuple[str, ...] = EXPERTS
    twin_rank: int | None = None
    twin_epochs: int = 12
    text_blocks: tuple[str, ...] = TEXT_BLOCKS
    feature_rank: int | None = None
    feature_hidden: int | None = None
    feature_epochs: int = 16
    feature_batch_size: int | None = None
    feature_candidates: int = 2_000
    feature_learning_rate: float = 1e-3
    feature_dropout: float = 0.3
    modality_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in (
            "rank",
            "max_epochs",
            "batch_size",
            "validate_every",
            "validation_limit",
            "gate_limit",
            "threads",
            "softmax_bytes",
            "feature_rank",
            "feature_epochs",
            "feature_batch_size",
            "feature_candidates",
            "twin_epochs",
            "candidates",
        ):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"completion.{name}: got {value!r}. Give a whole number from 1.")
        for name in ("learning_rate", "init_scale", "feature_learning_rate"):
            _require_number(name, getattr(self, name), positive=True)
        for name in ("regularisation", "relation_weight"):
            if getattr(self, name) is not None:
                _require_number(name, getattr(self, name), positive=False)
        for name in ("valid_fraction", "feature_dropout", "modality_dropout"):
            _require_fraction(name, getattr(self, name))
        _require_count("refit_epochs", self.refit_epochs, zero_is="none")
        _require_count("folds", self.folds, zero_is="none")
        for name, zero_is in (("feature_hidden", "a linear map"), ("twin_rank", "no twin")):
            if getattr(self, name) is not None:
                _require_count(name, getattr(self, name), zero_is=zero_is)
        _require_names("experts", self.experts, known=EXPERTS)
        _require_names("text_blocks", self.text_blocks, known=TEXT_BLOCKS)
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
        for name in ("experts", "text_blocks"):
            if isinstance(values.get(name), list):
                values = {**values, name: tuple(values[name])}  # type: ignore[arg-type]
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def from_saved(cls, values: Mapping[str, object]) -> CompletionConfig:
        """Read the settings of a saved model, which an earlier version may have written.

        :param values: Field names and values; settings that are no more are left out.
        :returns: The configuration.
        :raises ConfigError: If a key is unknown or a value unusable.
        """
        return cls.from_mapping({name: value for name, value in values.items() if name not in _RETIRED})

    def to_mapping(self) -> dict[str, object]:
        """Return the settings as a plain mapping that :meth:`from_mapping` reads back."""
        return {**asdict(self), "experts": list(self.experts), "text_blocks": list(self.text_blocks)}

    def twin_of(self) -> CompletionConfig:
        """Return the settings of the twin, of settings that are resolved.

        It errs elsewhere than the first: on DB15K's validation a twin of rank 400 with relation prediction gave a blend
        of few experts .4 points, without it .2, though alone it is 3 points behind. In the whole mixture it gives no
        more than .1 on the tests of DB15K and MKG-W.
        """
        return replace(
            self,
            rank=max(1, self.twin_rank or 0),
            relation_weight=0.0 if self.relation_weight else 1.0,
            candidates=min(self.candidates, _TWIN_CANDIDATES),
            max_epochs=min(self.max_epochs, self.twin_epochs),
        )

    def resolve(self, *, n_entities: int, n_train: int) -> CompletionConfig:
        """Return a copy without ``None``: what was left open is chosen from the sizes of the graph.

        Sparse graphs (fewer than 10 train triples per entity, counted at both ends) are regularised twice as much, as
        Lacroix et al. do for WN18RR (0.1, degree 4) against FB15k-237 (0.05, degree 37). A batch is a fiftieth of an
        epoch between 32 and the 1,000 of that paper, so that a graph of hundreds of triples gets enough steps too; a
        large graph takes up to 4,000 where an epoch would have more than 160 steps. Feature experts take batches of up
        to 500, or half of that where it is more. Relation prediction has weight 4 from 25 triples per entity (Chen et
        al. use 4 on FB15k-237, degree 37) and none below: it lowered validation MRR at degrees of 5 and 12. The rank is
        64 below 5,000 triples, 256 below 20,000, else 1,000 or what keeps the entity table within 2e8 numbers (0.8 GB;
        training holds three such tables). From 20,000 triples there is a twin of two fifths of that rank, where both
        tables keep within that bound.

        :param n_entities: Number of entities, at least 1.
        :param n_train: Number of train triples, at least 1.
        :returns: A configuration in which no setting of the model is ``None``.
        """
        degree = 2.0 * n_train / max(1, n_entities)
        small = n_train < _SMALL_GRAPH
        batch = min(1_000, max(32, 2 * n_train // _STEPS_PER_EPOCH))
        batch = self.batch_size or max(batch, min(4_000, 2 * n_train // _MOST_STEPS_PER_EPOCH))
        rank = self.rank or _rank(n_entities=n_entities, n_train=n_train)
        relation_weight = 4.0 if degree >= _VERY_DENSE_DEGREE and not small else 0.0
        sparse_weight = 0.1 if degree < _DENSE_DEGREE else 0.05
        return replace(
            self,
            rank=rank,
            relation_weight=relation_weight if self.relation_weight is None else self.relation_weight,
            feature_rank=self.feature_rank or (64 if small else max(1, min(256, rank // 2))),
            feature_batch_size=self.feature_batch_size or max(min(500, batch), batch // 2),
            feature_hidden=(0 if small else 1024) if self.feature_hidden is None else self.feature_hidden,
            twin_rank=_twin_rank(rank, n_entities=n_entities, n_train=n_train)
            if self.twin_rank is None
            else self.twin_rank,
            batch_size=batch,
            regularisation=sparse_weight if self.regularisation is None else self.regularisation,
        )


def _twin_rank(rank: int, *, n_entities: int, n_train: int) -> int:
    if n_train < _MEDIUM_GRAPH:
        return 0
    fitting = _MOST_VALUES // (2 * max(1, n_entities)) - rank
    wanted = round(_TWIN_SHARE * rank)
    return wanted if wanted <= fitting else 0


def _require_names(name: str, given: object, *, known: tuple[str, ...]) -> None:
    if not isinstance(given, tuple) or not given or any(given.count(item) != 1 or item not in known for item in given):
        shown = list(given) if isinstance(given, tuple) else given
        raise ConfigError(f"completion.{name}: got {shown!r}. Give a list that names each once, out of {list(known)}.")


def _require_count(name: str, value: object, *, zero_is: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"completion.{name}: got {value!r}. Give a whole number, 0 for {zero_is}.")


def _require_fraction(name: str, value: float) -> None:
    _require_number(name, value, positive=False)
    if value >= 1.0:
        raise ConfigError(f"completion.{name}: got {value!r}. Give a fraction below 1.")


def _rank(*, n_entities: int, n_train: int) -> int:
    if n_train < _SMALL_GRAPH:
        return 64
    fitting = _MOST_VALUES // (2 * max(1, n_entities))
    return max(64, min(256 if n_train < _MEDIUM_GRAPH else 1_000, fitting))


def _require_number(name: str, value: object, *, positive: bool) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(str(value)) if is_number else math.nan
    if not math.isfinite(number) or number < 0.0 or (positive and number == 0.0):
        bound = "above 0" if positive else "from 0"
        raise ConfigError(f"completion.{name}: got {value!r}. Give a finite number {bound}.")

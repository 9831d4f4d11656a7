"""What a model folder holds beside the structural expert.

Layer: ``generation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from generation.completion.calibration import Calibration
from generation.completion.complex_n3 import ComplExModel
from generation.completion.experts.feature_model import FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.experts.rule_strengths import RuleStrengths
from generation.completion.gate import Gate
from generation.completion.paths import PathRule
from generation.completion.reranker import Reranker

__all__ = ["ExpertParts", "ValidatedExperts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertParts:
    """What a model folder holds beside the structural expert.

    ``reranker`` corrects the gate's best candidates; ``twin`` is the second structural expert; ``features`` are the
    vectors of the trained entities by expert; ``validation`` is what each expert, each kind of gate and the reranker
    reached on validation (MRR, a fraction).
    """

    gate: Gate
    reranker: Reranker | None = None
    twin: ComplExModel | None = None
    rules: tuple[PathRule, ...] | None = None
    strengths: RuleStrengths | None = None
    maps: Mapping[str, FeatureMap]
    features: Mapping[str, FeatureMatrix]
    calibration: Calibration | None = None
    validation: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedExperts:
    """The experts as validation chose them, before they went on to learn all of train.

    They are kept for what asks validation questions later: another gate, a generator's weight, a ranking of validation.
    ``train_fingerprint`` is that of the triples that they have learnt.
    """

    model: ComplExModel | None
    twin: ComplExModel | None
    maps: Mapping[str, FeatureMap]
    train_fingerprint: str

"""Turn experts and gate into named tensors and plain values, and back.

Layer: ``generation``; torch, NumPy. Names: ``rules`` (int64, a row a rule: both steps, the second -1 for one
step, head, support, body count), ``rule_strengths`` and ``rule_ties`` (float32), ``twin/TABLE``,
``map/EXPERT/PARAMETER``, ``features/EXPERT/values``, ``/has``, ``/BLOCK/idf`` and ``/BLOCK/directions``,
``gate/TABLE``, ``reranker/TABLE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generation.completion.calibration import Calibration
from generation.completion.complex_n3 import ComplExModel
from generation.completion.experts.feature_model import FeatureMap
from generation.completion.experts.features import FeatureMatrix
from generation.completion.experts.lexical import LexicalMap
from generation.completion.experts.rule_strengths import RuleStrengths
from generation.completion.gate import Gate
from generation.completion.parts import ExpertParts
from generation.completion.paths import PathRule
from generation.completion.reranker import Reranker
from generation.completion.shortlist import n_features
from generation.completion.tables import check_tables, model_of, tables_of
from kg.errors import CompletionError

__all__ = ["check_parts", "pack_learnt", "pack_parts", "unpack_parts"]

_GATE = ("base_K", "relation_RK", "anchor_FK", "candidate_FK", "bias_F")


def pack_parts(parts: ExpertParts) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the plain values of the experts and the gate.

    :param parts: The experts and the gate.
    :returns: Tensors by name, and values that JSON holds.
    """
    tensors: dict[str, Tensor] = {f"gate/{name}": getattr(parts.gate, name) for name in _GATE}
    if parts.reranker is not None:
        tensors |= {f"reranker/{name}": getattr(parts.reranker, name) for name in Reranker.tables()}
    tensors |= pack_learnt(parts.twin, parts.maps)
    maps: dict[str, object] = {}
    if parts.rules is not None:
        rows = [(*rule.body, -1)[:2] + (rule.head, rule.support, rule.n_body) for rule in parts.rules]
        tensors["rules"] = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)
    if parts.strengths is not None:
        tensors["rule_strengths"] = torch.from_numpy(parts.strengths.rules_Q)
        tensors["rule_ties"] = torch.from_numpy(parts.strengths.ties_R)
    for name, model in parts.maps.items():
        tensors[f"features/{name}/values"] = torch.from_numpy(parts.features[name].values_ND)
        tensors[f"features/{name}/has"] = torch.from_numpy(parts.features[name].has_NK)
        for kind, lexical in parts.features[name].lexical.items():
            tensors[f"features/{name}/{kind}/idf"] = torch.from_numpy(lexical.idf_H)
            tensors[f"features/{name}/{kind}/directions"] = torch.from_numpy(lexical.directions_HD).half()
        maps[name] = {
            "blocks": [list(block) for block in model.blocks],
            "n_relations": model.n_relations,
            "rank": model.rank,
            "hidden": model.hidden,
        }
    return tensors, {
        "gate": {"experts": parts.gate.experts, "traits": parts.gate.traits, "kind": parts.gate.kind},
        "maps": maps,
        "calibration": None if parts.calibration is None else asdict(parts.calibration),
        "validation": dict(parts.validation),
    }


def pack_learnt(twin: ComplExModel | None, maps: Mapping[str, FeatureMap]) -> dict[str, Tensor]:
    """Return by name what training changes with each epoch: the twin's tables and the feature experts' maps."""
    tables = {} if twin is None else tables_of(twin)
    found = {f"twin/{name}": table for name, table in tables.items()}
    for name, model in maps.items():
        found |= {f"map/{name}/{key}": value for key, value in model.state_dict().items()}
    return found


def unpack_parts(tensors: Mapping[str, Tensor], described: Any) -> ExpertParts:
    """Make experts and gate from what :func:`pack_parts` returned.

    :param tensors: The tensors.
    :param described: The plain values.
    :returns: The experts and the gate.
    :raises ValueError: If a tensor does not fit what is described.
    """
    try:
        gate = Gate(
            experts=tuple(described["gate"]["experts"]),
            traits=tuple(described["gate"]["traits"]),
            kind=str(described["gate"]["kind"]),
            **{name: tensors[f"gate/{name}"] for name in _GATE},
        )
        maps: dict[str, FeatureMap] = {}
        features: dict[str, FeatureMatrix] = {}
        for name, shape in described["maps"].items():
            blocks = tuple((str(block), int(width)) for block, width in shape["blocks"])
            model = FeatureMap(blocks, n_relations=shape["n_relations"], rank=shape["rank"], hidden=shape["hidden"])
            prefix = f"map/{name}/"
            model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            maps[name] = model.requires_grad_(False)
            features[name] = FeatureMatrix(
                values_ND=tensors[f"features/{name}/values"].numpy(),
                has_NK=tensors[f"features/{name}/has"].numpy(),
                blocks=blocks,
                lexical=_lexical(tensors, name, blocks),
            )
        calibration = described["calibration"]
        return ExpertParts(
            gate=gate,
            reranker=_reranker(tensors, gate),
            twin=_twin(tensors),
            rules=_rules(tensors["rules"]) if "rules" in tensors else None,
            strengths=_strengths(tensors),
            maps=maps,
            features=features,
            calibration=None if calibration is None else Calibration(**calibration),
            validation=dict(described["validation"]),
        )
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the experts do not fit their description: {error}") from error


def check_parts(folder: Path, parts: ExpertParts, *, n_entities: int, n_relations: int) -> None:
    """Refuse experts that do not fit the vocabulary, or hold values that are not finite.

    :param folder: The model folder, for the message.
    :param parts: The experts and the gate.
    :param n_entities: Number of entities of the vocabulary.
    :param n_relations: Number of its relations, without inverses.
    :raises CompletionError: If they do not fit.
    """
    shape = (2 * n_relations, len(parts.gate.experts))
    if tuple(parts.gate.relation_RK.shape) != shape:
        raise CompletionError(f"{folder}: the gate has shape {tuple(parts.gate.relation_RK.shape)}, expected {shape}.")
    wide = 2 * n_relations
    if any(not 0 <= step < wide for rule in parts.rules or () for step in (*rule.body, rule.head)):
        raise CompletionError(f"{folder}: a rule names a relation outside 0..{wide - 1}. Train the model again.")
    if parts.twin is not None:
        check_tables(parts.twin, where=f"{folder}, the twin", n_entities=n_entities, n_relations=n_relations)
    tables = {f"gate table {name}": getattr(parts.gate, name) for name in _GATE}
    if parts.reranker is not None:
        tables |= {f"reranker table {name}": getattr(parts.reranker, name) for name in Reranker.tables()}
    if parts.strengths is not None:
        tables["table of the rules' strengths"] = torch.from_numpy(parts.strengths.rules_Q)
        tables["table of the rules' ties"] = torch.from_numpy(parts.strengths.ties_R)
    for name, model in parts.maps.items():
        if len(parts.features[name].values_ND) != n_entities or model.n_relations != n_relations:
            raise CompletionError(f"{folder}: the expert {name!r} is of another vocabulary. Train the model again.")
        tables |= {f"table {key} of the expert {name!r}": value for key, value in model.state_dict().items()}
    for name, table in tables.items():
        if not bool(torch.isfinite(table).all()):
            raise CompletionError(f"{folder}: {name} holds values that are not finite. Train the model again.")


def _lexical(tensors: Mapping[str, Tensor], name: str, blocks: tuple[tuple[str, int], ...]) -> dict[str, LexicalMap]:
    return {
        kind: LexicalMap(
            kind=kind,
            idf_H=tensors[f"features/{name}/{kind}/idf"].numpy(),
            directions_HD=tensors[f"features/{name}/{kind}/directions"].float().numpy(),
        )
        for kind, _ in blocks
        if f"features/{name}/{kind}/idf" in tensors
    }


def _twin(tensors: Mapping[str, Tensor]) -> ComplExModel | None:
    tables = {name.removeprefix("twin/"): table for name, table in tensors.items() if name.startswith("twin/")}
    return model_of(tables, where="the twin") if tables else None


def _reranker(tensors: Mapping[str, Tensor], gate: Gate) -> Reranker | None:
    if not any(name.startswith("reranker/") for name in tensors):
        return None
    try:
        reranker = Reranker(**{name: tensors[f"reranker/{name}"] for name in Reranker.tables()})
        reranker.corrections(torch.zeros(1, 1, n_features(len(gate.experts))))
    except KeyError as error:
        raise ValueError(f"the reranker lacks a table: {error}") from error
    return reranker


def _strengths(tensors: Mapping[str, Tensor]) -> RuleStrengths | None:
    if "rule_strengths" not in tensors:
        return None
    return RuleStrengths(rules_Q=tensors["rule_strengths"].numpy(), ties_R=tensors["rule_ties"].numpy())


def _rules(rows: Tensor) -> tuple[PathRule, ...]:
    return tuple(
        PathRule(body=(first,) if second < 0 else (first, second), head=head, support=support, n_body=n_body)
        for first, second, head, support, n_body in rows.tolist()
    )

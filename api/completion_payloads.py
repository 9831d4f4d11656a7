"""Predicted links as plain values: the one shape that ``--json`` prints and REST returns.

Layer: ``api``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from api.completing import Passage, PredictionView
from api.completion_jobs import CompletionReport
from api.parts import CompletionResult
from api.predicting import calibrated_of, link_evidence
from generation.types import PredictedLink

__all__ = ["completion_payload", "completion_report_payload", "prediction_payload"]


def completion_payload(result: CompletionResult) -> dict[str, Any]:
    """Return predicted links as plain values.

    :param result: What completion predicted.
    :returns: ``{"predictions": [{"head", "relation", "tail", "score", "probability", "rank", "origin", …}], "relation",
        "n_examples", "n_known", "anchor_seen", "notes", "graph": {"triples", "entities", "relations"}}``, and
        where they were to be kept ``saved``: counts by what became of them.
    """
    prediction = result.prediction
    saved = {} if result.saved is None else {"saved": dataclasses.asdict(result.saved)}
    return {
        "predictions": [_link(link) for link in prediction.links],
        "relation": prediction.relation,
        "n_examples": prediction.n_examples,
        "n_known": prediction.n_known,
        "anchor_seen": prediction.anchor_seen,
        "notes": list(prediction.notes),
        "graph": {"triples": result.n_train, "entities": result.n_entities, "relations": result.n_relations},
        **saved,
    }


def _link(link: PredictedLink) -> dict[str, Any]:
    return {
        "head_id": link.head_id,
        "head": link.head,
        "relation": link.relation,
        "tail_id": link.tail_id,
        "tail": link.tail,
        "score": link.score,
        "probability": link.probability,
        "calibrated": calibrated_of(link),
        "rank": link.rank,
        "origin": str(link.origin),
        "support": list(link.support),
        "evidence": link_evidence(link),
    }


def prediction_payload(view: PredictionView, *, with_passages: bool = False) -> dict[str, Any]:
    """Return a kept prediction as plain values.

    :param view: The prediction.
    :param with_passages: Whether to add the passages behind it.
    :returns: ``{"prediction_id", "head", "relation", "tail", "status", "origin", "score", "probability", "calibrated",
        "likelihood", "rank", "model", "run", "made_at", "by", "decided_at", "note", "stale", "document_id", "evidence",
        "support", …}``; ``stale`` says why it can no longer be relied on, ``document_id`` which note asserts it.
    """
    one = view.prediction
    body: dict[str, Any] = {
        "prediction_id": one.prediction_id,
        "head_id": one.head_id,
        "head": view.head,
        "relation": one.relation,
        "tail_id": one.tail_id,
        "tail": view.tail,
        "status": str(one.status),
        "origin": str(one.origin),
        "score": one.score,
        "probability": one.probability,
        "calibrated": one.calibrated,
        "likelihood": one.likelihood,
        "rank": one.rank,
        "model": one.model,
        "run": one.run,
        "made_at": one.made_at,
        "by": one.by,
        "decided_at": one.decided_at,
        "note": one.note,
        "stale": one.stale,
        "document_id": one.document_id,
        "evidence": dict(one.evidence),
        "support": list(one.chunk_ids),
    }
    return {**body, "passages": [_passage(one) for one in view.passages]} if with_passages else body


def _passage(one: Passage) -> dict[str, Any]:
    return {
        "chunk_id": one.chunk.chunk_id,
        "document_id": one.document.document_id,
        "name": one.document.name,
        "page": one.chunk.page_first,
        "modality": str(one.chunk.modality),
        "asset": one.chunk.asset_id,
        "text": one.chunk.text,
    }


def completion_report_payload(report: CompletionReport) -> dict[str, Any]:
    """Return what a job did as plain values, field by field."""
    return {**dataclasses.asdict(report), "state": str(report.state), "seconds": round(report.seconds, 3)}

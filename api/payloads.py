"""Results as plain values: the one shape that ``--json`` prints and REST returns.

Layer: ``api``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from generation.render import evidence_to_json, trace_to_json

from api.service import CompletionResult, SearchResult
from kg.types import DocumentInfo, IngestReport

__all__ = ["completion_payload", "document_payload", "report_payload", "search_payload"]


def report_payload(report: IngestReport) -> dict[str, Any]:
    """Return an ingest report as plain values.

    :param report: What ingest did.
    :returns: ``{"seconds", "n_files", "n_failed", "files": [{"name", "source", "status", …}]}``.
    """
    return {
        "seconds": round(report.seconds, 3),
        "n_files": len(report.outcomes),
        "n_failed": report.n_failed,
        "files": [
            {**dataclasses.asdict(outcome), "status": str(outcome.status), "seconds": round(outcome.seconds, 3)}
            for outcome in report.outcomes
        ],
    }


def document_payload(info: DocumentInfo) -> dict[str, Any]:
    """Return a listed document as plain values, field by field."""
    values = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    return {**values, "metadata": dict(info.metadata)}


def search_payload(found: SearchResult, *, question: str) -> dict[str, Any]:
    """Return found evidence as plain values.

    :param found: Evidence and trace.
    :param question: What was asked.
    :returns: ``{"question", "evidence": [{"rank", "score", "modality", "name", "page", "text", …}], "trace"}``.
    """
    return {
        "question": question,
        "evidence": [evidence_to_json(item) for item in found.evidence],
        "trace": trace_to_json(found.trace),
    }


def completion_payload(result: CompletionResult) -> dict[str, Any]:
    """Return predicted links as plain values.

    :param result: What completion predicted.
    :returns: ``{"predictions": [{"head", "relation", "tail", "score", "probability", "rank", "origin", …}], …}``.
    """
    return {
        "predictions": [
            {**dataclasses.asdict(link), "origin": str(link.origin), "support": list(link.support)}
            for link in result.links
        ],
        "known": list(result.known),
        "n_train_triples": result.n_train_triples,
        "n_entities": result.n_entities,
        "n_relations": result.n_relations,
        "notes": list(result.notes),
    }

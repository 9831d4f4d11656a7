"""Results as plain values: the one shape that ``--json`` prints and REST returns.

Layer: ``api``.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from api.service import SearchResult
from generation.render import answer_to_json
from generation.types import Answer
from kg.jobs.model import Job, JobItem
from kg.jobs.policy import advice
from kg.types import DocumentInfo, IngestReport
from retrieval.types import Evidence, Trace
from retrieval.verdicts import GateVerdict

__all__ = [
    "answer_payload",
    "document_payload",
    "evidence_payload",
    "gate_payload",
    "item_payload",
    "job_payload",
    "report_payload",
    "search_payload",
    "trace_payload",
]


def report_payload(report: IngestReport) -> dict[str, Any]:
    """Return an ingest report as plain values.

    :param report: What ingest did.
    :returns: ``{"seconds", "n_files", "n_failed", "warnings", "files": [{"name", "source", "status", …}]}``.
    """
    return {
        "seconds": round(report.seconds, 3),
        "n_files": len(report.outcomes),
        "n_failed": report.n_failed,
        "warnings": list(report.warnings),
        "files": [
            {**dataclasses.asdict(outcome), "status": str(outcome.status), "seconds": round(outcome.seconds, 3)}
            for outcome in report.outcomes
        ],
    }


def job_payload(job: Job, *, can_be_resumed: bool) -> dict[str, Any]:
    """Return a job as plain values.

    :param job: The job.
    :param can_be_resumed: Whether it has work left and nobody is at it.
    :returns: ``{"job_id", "state", "created_at", "updated_at", "n_items", "counts", "can_be_resumed", …}``.
    """
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "state": str(job.state),
        "created_at": _time(job.created_at),
        "updated_at": _time(job.updated_at),
        "n_items": job.n_items,
        "counts": {str(state): count for state, count in sorted(job.counts.items())},
        "is_cancel_asked": job.is_cancel_asked,
        "can_be_resumed": can_be_resumed,
        "message": job.message,
        "request": dict(job.request),
    }


def item_payload(item: JobItem) -> dict[str, Any]:
    """Return an item of a job as plain values; one that was given up says what to do about it."""
    values = dataclasses.asdict(item)
    values.pop("root")
    values["state"] = str(item.state)
    values["seconds"] = round(item.seconds, 3)
    values["next_try_at"] = None if item.next_try_at is None else _time(item.next_try_at)
    values["advice"] = advice(item.error_code) if item.error_code else ""
    return values


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def document_payload(info: DocumentInfo) -> dict[str, Any]:
    """Return a listed document as plain values, field by field."""
    values = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    return {**values, "metadata": dict(info.metadata)}


def answer_payload(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain values, with the evidence it was drawn from.

    :param answer: The answer.
    :returns: What :func:`generation.render.answer_to_json` returns, ``evidence`` and ``gate``.
    """
    return {
        **answer_to_json(answer),
        "evidence": [evidence_payload(item) for item in answer.evidence],
        "gate": gate_payload(answer.trace.gate),
    }


def evidence_payload(item: Evidence) -> dict[str, Any]:
    """Return a piece of evidence as plain values: what it says, where it stands, who found it."""
    chunk, box = item.chunk, item.chunk.box
    return {
        "rank": item.rank,
        "score": item.score,
        "modality": str(chunk.modality),
        "name": item.document.name,
        "source": item.document.source,
        "title": item.document.title,
        "page": chunk.page_first,
        "page_last": chunk.page_last,
        "is_paged": item.document.is_paged,
        "heading": chunk.heading,
        "text": chunk.text,
        "span": [chunk.span.start, chunk.span.end],
        "asset": chunk.asset_id,
        "box": None if box is None else [box.x0, box.y0, box.x1, box.y1],
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "contributions": [dataclasses.asdict(contribution) for contribution in item.contributions],
        "entities": list(item.entities),
        "community": item.community,
        "sub_question": item.sub_question,
    }


def trace_payload(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain values: seconds per stage in order, the notes, and the question as it was read."""
    stages = [{"stage": name, "seconds": round(seconds, 6)} for name, seconds in trace.stages]
    return {"stages": stages, "notes": list(trace.notes), "question": trace.question}


def gate_payload(verdict: GateVerdict | None) -> dict[str, Any] | None:
    """Return what a gate said as plain values; ``None`` where none was asked.

    :param verdict: The verdict.
    :returns: ``{"gate", "decision", "reason", "relevance", "reply", "passages": [{"chunk_id", "relevance",
        "is_relevant", "is_consistent", "conflicts"}]}``.
    """
    if verdict is None:
        return None
    passages = [{**dataclasses.asdict(one), "conflicts": list(one.conflicts)} for one in verdict.passages]
    return {**dataclasses.asdict(verdict), "decision": verdict.decision.value, "passages": passages}


def search_payload(found: SearchResult, *, question: str) -> dict[str, Any]:
    """Return found evidence as plain values.

    :param found: Evidence and trace.
    :param question: What was asked.
    :returns: ``{"question", "evidence": [{"rank", "score", "modality", "name", "page", "text", …}], "trace",
        "gate"}``; ``gate`` as in :func:`gate_payload`.
    """
    return {
        "question": question,
        "evidence": [evidence_payload(item) for item in found.evidence],
        "trace": trace_payload(found.trace),
        "gate": gate_payload(found.trace.gate),
    }

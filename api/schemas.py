"""What REST takes and returns, as models, so the OpenAPI document is complete.

Layer: ``api``. The values come from :mod:`api.payloads`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AnswerOut",
    "CitationOut",
    "DocumentOut",
    "EvidenceOut",
    "HealthOut",
    "IngestResponse",
    "JobOut",
    "JobsOut",
    "PathsRequest",
    "QueryRequest",
    "RetrieveRequest",
    "RetrieveResponse",
]


class In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    model_config = ConfigDict(extra="allow")


class _SearchRequest(In):
    question: str = Field(min_length=1, max_length=100_000, description="What to look for.")
    k: int | None = Field(default=None, ge=1, le=200, description="The most pieces of evidence.")
    mode: str = Field(default="auto", description="auto, naive, local, global, hybrid, mix or bm25.")
    documents: list[str] = Field(default_factory=list, description="Ids, names, sources or patterns; empty: all.")
    modalities: list[str] = Field(default_factory=list, description="text, image, chart, table, page; empty: all.")
    where: list[str] = Field(
        default_factory=list, max_length=50, description="Conditions KEY=VALUE (also != >= <= > <); all must hold."
    )
    since: str | None = Field(default=None, description="The first day, by document or mentioned date.")
    until: str | None = Field(default=None, description="The last day.")
    history: list[str] = Field(
        default_factory=list, max_length=200, description="Earlier turns, oldest first; replies as 'assistant: …'."
    )
    decompose: str = Field(default="auto", description="auto, off, rules, lm or openai.")
    rewrite: str = Field(default="rules", description="Who completes the question by the history.")
    times: str = Field(default="auto", description="auto, off, soft or hard: what 'in 2019' in the question does.")
    route: str = Field(default="off", description="Who chooses the kinds to search first: off, rules, lm, moe, openai.")
    image: str | None = Field(default=None, description="A picture to search by: an image file as base64.")
    rerank: list[str] | None = Field(
        default=None,
        max_length=8,
        description="coverage, maxsim, cross-encoder, vlm, listwise, one after another; ['none']: none; "
        "null: the setting.",
    )
    candidates: int | None = Field(default=None, ge=1, le=1000, description="How many hits are reranked.")
    diversity: float | None = Field(default=None, ge=0, le=1, description="How far repetitions are put back; 0: off.")
    gate: str | None = Field(default=None, description="off, rules or model: who may say that nothing is relevant.")


class RetrieveRequest(_SearchRequest):
    """A search, by words, by a picture, or by both."""

    question: str = Field(default="", max_length=100_000, description="What to look for; may be empty with an image.")
    explain: bool = Field(default=False, description="Whether to add the ways through the graph to each hit.")


class QueryRequest(_SearchRequest):
    """A question."""

    generator: str | None = Field(default=None, description="extractive, lm, moe or openai; default: the setting.")
    with_predictions: bool = Field(
        default=False, description="Whether open predictions may be used; what rests on one is marked."
    )
    min_probability: float = Field(default=0.5, ge=0, le=1, description="The least likelihood of such a prediction.")


class EvidenceOut(Out):
    """A chunk that was found, and where it stands."""

    rank: int
    score: float
    modality: str
    name: str
    source: str
    page: int
    text: str
    chunk_id: str
    document_id: str


class RetrieveResponse(Out):
    """Ranked evidence."""

    question: str
    evidence: list[EvidenceOut]
    trace: dict[str, Any]
    gate: dict[str, Any] | None = Field(default=None, description="What the gate said, where one was asked.")


class CitationOut(Out):
    """A verified citation: exactly these words stand there, or were read off this picture."""

    number: int
    source: str
    name: str
    page: int
    row: int | None
    quote: str
    asset: str | None
    modality: str
    chunk_id: str
    document_id: str


class AnswerOut(Out):
    """An answer."""

    question: str
    status: str = Field(description="answered, insufficient, predicted or retrieval_not_needed.")
    answer: str
    short_answer: str
    generator: str
    citations: list[CitationOut]
    gate: dict[str, Any] | None = Field(default=None, description="What the gate said, where one was asked.")


class DocumentOut(Out):
    """A document as it is listed."""

    document_id: str
    name: str
    source: str
    media_type: str
    n_pages: int
    n_chunks: int
    n_assets: int
    added_at: str


class FileOut(Out):
    """What happened to one uploaded file."""

    name: str
    status: str
    document_id: str
    error_code: str
    message: str


class IngestResponse(Out):
    """What happened to every uploaded file."""

    n_files: int
    n_failed: int
    warnings: list[str] = Field(default_factory=list)
    seconds: float
    files: list[FileOut]


class PathsRequest(In):
    """Files of the server to ingest."""

    paths: list[str] = Field(min_length=1, max_length=10_000, description="Files, folders or patterns.")


class JobOut(Out):
    """A job; asked for by its id, with its progress and a page of its items."""

    job_id: str
    state: str = Field(description="queued, running, cancelled, failed or done.")
    created_at: str
    updated_at: str
    n_items: int
    counts: dict[str, int] = Field(description="Items by state: pending, running, done, failed, dead, cancelled.")
    can_be_resumed: bool
    message: str


class JobsOut(Out):
    """Jobs, the newest first."""

    jobs: list[JobOut]


class HealthOut(Out):
    """Whether the service is up."""

    status: str
    version: str
    workspaces: list[str]

"""From files to the record: each file wholly or not at all, one after the other or with the stages side by side.

Layer: ``kg``; the standard library.
"""

from __future__ import annotations

from kg.ingest.config import IngestConfig
from kg.ingest.flow import Cancellation
from kg.ingest.pipeline import IngestPipeline
from kg.ingest.progress import IngestProgress
from kg.ingest.steps import CAPTION_BATCH, Chunker, DocumentLoader

__all__ = [
    "CAPTION_BATCH",
    "Cancellation",
    "Chunker",
    "DocumentLoader",
    "IngestConfig",
    "IngestPipeline",
    "IngestProgress",
]

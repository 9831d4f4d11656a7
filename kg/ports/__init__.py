"""What ``kg`` needs from others, stated as protocols; ``api.wiring`` alone chooses the implementations.

Layer: ``kg``; the standard library and NumPy's type names only.
"""

from __future__ import annotations

from kg.ports.entities import EntityMatcher, EntityProfile, LinkProposal, LocalEntity, NameUse
from kg.ports.ingest import (
    BatchExtractor,
    Captioner,
    CaptionRequest,
    CaptionScorer,
    ChunkEncoder,
    EncodedChunk,
    Extractor,
    Loader,
    Resolver,
    Tokenizer,
)
from kg.ports.record import ChangeSet, MentionRow, RecordStore, TripleRow

__all__ = [
    "BatchExtractor",
    "CaptionRequest",
    "CaptionScorer",
    "Captioner",
    "ChangeSet",
    "ChunkEncoder",
    "EncodedChunk",
    "EntityMatcher",
    "EntityProfile",
    "Extractor",
    "LinkProposal",
    "Loader",
    "LocalEntity",
    "MentionRow",
    "NameUse",
    "RecordStore",
    "Resolver",
    "Tokenizer",
    "TripleRow",
]

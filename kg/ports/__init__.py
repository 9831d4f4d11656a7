"""What ``kg`` needs from others, stated as protocols; ``api.wiring`` alone chooses the implementations.

Layer: ``kg``; the standard library and NumPy's type names only.
"""

from __future__ import annotations

from kg.ports.curation import (
    Contradiction,
    ContradictionSide,
    Contribution,
    Decision,
    DecisionKind,
    EntityLink,
    LinkStatus,
    Sense,
)
from kg.ports.entities import EntityMatcher, EntityProfile, LinkProposal, LocalEntity, NameUse
from kg.ports.graph import (
    ChunkNode,
    Direction,
    DocumentNode,
    GraphChanges,
    GraphContents,
    GraphPath,
    GraphStatistics,
    GraphStore,
    MentionLink,
    Neighbour,
    RelationKey,
    Statement,
    Subgraph,
    WritableGraphStore,
)
from kg.ports.ingest import (
    BatchExtractor,
    Captioner,
    CaptionRequest,
    CaptionScorer,
    ChunkEncoder,
    EncodedChunk,
    EncodedPicture,
    Extractor,
    Loader,
    PictureEncoder,
    Resolver,
    Tokenizer,
)
from kg.ports.predictions import (
    NewPrediction,
    PredictionKey,
    PredictionStatus,
    PredictionStore,
    SavedPredictions,
    StoredPrediction,
)
from kg.ports.record import RecordStore
from kg.ports.record_rows import ChangeSet, ChunkRow, MentionRow, PictureRow, TripleRow
from kg.ports.vectors import VectorStore

__all__ = [
    "BatchExtractor",
    "CaptionRequest",
    "CaptionScorer",
    "Captioner",
    "ChangeSet",
    "ChunkEncoder",
    "ChunkNode",
    "ChunkRow",
    "Contradiction",
    "ContradictionSide",
    "Contribution",
    "Decision",
    "DecisionKind",
    "Direction",
    "DocumentNode",
    "EncodedChunk",
    "EncodedPicture",
    "EntityLink",
    "EntityMatcher",
    "EntityProfile",
    "Extractor",
    "GraphChanges",
    "GraphContents",
    "GraphPath",
    "GraphStatistics",
    "GraphStore",
    "LinkProposal",
    "LinkStatus",
    "Loader",
    "LocalEntity",
    "MentionLink",
    "MentionRow",
    "NameUse",
    "Neighbour",
    "NewPrediction",
    "PictureEncoder",
    "PictureRow",
    "PredictionKey",
    "PredictionStatus",
    "PredictionStore",
    "RecordStore",
    "RelationKey",
    "Resolver",
    "SavedPredictions",
    "Sense",
    "Statement",
    "StoredPrediction",
    "Subgraph",
    "Tokenizer",
    "TripleRow",
    "VectorStore",
    "WritableGraphStore",
]

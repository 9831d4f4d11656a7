"""retrieval/indexes."""

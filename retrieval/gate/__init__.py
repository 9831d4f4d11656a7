"""The gate between search and answer: whether retrieval is needed, and whether anything found is relevant."""

"""api/models."""

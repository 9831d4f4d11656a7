"""api/evaluation."""

"""generation/completion."""

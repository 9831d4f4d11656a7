"""generation.completion.generator."""

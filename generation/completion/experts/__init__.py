"""Experts of link prediction, each of which scores all entities for a question in its own way."""

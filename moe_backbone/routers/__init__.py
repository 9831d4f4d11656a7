"""Routers, one file each; ``registry.py`` names them. Each returns logits, weights and expert ids of every token."""

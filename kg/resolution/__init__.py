"""Decide which mentions name the same thing: within one document, and then between all documents.

Layer: ``kg``; RapidFuzz (MIT), and NumPy where vectors are used.
"""

from __future__ import annotations

from kg.resolution.in_document import NameResolver
from kg.resolution.names import entity_key, normalise_name

__all__ = ["NameResolver", "entity_key", "normalise_name"]

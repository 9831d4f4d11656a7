"""The fields of lexical search, and weights as whole numbers of repeats.

Layer: ``retrieval``; imports ``kg.errors`` alone, so that settings can be checked without loading an index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kg.errors import ConfigError

__all__ = ["FIELDS", "repeats"]

FIELDS: tuple[str, ...] = ("text", "title", "ocr", "table", "caption", "alt", "context")
"""What a word may belong to: a document's own text, its title and headings, or the origin of a line of a picture's
caption (``kg.types.CaptionLine.source``); a line of any other origin is ``text``."""
_MOST_SCALE = 20


def repeats(field_weights: Mapping[str, float]) -> tuple[dict[str, int], int]:
    """Return how often a term of each field is repeated, and how often one of weight 1 is.

    :param field_weights: A weight for each of some of :data:`FIELDS`; 1 for the others.
    :returns: Repeats of each field, and the scale: a weight is its repeats over the scale.
    :raises ConfigError: If a field is unknown, or a weight negative or no multiple of .05, or all are 0.
    """
    weights = dict.fromkeys(FIELDS, 1.0) | dict(field_weights)
    numbers = all(isinstance(weight, int | float) and math.isfinite(weight) for weight in weights.values())
    known = numbers and set(field_weights) <= set(FIELDS)
    for scale in range(1, _MOST_SCALE + 1) if known else ():
        found = {field: round(weight * scale) for field, weight in weights.items()}
        exact = all(abs(found[field] - weight * scale) < 1e-9 for field, weight in weights.items())
        if exact and min(found.values()) >= 0 and max(found.values()) > 0:
            return found, scale
    raise ConfigError(
        f"Lexical search: field_weights must give fields among {', '.join(FIELDS)} a weight that is a multiple of .05, "
        f"not all 0, got {dict(field_weights)}."
    )

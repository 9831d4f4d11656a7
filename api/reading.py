"""Read what a user wrote (settings, recipes) and say what is wrong with it, in one way everywhere.

Layer: ``api``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from kg.errors import ConfigError

__all__ = ["read_mapping", "validation_text"]


def read_mapping(file: Path | Traversable, *, what: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty one.

    :param file: The file.
    :param what: What it is to the user, for messages: ``settings file``, ``recipe``.
    :returns: The mapping.
    :raises ConfigError: If it cannot be read, is not YAML, or holds something else.
    """
    try:
        loaded = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The {what} {file} cannot be read: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"The {what} {file} does not fit: it must hold a mapping, got {type(loaded).__name__}.")
    return loaded


def validation_text(errors: Iterable[Mapping[str, Any]]) -> str:
    """Join pydantic's errors in one line: ``limits.max_pages: Input should be …; k: …``."""
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in errors)

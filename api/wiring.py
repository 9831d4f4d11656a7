"""The composition root: the one module that chooses which implementation stands behind each port.

Layer: ``api``. Everything is made on first use and then shared, so ``mmkg search`` loads no parser and ``mmkg info`` loads
no model. What is shared here is thread-safe or immutable; what belongs to a workspace is made by :meth:`Wiring.open_workspace`.
"""

from __future__ import annotations

import importlib.metadata
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from api.models.cache import ModelCache
from api.settings import Settings
from kg.ports import Loader

if TYPE_CHECKING:
    pass

__all__ = ["GENERATORS", "Wiring", "build_service"]

GENERATORS = ("extractive", "lm", "moe", "openai")
_T = TypeVar("_T")


class Wiring:
    """Makes each part once, when it is first asked for.

    :param settings: What is configured.
    :param loaders: Further loaders, tried before the built-in ones.
    """

    def __init__(self, settings: Settings, *, loaders: Sequence[Loader] = ()) -> None:
        self.settings = settings
        self.models = ModelCache(settings.cache)
        self.version = importlib.metadata.version("mmkgrag")
        self._loaders = tuple(loaders)
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    @cached_property
    def n_threads(self) -> int:
        """The number of threads for tensor work."""
        return self.settings.threads or len(os.sched_getaffinity(0))

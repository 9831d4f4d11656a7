"""The part of the composition root that makes the retrieval of a workspace.

Layer: ``api``; part of :mod:`api.wiring`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kg.ports import RecordStore

if TYPE_CHECKING:  # named in signatures only; what uses them loads them
    from api.settings import Settings
    from generation.types import LanguageModel
    from retrieval.engine import RetrievalEngine
    from retrieval.types import ImageEncoder, TextEncoder

__all__ = ["ROUTING_MODELS", "make_engine"]

ROUTING_MODELS = ("lm", "moe", "openai")
"""The generators that can be asked where a question goes (``route``)."""
_REPLY_TOKENS = 24
"""Room for the names of all corpora."""


class _Parts(Protocol):
    settings: Settings

    def encoder(self) -> TextEncoder: ...

    def image_encoder(self) -> ImageEncoder | None: ...

    def describe_image(self, data: bytes) -> str: ...

    def language_model(self, generator: str) -> LanguageModel: ...


def make_engine(parts: _Parts, store: RecordStore, folder: Path) -> RetrievalEngine:
    """Make the retrieval over one record; nothing is loaded before a search needs it.

    :param parts: Makes encoders and language models.
    :param store: The record.
    :param folder: The workspace's folder, where indexes are kept.
    :returns: The engine.
    """
    from retrieval.engine import RetrievalEngine
    from retrieval.image_search import PictureSearch
    from retrieval.routing import ModelRouter

    settings, index_dir = parts.settings, folder / "index"
    pictures = PictureSearch(
        store, settings.retrieval, index_dir, encoder=parts.image_encoder(), limits=settings.limits
    )
    engine = RetrievalEngine(
        store,
        parts.encoder(),
        settings.retrieval,
        index_dir,
        describe_image=parts.describe_image,
        pictures=pictures,
    )
    engine.routers.update({name: ModelRouter(_completing(parts, name)) for name in ROUTING_MODELS})
    return engine


def _completing(parts: _Parts, name: str) -> Callable[[str], str]:
    return partial(_complete, parts, name)


def _complete(parts: _Parts, name: str, prompt: str) -> str:
    from generation.types import Message

    model = parts.language_model(name)
    return "".join(model.stream([Message(role="user", content=prompt)], max_new_tokens=_REPLY_TOKENS, stop=["\n\n"]))

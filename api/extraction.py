"""Choose the extractor that the settings name, and hold it to the ontology.

Layer: ``api``; called by :mod:`api.wiring` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from api.settings import Settings
from generation.types import JsonModel, LanguageModel
from kg.extraction.ontology import Ontology
from kg.ids import sha256_hex
from kg.ports import BatchExtractor, Extractor, RecordStore
from kg.types import Chunk, Document, Extraction

__all__ = ["REPLIES_FILE", "ExtractionParts", "OntologyExtractor", "forget_replies", "make_extractor"]

REPLIES_FILE = "extraction-replies.db"
"""In a workspace's folder: what language models said of its chunks. Derived; deleting it costs asking again."""


class ExtractionParts(Protocol):
    """What extractors are made of; :class:`api.wiring.Wiring` supplies it."""

    settings: Settings

    def rule_extractor(self) -> Extractor:
        """Return the extractor that needs no language model."""
        ...

    def language_model(self, generator: str) -> LanguageModel:
        """Return the model behind ``lm``, ``moe`` or ``openai``."""
        ...

    def ontology(self) -> Ontology | None:
        """Return the ontology, if there is one."""
        ...


class OntologyExtractor:
    """An extractor whose findings an ontology renames and refuses.

    :param inner: Finds.
    :param ontology: Judges.
    """

    def __init__(self, inner: Extractor, ontology: Ontology) -> None:
        self.name = inner.name
        self._inner = inner
        self._ontology = ontology

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        """Return what the ontology leaves of what the inner extractor finds.

        :param chunks: Chunks of ``document``.
        :param document: The document.
        :returns: Unresolved mentions, the statements allowed, and those refused with the reason.
        """
        return self._ontology.apply(self._inner.extract(chunks, document=document))

    def extract_many(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> list[Extraction]:
        """Do so for many documents, in one batch where the inner extractor can."""
        if isinstance(self._inner, BatchExtractor):
            found = self._inner.extract_many(items)
        else:
            found = [self._inner.extract(chunks, document=document) for chunks, document in items]
        return [self._ontology.apply(one) for one in found]


def make_extractor(parts: ExtractionParts, *, folder: Path | None) -> Extractor:
    """Make the extractor of the setting ``extractor``.

    :param parts: What it is made of.
    :param folder: The workspace's folder, where a language model's replies are kept; ``None`` keeps none.
    :returns: The extractor, held to the ontology where one is configured.
    """
    settings, ontology = parts.settings, parts.ontology()
    if settings.extractor == "rules":
        inner = parts.rule_extractor()
    else:
        from generation.extraction.cache import SqliteReplyCache
        from generation.extraction.llm import LanguageModelExtractor

        inner = LanguageModelExtractor(
            _json_model(parts.language_model(settings.extractor), settings.extractor),
            ontology=ontology,
            gleanings=settings.gleanings,
            cache=None if folder is None else SqliteReplyCache(folder / REPLIES_FILE),
        )
    return inner if ontology is None else OntologyExtractor(inner, ontology)


def forget_replies(folder: Path, store: RecordStore) -> int:
    """Drop what language models said of texts that no document holds any more.

    :param folder: The workspace's folder.
    :param store: Its record.
    :returns: How many replies were dropped; without a file of replies nothing is read.
    """
    file = folder / REPLIES_FILE
    if not file.is_file():
        return 0
    from generation.extraction.cache import SqliteReplyCache

    texts = {sha256_hex(chunk.text.encode("utf-8", "surrogatepass")) for chunk in store.iter_chunks()}
    return SqliteReplyCache(file).keep_only(texts)


def _json_model(model: LanguageModel, kind: str) -> JsonModel:
    from generation.models.json_mode import OpenAiJsonModel, TransformersJsonModel

    return OpenAiJsonModel(model) if kind == "openai" else TransformersJsonModel(model)  # type: ignore[arg-type]

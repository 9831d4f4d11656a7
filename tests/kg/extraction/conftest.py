from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from kg.extraction.spacy_rules import SpacyExtractor
from kg.ids import sha256_hex
from kg.types import Chunk, Document, Extraction, Modality, Page, Span

Reader = Callable[..., Extraction]


def make_document(text: str, *, title: str = "") -> Document:
    return Document(
        document_id="d_1", source="/a.txt", name="a.txt", media_type="text/plain", sha256=sha256_hex(text.encode()),
        n_bytes=len(text), title=title, text=text, is_paged=False,
        pages=(Page(number=1, span=Span(start=0, end=len(text))),),
    )  # fmt: skip


def make_chunk(text: str, *, start: int = 0, modality: Modality = Modality.TEXT, chunk_id: str = "c_1") -> Chunk:
    return Chunk(
        chunk_id=chunk_id, document_id="d_1", ordinal=0, text=text, span=Span(start=start, end=start + len(text)),
        page_first=1, page_last=1, modality=modality, n_tokens=1,
        asset_id=None if modality is Modality.TEXT else "a_1",
    )  # fmt: skip


@pytest.fixture(scope="session")
def model_path() -> Path:
    cache = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag"))
    path = cache / "models" / "spacy-en"
    if not path.is_dir():
        pytest.skip(f"the spaCy model is not in {path}; run `mmkg models pull`")
    return path


@pytest.fixture(scope="session")
def extractor(model_path: Path) -> SpacyExtractor:
    return SpacyExtractor(model_path)


@pytest.fixture
def read(extractor: SpacyExtractor) -> Reader:
    def run(text: str, *, title: str = "", modality: Modality = Modality.TEXT) -> Extraction:
        return extractor.extract([make_chunk(text, modality=modality)], document=make_document(text, title=title))

    return run

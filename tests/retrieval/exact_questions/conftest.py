"""Records that hold files written by the tests, read by the real loaders."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import openpyxl
import pytest

from kg.chunking import ChunkingConfig, chunk_document
from kg.ingest import IngestPipeline
from kg.limits import LoadLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.stores.record import open_record
from kg.testing import CapitalisedWordExtractor, NameResolver, WordTokenizer
from retrieval.exact_questions.answerer import ExactQuestions

SHIPS = """Ship,Home port,Launched,Seats,Length (m)
Kestrel,Bergen,12 January 2001,180,64
Marigold,Oslo,5 March 1998,"1,184",120.5
Puffin,Bergen,2 November 1999,95,41
Tern,Aldis,30 June 2010,180,72
Total,,,"1,639",
"""


class Library:
    """A record to put files in and ask."""

    def __init__(self, folder: Path) -> None:
        self.store = open_record(folder / "record.db")
        limits = LoadLimits()
        self._pipeline = IngestPipeline(
            store=self.store,
            loaders=LoaderRegistry(default_loaders(limits), limits),
            chunker=partial(
                chunk_document,
                tokenizer=WordTokenizer(),
                config=ChunkingConfig(max_tokens=40, overlap_tokens=0, min_tokens=0),
            ),
            extractor=CapitalisedWordExtractor(),
            resolver=NameResolver(),
        )
        self.questions = ExactQuestions(self.store)

    def put(self, name: str, data: str | bytes) -> None:
        raw = raw_from_bytes(name, data.encode() if isinstance(data, str) else data)
        outcome = self._pipeline.ingest_file(raw)
        assert str(outcome.status) == "added", outcome

    def put_sheet(self, name: str, rows: list[list[object]]) -> None:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        buffer = io.BytesIO()
        book.save(buffer)
        self.put(name, buffer.getvalue())

    def ask(self, question: str):
        """Return the exact answer; fails where there is none."""
        outcome = self.questions.ask(question)
        assert outcome.answer is not None, outcome.reason
        return outcome.answer

    def short(self, question: str) -> str:
        return self.ask(question).short

    def why_not(self, question: str) -> str:
        outcome = self.questions.ask(question)
        assert outcome.answer is None, outcome.answer
        return outcome.reason

    def quotes(self, question: str) -> list[str]:
        """Return the words that each row of an answer cites."""
        rows = self.ask(question).rows
        chunks = {one.chunk_id: one for one in self.store.chunks(list({row.chunk_id for row in rows}))}
        return [
            chunks[row.chunk_id].text[
                row.span.start - chunks[row.chunk_id].span.start : row.span.end - chunks[row.chunk_id].span.start
            ]
            for row in rows
        ]


@pytest.fixture
def library(tmp_path):
    made = Library(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def ships(library):
    library.put("ships.csv", SHIPS)
    return library

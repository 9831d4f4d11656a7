"""Extract entities and relations with a small spaCy model and rules, without any language model.

Layer: ``kg``; with :mod:`kg.extraction.parsing` the one place that knows spaCy. It satisfies
:class:`kg.ports.BatchExtractor`.

The text of a chunk is cut into sentences by ``kg.sentences``, and the parser keeps to these: so a line of chat or a
label on a chart never grows together with its neighbour. Rows of tables are not parsed. What follows the parse
stands in ``kg.extraction.reading`` and the modules it names.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kg.errors import ExtractionError, InputError, ModelCorruptError, ModelMissingError
from kg.extraction.chat import SPEAKER
from kg.extraction.parsing.pipeline import BatchPipeline
from kg.extraction.reading import DocumentReader, is_table_chunk
from kg.extraction.words import Parsed, parsed_of
from kg.sentences import sentence_spans
from kg.types import Chunk, Document, Extraction

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer
    from spacy.tokens import Doc
else:
    Doc = Language = Tokenizer = Any

__all__ = ["SpacyExtractor"]

_log = logging.getLogger(__name__)
_PARSE_ERRORS = (ValueError, MemoryError)

_NO_START = 2**64 - 1  # -1, in spaCy's unsigned numbers
_NEEDED_PIPES = ("tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner")


class SpacyExtractor:
    """Finds named entities, noun phrases and title entities, and statements by dependency patterns.

    :param model_path: The folder of an English spaCy pipeline with tagger, parser, lemmatizer and entity recogniser.
    :param batch_size: Chunks parsed at once, >= 1. A step of the fast parser costs nearly the same for 64 as for 16.
    :param max_table_rows: The most rows of tables in one document whose cells become mentions and statements, >= 0.
        2,000 rows of ten columns are some 20,000 mentions; the words of further rows are still found by search.
    :param fast: Whether the parse is made by :mod:`kg.extraction.parsing`, which gives the same for less, instead of by
        spaCy alone, the reference.
    :raises InputError: If ``batch_size`` is below 1 or ``max_table_rows`` is negative.
    :raises ModelMissingError: If ``model_path`` is not the folder of a spaCy pipeline.
    :raises ModelCorruptError: If the folder cannot be loaded, or lacks a component.
    """

    name = "spacy-rules"

    def __init__(
        self, model_path: Path, *, batch_size: int = 64, max_table_rows: int = 2000, fast: bool = True
    ) -> None:
        if batch_size < 1:
            raise InputError(f"SpacyExtractor: batch_size must be at least 1, got {batch_size}.")
        if max_table_rows < 0:
            raise InputError(f"SpacyExtractor: max_table_rows must not be negative, got {max_table_rows}.")
        self._max_table_rows = max_table_rows
        self._batch_size = batch_size
        self._nlp = _load(model_path)
        self._pipeline = BatchPipeline(self._nlp) if fast else None

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        """Find the mentions of ``chunks`` and the statements between them.

        :param chunks: Chunks of ``document``.
        :param document: Gives the title; its text is not read again.
        :returns: Unresolved mentions, by chunk and position, and triples, by chunk and sentence.
        :raises ExtractionError: If the pipeline fails on the text.
        """
        return self.extract_many([(chunks, document)])[0]

    def extract_many(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> list[Extraction]:
        """Read the chunks of many documents in one stream, so that short documents fill the parser's batches.

        What is found in a document does not depend on which others are read with it. Where the stream fails, the
        documents that are left are parsed one by one, so that the error names the one at fault.

        :param items: The chunks of each document, and the document.
        :returns: What was found in each, in their order.
        :raises ExtractionError: If the pipeline fails on the text of a document.
        """
        return [
            self._read(chunks, parsed, document)
            for (chunks, document), parsed in zip(items, self._parse(items), strict=True)
        ]

    def _read(self, chunks: Sequence[Chunk], parsed: Sequence[Parsed | None], document: Document) -> Extraction:
        reader = DocumentReader(document, extractor=self.name, max_table_rows=self._max_table_rows)
        return reader.read(chunks, parsed)

    def _parse(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> Iterator[list[Parsed | None]]:
        """Yield the parsed chunks of one document after the other; only one document's are held at a time."""
        done = 0
        stream = self._stream(chunk for chunks, _ in items for chunk in chunks)
        try:
            for chunks, _ in items:
                parsed = _laid_out(chunks, stream)
                done += 1
                yield parsed
        except _PARSE_ERRORS as error:
            _log.info("a batch could not be parsed, so its documents are parsed one by one: %s", error)
            for chunks, document in items[done:]:
                yield self._parse_one(chunks, document)

    def _parse_one(self, chunks: Sequence[Chunk], document: Document) -> list[Parsed | None]:
        try:
            return _laid_out(chunks, self._stream(chunks))
        except _PARSE_ERRORS as error:
            raise ExtractionError(
                f"spaCy could not parse the chunks of {document.name}: {error}. Make the chunks smaller."
            ) from error

    def _stream(self, chunks: Iterable[Chunk]) -> Iterator[Parsed]:
        texts = (_prepare(self._nlp, chunk) for chunk in chunks if not is_table_chunk(chunk))
        if self._pipeline is not None:
            return self._pipeline.parse(texts, batch_size=self._batch_size)
        return map(parsed_of, self._nlp.pipe(texts, batch_size=self._batch_size))


def _laid_out(chunks: Sequence[Chunk], stream: Iterator[Parsed]) -> list[Parsed | None]:
    """Take the parses of ``chunks`` from the stream, and leave a gap for each chunk that has none."""
    return [None if is_table_chunk(chunk) else next(stream) for chunk in chunks]


def _load(model_path: Path) -> Language:
    if not (model_path / "config.cfg").is_file() or not (model_path / "meta.json").is_file():
        raise ModelMissingError(
            f"no spaCy model in {model_path}: config.cfg or meta.json is missing. Run `mmkg models pull` to fetch it."
        )
    import spacy
    from spacy.util import compile_infix_regex

    try:
        nlp = spacy.load(model_path, exclude=["senter"])
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelCorruptError(
            f"the spaCy model in {model_path} cannot be loaded: {error}. Delete it and run `mmkg models pull`."
        ) from error
    # "1815–1852" is two years, and a dash.
    infixes = compile_infix_regex([*(nlp.Defaults.infixes or ()), r"(?<=[0-9])[–—](?=[0-9])"])
    tokenizer: Tokenizer = nlp.tokenizer
    tokenizer.infix_finditer = infixes.finditer
    missing = [pipe for pipe in _NEEDED_PIPES if pipe not in nlp.pipe_names]
    if missing:
        raise ModelCorruptError(
            f"the spaCy model in {model_path} lacks {', '.join(missing)}. Run `mmkg models pull` for the pinned one."
        )
    _multiply_with_numpy(nlp)
    return nlp


def _multiply_with_numpy(nlp: Language) -> None:
    """Let NumPy's BLAS multiply instead of spaCy's own, which is built for any processor.

    On 147 chunks, on a processor with AVX-512, extraction took 2.34 CPU seconds instead of 3.03, and found the same.
    """
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in () if model is None else model.walk():
            node.ops.use_blis = False


def _prepare(nlp: Language, chunk: Chunk) -> Any:
    """Tokenise a chunk and set its sentence starts, which the parser and the entity recogniser keep to."""
    starts: set[int] = set()
    text = chunk.text
    for sentence in sentence_spans(chunk.text):
        starts.add(sentence.start)
        if "\n" in text[sentence.start : sentence.end]:
            # A line end inside a sentence is wrapping; a blank in its place keeps every offset.
            flat = text[sentence.start : sentence.end].replace("\n", " ")
            text = f"{text[: sentence.start]}{flat}{text[sentence.end :]}"
        speaker = SPEAKER.match(chunk.text, sentence.start, sentence.end)
        if speaker and (sentence.start == 0 or chunk.text[: sentence.start].rstrip(" ").endswith("\n")):
            starts.add(speaker.end())
    doc: Any = nlp.make_doc(text)
    widths = doc.to_array(["LENGTH", "SPACY"]).astype("int64").reshape(-1, 2).sum(axis=1)
    places = (widths.cumsum() - widths).tolist()
    opening = {bisect_left(places, start) for start in starts} | {0}
    marks = [1 if i in opening else _NO_START for i in range(len(places))]
    if marks:
        doc.from_array(["SENT_START"], np.array(marks, np.uint64))
    return doc

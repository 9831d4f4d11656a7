"""Extract entities and relations with a small spaCy model and rules, without any language model.

Layer: ``kg``; the one module that imports spaCy. It satisfies :class:`kg.ports.BatchExtractor`.

The text of a chunk is cut into sentences by ``kg.sentences``, and the parser keeps to these: so a line of chat or a
label on a chart never grows together with its neighbour. In chat logs (``Name: text``) the name is the speaker, and
"I", "me" and "my" in the line are resolved to it. Other pronouns are not resolved: a statement about "it" is left out.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.errors import ExtractionError, InputError, ModelCorruptError, ModelMissingError
from kg.extraction.mentions import Candidate, find_candidates, is_prose
from kg.extraction.relations import statements
from kg.ids import mention_id, triple_id
from kg.sentences import CHAT_STAMP, sentence_spans
from kg.types import Chunk, Document, Extraction, Mention, Modality, Span, Triple
from kg.wordlists import word_set

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token
else:
    Doc = Language = Token = Any

__all__ = ["SpacyExtractor"]

_log = logging.getLogger(__name__)
_PARSE_ERRORS = (ValueError, MemoryError)

_NEEDED_PIPES = ("tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner")
_SPEAKER = re.compile(
    rf"(?:{CHAT_STAMP} ?)?"
    r"([^\W\d_][\w.'’-]*(?: [^\W\d_a-z][\w.'’-]*){0,3})(?: \([^)\n]{1,30}\))?: +(?=\S)"
)
_FIELDS = word_set(
    "time date note notes source sources figure fig table example question answer subject from to cc re title author "
    "authors abstract keywords summary warning caution tip important url email phone address page chapter section "
    "image photo caption total step q a"
)
_FIRST_PERSON = frozenset({"i", "me", "my", "mine", "myself"})
_MAX_TITLE_WORDS = 8


@dataclass(frozen=True, slots=True)
class _Turn:
    """A line of chat: the tokens of its speaker, and the token range of what is said."""

    speaker: tuple[int, int]
    start: int
    end: int


class SpacyExtractor:
    """Finds named entities, noun phrases and title entities, and statements by dependency patterns.

    :param model_path: The folder of an English spaCy pipeline with tagger, parser, lemmatizer and entity recogniser.
    :param batch_size: Chunks parsed at once, >= 1. 32 chunks of 200 tokens fit the caches of a small CPU.
    :raises InputError: If ``batch_size`` is below 1.
    :raises ModelMissingError: If ``model_path`` is not the folder of a spaCy pipeline.
    :raises ModelCorruptError: If the folder cannot be loaded, or lacks a component.
    """

    name = "spacy-rules"

    def __init__(self, model_path: Path, *, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise InputError(f"SpacyExtractor: batch_size must be at least 1, got {batch_size}.")
        self._batch_size = batch_size
        self._nlp = _load(model_path)

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

    def _read(self, chunks: Sequence[Chunk], parsed: Sequence[Doc], document: Document) -> Extraction:
        titles = _title_names(document.title)
        mentions: list[Mention] = []
        triples: list[Triple] = []
        for chunk, doc in zip(chunks, parsed, strict=True):
            reading = _Reading(chunk, doc, titles, self.name)
            mentions.extend(reading.mentions)
            triples.extend(reading.triples())
        return Extraction(mentions=tuple(mentions), triples=tuple(triples))

    def _parse(self, items: Sequence[tuple[Sequence[Chunk], Document]]) -> Iterator[list[Doc]]:
        """Yield the parsed chunks of one document after the other; only one document's are held at a time."""
        done = 0
        stream = self._nlp.pipe(
            (_prepare(self._nlp, chunk) for chunks, _ in items for chunk in chunks), batch_size=self._batch_size
        )
        try:
            for chunks, _ in items:
                parsed = list(itertools.islice(stream, len(chunks)))
                done += 1
                yield parsed
        except _PARSE_ERRORS as error:
            _log.info("a batch could not be parsed, so its documents are parsed one by one: %s", error)
            for chunks, document in items[done:]:
                yield self._parse_one(chunks, document)

    def _parse_one(self, chunks: Sequence[Chunk], document: Document) -> list[Doc]:
        prepared = (_prepare(self._nlp, chunk) for chunk in chunks)
        try:
            return list(self._nlp.pipe(prepared, batch_size=self._batch_size))
        except _PARSE_ERRORS as error:
            raise ExtractionError(
                f"spaCy could not parse the chunks of {document.name}: {error}. Make the chunks smaller."
            ) from error


def _load(model_path: Path) -> Language:
    if not (model_path / "config.cfg").is_file() or not (model_path / "meta.json").is_file():
        raise ModelMissingError(
            f"no spaCy model in {model_path}: config.cfg or meta.json is missing. Run `mmkg models pull` to fetch it."
        )
    import spacy

    try:
        nlp = spacy.load(model_path, exclude=["senter"])
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelCorruptError(
            f"the spaCy model in {model_path} cannot be loaded: {error}. Delete it and run `mmkg models pull`."
        ) from error
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


def _title_names(title: str) -> list[str]:
    """Return the names a title may be mentioned by: itself, and without ``(film)`` behind it."""
    names = [title.strip(), re.sub(r"\s*\([^)]*\)\s*\Z", "", title).strip()]
    return [
        name
        for name in dict.fromkeys(names)
        if len(name) >= 3 and name[0].isupper() and sum(c.isalpha() for c in name) >= 3
        if len(name.split()) <= _MAX_TITLE_WORDS
    ]


def _prepare(nlp: Language, chunk: Chunk) -> Doc:
    """Tokenise a chunk and set its sentence starts, which the parser and the entity recogniser keep to."""
    doc = nlp.make_doc(chunk.text)
    starts: set[int] = set()
    for sentence in sentence_spans(chunk.text):
        starts.add(sentence.start)
        speaker = _SPEAKER.match(chunk.text, sentence.start, sentence.end)
        if speaker and (sentence.start == 0 or chunk.text[: sentence.start].rstrip(" ").endswith("\n")):
            starts.add(speaker.end())
    pending = sorted(starts, reverse=True)
    for token in doc:
        opens = token.i == 0
        while pending and pending[-1] <= token.idx:
            pending.pop()
            opens = True
        token.is_sent_start = opens
    return doc


def _turns(doc: Doc) -> list[_Turn]:
    """Find the lines of chat: a name, a colon, and words. Who is a name in one line is one in all lines."""
    found: list[tuple[str, _Turn]] = []
    names: set[str] = set()
    for match in re.finditer(r"^[ \t]*(?=\S)", doc.text, re.MULTILINE):
        speaker = _SPEAKER.match(doc.text, match.end())
        if speaker is None or speaker.group(1).lower() in _FIELDS:
            continue
        line_end = doc.text.find("\n", speaker.end())
        said = doc.char_span(speaker.end(), len(doc.text) if line_end < 0 else line_end, alignment_mode="contract")
        name = doc.char_span(speaker.start(1), speaker.end(1))
        if said is None or name is None or sum(token.is_alpha for token in said) < 2:
            continue
        is_stamped = speaker.start(1) > match.end()
        if is_stamped or all(token.pos_ in ("PROPN", "PUNCT") or token.ent_type_ == "PERSON" for token in name):
            names.add(name.text)
        found.append((name.text, _Turn((name.start, name.end), said.start, said.end)))
    return [turn for name, turn in found if name in names]


class _Reading:
    """One parsed chunk: its mentions, and which token belongs to which."""

    def __init__(self, chunk: Chunk, doc: Doc, titles: Sequence[str], extractor: str) -> None:
        self._chunk, self._doc, self._extractor = chunk, doc, extractor
        self._is_picture = chunk.modality not in (Modality.TEXT, Modality.PAGE)
        self._turns = [] if self._is_picture else _turns(doc)
        speakers = [turn.speaker for turn in self._turns]
        candidates = find_candidates(doc, speakers=speakers, titles=titles, is_picture=self._is_picture)
        self.mentions = [self._mention(candidate) for candidate in candidates]
        self._owner: dict[int, int] = {
            i: number for number, candidate in enumerate(candidates) for i in range(candidate.start, candidate.end)
        }

    def _mention(self, candidate: Candidate) -> Mention:
        span = self._doc[candidate.start : candidate.end]
        start = self._chunk.span.start + span.start_char
        end = self._chunk.span.start + span.end_char
        return Mention(
            mention_id=mention_id(self._chunk.chunk_id, start, end, candidate.label),
            chunk_id=self._chunk.chunk_id,
            text=span.text,
            span=Span(start=start, end=end),
            label=candidate.label,
            source=candidate.source,
        )

    def _mention_of(self, token: Token) -> Mention | None:
        number = self._owner.get(token.i)
        if number is None and token.lower_ in _FIRST_PERSON:
            turn = next((t for t in self._turns if t.start <= token.i < t.end), None)
            number = None if turn is None else self._owner.get(turn.speaker[0])
        return None if number is None else self.mentions[number]

    def triples(self) -> Iterator[Triple]:
        """Yield the statements of each sentence whose two sides are mentions, each once."""
        seen: set[str] = set()
        for sentence in self._doc.sents:
            if not is_prose(sentence):
                continue
            span = self._span(sentence)
            for head_token, name, tail_token in statements(sentence):
                head, tail = self._mention_of(head_token), self._mention_of(tail_token)
                if head is None or tail is None or head.text.casefold() == tail.text.casefold():
                    continue
                identity = triple_id(self._chunk.chunk_id, head.mention_id, name, tail.mention_id, span.start, span.end)
                if identity not in seen:
                    seen.add(identity)
                    yield Triple(
                        triple_id=identity,
                        chunk_id=self._chunk.chunk_id,
                        head_mention_id=head.mention_id,
                        name=name,
                        tail_mention_id=tail.mention_id,
                        span=span,
                        extractor=self._extractor,
                    )

    def _span(self, sentence: Any) -> Span:
        text = sentence.text
        lead = len(text) - len(text.lstrip())
        start = self._chunk.span.start + sentence.start_char + lead
        return Span(start=start, end=start + len(text.strip()))

"""Run a spaCy pipeline over batches of texts, each component by the cheaper way where there is one.

Layer: ``kg``; a loaded spaCy model. What comes out is what ``parsed_of(doc)`` gives for the documents of ``nlp.pipe``,
which the tests compare word by word. A component of another kind than the pinned model's runs as spaCy wrote it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from kg.extraction.parsing.assembly import assemble
from kg.extraction.parsing.dependencies import StepwiseParser
from kg.extraction.parsing.entities import EntityDecoder
from kg.extraction.parsing.forms import WordForms, form_of
from kg.extraction.parsing.vectors import TokenVectors
from kg.extraction.words import Parsed, parsed_of

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc
else:
    Doc = Language = Any

__all__ = ["BatchPipeline"]

_log = logging.getLogger(__name__)
_KNOWN = ["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner"]
_VECTOR_BATCH = 32
"""Texts whose vectors are computed at once: 4,000 tokens; more of them fall out of a small CPU's cache."""


class BatchPipeline:
    """Parses texts in batches.

    :param nlp: A pipeline with tagger, parser, lemmatizer and entity recogniser. The cheaper ways need English, and the
        components of spaCy's models in their order, and no others.
    """

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        self._steps: dict[str, Callable[[Sequence[Doc]], None]] = {}
        self._entities: EntityDecoder | None = None
        self._forms: WordForms | None = None
        if nlp.lang == "en" and nlp.pipe_names == _KNOWN:
            self._speed_up(nlp)
        slow = [name for name in _KNOWN if name not in self._steps and name != "tagger"]
        if slow:
            _log.info("the spaCy model is not the pinned one, so spaCy itself runs its %s", ", ".join(slow))

    def _speed_up(self, nlp: Language) -> None:
        pipes: dict[str, Any] = dict(nlp.pipeline)
        tok2vec, parser, ner = pipes["tok2vec"], pipes["parser"], pipes["ner"]
        if TokenVectors.fits(tok2vec.model):
            self._steps["tok2vec"] = partial(_set_vectors, TokenVectors(tok2vec.model))
        if StepwiseParser.fits(parser):
            self._steps["parser"] = StepwiseParser(parser).annotate
        if EntityDecoder.fits(ner):
            self._entities = EntityDecoder(ner)
            self._steps["ner"] = _leave
        if WordForms.fits(nlp):
            self._forms = WordForms(nlp)
            self._steps["attribute_ruler"] = self._steps["lemmatizer"] = _leave

    @property
    def sped_up(self) -> tuple[str, ...]:
        """The components that do not run as spaCy wrote them, in the order of the pipeline."""
        return tuple(name for name in _KNOWN if name in self._steps)

    def parse(self, docs: Iterable[Doc], *, batch_size: int) -> Iterator[Parsed]:
        """Parse tokenised texts with sentence starts, in their order.

        :param docs: The texts, fresh from the tokenizer.
        :param batch_size: Texts parsed at once, >= 1.
        :yields: The parses.
        """
        waiting = iter(docs)
        while batch := list(islice(waiting, batch_size)):
            yield from self._parse(batch)

    def _parse(self, docs: list[Doc]) -> Iterator[Parsed]:
        for name, pipe in self._nlp.pipeline:
            if name in self._steps:
                self._steps[name](docs)
            elif hasattr(pipe, "pipe"):
                docs = list(pipe.pipe(docs, batch_size=len(docs)))
            else:
                docs = [pipe(doc) for doc in docs]
        if not self._steps:
            yield from map(parsed_of, docs)
            return
        found = [_entities_of(doc) for doc in docs] if self._entities is None else self._entities.find(docs)
        for doc, entities in zip(docs, found, strict=True):
            forms = [form_of(token) for token in doc] if self._forms is None else self._forms.of(doc)
            yield assemble(doc, forms, entities)


def _entities_of(doc: Doc) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label_) for span in doc.ents]


def _leave(docs: Sequence[Doc]) -> None:
    """Do nothing: what the component would set is worked out where the parse is copied."""


def _set_vectors(vectors: TokenVectors, docs: Sequence[Any]) -> None:
    for start in range(0, len(docs), _VECTOR_BATCH):
        part = docs[start : start + _VECTOR_BATCH]
        if any(len(doc) for doc in part):
            for doc, tensor in zip(part, vectors.of(part), strict=True):
                doc.tensor = tensor

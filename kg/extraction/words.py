"""A parsed text as plain objects: its words with what they hang on, its sentences, names and noun phrases.

Layer: ``kg``; the standard library only. spaCy's own tokens are views that are made anew at each access; the rules ask
for a word's children many times, so the parse is copied once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.tokens import Doc
else:
    Doc = Any

__all__ = ["Parsed", "Sentence", "Word", "parsed_of", "sentence_of"]


@dataclass(slots=True, eq=False)
class Word:
    """A token: its place in the text, its forms, and its place in the parse (labels of spaCy's English models)."""

    i: int
    text: str
    lower: str
    lemma: str
    pos: str
    tag: str
    dep: str
    ent: str
    start: int
    end: int
    is_stop: bool
    is_punct: bool
    is_space: bool
    head: Word = field(init=False, repr=False)
    children: list[Word] = field(init=False, repr=False, default_factory=list)

    def child(self, *deps: str) -> Word | None:
        """Return the first child with one of these dependencies."""
        return next((child for child in self.children if child.dep in deps), None)

    @property
    def is_nominal(self) -> bool:
        """Whether it is a noun or a name."""
        return self.pos in ("NOUN", "PROPN")

    @property
    def is_verbal(self) -> bool:
        """Whether it is a verb or an auxiliary."""
        return self.pos in ("VERB", "AUX")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words ``[start, end)`` of a text.

    ``is_prose`` tells mostly words with a verb that has a subject, ``has_verb`` mostly words with any verb, as
    captions have.
    """

    start: int
    end: int
    is_prose: bool
    has_verb: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A parsed text. ``entities`` are ``(start, end, label)``, ``phrases`` ``(start, end, root)``, all in words."""

    text: str
    words: list[Word]
    sentences: list[Sentence]
    entities: list[tuple[int, int, str]]
    phrases: list[tuple[int, int, int]]
    _starts: list[int]
    _ends: list[int]

    def text_of(self, start: int, end: int) -> str:
        """Return the characters of the words ``[start, end)``."""
        return self.text[self.words[start].start : self.words[end - 1].end]

    def words_at(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the words that fill the characters ``[start, end)`` exactly; ``None`` where one sticks out."""
        first, last = bisect_left(self._starts, start), bisect_left(self._ends, end)
        if first >= len(self.words) or last >= len(self.words) or first > last:
            return None
        return (first, last + 1) if self._starts[first] == start and self._ends[last] == end else None

    def words_within(self, start: int, end: int) -> tuple[int, int]:
        """Return the words that lie wholly in the characters ``[start, end)``; both may be equal."""
        return bisect_left(self._starts, start), bisect_right(self._ends, end)

    def of(self, sentence: Sentence) -> Iterator[Word]:
        """Yield the words of a sentence."""
        yield from self.words[sentence.start : sentence.end]


def parsed_of(doc: Doc) -> Parsed:
    """Copy what the rules need from a spaCy ``Doc`` with tags, dependencies, lemmas, entities and sentence starts."""
    words = [
        Word(
            token.i, text := token.text, token.lower_, token.lemma_, token.pos_, token.tag_, token.dep_,
            token.ent_type_, start := token.idx, start + len(text), token.is_stop, token.is_punct, token.is_space,
        )
        for token in doc
    ]  # fmt: skip
    for word, offset in zip(words, doc.to_array("HEAD").astype("int64").tolist(), strict=True):
        word.head = words[word.i + offset]
        if offset:
            word.head.children.append(word)
    sentences = []
    for span in doc.sents:
        sentences.append(sentence_of(words, span.start, span.end))
    return Parsed(
        text=doc.text,
        words=words,
        sentences=sentences,
        entities=[(span.start, span.end, span.label_) for span in doc.ents],
        phrases=[(span.start, span.end, span.root.i) for span in doc.noun_chunks],
        _starts=[word.start for word in words],
        _ends=[word.end for word in words],
    )


def sentence_of(all_words: list[Word], start: int, end: int) -> Sentence:
    """Tell what kind of sentence the words ``[start, end)`` are."""
    words = [word for word in all_words[start:end] if not word.is_space and not word.is_punct]
    alphabetic = sum(word.text.isalpha() for word in words)
    if alphabetic < 3 or alphabetic < 0.6 * len(words) or any(word.text == "|" for word in words):
        return Sentence(start, end, is_prose=False, has_verb=False)
    is_prose = any(word.dep in ("nsubj", "nsubjpass") for word in words)
    return Sentence(start, end, is_prose=is_prose, has_verb=is_prose or any(word.is_verbal for word in words))

"""Copy a parse into plain words from the numbers of a spaCy ``Doc``, without a view of each token.

Layer: ``kg``; the standard library and a spaCy ``Doc``. The reference is :func:`kg.extraction.words.parsed_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kg.extraction.parsing.forms import Form
from kg.extraction.words import Parsed, Word, sentence_of

if TYPE_CHECKING:
    from spacy.tokens import Doc
else:
    Doc = Any

__all__ = ["assemble"]

_PHRASE_DEPS = {
    "oprd", "nsubj", "dobj", "nsubjpass", "pcomp", "pobj", "dative", "appos", "attr", "ROOT",
}  # fmt: skip
_NOMINAL = ("NOUN", "PROPN", "PRON")


def assemble(doc: Doc, forms: Sequence[Form], entities: Iterable[tuple[int, int, str]]) -> Parsed:
    """Put a parse together.

    :param doc: An English text with heads and sentence starts.
    :param forms: What each token is.
    :param entities: ``(start, end, label)`` in tokens, in order, without overlaps.
    :returns: The parse.
    """
    columns = doc.to_array(["HEAD", "SENT_START", "SPACY"]).astype("int64").reshape(-1, 3).T
    heads, starts_sentence, is_spaced = columns.tolist()
    words: list[Word] = []
    place = 0
    for i, (form, spaced) in enumerate(zip(forms, is_spaced, strict=True)):
        text, lower, lemma, pos, tag, dep, is_stop, is_punct, is_space, _ = form
        end = place + len(text)
        words.append(Word(i, text, lower, lemma, pos, tag, dep, "", place, end, is_stop, is_punct, is_space))
        place = end + spaced
    for word, offset in zip(words, heads, strict=True):
        word.head = words[word.i + offset]
        if offset:
            word.head.children.append(word)
    found = list(entities)
    for start, end, label in found:
        for word in words[start:end]:
            word.ent = label
    bounds = [0, *(i for i, opens in enumerate(starts_sentence) if opens == 1 and i), len(words)]
    return Parsed(
        text=doc.text,
        words=words,
        sentences=[sentence_of(words, *pair) for pair in zip(bounds, bounds[1:], strict=False)] if words else [],
        entities=found,
        phrases=list(_phrases(doc, words)),
        _starts=[word.start for word in words],
        _ends=[word.end for word in words],
    )


def _phrases(doc: Doc, words: Sequence[Word]) -> Iterator[tuple[int, int, int]]:
    """Yield base noun phrases as ``spacy.lang.en.syntax_iterators.noun_chunks`` of spaCy 3.8 does, with their roots."""
    last = -1
    for word in words:
        if word.pos in _NOMINAL and (word.dep in _PHRASE_DEPS or (word.dep == "conj" and _joins_phrase(word))):
            start = doc[word.i].left_edge.i
            if start > last:
                last = word.i
                yield start, word.i + 1, word.i


def _joins_phrase(word: Word) -> bool:
    head = word.head
    while head.dep == "conj" and head.head.i < head.i:
        head = head.head
    return head.dep in _PHRASE_DEPS

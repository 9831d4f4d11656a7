"""What ``attribute_ruler`` and ``lemmatizer`` make of a token, worked out once for each kind of token.

Layer: ``kg``; NumPy and a loaded spaCy model. In spaCy's English models a rule looks at the word, tag and dependency of
one token, or of two in a row ("gon na", "there is"). So what a token becomes depends on these three alone, unless it or
the token before it may open a pair; then the run of such tokens is looked up as a whole. What was not met before is
worked out by spaCy's own components on a small text of just these tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token
else:
    Doc = Language = Token = Any

__all__ = ["Form", "WordForms", "form_of"]

Key: TypeAlias = tuple[int, int, int]
"""A token's word, tag and dependency, as numbers of the vocabulary."""

_SEEN_BY_RULES = {"TAG", "LOWER", "ORTH", "DEP", "IS_SPACE"}
_PREDICATES = {"IN", "NOT_IN", "REGEX"}


class Form(NamedTuple):
    """What the rules read of a token, but for its place. ``opens`` tells that a rule for two tokens may begin here."""

    text: str
    lower: str
    lemma: str
    pos: str
    tag: str
    dep: str
    is_stop: bool
    is_punct: bool
    is_space: bool
    opens: bool


class WordForms:
    """Tells the forms of tokens that have tags and dependencies. It may be used by many threads.

    :param nlp: A pipeline for which :meth:`fits` holds.
    :param capacity: The most forms kept, >= 1; when they are full, all are forgotten. A form takes some 300 bytes.
    """

    def __init__(self, nlp: Language, *, capacity: int = 50_000) -> None:
        from spacy.matcher import Matcher

        self._vocab = nlp.vocab
        self._ruler: Any = nlp.get_pipe("attribute_ruler")
        self._lemmatizer: Any = nlp.get_pipe("lemmatizer")
        self._capacity = capacity
        self._single: dict[Key, Form] = {}
        self._runs: dict[tuple[Key, ...], list[Form]] = {}
        self._lock = threading.Lock()
        pairs = [pattern[:1] for pattern in _patterns(self._ruler) if len(pattern) == 2]
        self._openers = Matcher(nlp.vocab)
        if pairs:
            self._openers.add("opens", pairs)

    @staticmethod
    def fits(nlp: Language) -> bool:
        """Tell whether the rules of ``nlp`` look at one token or two, and only at word, tag and dependency."""
        from spacy.lang.en.lemmatizer import EnglishLemmatizer
        from spacy.pipeline import AttributeRuler

        ruler: Any = nlp.get_pipe("attribute_ruler")
        lemmatizer: Any = nlp.get_pipe("lemmatizer")
        if type(ruler) is not AttributeRuler or type(lemmatizer) is not EnglishLemmatizer:
            return False
        return lemmatizer.mode == "rule" and all(
            len(pattern) <= 2 and all(_is_plain(token) for token in pattern) for pattern in _patterns(ruler)
        )

    def of(self, doc: Doc) -> list[Form]:
        """Tell the forms of the tokens of ``doc``.

        :param doc: A text with tags and dependencies.
        :returns: One form for each token.
        """
        columns: Any = doc.to_array(["ORTH", "TAG", "DEP"]).reshape(-1, 3)
        keys: list[Key] = [(word, tag, dep) for word, tag, dep in columns.tolist()]
        with self._lock:
            if len(self._single) + len(self._runs) > self._capacity:
                self._single.clear()
                self._runs.clear()
            single = self._single
            if new := [key for key in dict.fromkeys(keys) if key not in single]:
                self._learn(new)
            forms = [single[key] for key in keys]
            for start, end in _runs(forms):
                forms[start:end] = self._run(tuple(keys[start:end]))
        return forms

    def _learn(self, keys: Sequence[Key]) -> None:
        """Work out the forms of tokens that stand alone."""
        found = self._openers(self._text(keys), allow_missing=True) if len(self._openers) else []
        places = {start for _, start, _ in found}
        alone = [key for place, key in enumerate(keys) if place not in places]
        self._single.update(zip(alone, self._worked_out(alone), strict=True))
        for place in places:  # not beside another, with which it might be a pair
            (form,) = self._worked_out([keys[place]])
            self._single[keys[place]] = form._replace(opens=True)

    def _run(self, keys: tuple[Key, ...]) -> list[Form]:
        forms = self._runs.get(keys)
        if forms is None:
            forms = self._runs[keys] = list(self._worked_out(keys))
        return forms

    def _worked_out(self, keys: Sequence[Key]) -> Iterator[Form]:
        return (form_of(token) for token in self._lemmatizer(self._ruler(self._text(keys)))) if keys else iter(())

    def _text(self, keys: Sequence[Key]) -> Any:
        from spacy.tokens import Doc as NewDoc

        words = [self._vocab.strings[word] for word, _, _ in keys]
        doc: Any = NewDoc(self._vocab, words=words, spaces=[False] * len(words))
        return doc.from_array(["TAG", "DEP"], np.array([key[1:] for key in keys], np.uint64))


def _patterns(ruler: Any) -> list[list[dict[str, Any]]]:
    return [pattern for rule in ruler.patterns for pattern in rule["patterns"]]


def _is_plain(token: Any) -> bool:
    values = (value for value in token.values() if isinstance(value, dict))
    return set(token) <= _SEEN_BY_RULES and all(set(value) <= _PREDICATES for value in values)


def _runs(forms: Sequence[Form]) -> Iterator[tuple[int, int]]:
    """Yield each longest run of tokens that open a pair, with the token behind it."""
    start = None
    for place, form in enumerate(forms):
        if form.opens and start is None:
            start = place
        elif not form.opens and start is not None:
            yield start, place + 1
            start = None
    if start is not None:
        yield start, len(forms)


def form_of(token: Token) -> Form:
    """Read off a token what the components made of it."""
    return Form(
        token.text, token.lower_, token.lemma_, token.pos_, token.tag_, token.dep_,
        token.is_stop, token.is_punct, token.is_space, False,
    )  # fmt: skip

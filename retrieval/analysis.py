"""Turn text into the terms that lexical search counts.

Layer: ``retrieval``; imports ``kg.errors`` and, where stemming is asked for, PyStemmer.

What a term is
- Text is normalised first: compatibility forms (NFKC, so the ligature ``ﬁ`` of a PDF is ``fi``), case folded, Latin
  accents dropped (``Café`` is ``cafe``).
- A number keeps its decimals (``3.5``, ``1.2.3``) and loses its thousands separators (``1,234`` is ``1234``); a
  percent sign is the term ``percent``, so ``3.5%`` and ``3.5 percent`` meet. ``2026-04-08`` is ``20260408`` and
  ``2026``, so the two common ways to write a date as digits meet.
- A word is a run of letters, digits and underscores: ``BWV``, ``A4``, ``snake_case``, ``v1.2`` stay whole; ``GPT-4`` is
  two terms. A possessive ``'s`` goes. A word with humps gives its parts beside itself, so ``WolfgangSchulz`` is found
  by ``Wolfgang Schulz`` and by itself.
- Which words give their parts is a setting: none; those with humps; or ``all``, also at underscores and between letters
  and digits, so ``snake_case`` gives its two words, and ``GPT4`` gives ``gpt`` and ``4`` and meets ``GPT-4``.
- A run of Chinese, Japanese or Korean characters gives its overlapping pairs, as Lucene's ``CJKBigramFilter`` does,
  because such text is written without spaces; or its characters, or both.
- Stop words go, then the rest is stemmed (Snowball; "english" is Porter 2).
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal, get_args

from kg.errors import ConfigError

__all__ = [
    "ENGLISH_STOP_WORDS",
    "QUESTION_WORDS",
    "Analyzer",
    "CjkTerms",
    "Identifiers",
    "make_analyzer",
    "stop_words_of",
]

CjkTerms = Literal["pairs", "characters", "both"]
Identifiers = Literal["none", "humps", "all"]

_ENGLISH = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
ENGLISH_STOP_WORDS: frozenset[str] = frozenset(_ENGLISH.split())
"""The 33 words of Lucene's ``EnglishAnalyzer.ENGLISH_STOP_WORDS_SET``."""

QUESTION_WORDS: frozenset[str] = frozenset(
    """
    am been being can could did do does doing had has have having he her hers him his how i its may me might mine must
    my our ours shall she should than them those us we were what when where which who whom whose why would you your
    yours
    """.split()  # noqa: SIM905 - forty quoted words are harder to read
)
"""Words that ask, and name nothing. What a question names is looked for without them (:meth:`Analyzer.question_terms`),
for in a corpus of terse texts they are rare, so that BM25 would take them for telling."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TERM = re.compile(
    rf"(?P<date>(?<!\w)\d{{4}}-\d{{2}}-\d{{2}}(?!\w))"
    rf"|(?P<number>(?<!\w)\d+(?:[.,]\d+)*(?![^\W_])(?:%|'s)?)"
    rf"|(?P<cjk>[{_CJK}]+)"
    rf"|(?P<word>[^\W{_CJK}]+(?:'[^\W{_CJK}]+|(?<=\d)\.\d+)*)"
)
_HUMPED = re.compile(r"(?<![^\W_])[A-Za-z]*(?:[A-Za-z][a-z][A-Z]|[A-Z]{2}[a-z]{2})[A-Za-z]*(?![^\W_])")
_HUMP = re.compile(r"(?<=[A-Za-z][a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_MIXED = re.compile(r"(?<!\w)\w*(?:[^\W\d_]\d|\d[^\W\d_]|[^\W_]_+[^\W_])\w*(?!\w)")
_MIXED_CUT = re.compile(r"_+|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_LATIN_ACCENTS = re.compile("[\u0300-\u036f]")
_SPOKEN = re.compile(r"(?<![\w'’])[^\W\d_]+(?:['’][^\W\d_]+)*(?!\w)")
_IS = re.compile(r"['’]s$", re.IGNORECASE)
_ENCLOSING = " \t\"'“”‘’()[]"
_BEFORE = 8
"""Characters before a word that say whether a sentence begins with it, so that a long text takes no longer."""


class Analyzer:
    """Cut text into terms; the same analyser must see the corpus and the question.

    :param language: The Snowball algorithm that stems (``"english"``, ``"german"``, …); ``None`` leaves words whole.
    :param stop_words: Words that are dropped before stemming; compared without case and Latin accents.
    :param identifiers: Which words that are made of parts give the parts as well.
    :param cjk: What a run of Chinese, Japanese or Korean characters gives.
    :raises ConfigError: If PyStemmer does not know ``language``, or another setting is unknown.
    """

    def __init__(
        self,
        *,
        language: str | None = "english",
        stop_words: Iterable[str] = ENGLISH_STOP_WORDS,
        identifiers: Identifiers = "humps",
        cjk: CjkTerms = "pairs",
    ) -> None:
        for name, value, known in (("cjk", cjk, CjkTerms), ("identifiers", identifiers, Identifiers)):
            if value not in get_args(known):
                raise ConfigError(f"Analyzer: {name} is {value!r}. Use one of {', '.join(get_args(known))}.")
        self.language = language
        self.stop_words = frozenset(_normalise(word) for word in stop_words)
        self.identifiers: Identifiers = identifiers
        self.cjk: CjkTerms = cjk
        self._lock = threading.Lock()
        self._stems: dict[str, str] = {}
        rules = [identifiers] * (identifiers != "humps") + [cjk] * (cjk != "pairs")
        parts = ["terms-2", str(language), *rules, *sorted(self.stop_words)]
        self.fingerprint = "an_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
        """Changes whenever the same text would give other terms: the settings, and the rules above."""
        self._stemmer: Any = None if language is None else _stemmer(language)

    def terms(self, text: str) -> list[str]:
        """Return the terms of ``text`` in order, repeats included."""
        whole = _with_parts(text, self.identifiers)
        kept = [term for term in _raw_terms(_normalise(whole), self.cjk) if term not in self.stop_words]
        return kept if self._stemmer is None else [self._stem(term) for term in kept]

    def question_terms(self, question: str) -> list[str]:
        """Return the terms of a question in order, repeats included, without the words that only ask.

        A word of :data:`QUESTION_WORDS` asks unless it is written like a name: in capitals ("the US"), or with one
        inside a sentence ("in May", "The Who").

        :param question: The question.
        :returns: Its terms; none where it holds nothing but words that ask.
        """

        def kept(match: re.Match[str]) -> str:
            word = _IS.sub("", match.group())
            if word.lower() not in QUESTION_WORDS:
                return match.group()
            is_name = len(word) > 1 and (
                word.isupper() or (word[0].isupper() and not _begins_sentence(question, match.start()))
            )
            return match.group() if is_name else " "

        return self.terms(_SPOKEN.sub(kept, question))

    def named_terms(self, question: str) -> list[str]:
        """Return what :meth:`question_terms` does, each term once."""
        return list(dict.fromkeys(self.question_terms(question)))

    def _stem(self, word: str) -> str:
        stem = self._stems.get(word)
        if stem is None:
            with self._lock:  # a Snowball stemmer keeps state while it works and is not safe to share between threads
                stem = str(self._stemmer.stemWord(word))
            self._stems[word] = stem
        return stem


def _begins_sentence(text: str, place: int) -> bool:
    """Tell whether a sentence begins at a place: behind the end of another, but for quotes."""
    before = text[max(0, place - _BEFORE) : place]
    said = before.rstrip(_ENCLOSING)
    return not said or said[-1] in ".?!:;\n"


def _stemmer(language: str) -> Any:
    import Stemmer

    try:
        return Stemmer.Stemmer(language, 0)  # no cache of its own: the analyser keeps one that never evicts
    except KeyError:
        known = ", ".join(Stemmer.algorithms())
        raise ConfigError(f"Analyzer: no stemmer for language {language!r}. Use one of {known}, or null.") from None


def _with_parts(text: str, identifiers: Identifiers) -> str:
    """Put the parts of each word behind it. One small letter ("iPhone") or a plural ("PDFs") is no part."""
    if identifiers == "all":
        text = _MIXED.sub(lambda match: " ".join([match.group(), *_MIXED_CUT.split(match.group())]), text)
    if identifiers == "none":
        return text
    return _HUMPED.sub(lambda match: " ".join([match.group(), *_HUMP.split(match.group())]), text)


def _normalise(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = _LATIN_ACCENTS.sub("", unicodedata.normalize("NFKD", text.replace("\u2019", "'")))
    return unicodedata.normalize("NFKC", plain).casefold()


def make_analyzer(
    *, language: str | None, stop_words: str | Iterable[str], identifiers: Identifiers, cjk: CjkTerms
) -> Analyzer:
    """Return the analyser of some settings.

    :param language: The Snowball algorithm that stems; ``None`` or ``"none"`` leaves words whole.
    :param stop_words: ``"auto"`` for the language's, ``"none"``, or the words.
    :param identifiers: As in :class:`Analyzer`.
    :param cjk: As in :class:`Analyzer`.
    :returns: The analyser.
    :raises ConfigError: If a setting is not one of those.
    """
    stems = None if language in (None, "none") else language
    if isinstance(stop_words, str) and stop_words not in ("auto", "none"):
        raise ConfigError(f"Analyzer: stop_words is {stop_words!r}. Use auto, none, or a list of words.")
    words = {"auto": stop_words_of(stems), "none": ()}[stop_words] if isinstance(stop_words, str) else stop_words
    return Analyzer(language=stems, stop_words=[str(word) for word in words], identifiers=identifiers, cjk=cjk)


def stop_words_of(language: str | None) -> frozenset[str]:
    """Return the usual stop words of a language: Lucene's for English, else those that bm25s has.

    :param language: The name of a Snowball algorithm, or ``None``.
    :returns: The words; none where no list is known.
    """
    if language in ("english", "porter"):
        return ENGLISH_STOP_WORDS
    if language is None:
        return frozenset()
    from bm25s import stopwords

    return frozenset(getattr(stopwords, f"STOPWORDS_{language.upper()}", ()))


def _raw_terms(text: str, cjk: CjkTerms) -> Iterable[str]:
    for match in _TERM.finditer(text):
        term = match.group()
        kind = match.lastgroup
        if kind == "word":
            yield term.removesuffix("'s")
        elif kind == "number":
            yield from _number_terms(term)
        elif kind == "date":
            yield term.replace("-", "")
            yield term[:4]
        elif len(term) == 1:
            yield term
        else:
            if cjk != "characters":
                yield from (term[i : i + 2] for i in range(len(term) - 1))
            if cjk != "pairs":
                yield from term


def _number_terms(term: str) -> Iterable[str]:
    number = term.removesuffix("'s").removesuffix("%")
    if _THOUSANDS.fullmatch(number):
        yield number.replace(",", "")
    else:
        yield from number.split(",")
    if term.endswith("%"):
        yield "percent"

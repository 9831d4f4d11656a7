"""Late interaction: each word of the question looks for its nearest word in the passage.

Layer: ``retrieval``; NumPy. Satisfies :class:`retrieval.rerank.types.Reranker`.
Source: MaxSim of ColBERT (Khattab and Zaharia, SIGIR 2020, arXiv:2004.12832), here over the token states of an encoder
that was trained for one vector a text: the mean over the question's words of the best cosine with any word of the
passage. ColBERT sums over a question of fixed length; the mean is the same order.

Words that only hold a sentence together (:data:`STOP_TOKENS`) and special tokens are left out of the question, not of
the passage, where a word's state says something of its neighbours whatever the word is.

States of passages are computed when they are first candidates, in one padded batch, and kept in memory by chunk and
encoder, the least recently used going first.

Shape suffixes: Q tokens of the question, T tokens of a passage, D model width.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.derived import searchable_text
from retrieval.rerank.types import TokenEncoder, TokenStates
from retrieval.types import Evidence, Query

__all__ = ["STOP_TOKENS", "MaxSimReranker", "StateCache", "max_similarity", "naive_max_similarity"]

_Array = NDArray[np.float32]
STOP_TOKENS = frozenset(
    """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with what which who whom whose where when why how did do does had has have were from been being i you me
    my we our can could would should about s t ? . , ' " ( ) : ; - !
    """.split()  # noqa: SIM905 - ninety quoted words are harder to read
)
"""Tokens of a question that carry no matter, as a word-piece tokenizer in lower case writes them; the marks that other
tokenizers put at a word's beginning are taken off before the comparison."""
CACHE_BYTES = 256 * 2**20
"""What the states of passages may take, >= 0: about 1,700 passages of 200 tokens and 384 numbers in float16."""
TRUST = 0.2
"""How much a standardised MaxSim counts beside the first stage's score. Measured over 50 candidates of the walk alone
(Recall@2 / @5, without it first): multi-hop .710/.910 to .710/.895, pages .452/.594 to .452/.597, charts .867/.940 to
.870/.943. At .33 charts gain more (.880/.950) and the others lose more (.695/.880, .452/.575); replacing the first
stage gives .595/.750, .411/.546 and .880/.947. So it is for corpora where one passage answers, and off by default.
With ``coverage`` after it: .785/.920, .444/.622 and .877/.940."""
_WORD_MARKS = "\u0120\u2581"


class StateCache:
    """Token states by key, bounded in bytes; the least recently used go first. Safe between threads.

    :param max_bytes: The most bytes, >= 0; an entry larger than that is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[tuple[str, str], NDArray[np.float16]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0
        """How many bytes are held now."""

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: tuple[str, str]) -> NDArray[np.float16] | None:
        """Return what is held under a key, and mark it as used."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: tuple[str, str], states: NDArray[np.float16]) -> None:
        """Hold states under a key, in the place of what was there."""
        with self._lock:
            before = self._held.pop(key, None)
            self.size_bytes -= 0 if before is None else before.nbytes
            if states.nbytes > self._max_bytes:
                return
            self._held[key] = states
            self.size_bytes += states.nbytes
            while self.size_bytes > self._max_bytes:
                _, dropped = self._held.popitem(last=False)
                self.size_bytes -= dropped.nbytes


class MaxSimReranker:
    """The reranker ``maxsim``. Safe between threads.

    :param encoder: Gives token states: the encoder of the search, whose local kinds have them.
    :param max_context_characters: As in :class:`retrieval.config.RetrievalConfig`: the passages are read as the search
        reads them, title and headings first.
    :param cache_bytes: What the states of passages may take in memory, >= 0.
    :param trust: How much its standardised score counts beside the first stage's, in ``[0, 1]``.
    """

    name = "maxsim"
    is_calibrated = False

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        max_context_characters: int,
        cache_bytes: int = CACHE_BYTES,
        trust: float = TRUST,
    ) -> None:
        self.trust = trust
        self._encoder = encoder
        self._limit = max_context_characters
        self.cache = StateCache(cache_bytes)

    def with_trust(self, trust: float) -> MaxSimReranker:
        """Return the same reranker, with the same cache, whose scores count otherwise."""
        other = copy.copy(self)
        other.trust = trust
        return other

    def scores(self, query: Query, evidence: Sequence[Evidence]) -> list[float]:
        """Return the mean best cosine of the question's words with those of each passage, in ``[-1, 1]``.

        :param query: Its words are compared; a picture is not.
        :param evidence: Candidates.
        :returns: One score a candidate; 0 for a passage or a question without words.
        """
        if not query.text.strip() or not evidence:
            return [0.0] * len(evidence)
        (asked,) = self._encoder.token_states([query.text], as_queries=True)
        question_QD = _unit(asked.states[_content(asked)])
        return [max_similarity(question_QD, states_TD) for states_TD in self._passages(evidence)]

    def _passages(self, evidence: Sequence[Evidence]) -> list[_Array]:
        keys = [(self._encoder.fingerprint, item.chunk.chunk_id) for item in evidence]
        held = [self.cache.get(key) for key in keys]
        missing = [place for place, states in enumerate(held) if states is None]
        texts = [
            searchable_text(
                evidence[place].chunk,
                title=evidence[place].document.title,
                max_context_characters=self._limit,
            )
            for place in missing
        ]
        for place, found in zip(missing, self._encoder.token_states(texts) if texts else [], strict=True):
            states = _unit(found.states).astype(np.float16)
            self.cache.put(keys[place], states)
            held[place] = states
        return [states.astype(np.float32) for states in held if states is not None]


def max_similarity(question_QD: _Array, passage_TD: _Array) -> float:
    """Return the mean over the question's tokens of the largest inner product with a token of the passage.

    :param question_QD: Unit states. *Shape:* ``(Q, D)``.
    :param passage_TD: Unit states. *Shape:* ``(T, D)``.
    :returns: In ``[-1, 1]`` up to rounding; 0 where either has no token.
    """
    if not len(question_QD) or not len(passage_TD):
        return 0.0
    return float((question_QD @ passage_TD.T).max(axis=1).mean())


def naive_max_similarity(question: Sequence[Sequence[float]], passage: Sequence[Sequence[float]]) -> float:
    """Return what :func:`max_similarity` does, number by number: its reference in the tests."""
    if not question or not passage:
        return 0.0
    best = [max(sum(a * b for a, b in zip(asked, said, strict=True)) for said in passage) for asked in question]
    return sum(best) / len(best)


def _content(asked: TokenStates) -> NDArray[np.bool_]:
    """Tell which tokens of a question carry matter; where none does, all do. *Shape:* ``(Q,)``."""
    kept_Q = np.array([token.strip(_WORD_MARKS).casefold() not in STOP_TOKENS for token in asked.tokens], dtype=bool)
    return kept_Q if kept_Q.any() else np.ones(len(asked.tokens), dtype=bool)


def _unit(states_TD: _Array) -> _Array:
    norms_T1 = np.linalg.norm(states_TD, axis=1, keepdims=True)
    unit_TD: _Array = states_TD / np.maximum(norms_T1, np.float32(1e-9))
    return unit_TD

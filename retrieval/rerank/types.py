"""The port of rerankers, and what they need of models that live in higher layers.

Layer: ``retrieval``; imports ``retrieval.types`` and NumPy's type names.

Shape suffixes: T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Evidence, Query

__all__ = ["Arranger", "ChatModel", "Reranker", "TokenEncoder", "TokenStates", "YesNoModel", "YesNoQuestion"]


@runtime_checkable
class Reranker(Protocol):
    """Scores each candidate by itself against a query. Holds no request state, so one instance serves all threads."""

    name: str
    is_calibrated: bool
    """Whether a score is in ``[0, 1]`` and means how probable it is that the evidence is relevant."""
    trust: float
    """How much its standardised score counts beside the first stage's, in ``[0, 1]``; at 1 it replaces it."""

    def scores(self, query: Query, evidence: Sequence[Evidence]) -> list[float]:
        """Return one finite score a candidate, in their order; higher is better."""
        ...


@runtime_checkable
class Arranger(Protocol):
    """Orders candidates as a list, where what one is worth depends on the others. Holds no request state."""

    name: str

    def arrange(self, query: Query, evidence: Sequence[Evidence], base: Sequence[float]) -> list[tuple[int, float]]:
        """Return each candidate's place in ``evidence`` once, in the new order, with what spoke for it there.

        ``base`` are the standard scores so far, one a candidate, higher is better; ``evidence`` is in their order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStates:
    """A text's tokens and their states, special tokens left out.

    ``tokens`` are the tokens as the tokenizer writes them, ``states`` the last layer's states, not normalised.
    *Shape:* ``(T, D)``, float32; ``T`` is 0 for a text without words.
    """

    tokens: tuple[str, ...]
    states: NDArray[np.float32]


@runtime_checkable
class TokenEncoder(Protocol):
    """A text encoder that also hands out what it pools."""

    fingerprint: str

    def token_states(self, texts: Sequence[str], *, as_queries: bool = False) -> list[TokenStates]:
        """Return each text's token states, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNoQuestion:
    """A question to be answered by yes or no, with a picture (the bytes of an image file) where it is about one."""

    text: str
    image: bytes | None = field(default=None, repr=False)


@runtime_checkable
class YesNoModel(Protocol):
    """A language model, with or without eyes, that tells how sure it is of "yes". Holds no request state."""

    name: str
    sees_pictures: bool

    def yes_probabilities(self, questions: Sequence[YesNoQuestion]) -> list[float]:
        """Return ``P(yes) / (P(yes) + P(no))`` of the reply's first token for each question, in ``[0, 1]``."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """A language model that writes a reply to one message. Holds no request state."""

    name: str
    context_tokens: int

    def count_tokens(self, text: str) -> int:
        """Count ``text`` in the model's own tokens."""
        ...

    def reply(self, prompt: str, *, max_new_tokens: int) -> str:
        """Return the reply, greedily decoded."""
        ...

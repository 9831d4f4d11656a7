"""Adapt language models to the ports of :mod:`retrieval.rerank.types`.

Layer: ``generation``; torch comes with the model that is handed in.
Source: reading a verdict off the next token's probabilities instead of off text is Nogueira et al. 2020
(arXiv:2003.06713) for rankers and RagVL (arXiv:2407.21439) for pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from generation.types import LanguageModel, Message
from retrieval.rerank.types import YesNoQuestion

__all__ = ["LogitsJudge", "LogitsModel", "ReplyingModel", "is_word", "share_of_yes", "word_tokens"]

YES, NO = "yes", "no"
_WORD_MARKS = "\u0120\u2581"
UNDECIDED = 0.5
"""The score where neither word is among the likeliest tokens: the model says nothing either way."""


class LogitsModel(Protocol):
    """A language model that shows the logits of the reply's first token."""

    name: str

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, as transformers has them."""
        ...

    def next_logits(self, messages: Sequence[Message]) -> Any:
        """Return logits, a float32 tensor on the CPU. *Shape:* ``(V,)``."""
        ...


class ReplyingModel:
    """A language model that replies to one message at once: satisfies :class:`retrieval.rerank.types.ChatModel`.

    :param model: Writes.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.name = model.name
        self.context_tokens = model.context_tokens

    def count_tokens(self, text: str) -> int:
        """Count ``text`` in the model's own tokens."""
        return self._model.count_tokens(text)

    def reply(self, prompt: str, *, max_new_tokens: int) -> str:
        """Return the whole reply.

        :param prompt: The message.
        :param max_new_tokens: The most tokens to write.
        :returns: The text.
        :raises GenerationError: If the prompt does not fit, or the model fails.
        """
        return "".join(self._model.stream([Message(role="user", content=prompt)], max_new_tokens=max_new_tokens))


class LogitsJudge:
    """A text model of this process that tells how sure it is of "yes". Safe between threads.

    :param model: Shows its logits.
    """

    sees_pictures = False

    def __init__(self, model: LogitsModel) -> None:
        self.name = model.name
        self._model = model
        self._words: tuple[list[int], list[int]] | None = None

    def yes_probabilities(self, questions: Sequence[YesNoQuestion]) -> list[float]:
        """Return ``P(yes) / (P(yes) + P(no))`` of the reply's first token for each question.

        :param questions: The questions; pictures are not seen.
        :returns: In ``[0, 1]``.
        :raises GenerationError: If a question does not fit the model's context.
        :raises ModelError: If the tokenizer has no token for yes or no.
        """
        if self._words is None:
            self._words = word_tokens(self._model.tokenizer)
        return [
            share_of_yes(self._model.next_logits([Message(role="user", content=question.text)]), self._words)
            for question in questions
        ]


def word_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Find the tokens that begin a reply of yes or of no, in any case, with or without a space before.

    :param tokenizer: As transformers has them.
    :returns: Token ids of yes, and of no.
    :raises ModelError: If there is none of either.
    """
    from kg.errors import ModelError

    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    found = tuple(sorted(number for token, number in vocabulary.items() if is_word(token, word)) for word in (YES, NO))
    if not all(found):
        raise ModelError(
            "the judge's tokenizer has no token of its own for yes or for no, so its probabilities cannot be read. "
            "Choose another model for rerank.judge."
        )
    return found[0], found[1]


def is_word(token: str, word: str) -> bool:
    """Tell whether a token is a word, whatever its case and the mark of a space before it."""
    return token.strip(_WORD_MARKS + " \t\n\"'.,!*").casefold() == word


def share_of_yes(logits: Any, words: tuple[Sequence[int], Sequence[int]]) -> float:
    """Return ``P(yes) / (P(yes) + P(no))``, where each word's probability is the sum over its tokens.

    :param logits: A tensor. *Shape:* ``(V,)``.
    :param words: Token ids of yes, and of no.
    :returns: In ``[0, 1]``.
    """
    yes, no = (_log_sum([float(logits[number]) for number in numbers]) for numbers in words)
    return 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))


def _log_sum(values: Iterable[float]) -> float:
    listed = list(values)
    highest = max(listed)
    return highest + math.log(sum(math.exp(value - highest) for value in listed))

"""Give retrieval the language models that may rewrite and take apart its questions.

Layer: ``api``; part of :mod:`api.wiring`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kg.errors import InputError

if TYPE_CHECKING:  # named in signatures only; what uses them loads them
    from generation.types import LanguageModel
    from retrieval.understanding.ports import QuestionModel

__all__ = ["QUESTION_MODELS", "question_model"]

QUESTION_MODELS = ("lm", "moe", "openai")
"""The generators that can be asked about a question."""


class _Models(Protocol):
    def language_model(self, generator: str) -> LanguageModel: ...


def question_model(models: _Models, name: str) -> QuestionModel:
    """Return what rewrites questions with the language model of a name.

    :param models: Makes language models.
    :param name: One of :data:`QUESTION_MODELS`.
    :returns: The rewriter.
    :raises InputError: If there is no such model.
    :raises ModelMissingError: If it is not in the cache.
    :raises ConfigError: If its server is not configured.
    """
    if name not in QUESTION_MODELS:
        known = ", ".join(("auto", "off", "rules", *QUESTION_MODELS))
        raise InputError(f"There is no rewriter of questions {name!r}; known are {known}.")
    from generation.questions import LanguageQuestionModel

    return LanguageQuestionModel(models.language_model(name))

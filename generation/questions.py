"""Let a language model complete a question by its conversation, or take it apart.

Layer: ``generation``; implements :class:`retrieval.understanding.ports.QuestionModel`. What a model writes is used only
where it is a question of a sensible length; else the question stays as it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from generation.prompting import render_template
from generation.types import LanguageModel, Message

__all__ = ["LanguageQuestionModel"]

_MAX_NEW_TOKENS = 128
_MAX_PARTS = 4
_MAX_CHARACTERS = 500
_LABEL = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.):])?\s*(?:(?:rewritten |last |sub-?)?question(?: \d+)?\s*:)?\s*", re.I)


class LanguageQuestionModel:
    """Rewrites questions with a language model; holds no request state.

    :param model: The language model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.name = model.name

    def rewrite(self, question: str, history: Sequence[str]) -> str:
        """Complete a question by the turns before it.

        :param question: The question.
        :param history: Earlier turns, oldest first; the oldest are left out where the model's window is too short.
        :returns: The completed question; the question itself where the model wrote nothing usable.
        :raises GenerationError: If the model fails.
        """
        turns = list(history)
        while turns and self._is_too_long(self._rewriting(question, turns)):
            turns = turns[1:]
        written = self._written(self._rewriting(question, turns)) if turns else []
        return written[0] if written else question

    def take_apart(self, question: str) -> list[str]:
        """Return the questions that must be answered first.

        :param question: The question.
        :returns: Questions in order, each once; none where the model wrote nothing usable.
        :raises GenerationError: If the model fails.
        """
        prompt = render_template("decompose.jinja", {"question": question, "limit": _MAX_PARTS})
        if self._is_too_long(prompt):
            return []
        return list(dict.fromkeys(self._written(prompt)))[:_MAX_PARTS]

    @staticmethod
    def _rewriting(question: str, turns: Sequence[str]) -> str:
        return render_template("rewrite.jinja", {"question": question, "history": turns})

    def _is_too_long(self, prompt: str) -> bool:
        return self._model.count_tokens(prompt) + 2 * _MAX_NEW_TOKENS > self._model.context_tokens

    def _written(self, prompt: str) -> list[str]:
        """Return the lines of the model's reply that are questions."""
        pieces = self._model.stream([Message(role="user", content=prompt)], max_new_tokens=_MAX_NEW_TOKENS)
        lines = [_LABEL.sub("", line).strip().strip('"') for line in "".join(pieces).splitlines()]
        return [line for line in lines if line.endswith("?") and 3 < len(line) <= _MAX_CHARACTERS]

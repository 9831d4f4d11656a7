"""What a language model may do for a question: complete it by the conversation, take it apart.

Layer: ``retrieval``; the standard library only. ``generation.questions`` implements it; ``api`` wires it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

__all__ = ["QuestionModel", "QuestionModels"]


@runtime_checkable
class QuestionModel(Protocol):
    """A language model that rewrites questions. Holds no request state."""

    name: str

    def rewrite(self, question: str, history: Sequence[str]) -> str:
        """Return the question so that it can be understood without the earlier turns."""
        ...

    def take_apart(self, question: str) -> list[str]:
        """Return the questions that must be answered to answer this one; one or none where it asks for one thing."""
        ...


QuestionModels = Callable[[str], QuestionModel]
"""Returns the model of a name; raises ``InputError`` for a name that it does not know."""

"""Show a language model a window of numbered passages and let it write them in a better order.

Layer: ``retrieval``; the model comes through the port :class:`retrieval.rerank.types.ChatModel`.
Source: RankGPT (Sun et al., EMNLP 2023, arXiv:2304.09542): permutation generation, with a window that slides from the
worst candidates to the best, so that a good one can rise all the way. Window 20 and step 10 are theirs.

What the model writes is believed in nothing: numbers that it invents or repeats are dropped, and those that it forgets
follow in their old order, so no candidate is ever lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kg.errors import ConfigError
from retrieval.rerank.types import ChatModel
from retrieval.types import Evidence, Query

__all__ = ["ListwiseArranger", "repaired_permutation"]

_NUMBER = re.compile(r"\[(\d{1,4})\]")
_BARE_NUMBER = re.compile(r"(?<![\w.])(\d{1,4})(?![\w.])")
_TOKENS_PER_NUMBER = 6
"""What ``[12] > `` takes in most tokenizers."""
_LEAST_TOKENS = 24
"""A passage of which less can be shown is not worth showing: the window is made smaller instead."""
_BYTES_PER_TOKEN = 3


class ListwiseArranger:
    """The arranger ``listwise``. Safe between threads if its model is.

    :param model: Writes the order.
    :param window: How many passages it sees at once, >= 2.
    :param step: How far the window moves, in ``[1, window]``.
    :raises ConfigError: If a number is out of its range.
    """

    name = "listwise"

    def __init__(self, model: ChatModel, *, window: int = 20, step: int = 10) -> None:
        if window < 2 or not 1 <= step <= window:
            raise ConfigError(f"listwise: need window >= 2 and step from 1 to window, got {window} and {step}.")
        self._model = model
        self._window = window
        self._step = step

    def arrange(self, query: Query, evidence: Sequence[Evidence], base: Sequence[float]) -> list[tuple[int, float]]:
        """Return the places of the candidates in the order that the model wrote, with ``1 / rank`` as what was said.

        :param query: The question.
        :param evidence: Candidates, best first.
        :param base: Not used: the order that they come in is the first stage's word.
        :returns: Each place once.
        :raises GenerationError: If the model fails.
        """
        order = list(range(len(evidence)))
        window = self._fitting_window(query.text)
        step = min(self._step, window)
        start = max(0, len(order) - window)
        while len(order) > 1:
            shown = order[start : start + window]
            order[start : start + window] = self._sorted(query.text, evidence, shown)
            if start == 0:
                break
            start = max(0, start - step)
        return [(place, 1.0 / rank) for rank, place in enumerate(order, start=1)]

    def _fitting_window(self, question: str) -> int:
        """Return how many passages fit with a few lines each."""
        room = self._model.context_tokens - self._model.count_tokens(_prompt(question, []))
        return max(2, min(self._window, room // (_LEAST_TOKENS + 2 * _TOKENS_PER_NUMBER)))

    def _sorted(self, question: str, evidence: Sequence[Evidence], shown: Sequence[int]) -> list[int]:
        n_reply = _TOKENS_PER_NUMBER * len(shown) + 8
        room = self._model.context_tokens - n_reply - self._model.count_tokens(_prompt(question, []))
        n_each = max(_LEAST_TOKENS, room // len(shown) - 2 * _TOKENS_PER_NUMBER)
        passages = [_said(evidence[place])[: n_each * _BYTES_PER_TOKEN] for place in shown]
        reply = self._model.reply(_prompt(question, passages), max_new_tokens=n_reply)
        return [shown[number] for number in repaired_permutation(reply, len(shown))]


def repaired_permutation(reply: str, n: int) -> list[int]:
    """Read an order of ``n`` passages from what a model wrote.

    :param reply: Such as ``[2] > [1] > [3]``; numbers count from 1. Without brackets bare numbers are read.
    :param n: How many passages there are.
    :returns: Each of ``0 … n - 1`` once: those named, as first named, then the rest in their order.
    """
    written = _NUMBER.findall(reply) or _BARE_NUMBER.findall(reply)
    named = dict.fromkeys(int(number) - 1 for number in written if 1 <= int(number) <= n)
    return [*named, *(number for number in range(n) if number not in named)]


def _said(item: Evidence) -> str:
    return " ".join(f"{item.document.title} {item.chunk.text}".split())


def _prompt(question: str, passages: Sequence[str]) -> str:
    listed = "\n".join(f"[{number}] {passage}" for number, passage in enumerate(passages, start=1))
    return (
        f"Here are {len(passages)} passages, each with a number in brackets.\n\n{listed}\n\n"
        f"Rank them by how well they help to answer this question: {question}\n"
        "Write all the numbers, the most helpful first, in the form [2] > [1] > [3], and nothing else."
    )

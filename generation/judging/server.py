"""A judge behind any server that speaks the OpenAI chat protocol and sends the probabilities of its tokens.

Layer: ``generation``; httpx and tenacity come with :mod:`kg.servers.client`.
Source: OpenAI's chat completions reference (``logprobs``, ``top_logprobs`` up to 20). vLLM and llama.cpp send them too.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Unpack

from generation.judging.replies import NO, UNDECIDED, YES, is_word
from kg.errors import ConfigError, GenerationError, ServerError
from kg.servers.accounting import Budget, Ledger, Usage
from kg.servers.client import CallOptions, ServerClient
from retrieval.rerank.types import YesNoQuestion

__all__ = ["ServerJudge"]

_TOP_LOGPROBS = 20
_MAGIC = ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))


class ServerJudge:
    """Satisfies :class:`retrieval.rerank.types.YesNoModel`. Safe between threads; calls run at once up to a limit.

    :param base_url: Address up to and without ``/chat/completions``.
    :param model: Name of the model on that server.
    :param sees_pictures: Whether it takes pictures.
    :param settings: The section of settings that a person would correct, for messages.
    :param api_key: Sent as a bearer token; never shown. Empty sends none.
    :param budget: Prices and limits.
    :param **options: See :class:`kg.servers.client.CallOptions`.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        sees_pictures: bool,
        settings: str,
        api_key: str = "",
        budget: Budget | None = None,
        **options: Unpack[CallOptions],
    ) -> None:
        if not model:
            raise ConfigError("model is empty: name the model that the server offers.")
        self.name = f"openai:{model}"
        self.sees_pictures = sees_pictures
        self._model = model
        self._ledger = Ledger(budget or Budget())
        self._client = ServerClient(
            base_url, "/chat/completions", ledger=self._ledger, settings=settings, api_key=api_key, **options
        )

    @property
    def usage(self) -> Usage:
        """What all calls so far took."""
        return self._ledger.total

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def yes_probabilities(self, questions: Sequence[YesNoQuestion]) -> list[float]:
        """Return ``P(yes) / (P(yes) + P(no))`` of the reply's first token; .5 where neither is among the likeliest 20.

        :param questions: The questions.
        :returns: In ``[0, 1]``, in order.
        :raises GenerationError: If the server fails, sends no probabilities, or the budget is used up.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        """
        if not questions:
            return []
        with ThreadPoolExecutor(max_workers=min(self._client.concurrency, len(questions))) as pool:
            return list(pool.map(self._one, questions))

    def _one(self, question: YesNoQuestion) -> float:
        content: Any = question.text
        if question.image is not None and self.sees_pictures:
            content = [
                {"type": "image_url", "image_url": {"url": _data_uri(question.image)}},
                {"type": "text", "text": question.text},
            ]
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": _TOP_LOGPROBS,
        }
        with self._client.slot():
            spent = self._ledger.exhausted()
            if spent is not None:
                raise GenerationError(f"{self.name}: {spent.text}. Raise {spent.limit}, or use another reranker.")
            try:
                reply, n_retries = self._client.post(body)
            except ServerError as error:
                raise GenerationError(str(error)) from error
            counted = reply.get("usage") or {}
            self._ledger.add(
                Usage(
                    n_calls=1,
                    n_retries=n_retries,
                    prompt_tokens=int(counted.get("prompt_tokens") or 0),
                    completion_tokens=int(counted.get("completion_tokens") or 0),
                )
            )
        return self._share(reply)

    def _share(self, reply: dict[str, Any]) -> float:
        try:
            first = reply["choices"][0]["logprobs"]["content"][0]
            tops = [(str(top["token"]), float(top["logprob"])) for top in first["top_logprobs"]]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise GenerationError(
                f"{self._client.url} sent no probabilities of tokens (logprobs), which a judge is read by: "
                f"{str(reply)[:200]!r}. Use a server that sends them."
            ) from error
        yes, no = (sum(math.exp(value) for token, value in tops if is_word(token, word)) for word in (YES, NO))
        return yes / (yes + no) if yes + no > 0.0 else UNDECIDED


def _data_uri(data: bytes) -> str:
    kind = next((name for magic, name in _MAGIC if data.startswith(magic)), "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

"""A language model behind any server that speaks the OpenAI chat protocol: vLLM, llama.cpp, Ollama, a paid service.

Layer: ``generation``; httpx comes with ``kg.servers.client``, whose client does not stream.
Source: OpenAI's chat completions reference (``stream``) and the server-sent events of the HTML standard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from generation.models.streaming import clean_stream
from generation.types import Message
from kg.errors import ConfigError, GenerationError, InputError
from kg.servers.client import server_message, server_url

__all__ = ["OpenAiLanguageModel"]

_RETRIED_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_BYTES_PER_TOKEN = 3  # English has about 4 UTF-8 bytes a token, Chinese 3: rather count too many


class OpenAiLanguageModel:
    """Chats with a server. Holds no request state; httpx's client is safe for threads.

    :param base_url: Address up to and without ``/chat/completions``, e.g. ``http://127.0.0.1:8000/v1``.
    :param model: Name of the model on that server.
    :param api_key: Sent as a bearer token; never shown in an error. ``None`` sends none.
    :param context_tokens: Tokens that prompt and reply may have together; servers do not tell.
    :param timeout_s: The longest to wait for the connection, and between two pieces of a reply.
    :param max_retries: How often a call is repeated after 408, 409, 429, a 5xx or a refused connection; never once text
        has arrived.
    :param backoff_s: Wait before the first repetition; it doubles each time. A ``Retry-After`` of the server overrules
        it. Both are capped at 30 s.
    :param token_counter: Counts the tokens of a text. ``None`` estimates one per 3 UTF-8 bytes, on the safe side.
    :param proxy: Address of an HTTP proxy. The environment is not asked.
    :param sleep: Waits for a number of seconds.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        context_tokens: int = 8192,
        timeout_s: float = 60.0,
        max_retries: int = 3,
        backoff_s: float = 0.5,
        token_counter: Callable[[str], int] | None = None,
        proxy: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        url = server_url(base_url, "/chat/completions")
        if not model:
            raise ConfigError("model is empty: name the model that the server offers.")
        if context_tokens < 1 or max_retries < 0 or timeout_s <= 0 or backoff_s < 0:
            raise ConfigError(
                f"context_tokens={context_tokens} and timeout_s={timeout_s} must be positive, "
                f"max_retries={max_retries} and backoff_s={backoff_s} not negative."
            )
        self.name = model
        self.context_tokens = context_tokens
        self._url = url
        self._max_retries = max_retries
        self._backoff_s = backoff_s
        self._count = token_counter
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers, proxy=proxy, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def count_tokens(self, text: str) -> int:
        """Count or, without a counter, estimate the tokens of ``text``."""
        if self._count is not None:
            return self._count(text)
        return -(-len(text.encode()) // _BYTES_PER_TOKEN)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        response_format: Mapping[str, Any] | None = None,
    ) -> Iterator[str]:
        """Yield the reply piece by piece, at temperature 0, without ``<think>`` parts.

        :param messages: The chat, oldest first.
        :param max_new_tokens: The most tokens to write, at least 1.
        :param stop: Strings that end the reply; they are not part of it.
        :param response_format: The form of the reply, as OpenAI's ``response_format`` has it.
        :returns: An iterator of non-empty pieces; the request starts when the first is asked for.
        :raises InputError: If ``max_new_tokens`` is below 1 or there is no message.
        :raises ConfigError: While iterating, if the server refuses the key, the address or the model's name.
        :raises GenerationError: While iterating, if the server fails, times out or breaks off.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        if not messages:
            raise InputError("a language model needs at least one message, got none.")
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_new_tokens,
            "temperature": 0,
            "stream": True,
        }
        if response_format is not None:
            body["response_format"] = dict(response_format)
        # Stop strings are applied here: a server would also apply them to thinking.
        return clean_stream(self._pieces(body), stop=stop)

    def _pieces(self, body: dict[str, Any]) -> Iterator[str]:
        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            wait_s = self._backoff_s * 2**attempt
            started = False
            try:
                with self._client.stream("POST", self._url, json=body) as response:
                    if response.status_code in _RETRIED_STATUS and not last:
                        wait_s = _retry_after_s(response) or wait_s
                    else:
                        self._check(response)
                        started = True
                        yield from self._read(response)
                        return
            except httpx.TransportError as error:
                if started or last or not isinstance(error, httpx.ConnectError):
                    raise GenerationError(
                        f"{self._url} {'broke off' if started else 'did not answer'} "
                        f"({type(error).__name__}: {error}). Is the server up, and is timeout_s long enough?"
                    ) from error
            self._sleep(min(wait_s, 30.0))

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        response.read()
        said = server_message(response, limit=500)
        if response.status_code in (401, 403):
            raise ConfigError(f"{self._url} refused the API key (HTTP {response.status_code}): {said}")
        if response.status_code == 404:
            raise ConfigError(f"{self._url} does not know this address or the model {self.name!r} (HTTP 404): {said}")
        if response.is_redirect:
            raise ConfigError(f"{self._url} redirects to {response.headers.get('location')!r}: use that as base_url.")
        raise GenerationError(f"{self._url} failed (HTTP {response.status_code}): {said}")

    def _read(self, response: httpx.Response) -> Iterator[str]:
        """Yield the text of a stream of server-sent events, and insist that it comes to its end."""
        finished = False
        for line in response.iter_lines():
            if not line.startswith("data:"):
                continue  # comments, event names, blank lines
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            text, is_last = self._event(data)
            finished = finished or is_last
            if text:
                yield text
        if not finished:
            raise GenerationError(f"{self._url} closed the connection in the middle of the reply.")

    def _event(self, data: str) -> tuple[str, bool]:
        try:
            event = json.loads(data)
            if "error" in event:
                raise GenerationError(f"{self._url} failed while writing: {event['error']}")
            choices = event["choices"]
            if not choices:  # the closing event with the usage
                return "", False
            text = choices[0].get("delta", {}).get("content") or ""
            return text, choices[0].get("finish_reason") is not None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GenerationError(f"{self._url} sent what is no chat completion: {data[:200]!r}") from error


def _retry_after_s(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None

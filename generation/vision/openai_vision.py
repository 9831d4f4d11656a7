"""A vision model behind any server that speaks the OpenAI chat protocol: vLLM, llama.cpp, Ollama, a paid service.

Layer: ``generation``; imports httpx and tenacity.
Source: OpenAI's chat completions reference (content parts of type ``image_url``, ``finish_reason``, ``usage``). Waits
are exponential with full jitter, as tenacity documents them, unless the server's ``Retry-After`` is longer.

A picture is one call. Calls run at once up to a limit that all threads share; a call that fails takes only its own
picture with it. What every call took is added up, and no call begins once the budget is used up.
"""

from __future__ import annotations

import base64
import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from PIL import Image
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from generation.vision.accounting import Budget, Ledger, Usage
from generation.vision.prompts import caption_prompt
from generation.vision.replies import caption_of_reply
from kg.captioning.pixels import decode_picture
from kg.errors import CaptionerBusyError, CaptionError, ConfigError
from kg.ports import CaptionRequest
from kg.types import Caption

__all__ = ["Described", "OpenAiCaptioner"]

_log = logging.getLogger(__name__)
_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED_STATUS = frozenset({401, 403, 404})
_PIXELS_PER_TOKEN = 28 * 28
_BYTES_PER_TOKEN = 3  # English has about 4 UTF-8 bytes a token, Chinese 3: rather count too many
_MAX_PNG_BYTES = 1_000_000
"""A picture that is larger as PNG is a photograph or a scan: it is sent as JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What became of one picture: its caption, if there is one, and what the call took."""

    caption: Caption | None
    usage: Usage


class _PictureError(CaptionError):
    """A failure of one picture, which says nothing of the next."""


class _TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class OpenAiCaptioner:
    """Describes pictures with a model behind a server; satisfies :class:`kg.ports.Captioner`. Safe between threads.

    :param base_url: Address up to and without ``/chat/completions``, e.g. ``http://127.0.0.1:8000/v1``.
    :param model: Name of the model on that server.
    :param api_key: Sent as a bearer token; never shown in an error or a log. Empty sends none.
    :param budget: Prices and limits.
    :param timeout_s: The longest to wait for the connection, and for the next bytes of a reply.
    :param concurrency: The most calls at once, over all threads, >= 1.
    :param max_attempts: How often a call is made in all: 408, 409, 425, 429, 5xx, time-outs and broken connections are
        tried again, other refusals are not.
    :param backoff_s: The longest wait before the second attempt; it doubles each time.
    :param max_wait_s: The longest wait before any attempt, whatever the server's ``Retry-After`` asks for.
    :param max_new_tokens: The most tokens of a description, >= 1.
    :param max_pixels: Larger pictures are scaled down to this many pixels. 1,003,520 is 1,280 of the 28 × 28 pixel
        patches that Qwen-VL counts as a token.
    :param proxy: Address of an HTTP proxy. The environment is not asked.
    :param sleep: Waits for a number of seconds.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        budget: Budget | None = None,
        timeout_s: float = 60.0,
        concurrency: int = 4,
        max_attempts: int = 5,
        backoff_s: float = 1.0,
        max_wait_s: float = 60.0,
        max_new_tokens: int = 512,
        max_pixels: int = 1_003_520,
        proxy: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"base_url must look like http://host:port/v1, got {base_url!r}.")
        if not model:
            raise ConfigError("model is empty: name the vision model that the server offers.")
        if min(concurrency, max_attempts, max_new_tokens) < 1 or timeout_s <= 0 or max_pixels < 28 * 28:
            raise ConfigError(
                f"concurrency={concurrency}, max_attempts={max_attempts} and max_new_tokens={max_new_tokens} must be "
                f"at least 1, timeout_s={timeout_s} positive and max_pixels={max_pixels} at least {28 * 28}."
            )
        self.name = f"openai:{model}"
        self._model = model
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._ledger = Ledger(budget or Budget())
        self._concurrency = concurrency
        self._slots = threading.BoundedSemaphore(concurrency)
        self._max_attempts = max_attempts
        self._wait = wait_random_exponential(multiplier=backoff_s, max=max_wait_s)
        self._max_wait_s = max_wait_s
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(timeout=timeout_s, headers=headers, proxy=proxy, trust_env=False, limits=limits)

    @property
    def usage(self) -> Usage:
        """What all calls so far took."""
        return self._ledger.total

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption | None]:
        """Describe each picture, in order.

        :param requests: Pictures with the document's words.
        :returns: One caption a request, of lines of source ``model``; ``None`` where the call failed (the log says
            why), the budget is used up, or the model said nothing that can be kept.
        :raises CaptionError: If the server failed at every picture, or the budget was used up before the first.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        """
        if not requests:
            return []
        with ThreadPoolExecutor(max_workers=min(self._concurrency, len(requests))) as pool:
            outcomes = list(pool.map(self._outcome, requests))
        total = self.usage
        _log.info(
            "%s: %d pictures so far, %d tokens in, %d out, %d repeated calls, %d failed, cost %.4f",
            self.name, total.n_calls, total.prompt_tokens, total.completion_tokens, total.n_retries, total.n_failed,
            total.cost,
        )  # fmt: skip
        failures = [outcome for outcome in outcomes if isinstance(outcome, CaptionError)]
        if len(failures) == len(outcomes):
            raise failures[-1]
        return [None if isinstance(outcome, CaptionError) else outcome for outcome in outcomes]

    def describe(self, request: CaptionRequest) -> Described:
        """Describe one picture and say what it took.

        :param request: The picture with the document's words.
        :returns: Its caption and the usage of this call.
        :raises CaptionError: If the picture cannot be decoded, the call failed, or the budget is used up.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        """
        image = self._picture(request)
        prompt = caption_prompt(request)
        body = {
            "model": self._model,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": _data_uri(image)}},
                        {"type": "text", "text": prompt},
                    ],
                }
            ],
            "max_tokens": self._max_new_tokens,
            "temperature": 0,
        }
        with self._slots:
            self._ledger.require_room(self.name)
            reply, n_retries = self._post(body)
            text, is_truncated = _read(reply, where=self._url)
            usage = self._ledger.add(_usage_of(reply, n_retries) or _estimate(image, prompt, text, n_retries))
        caption = caption_of_reply(request, text, self.name, is_truncated=is_truncated)
        return Described(caption=caption, usage=usage)

    def _outcome(self, request: CaptionRequest) -> Caption | None | CaptionError:
        try:
            return self.describe(request).caption
        except _PictureError as error:
            _log.warning("picture %s: %s", request.asset.asset_id, error)
            return None
        except CaptionError as error:
            _log.warning("picture %s: %s", request.asset.asset_id, error)
            return error

    def _picture(self, request: CaptionRequest) -> Image.Image:
        try:
            image = decode_picture(request.asset.data)
        except CaptionError as error:
            raise _PictureError(str(error)) from error
        factor = (self._max_pixels / (image.width * image.height)) ** 0.5
        if factor >= 1:
            return image
        size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    def _post(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Return the reply and the number of repetitions."""
        attempts = 0

        def attempt() -> dict[str, Any]:
            nonlocal attempts
            attempts += 1
            return self._post_once(body)

        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=stop_after_attempt(self._max_attempts),
            wait=self._wait_for,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(attempt), attempts - 1
        except _TryAgainError as error:
            self._ledger.add(Usage(n_failed=1, n_retries=attempts - 1))
            raise CaptionerBusyError(f"{self._url} failed {attempts} times, at last: {error}") from error
        except (CaptionError, ConfigError):
            self._ledger.add(Usage(n_failed=1, n_retries=attempts - 1))
            raise

    def _wait_for(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, _TryAgainError) else 0.0
        return min(self._max_wait_s, max(asked, float(self._wait(state))))

    def _post_once(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._client.post(self._url, json=body)
        except httpx.TimeoutException as error:
            raise _TryAgainError(f"no reply within the time-out ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise _TryAgainError(f"the connection failed ({type(error).__name__}: {error})") from error
        status = response.status_code
        if status in _RETRIED_STATUS:
            raise _TryAgainError(f"HTTP {status}: {_message(response)}", retry_after_s=_retry_after_s(response))
        if status in _REFUSED_STATUS:
            raise ConfigError(
                f"{self._url} refused the key, the address or the model {self._model!r} "
                f"(HTTP {status}: {_message(response)}). Check the settings of vision."
            )
        if status != httpx.codes.OK:
            raise _PictureError(f"{self._url} refused the picture (HTTP {status}: {_message(response)}).")
        try:
            reply = response.json()
        except ValueError as error:
            raise CaptionError(f"{self._url} sent what is no JSON: {response.text[:200]!r}") from error
        if not isinstance(reply, dict):
            raise CaptionError(f"{self._url} sent what is no chat completion: {response.text[:200]!r}")
        return reply


def _data_uri(image: Image.Image) -> str:
    kind, data = "png", _encoded(image, "PNG")
    if len(data) > _MAX_PNG_BYTES:
        kind, data = "jpeg", _encoded(image, "JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {"optimize": False}))
    return out.getvalue()


def _read(reply: dict[str, Any], *, where: str) -> tuple[str, bool]:
    """Return the text of a reply and whether it was cut off; a refusal that the server marks as one is no text."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        if isinstance(content, list):  # parts; those of another type are no answer
            content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
        finish = choice.get("finish_reason")
        is_refused = bool(message.get("refusal")) or finish == "content_filter"
        return "" if is_refused else str(content), finish == "length"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CaptionError(f"{where} sent what is no chat completion: {str(reply)[:200]!r}") from error


def _usage_of(reply: dict[str, Any], n_retries: int) -> Usage | None:
    """Read what the server counted; ``None`` where it did not."""
    given = reply.get("usage")
    if not isinstance(given, dict):
        return None
    counts = [given.get(key) for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return Usage(n_calls=1, n_retries=n_retries, prompt_tokens=prompt, completion_tokens=completion)


def _estimate(image: Image.Image, prompt: str, text: str, n_retries: int) -> Usage:
    """Estimate what the server did not count, so that a budget holds all the same."""
    return Usage(
        n_calls=1,
        n_retries=n_retries,
        prompt_tokens=image.width * image.height // _PIXELS_PER_TOKEN + len(prompt.encode()) // _BYTES_PER_TOKEN,
        completion_tokens=len(text.encode()) // _BYTES_PER_TOKEN,
        is_estimated=True,
    )


def _retry_after_s(response: httpx.Response) -> float:
    """Read ``Retry-After``: seconds or a date (RFC 9110, section 10.2.3); 0 where there is none."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo is not None else 0.0


def _message(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return response.text[:300] or "no message"

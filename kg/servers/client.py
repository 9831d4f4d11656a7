"""A client of servers that speak OpenAI's protocol: one POST at a time, tried again while that may help.

Layer: ``kg``; imports httpx and tenacity, so only adapters that call a server import it.
Source: RFC 9110, section 10.2.3 (``Retry-After``). Waits are exponential with full jitter, as tenacity documents them,
unless the server's ``Retry-After`` is longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from kg.errors import ConfigError, RequestRefusedError, ServerBusyError, ServerError
from kg.servers.accounting import Ledger, Usage

__all__ = ["CallOptions", "ServerClient", "server_message", "server_url"]

_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED_STATUS = frozenset({401, 403, 404})


class _TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class CallOptions(TypedDict, total=False):
    """How calls are made: what every adapter of a server takes and hands on to :class:`ServerClient`.

    - ``timeout_s``: the longest to wait for the connection, and for the next bytes of a reply; 60 by default
    - ``concurrency``: the most calls at once, over all threads, >= 1; 4 by default; see :meth:`ServerClient.slot`
    - ``max_attempts``: how often a call is made in all, 5 by default: 408, 409, 425, 429, 5xx, time-outs and broken
      connections are tried again, other refusals are not
    - ``backoff_s``: the longest wait before the second attempt, 1 by default; it doubles each time
    - ``max_wait_s``: the longest wait before any attempt, 60 by default, whatever the server's ``Retry-After`` asks for
    - ``proxy``: address of an HTTP proxy; the environment is not asked
    - ``sleep``: waits for a number of seconds
    """

    timeout_s: float
    concurrency: int
    max_attempts: int
    backoff_s: float
    max_wait_s: float
    proxy: str | None
    sleep: Callable[[float], None]


class ServerClient:
    """Posts JSON to one address of a server. Safe between threads.

    :param base_url: The server's address up to and without ``path``, e.g. ``http://127.0.0.1:8000/v1``.
    :param path: The rest of the address, e.g. ``/chat/completions``.
    :param ledger: Where calls that failed are written down; the caller adds those that did not.
    :param settings: The section of settings that a person would correct, for messages.
    :param api_key: Sent as a bearer token; never shown in an error or a log. Empty sends none.
    :param **options: See :class:`CallOptions`.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        *,
        ledger: Ledger,
        settings: str,
        api_key: str = "",
        **options: Unpack[CallOptions],
    ) -> None:
        self.url = server_url(base_url, path)
        self.concurrency = concurrency = options.get("concurrency", 4)
        timeout_s, max_attempts = options.get("timeout_s", 60.0), options.get("max_attempts", 5)
        max_wait_s = options.get("max_wait_s", 60.0)
        if min(concurrency, max_attempts) < 1 or timeout_s <= 0:
            raise ConfigError(
                f"concurrency={concurrency} and max_attempts={max_attempts} must be at least 1, timeout_s={timeout_s} "
                "positive."
            )
        self._ledger = ledger
        self._settings = settings
        self._slots = threading.BoundedSemaphore(concurrency)
        self._max_attempts = max_attempts
        self._wait = wait_random_exponential(multiplier=options.get("backoff_s", 1.0), max=max_wait_s)
        self._max_wait_s = max_wait_s
        self._sleep = options.get("sleep", time.sleep)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        proxy = options.get("proxy")
        self._client = httpx.Client(timeout=timeout_s, headers=headers, proxy=proxy, trust_env=False, limits=limits)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until one of the ``concurrency`` calls may be made, and hold its place while the block runs.

        :yields: Nothing.
        """
        with self._slots:
            yield

    def post(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Send one request and return the reply.

        :param body: The request.
        :returns: The reply, a JSON object, and how often the call was repeated.
        :raises ServerBusyError: If it failed at every attempt in a way that may pass.
        :raises RequestRefusedError: If the server refuses this request.
        :raises ConfigError: If the server refuses the key, the address or the model's name.
        :raises ServerError: If the reply is no JSON object.
        """
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
            raise ServerBusyError(f"{self.url} failed {attempts} times, at last: {error}") from error
        except (ServerError, ConfigError):
            self._ledger.add(Usage(n_failed=1, n_retries=attempts - 1))
            raise

    def _wait_for(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, _TryAgainError) else 0.0
        return min(self._max_wait_s, max(asked, float(self._wait(state))))

    def _post_once(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._client.post(self.url, json=body)
        except httpx.TimeoutException as error:
            raise _TryAgainError(f"no reply within the time-out ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise _TryAgainError(f"the connection failed ({type(error).__name__}: {error})") from error
        status = response.status_code
        if status in _RETRIED_STATUS:
            raise _TryAgainError(f"HTTP {status}: {server_message(response)}", retry_after_s=_retry_after_s(response))
        if status in _REFUSED_STATUS:
            raise ConfigError(
                f"{self.url} refused the key, the address or the model {body.get('model')!r} "
                f"(HTTP {status}: {server_message(response)}). Check the settings of {self._settings}."
            )
        if status != httpx.codes.OK:
            raise RequestRefusedError(f"{self.url} refused the request (HTTP {status}: {server_message(response)}).")
        try:
            reply = response.json()
        except ValueError as error:
            raise ServerError(f"{self.url} sent what is no JSON: {response.text[:200]!r}") from error
        if not isinstance(reply, dict):
            raise ServerError(f"{self.url} sent what is no JSON object: {response.text[:200]!r}")
        return reply


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


def server_message(response: httpx.Response, *, limit: int = 300) -> str:
    """Return what a server says of a failure, at most ``limit`` characters of it.

    :param response: The reply, which was read.
    :param limit: The most characters.
    :returns: The message of OpenAI's error object, else the text.
    """
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:limit]
    except (ValueError, KeyError, TypeError):
        return response.text[:limit] or "no message"


def server_url(base_url: str, path: str) -> str:
    """Put an address together.

    :param base_url: The server's address, e.g. ``http://127.0.0.1:8000/v1``.
    :param path: The rest, e.g. ``/chat/completions``.
    :returns: Both.
    :raises ConfigError: If ``base_url`` is no address of the web.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"base_url must look like http://host:port/v1, got {base_url!r}.")
    return f"{base_url.rstrip('/')}{path}"

"""Texts to unit vectors by a server that speaks OpenAI's protocol: OpenAI, vLLM, TEI, llama.cpp, Ollama.

Layer: ``retrieval``; httpx and tenacity come with ``kg.servers.client``.
Source: OpenAI's embeddings reference (``input``, ``dimensions``, ``data[].index``, ``usage``).

Texts go out in batches that are bounded by number and by tokens, several at once up to a limit that all threads share.
What the server sends is believed in nothing: the number of vectors, their order, width and values are checked.

Shape suffixes: N texts, B texts in a batch, D vector width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigError, EncoderBusyError, EncoderError, ServerBusyError, ServerError
from kg.ports import Tokenizer
from kg.servers.accounting import Budget, Ledger, Usage
from kg.servers.client import CallOptions, ServerClient
from kg.types import Span
from retrieval.encoders.texts import require_texts, without_surrogates

__all__ = ["ServerTextEncoder"]

_log = logging.getLogger(__name__)
_EMPTY = "."
"""What is sent for a text without a letter: servers refuse empty ones."""


class ServerTextEncoder:
    """A text encoder behind a server: satisfies ``retrieval.types.TextEncoder``. Safe between threads.

    :param base_url: Address up to and without ``/embeddings``, e.g. ``http://127.0.0.1:8000/v1``.
    :param model: Name of the model on that server.
    :param tokenizer: Counts tokens for chunks, batches and the length limit; the server's own may count a little
        differently.
    :param api_key: Sent as a bearer token; never shown in an error or a log. Empty sends none.
    :param dimensions: The width to ask for, of models that can be cut; 0 takes what comes.
    :param query_prompt: Put before each query.
    :param passage_prompt: Put before each passage.
    :param max_length: The most tokens that are sent of a text, prompt included, >= 1. 8,192 is the limit of OpenAI's
        models.
    :param batch_size: The most texts in a request, >= 1. OpenAI takes 2,048.
    :param batch_tokens: The most tokens in a request, >= 1; a text longer than that goes alone.
    :param budget: Prices and limits.
    :param **options: See :class:`kg.servers.client.CallOptions`.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        tokenizer: Tokenizer,
        api_key: str = "",
        dimensions: int = 0,
        query_prompt: str = "",
        passage_prompt: str = "",
        max_length: int = 8192,
        batch_size: int = 128,
        batch_tokens: int = 16_384,
        budget: Budget | None = None,
        **options: Unpack[CallOptions],
    ) -> None:
        if not model:
            raise ConfigError("model is empty: name the embedding model that the server offers.")
        self._n_prompt = {prompt: len(tokenizer.token_spans(prompt)) for prompt in (query_prompt, passage_prompt)}
        self._max_length = max_length
        self.max_tokens = max_length - max(self._n_prompt.values())
        """The longest text, counted by :meth:`token_spans`, that is sent to its end."""
        if min(self.max_tokens, batch_size, batch_tokens) < 1 or dimensions < 0:
            raise ConfigError(
                f"Text encoder openai:{model}: max_length={max_length} (less {max_length - self.max_tokens} tokens of "
                f"the prompt), batch_size={batch_size} and batch_tokens={batch_tokens} must be at least 1, "
                f"dimensions={dimensions} not negative."
            )
        self.name = f"openai:{model}"
        self.query_prompt, self.passage_prompt = query_prompt, passage_prompt
        self._model = model
        self._tokenizer = tokenizer
        self._dimensions = dimensions
        self._width = dimensions
        self._batch_size, self._batch_tokens = batch_size, batch_tokens
        self._ledger = Ledger(budget or Budget())
        self._lock = threading.Lock()
        self._client = ServerClient(
            base_url, "/embeddings", ledger=self._ledger, settings="encoder", api_key=api_key, **options
        )
        # Another address may hold another model of the same name, and nobody would notice vectors that do not match.
        parts = [self._client.url, model, dimensions, passage_prompt, max_length]
        self.fingerprint = "se_" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]

    @property
    def usage(self) -> Usage:
        """What all calls so far took."""
        return self._ledger.total

    @property
    def dimension(self) -> int:
        """Width of the vectors; the server is asked for one if nobody knows yet."""
        if not self._width:
            self.encode(["dimension"])
        return self._width

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def token_spans(self, text: str) -> list[Span]:
        """Return the character span of each token of ``text``, as the tokenizer that was given counts."""
        return self._tokenizer.token_spans(text)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per passage, in the order of the texts.

        :param texts: Any texts; what lies past the length limit of one is not sent.
        :returns: Unit rows. *Shape:* ``(N, D)``, float32, ``(0, D)`` for no texts.
        :raises InputError: If ``texts`` is one string.
        :raises EncoderBusyError: If the server fails at every attempt in a way that may pass.
        :raises EncoderError: If it refuses the texts, what it sends are no vectors for them, or the budget is spent.
        :raises ConfigError: If it refuses the key, the address or the model's name.
        """
        return self._encode(texts, self.passage_prompt)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per query, to be compared with those of passages; otherwise as :meth:`encode`."""
        return self._encode(texts, self.query_prompt)

    def _encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        require_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        batches = list(self._batches([self._prepared(text, prompt) for text in texts]))
        if len(batches) == 1:
            return self._vectors(*batches[0])
        pool = ThreadPoolExecutor(max_workers=min(self._client.concurrency, len(batches)), thread_name_prefix="embed")
        try:
            found = list(pool.map(lambda batch: self._vectors(*batch), batches))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure the batches that wait are not paid for
        total = self.usage
        _log.info(
            "%s: %d calls so far, %d tokens, %d repeated, %d failed, cost %.4f",
            self.name, total.n_calls, total.prompt_tokens, total.n_retries, total.n_failed, total.cost,
        )  # fmt: skip
        return np.concatenate(found)

    def _prepared(self, text: str, prompt: str) -> tuple[str, int]:
        """Return what is sent of a text, and about how many tokens that is."""
        clean = without_surrogates(text)
        spans = self._tokenizer.token_spans(clean)
        room = self._max_length - self._n_prompt[prompt]
        if len(spans) > room:
            clean = clean[: spans[room - 1].end]
        whole = prompt + clean
        return whole if whole.strip() else _EMPTY, self._n_prompt[prompt] + min(len(spans), room) + 1

    def _batches(self, texts: Sequence[tuple[str, int]]) -> Iterator[tuple[list[str], int]]:
        """Yield texts in order with their tokens, so that no batch but a single text passes a limit."""
        batch: list[str] = []
        n_tokens = 0
        for text, n in texts:
            if batch and (len(batch) == self._batch_size or n_tokens + n > self._batch_tokens):
                yield batch, n_tokens
                batch, n_tokens = [], 0
            batch.append(text)
            n_tokens += n
        yield batch, n_tokens

    def _vectors(self, texts: Sequence[str], n_tokens: int) -> NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._model, "input": list(texts)}
        if self._dimensions:
            body["dimensions"] = self._dimensions
        with self._client.slot():
            self._require_room()
            reply, n_retries = self._post(body)
            self._ledger.add(_usage_of(reply, n_tokens, n_retries))
        return self._checked(_read(reply, len(texts), where=self._client.url))

    def _require_room(self) -> None:
        spent = self._ledger.exhausted()
        if spent is not None:
            raise EncoderError(
                f"{self.name}: {spent.text} ({self.usage.n_calls} calls). What was stored stays: raise "
                f"encoder.{spent.limit} and run `mmkg reindex`. `--mode bm25` searches without vectors."
            )

    def _post(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        try:
            return self._client.post(body)
        except ServerBusyError as error:
            raise EncoderBusyError(
                f"{error}. Is the server up? `--mode bm25` and `--mode local` search without it; vectors that are "
                "missing are made by `mmkg reindex`."
            ) from error
        except ServerError as error:
            raise EncoderError(
                f"{error} See encoder.base_url and encoder.model; texts that are too long or too many for it are cut "
                "by encoder.max_length, encoder.batch_size and encoder.batch_tokens."
            ) from error

    def _checked(self, vectors_BD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit rows, of the width that all others have."""
        width = vectors_BD.shape[1]
        with self._lock:
            self._width = self._width or width
        if width != self._width:
            asked = "encoder.dimensions asks for" if self._dimensions else "the vectors before had"
            raise EncoderError(
                f"{self._client.url} sent vectors of {width} numbers, but {asked} {self._width}. Set "
                "encoder.dimensions to a width that the model has; if the model was changed, run `mmkg reindex`."
            )
        lengths_B1 = np.linalg.norm(vectors_BD.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths_B1).all() or not lengths_B1.all():
            row = int(np.flatnonzero(~np.isfinite(lengths_B1[:, 0]) | (lengths_B1[:, 0] == 0))[0])
            raise EncoderError(
                f"{self._client.url}: vector {row} of a reply is zero or not finite. The model overflows in the "
                "precision that the server runs it in, or is no embedding model."
            )
        unit_BD: NDArray[np.float32] = (vectors_BD / lengths_B1).astype(np.float32)
        return unit_BD


def _read(reply: dict[str, Any], n_texts: int, *, where: str) -> NDArray[np.float32]:
    """Return the vectors of a reply in the order of the texts. *Shape:* ``(B, D)``."""
    try:
        rows = {int(item["index"]): item["embedding"] for item in reply["data"]}
        if sorted(rows) != list(range(n_texts)) or len(reply["data"]) != n_texts:
            raise EncoderError(
                f"{where} sent {len(reply['data'])} vectors, numbered {sorted(rows)[:5]} and on, for {n_texts} texts. "
                "Is there another server at encoder.base_url?"
            )
        vectors_BD = np.array([rows[place] for place in range(n_texts)], dtype=np.float32)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EncoderError(
            f"{where} sent what are no embeddings: {str(reply)[:200]!r}. Is encoder.model an embedding model?"
        ) from error
    if vectors_BD.ndim != 2 or not vectors_BD.shape[1]:
        raise EncoderError(f"{where} sent vectors of shape {vectors_BD.shape}. Is encoder.model an embedding model?")
    return vectors_BD


def _usage_of(reply: dict[str, Any], n_tokens: int, n_retries: int) -> Usage:
    """Read what the server counted; where it did not, take our own count."""
    given = reply.get("usage")
    for key in ("prompt_tokens", "total_tokens"):
        count = given.get(key) if isinstance(given, dict) else None
        if isinstance(count, int) and count > 0:
            return Usage(n_calls=1, n_retries=n_retries, prompt_tokens=count)
    return Usage(n_calls=1, n_retries=n_retries, prompt_tokens=n_tokens, is_estimated=True)

"""Score answers with a model behind a server that speaks OpenAI's completions protocol.

Layer: ``generation``; httpx through ``kg.servers.client``. Servers tell log probabilities in two ways:

* With ``echo`` the prompt comes back with the log probability of each of its tokens (vLLM, llama-cpp-python, OpenAI's
  older models): one request scores a batch of answers.
* Else only of the tokens that are written, with the likeliest others (llama.cpp's own server, which takes ``echo`` and
  passes over it). An answer is then walked token by token, one request each, those with the same beginning together. A
  token that is not listed is given what it has at most: the least of those listed, or what they leave of 1. So a very
  improbable answer may look better than it is, never a probable one worse.

The way is found out with the first question. A server does not say which weights it runs: it is known by its address
and the name of the model.

Source: OpenAI, "Create completion" (legacy) in the API reference: ``echo``, ``logprobs``, ``max_tokens``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from generation.completion.generator.contexts import ANSWER_END, ANSWER_START
from generation.completion.generator.scoring import AnswerScores
from kg.errors import CompletionError, ConfigError, RequestRefusedError
from kg.servers.accounting import Budget, Ledger
from kg.servers.client import CallOptions, ServerClient

__all__ = ["ServerScorer"]

_AT_ONCE = 16
_LISTED = 100
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class _Tokens:
    texts: list[str]
    log_probabilities: list[float | None]


class ServerScorer:
    """Scores answers through ``/completions``. Safe between threads.

    :param base_url: Address up to and without ``/completions``, e.g. ``http://127.0.0.1:8000/v1``.
    :param model: Name of the model on that server.
    :param api_key: Sent as a bearer token; never shown in an error. Empty sends none.
    :param n_listed: Likeliest tokens to ask for where ``echo`` is not known; the server may give fewer.
    :param **options: See :class:`kg.servers.client.CallOptions`.
    :raises ConfigError: If a setting is malformed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        n_listed: int = _LISTED,
        **options: Unpack[CallOptions],
    ) -> None:
        if not model:
            raise ConfigError("model is empty: name the model that the server offers.")
        if n_listed < 1:
            raise ConfigError(f"n_listed must be at least 1, got {n_listed}.")
        self.name, self.n_listed = model, n_listed
        self.ledger = Ledger(Budget())
        self._client = ServerClient(
            base_url, "/completions", ledger=self.ledger, settings="the generator's server", api_key=api_key, **options
        )
        self._echoes: bool | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the address and the model's name: servers do not tell more."""
        return hashlib.sha256(f"{self._client.url}\0{self.name}".encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def score(self, prompt: str, answers: Sequence[str]) -> AnswerScores:
        """Score answers after one prompt.

        :param prompt: The prompt.
        :param answers: The answers.
        :returns: Their scores, in the order given.
        :raises CompletionError: If the server's reply holds no log probabilities.
        """
        texts = [f"{ANSWER_START}{answer}{ANSWER_END}" for answer in answers]
        if not texts:
            return AnswerScores(log_probabilities=np.zeros(0), n_tokens=np.zeros(0, dtype=np.int64))
        if self._echoes is None:
            self._echoes = self._find_out(prompt)
        pairs = self._echoed(prompt, texts) if self._echoes else self._walked(prompt, texts)
        return AnswerScores(
            log_probabilities=np.array([total for total, _ in pairs], dtype=np.float64),
            n_tokens=np.array([n_tokens for _, n_tokens in pairs], dtype=np.int64),
        )

    def _find_out(self, prompt: str) -> bool:
        try:
            (tokens,) = self._echo([prompt])
        except RequestRefusedError:
            return False
        # A server that passes over `echo` tells of the one token that it wrote, of which none is left here.
        return tokens is not None and len(tokens.texts) > 0

    def _echoed(self, prompt: str, texts: Sequence[str]) -> list[tuple[float, int]]:
        (alone,) = self._echo([prompt])
        pairs: list[tuple[float, int]] = []
        for first in range(0, len(texts), _AT_ONCE):
            for tokens in self._echo([prompt + text for text in texts[first : first + _AT_ONCE]]):
                if alone is None or tokens is None:
                    raise self._odd("log probabilities for some prompts and not for others")
                shared = _n_shared(alone.texts, tokens.texts)
                values = tokens.log_probabilities[shared:]
                known = [value for value in values if value is not None]
                if not known or len(known) != len(values):
                    raise self._odd("no log probability for a token of the answer")
                pairs.append((math.fsum(known), len(known)))
        return pairs

    def _echo(self, prompts: list[str]) -> list[_Tokens | None]:
        """Send prompts and return the tokens of each without the one that was written after it."""
        body = {"prompt": prompts, "max_tokens": 1, "echo": True, "logprobs": 1}
        reply = self._post(body)
        choices = self._choices(reply, n=len(prompts))
        found = [_tokens(choice) for choice in choices]
        n_entries = sum(len(tokens.texts) for tokens in found if tokens is not None)
        usage = reply.get("usage")
        n_sent = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        nothing_written = n_sent is not None and n_entries == n_sent and n_entries > len(prompts)
        if nothing_written:
            return list(found)
        return [None if one is None else _Tokens(one.texts[:-1], one.log_probabilities[:-1]) for one in found]

    def _walked(self, prompt: str, texts: Sequence[str]) -> list[tuple[float, int]]:
        totals, counts = [0.0] * len(texts), [0] * len(texts)
        groups: dict[str, list[int]] = {"": list(range(len(texts)))}
        while groups:
            written, members = groups.popitem()
            listed = self._next_tokens(prompt + written)
            left = 1.0 - math.fsum(map(math.exp, listed.values()))
            least = min(*listed.values(), math.log(max(left, _TINY)))
            for place in members:
                rest = texts[place][len(written) :]
                fitting = [token for token in listed if token and rest.startswith(token)]
                token = max(fitting, key=len) if fitting else _first_word(rest)
                totals[place] += listed.get(token, least)
                counts[place] += 1
                if len(token) < len(rest):
                    groups.setdefault(written + token, []).append(place)
        return list(zip(totals, counts, strict=True))

    def _next_tokens(self, prompt: str) -> dict[str, float]:
        body = {"prompt": prompt, "max_tokens": 1, "logprobs": self.n_listed}
        (choice,) = self._choices(self._post(body), n=1)
        listed = _listed(choice)
        if not listed:
            raise self._odd("no log probabilities; it must support `logprobs` in /completions")
        return listed

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._client.slot():
            return self._client.post({"model": self.name, "temperature": 0, **body})[0]

    def _choices(self, reply: dict[str, Any], *, n: int) -> list[dict[str, Any]]:
        choices = reply.get("choices")
        if not isinstance(choices, list) or len(choices) != n or not all(isinstance(one, dict) for one in choices):
            raise self._odd(f"not the {n} choices that were asked for")
        return sorted(choices, key=lambda choice: int(choice.get("index", 0)))

    def _odd(self, what: str) -> CompletionError:
        return CompletionError(f"{self._client.url} sent {what} (model {self.name!r}). It cannot score answers.")


def _tokens(choice: dict[str, Any]) -> _Tokens | None:
    """Read the tokens of a choice: OpenAI's two lists, or the list of objects that chat replies have."""
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        return None
    if isinstance(told.get("content"), list):
        entries = [entry for entry in told["content"] if isinstance(entry, dict)]
        return _Tokens([str(entry.get("token", "")) for entry in entries], [entry.get("logprob") for entry in entries])
    texts, values = told.get("tokens"), told.get("token_logprobs")
    if not isinstance(texts, list) or not isinstance(values, list) or len(texts) != len(values):
        return None
    return _Tokens([str(text) for text in texts], values)


def _listed(choice: dict[str, Any]) -> dict[str, float]:
    """Read the likeliest tokens in place of the one that was written, that one among them."""
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        return {}
    listed: dict[str, float] = {}
    if isinstance(told.get("content"), list):
        for entry in told["content"][:1]:
            for other in (entry, *(entry.get("top_logprobs") or ())):
                listed.setdefault(str(other.get("token")), float(other.get("logprob", -math.inf)))
    else:
        for others in (told.get("top_logprobs") or ())[:1]:
            listed |= {str(token): float(value) for token, value in (others or {}).items()}
        for token, value in list(zip(told.get("tokens") or (), told.get("token_logprobs") or (), strict=False))[:1]:
            listed.setdefault(str(token), float(value))
    return {token: value for token, value in listed.items() if math.isfinite(value)}


def _n_shared(left: Sequence[str], right: Sequence[str]) -> int:
    n_shared = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        n_shared += 1
    return n_shared


def _first_word(text: str) -> str:
    """Return what an unlisted token is taken to be: a word with the space before it, or the line break."""
    end = len(text) - len(text.lstrip())
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[:end]

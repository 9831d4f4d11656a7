"""Make a language model answer in JSON of a given schema: by masking what it may write, or by asking its server to.

Layer: ``generation``. :class:`TransformersJsonModel` imports torch and llguidance when it first writes.
Sources: constrained decoding by token masks, Willard and Louf 2023, arXiv:2307.09702; llguidance computes the masks;
OpenAI's ``response_format`` of type ``json_schema``, which vLLM, llama.cpp and Ollama understand as well.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from generation.types import Message
from kg.errors import GenerationError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

    from generation.models.openai import OpenAiLanguageModel
    from generation.models.transformers_lm import TransformersLanguageModel

__all__ = ["OpenAiJsonModel", "TransformersJsonModel"]

_KEPT_GRAMMARS = 8
"""Compiled schemas kept. A service uses one or two; an ontology that is edited makes a new one each time."""


class TransformersJsonModel:
    """Writes JSON with a model in this process; every token keeps the text a prefix of what the schema allows.

    A valid reply may still break off at ``max_new_tokens``. Safe between threads: each reply has a matcher of its own.

    :param model: The language model.
    """

    def __init__(self, model: TransformersLanguageModel) -> None:
        self.name = model.name
        self._model = model
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._grammars: dict[str, str] = {}

    def write_json(self, messages: Sequence[Message], *, schema: Mapping[str, Any], max_new_tokens: int) -> str:
        """Answer the chat with JSON that fits ``schema``.

        :param messages: The chat, oldest first.
        :param schema: A JSON schema.
        :param max_new_tokens: The longest reply.
        :returns: JSON, broken off where it would be longer.
        :raises GenerationError: If the schema cannot be turned into a grammar, or the prompt does not fit.
        """
        import llguidance

        grammar, tokenizer = self._prepared(schema)
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        if matcher.is_error():
            raise GenerationError(f"The schema of the reply cannot be used: {matcher.get_error()}")
        pieces = self._model.stream_chosen(messages, max_new_tokens=max_new_tokens, choose=_Chooser(matcher, tokenizer))
        return "".join(pieces)

    def _prepared(self, schema: Mapping[str, Any]) -> tuple[str, Any]:
        try:
            import llguidance
            import llguidance.hf
        except ImportError as error:  # pragma: no cover - it is a dependency
            raise MissingExtraError("llguidance is not installed: pip install llguidance.") from error

        text = json.dumps(schema, sort_keys=True)
        with self._lock:
            if self._tokenizer is None:
                vocabulary = int(self._model.model.config.get_text_config().vocab_size)
                self._tokenizer = llguidance.hf.from_tokenizer(self._model.tokenizer, n_vocab=vocabulary)
            if text not in self._grammars:
                while len(self._grammars) >= _KEPT_GRAMMARS:
                    self._grammars.pop(next(iter(self._grammars)))
                options: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
                self._grammars[text] = llguidance.LLMatcher.grammar_from_json_schema(text, options)
            return self._grammars[text], self._tokenizer


class _Chooser:
    """Takes the likeliest of the tokens that the grammar allows next; the state of one reply."""

    def __init__(self, matcher: Any, tokenizer: Any) -> None:
        import llguidance.numpy

        self._matcher = matcher
        self._mask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)

    def __call__(self, logits: Tensor) -> int | None:
        """Choose the next token.

        :param logits: Of the next token. *Shape:* ``(V,)``.
        :returns: The token; ``None`` where the reply is complete.
        :raises GenerationError: If the token does not fit, which the mask rules out.
        """
        import llguidance.numpy

        if self._matcher.is_stopped():
            return None
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        masked = logits.float().cpu().numpy()[None, :].copy()
        llguidance.numpy.apply_token_bitmask_inplace(masked, self._mask)
        token = int(masked[0].argmax())
        if not self._matcher.consume_token(token):
            raise GenerationError(f"The model's reply left its schema: {self._matcher.get_error()}")
        return token


class OpenAiJsonModel:
    """Asks a server for JSON by ``response_format``.

    :param model: The client of the server.
    """

    def __init__(self, model: OpenAiLanguageModel) -> None:
        self.name = model.name
        self._model = model

    def write_json(self, messages: Sequence[Message], *, schema: Mapping[str, Any], max_new_tokens: int) -> str:
        """Answer the chat with JSON that fits ``schema``, as far as the server holds to it.

        :param messages: The chat, oldest first.
        :param schema: A JSON schema.
        :param max_new_tokens: The longest reply.
        :returns: What the server wrote.
        :raises GenerationError: If the server fails, times out or breaks off.
        :raises ConfigError: If it refuses the key, the address or the model's name.
        """
        wanted = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": dict(schema)}}
        pieces = self._model.stream(messages, max_new_tokens=max_new_tokens, response_format=wanted)
        return "".join(pieces)

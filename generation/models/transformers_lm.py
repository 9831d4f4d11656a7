"""A language model that runs in this process through transformers: dense or mixture-of-experts, the same class.

Layer: ``generation``; the one file that runs transformers' causal models. Import it only where one is wanted.

The decode loop is ours: greedy, one key-value cache per request, so requests share nothing but the weights and run
concurrently without a lock; and text leaves as soon as its characters are complete.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as _logging

from generation.models.streaming import clean_stream
from generation.types import Message
from kg.errors import GenerationError, InputError, ModelError, ModelMissingError
from moe_backbone.adapters import can_dispatch, register_dispatches, route_in_float32
from moe_backbone.loading import default_dtype
from moe_backbone.observe.recorder import RoutingRecorder
from moe_backbone.sites import find_routers, find_sites

logging: Any = _logging  # untyped upstream

__all__ = ["Choice", "TransformersLanguageModel", "likeliest"]

Choice = Callable[[Tensor], int | None]
_EXPERTS = "mmkg_auto"
"""How experts run: the dispatch that suits device, dtype and number of tokens, chosen at each call."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def likeliest(logits: Tensor) -> int:
    """Choose the token that the model finds likeliest; of equals the first.

    :param logits: *Shape:* ``(V,)``.
    :returns: A token.
    """
    return int(logits.argmax())


class TransformersLanguageModel:
    """A causal language model in a local folder; weights load with the first reply, the tokenizer with the first count.

    :param path: Checkpoint folder with configuration, weights and tokenizer. Nothing is ever downloaded.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param dtype: Precision; ``None`` decides by :func:`moe_backbone.loading.default_dtype`.
    :param name: What answers call the model; ``None`` takes the folder's name.
    :param experts_implementation: How transformers runs experts; ``None`` lets our dispatches choose at each call, and
        leaves experts that they cannot read to transformers.
    :raises ModelMissingError: If the folder or its configuration is not there.
    :raises ModelError: If the configuration cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        name: str | None = None,
        experts_implementation: str | None = None,
    ) -> None:
        if not (path / "config.json").is_file():
            raise ModelMissingError(f"{path} holds no language model (no config.json). Run `mmkg models pull`.")
        try:
            self._config: Any = AutoConfig.from_pretrained(path, local_files_only=True)
        except (ValueError, OSError, KeyError, json.JSONDecodeError) as error:
            raise ModelError(f"{path / 'config.json'} cannot be read: {error}") from error
        self.path = path
        self.name = name if name is not None else path.name
        self.context_tokens: int = int(self._config.get_text_config().max_position_embeddings)
        self.device = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = dtype if dtype is not None else default_dtype(self._stored_dtype(), device=self.device)
        self._experts = experts_implementation
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._model: Any = None

    def count_tokens(self, text: str) -> int:
        """Count ``text`` in the model's own tokens, without special tokens."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """Yield the reply piece by piece, greedily decoded.

        :param messages: The chat, oldest first.
        :param max_new_tokens: The most tokens to write, at least 1.
        :param stop: Strings that end the reply; they are not part of it.
        :returns: An iterator of non-empty pieces. The prompt is checked at once, before the first piece is asked for.
        :raises InputError: If ``max_new_tokens`` is below 1 or there is no message.
        :raises GenerationError: If the prompt and the reply together do not fit the model's context.
        :raises ModelError: If the weights or the tokenizer cannot be loaded.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        if not messages:
            raise InputError("a language model needs at least one message, got none.")
        prompt = self._fitting_prompt(messages, max_new_tokens)
        return clean_stream(self._decode(prompt, max_new_tokens, likeliest), stop=stop)

    def stream_chosen(self, messages: Sequence[Message], *, max_new_tokens: int, choose: Choice) -> Iterator[str]:
        """Yield the reply piece by piece, each token chosen by ``choose``: what constrained decoding is built on.

        :param messages: The chat, oldest first.
        :param max_new_tokens: The most tokens to write.
        :param choose: Takes the logits of the next token, of shape ``(V,)``, and returns a token, or ``None`` to end.
        :returns: An iterator of non-empty pieces, without any filter.
        :raises GenerationError: If the prompt and the reply together do not fit the model's context.
        """
        return self._decode(self._fitting_prompt(messages, max_new_tokens), max_new_tokens, choose)

    def next_logits(self, messages: Sequence[Message]) -> Tensor:
        """Return the logits of the reply's first token, of which yes and no can be told without writing anything.

        :param messages: The chat, oldest first.
        :returns: Logits, float32, on the CPU. *Shape:* ``(V,)``.
        :raises InputError: If there is no message.
        :raises GenerationError: If the prompt does not fit the model's context.
        """
        if not messages:
            raise InputError("a language model needs at least one message, got none.")
        prompt, model = self._fitting_prompt(messages, 1), self.model
        return self._step(model, prompt, DynamicCache(config=model.config)).float().cpu()

    def _fitting_prompt(self, messages: Sequence[Message], max_new_tokens: int) -> list[int]:
        prompt = self._prompt(messages)
        if len(prompt) + max_new_tokens > self.context_tokens:
            raise GenerationError(
                f"the prompt has {len(prompt)} tokens and the reply may have {max_new_tokens}, but {self.name} reads "
                f"{self.context_tokens} in all. Give less evidence or lower max_new_tokens."
            )
        return prompt

    def record_routing(self) -> RoutingRecorder | None:
        """Return a recorder of the experts used inside its ``with`` block, or ``None`` for a dense model."""
        model = self.model
        return RoutingRecorder(model) if find_sites(model) else None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded on first use."""
        if self._tokenizer is None:
            with self._lock:
                if self._tokenizer is None:
                    try:
                        self._tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
                    except (ValueError, OSError, KeyError) as error:
                        raise ModelError(f"{self.path} holds no tokenizer that can be loaded: {error}") from error
        return self._tokenizer

    @property
    def model(self) -> Any:
        """The model in evaluation mode, loaded on first use."""
        if self._model is None:
            with self._lock:
                if self._model is None:
                    self._model = self._load()
        return self._model

    def _stored_dtype(self) -> torch.dtype:
        stored = getattr(self._config, "dtype", None)
        return stored if isinstance(stored, torch.dtype) else torch.float32

    def _load(self) -> Any:
        was_showing = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(self.path, dtype=self.dtype, local_files_only=True)
        except (ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"the weights in {self.path} cannot be loaded: {error}") from error
        finally:
            if was_showing:
                logging.enable_progress_bar()
        model = model.to(self.device).eval()
        if any(find_routers(model)):
            register_dispatches()
            route_in_float32(model)
            chosen = self._experts or (_EXPERTS if can_dispatch(model) else None)
            if chosen is not None:
                model.set_experts_implementation(chosen)
        return model

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except ValueError as error:
            raise ModelError(f"{self.path} has no chat template: {error}") from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end_tokens(self) -> frozenset[int]:
        found: set[int] = set()
        for ids in (self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id):
            found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
        return frozenset(found)

    def _decode(self, prompt: list[int], max_new_tokens: int, choose: Choice) -> Iterator[str]:
        model, end = self.model, self._end_tokens()
        cache = DynamicCache(config=model.config)
        fresh, written, sent = prompt, [], 0
        for _ in range(max_new_tokens):
            token = choose(self._step(model, fresh, cache))
            if token is None or token in end:
                break
            fresh = [token]
            written.append(token)
            text = self.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            ready = text.rstrip(_REPLACEMENT)  # the last character may still miss bytes
            if len(ready) > sent:
                yield ready[sent:]
                sent = len(ready)
        text = self.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if len(text) > sent:
            yield text[sent:]

    @torch.inference_mode()  # on the step, not around the loop: a generator would leave it on in its caller
    def _step(self, model: Any, tokens: list[int], cache: DynamicCache) -> Tensor:
        ids = torch.tensor([tokens], device=self.device)
        logits: Tensor = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[0, -1]

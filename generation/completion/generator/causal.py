"""A causal language model, dense or of experts, as what answers questions about links.

Layer: ``generation``; torch and transformers, through ``generation.models.transformers_lm``, which loads it.
The model goes on with the prompt's last line: a space, the answer, a line break.

Shape suffixes: B answers at a time, A tokens of the longest, V tokens of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from transformers import DynamicCache

from generation.completion.generator.contexts import ANSWER_END, ANSWER_START
from generation.completion.generator.fingerprints import folder_fingerprint
from generation.completion.generator.tuned_io import TunedGenerator
from generation.models.transformers_lm import TransformersLanguageModel

__all__ = ["CausalModel"]

_STUB = ":"


@dataclass(frozen=True, slots=True)
class _Read:
    cache: DynamicCache
    next_V: Tensor  # noqa: N815 (shape suffix)


class CausalModel:
    """Reads a prompt once and shares its key-value cache among the answers.

    :param model: The language model; it is loaded at the first use.
    """

    def __init__(self, model: TransformersLanguageModel) -> None:
        self.lm = model
        self.tuned: TunedGenerator | None = None
        self.answer_ids = lru_cache(maxsize=100_000)(self._answer_ids)

    @property
    def name(self) -> str:
        """What people call the model."""
        return self.lm.name

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the folder."""
        return folder_fingerprint(self.lm.path)

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.lm.context_tokens

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, with what the tokenizer puts at the beginning of a text.

        :param prompt: The prompt.
        :returns: Tokens.
        """
        ids = list(self.lm.tokenizer(prompt)["input_ids"])
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.lm.tokenizer.eos_token_id else ids

    def _answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer as they follow the colon that ends every prompt."""
        tokenizer = self.lm.tokenizer
        text = f"{ANSWER_START}{answer}{ANSWER_END}"
        before = list(tokenizer(_STUB, add_special_tokens=False)["input_ids"])
        whole = list(tokenizer(_STUB + text, add_special_tokens=False)["input_ids"])
        if whole[: len(before)] == before:
            return whole[len(before) :]
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.inference_mode()
    def read(self, prompt_ids: list[int]) -> _Read:
        """Read a prompt.

        :param prompt_ids: Its tokens.
        :returns: Its cache and the scores of the next token.
        """
        model = self.lm.model
        cache = DynamicCache(config=model.config)
        ids = torch.tensor([prompt_ids], device=self.lm.device)
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return _Read(cache, logits[0, -1].float().log_softmax(dim=-1))

    @torch.inference_mode()
    def log_probabilities(self, read: _Read, rows: Sequence[Sequence[int]]) -> Tensor:
        """Weigh every next token after 0, 1, … tokens of each row.

        :param read: What :meth:`read` returned; it is left as it is.
        :param rows: Tokens, up to A of them in a row; the shorter ones are filled up at their end.
        :returns: Log probabilities, float32. *Shape:* ``(B, A + 1, V)``.
        """
        longest = max(map(len, rows))
        first_B1V = read.next_V.expand(len(rows), 1, -1)
        if not longest:
            return first_B1V
        ids_BA = torch.zeros((len(rows), longest), dtype=torch.int64, device=self.lm.device)
        for number, row in enumerate(rows):
            ids_BA[number, : len(row)] = torch.tensor(row)
        cache = copy.deepcopy(read.cache)
        cache.batch_repeat_interleave(len(rows))
        logits_BAV = self.lm.model(input_ids=ids_BA, past_key_values=cache, use_cache=True).logits
        return torch.cat([first_B1V, logits_BAV.float().log_softmax(dim=-1)], dim=1)

    @torch.inference_mode()
    def read_whole(self, prompt_ids: list[int], answer_ids: list[int]) -> Tensor:
        """Weigh every token of an answer in one pass without a cache.

        :param prompt_ids: Tokens of the prompt.
        :param answer_ids: Tokens of the answer.
        :returns: Log probabilities, float32. *Shape:* ``(A, V)``.
        """
        ids = torch.tensor([[*prompt_ids, *answer_ids[:-1]]], device=self.lm.device)
        logits: Tensor = self.lm.model(input_ids=ids, use_cache=False).logits
        return logits[0, len(prompt_ids) - 1 :].float().log_softmax(dim=-1)

"""An encoder-decoder model (T5, BART, …) as what answers questions about links.

Layer: ``generation``; torch and transformers. The encoder reads the prompt once, the decoder writes the answer and its
own end token. Source of the task's form: Saxena et al. 2022 (KGT5), arXiv:2203.10321.

Shape suffixes: B answers at a time, A tokens of the longest, V tokens of the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from generation.completion.generator.fingerprints import folder_fingerprint
from generation.completion.generator.tuned_io import TunedGenerator
from kg.errors import ModelError, ModelMissingError

__all__ = ["Seq2SeqModel", "is_seq2seq"]

_UNBOUNDED = 1_000_000
_USUAL_CONTEXT = 512


def is_seq2seq(folder: Path) -> bool:
    """Say whether a model folder holds an encoder-decoder model.

    :param folder: The folder.
    :returns: Whether its configuration says so.
    :raises ModelMissingError: If there is no ``config.json``.
    :raises ModelError: If it cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise ModelMissingError(f"{folder} holds no language model (no config.json).")
    try:
        return bool(getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "is_encoder_decoder", False))
    except (ValueError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error}") from error


class Seq2SeqModel:
    """Reads a prompt once with the encoder and shares its states among the answers.

    :param folder: Folder with configuration, weights and tokenizer. Nothing is ever downloaded.
    :param device: torch device; ``None`` takes CUDA where there is one, else the CPU.
    :param name: What people call it; ``None`` takes the folder's name.
    :raises ModelError: If weights or tokenizer cannot be loaded.
    """

    def __init__(self, folder: Path, *, device: str | None = None, name: str | None = None) -> None:
        self.folder, self.name = folder, name or folder.name
        self.tuned: TunedGenerator | None = None
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True)
        except (ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{folder} holds no encoder-decoder model that can be loaded: {error}") from error
        self.model = model.to(self.device).eval()
        self._start = _start_token(folder, self.model.config)
        self.answer_ids = lru_cache(maxsize=100_000)(self._answer_ids)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the folder."""
        return folder_fingerprint(self.folder)

    @property
    def context_tokens(self) -> int:
        """Tokens that the encoder reads: what the tokenizer says, else the configuration, else 512.

        An answer is counted against it as well, though the decoder reads it: a little too careful.
        """
        said = int(getattr(self.tokenizer, "model_max_length", 0) or 0)
        if 0 < said < _UNBOUNDED:
            return said
        config = self.model.config
        for field in ("n_positions", "max_position_embeddings"):
            value = getattr(config, field, None)
            if isinstance(value, int) and value > 0:
                return value
        return _USUAL_CONTEXT

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt as the encoder reads them."""
        return list(self.tokenizer(prompt, verbose=False)["input_ids"])

    def _answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer with the end token."""
        ids = list(self.tokenizer(text_target=answer, verbose=False)["input_ids"])
        end = self.tokenizer.eos_token_id
        return ids if end is None or (ids and ids[-1] == end) else [*ids, end]

    @torch.inference_mode()
    def read(self, prompt_ids: list[int]) -> Tensor:
        """Read a prompt.

        :param prompt_ids: Its tokens.
        :returns: The encoder's states. *Shape:* ``(1, tokens, width)``.
        """
        ids = torch.tensor([prompt_ids], device=self.device)
        states: Tensor = self.model.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return states

    @torch.inference_mode()
    def log_probabilities(self, read: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        """Weigh every next token after 0, 1, … tokens of each row.

        :param read: What :meth:`read` returned.
        :param rows: Tokens, up to A of them in a row; the shorter ones are filled up at their end.
        :returns: Log probabilities, float32. *Shape:* ``(B, A + 1, V)``.
        """
        longest = max(map(len, rows))
        ids_BA = torch.full((len(rows), longest + 1), self._start, dtype=torch.int64, device=self.device)
        for number, row in enumerate(rows):
            ids_BA[number, 1 : 1 + len(row)] = torch.tensor(row)
        states = read.expand(len(rows), -1, -1)
        logits: Tensor = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=torch.ones(states.shape[:2], dtype=torch.int64, device=self.device),
            decoder_input_ids=ids_BA,
            use_cache=False,
        ).logits
        return logits.float().log_softmax(dim=-1)

    @torch.inference_mode()
    def read_whole(self, prompt_ids: list[int], answer_ids: list[int]) -> Tensor:
        """Weigh every token of an answer in one pass over prompt and answer.

        :param prompt_ids: Tokens of the prompt.
        :param answer_ids: Tokens of the answer.
        :returns: Log probabilities, float32. *Shape:* ``(A, V)``.
        """
        ids = torch.tensor([prompt_ids], device=self.device)
        labels = torch.tensor([[self._start, *answer_ids[:-1]]], device=self.device)
        logits: Tensor = self.model(input_ids=ids, decoder_input_ids=labels, use_cache=False).logits
        return logits[0].float().log_softmax(dim=-1)


def _start_token(folder: Path, config: Any) -> int:
    for field in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        token = getattr(config, field, None)
        if isinstance(token, int):
            return token
    raise ModelError(f"{folder / 'config.json'} names no decoder_start_token_id, so no answer can be begun.")
